"""Database engines: one file each holds all that the project knows of it; the files are found by themselves."""

from __future__ import annotations

import importlib
import os
import pkgutil
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, cast

from ..model import Client, Confidence, Secret

if TYPE_CHECKING:
    from ..rejections import LogReading

PROGRAM = "rdsca"  # how our own sessions name themselves, so that they can be left out of the count
_SLACK = 2  # seconds by which a look and the server's own clock may differ
EVERYBODY = "(every client)"  # the user in a row that stands for all clients, where a setting decides for all


@dataclass(frozen=True)
class Wire:
    """What a server showed in a TLS handshake: its certificate chain (DER, leaf first), protocol and cipher.

    *version* is the newest protocol that it offers, since our side of the handshake takes every one.
    """

    chain: tuple[bytes, ...]
    version: str
    cipher: str


class Channel(Protocol):
    """A bounded way to a server: each call keeps to the endpoint's overall deadline and to a cap on bytes."""

    def send(self, data: bytes) -> None:
        """Send all of *data*."""

    def receive(self, count: int) -> bytes:
        """Give exactly *count* bytes; raises ``ConnectionError`` when the server closes before."""


class NoTls(ConnectionError):
    """The server speaks the engine's protocol, and offers no TLS; ``starttls`` raises it."""


class WatchfulContext(ssl.SSLContext):
    """A client context that remembers the chain of the last server, as the handshake brought it."""

    wire: Wire | None = None

    class sslsocket_class(ssl.SSLSocket):  # noqa: N801  the name is the standard library's hook
        """Note the served chain when the handshake is done, whatever the driver does afterwards."""

        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            cast(WatchfulContext, self.context).wire = seen_by(self)


def seen_by(sock: ssl.SSLSocket | ssl.SSLObject) -> Wire:
    """Read chain, protocol and cipher off a finished handshake."""
    if hasattr(sock, "get_unverified_chain"):  # public from Python 3.13 on
        chain = tuple(sock.get_unverified_chain())
    else:
        inner: Any = sock._sslobj  # type: ignore[union-attr]
        chain = tuple(ssl.PEM_cert_to_DER_cert(c.public_bytes()) for c in inner.get_unverified_chain())
    cipher = sock.cipher()
    return Wire(chain, sock.version() or "", cipher[0] if cipher else "")


@dataclass(frozen=True)
class Target:
    """Where and as whom to log in. *host* is the name to verify, *address* where the way to it begins.

    *database* is the name that the instance was created with (DBName); Oracle lets nobody in without it.
    """

    host: str
    address: tuple[str, int]
    user: str
    password: Secret
    context: WatchfulContext
    roots_file: str
    timeout: float
    opened: list[socket.socket] = field(default_factory=list)
    database: str = ""

    def dial(self) -> socket.socket:
        """Open the TCP connection; the caller's watchdog can cut it from outside."""
        sock = socket.create_connection(self.address, timeout=self.timeout)
        self.watch(sock.fileno())
        return sock

    def watch(self, descriptor: int) -> None:
        """Let the caller's watchdog cut the connection behind *descriptor*.

        It is given a descriptor of its own: a socket object is dead to others once TLS is wrapped around it.
        """
        self.opened.append(socket.socket(fileno=os.dup(descriptor)))


@dataclass(frozen=True)
class Census:
    """Who is connected, from which *source*, and how sure; *remedy* says how to become surer.

    *counters* is what the server had counted by then, where the same login was told, and *handshake_errors* from
    which addresses handshakes were broken off.
    """

    source: str
    confidence: Confidence
    clients: tuple[Client, ...]
    remedy: str = ""
    counters: Counters | None = field(default=None, compare=False)
    handshake_errors: Mapping[str, int] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Counters:
    """What the server has counted since it started: connections, TLS handshakes begun and finished, and aborts.

    *uptime* in seconds tells whether two readings are of the same start; ``None`` where the server does not count.
    *tls_begun* less *tls_finished* are clients that broke the handshake off: such as do not accept the certificate.
    """

    uptime: int
    connections: int
    tls_begun: int | None = None
    tls_finished: int | None = None
    aborted: int | None = None


def delta(before: Counters, after: Counters, *, elapsed: float = 0) -> Counters | None:
    """Say what was counted between two readings, *elapsed* seconds apart; ``None`` when the counters began anew.

    A restart makes them begin anew, and on MySQL and MariaDB so does a reload of the certificate (measured): the
    reading to compare with is one taken after the certificate has changed. When soon after a restart every counter
    has passed its old value again, it still shows in an uptime that is shorter than *elapsed*.
    """
    if after.uptime < elapsed - _SLACK:
        return None

    def grown(name: str) -> int | None:
        old, new = getattr(before, name), getattr(after, name)
        return None if old is None or new is None else new - old

    change = {f.name: grown(f.name) for f in fields(Counters)}
    if any(value is not None and value < 0 for value in change.values()):
        return None
    return Counters(
        uptime=after.uptime - before.uptime,
        connections=after.connections - before.connections,
        tls_begun=change["tls_begun"],
        tls_finished=change["tls_finished"],
        aborted=change["aborted"],
    )


@dataclass(frozen=True)
class Engine:
    """An engine: its RDS names and port, how to log in with verified TLS, and how to ask who is connected.

    *starttls* asks on a fresh channel for TLS and gives the channel on which TLS records then travel, where the
    handshake may be broken off without harm. It is ``None`` where a broken-off handshake makes the server block the
    host: then the chain comes from a login. *extra* is the optional extra of rdsca that brings the driver; empty
    when rdsca itself does. *connect* and *census* are ``None`` where no login tells (DocumentDB); *by_settings* then
    reads the answer off the parameters that RDS has for the instance. *counters* is there where the server counts.

    *settings* names the settings that decide, and *settings_in* the field of the instance that names the group they
    are in; their values come from ``Aws.settings_of``. *by_settings* gives ``None`` where they leave it to a login,
    *tls_port* the port of TLS where it is not the endpoint's own. *log_clients* reads who connected off the text of
    a server log, where one tells. *handshake_errors* says from which addresses handshakes were broken off.
    *log_rejections* reads the rejected handshakes off the log files that have *log* in their names. *alpn* is the
    name under which the server may speak TLS from the first byte instead, where it closes on *starttls* (TDS 8.0).
    """

    name: str
    rds_names: tuple[str, ...]
    port: int
    connect: Callable[[Target], Any] | None
    census: Callable[[Any], Census] | None
    starttls: Callable[[Channel], Channel] | None
    extra: str = ""
    settings: tuple[str, ...] = ()
    settings_in: str = ""
    by_settings: Callable[[Mapping[str, str]], Census | None] | None = None
    tls_port: Callable[[Mapping[str, str]], int] | None = None
    log_clients: Callable[[str], tuple[Client, ...]] | None = None
    counters: Callable[[Any], Counters | None] | None = None
    handshake_errors: Callable[[Any], dict[str, int]] | None = None
    log: str = ""
    log_rejections: Callable[[str, datetime], LogReading] | None = None
    alpn: str = ""


@cache
def all_engines() -> dict[str, Engine]:
    """Find every engine file, and give each engine under each of its RDS names."""
    found: dict[str, Engine] = {}
    for module in pkgutil.iter_modules(__path__):
        engine: Engine = importlib.import_module(f"{__name__}.{module.name}").ENGINE
        found |= dict.fromkeys(engine.rds_names, engine)
    return found
