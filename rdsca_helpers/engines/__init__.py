"""Database engines: one file each holds all that the project knows of it; the files are found by themselves."""

from __future__ import annotations

import importlib
import pkgutil
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

from ..model import Client, Confidence, Secret

PROGRAM = "rdsca"  # how our own sessions name themselves, so that they can be left out of the count


@dataclass(frozen=True)
class Wire:
    """What a server showed in a TLS handshake: its certificate chain (DER, leaf first), protocol and cipher."""

    chain: tuple[bytes, ...]
    version: str
    cipher: str


class WatchfulContext(ssl.SSLContext):
    """A client context that remembers the chain of the last server, as the handshake brought it."""

    wire: Wire | None = None

    class sslsocket_class(ssl.SSLSocket):  # noqa: N801  the name is the standard library's hook
        """Note the served chain when the handshake is done, whatever the driver does afterwards."""

        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            cast(WatchfulContext, self.context).wire = seen_by(self)


def seen_by(sock: ssl.SSLSocket) -> Wire:
    """Read chain, protocol and cipher off a finished handshake."""
    if hasattr(sock, "get_unverified_chain"):  # public from Python 3.13 on
        chain = tuple(sock.get_unverified_chain())
    else:
        inner: Any = sock._sslobj  # type: ignore[attr-defined]
        chain = tuple(ssl.PEM_cert_to_DER_cert(c.public_bytes()) for c in inner.get_unverified_chain())
    cipher = sock.cipher()
    return Wire(chain, sock.version() or "", cipher[0] if cipher else "")


@dataclass(frozen=True)
class Target:
    """Where and as whom to log in. *host* is the name to verify, *address* where the way to it begins."""

    host: str
    address: tuple[str, int]
    user: str
    password: Secret
    context: WatchfulContext
    roots_file: str
    timeout: float
    opened: list[socket.socket] = field(default_factory=list)

    def dial(self) -> socket.socket:
        """Open the TCP connection; the caller's watchdog can close it from outside."""
        sock = socket.create_connection(self.address, timeout=self.timeout)
        self.opened.append(sock)
        return sock


@dataclass(frozen=True)
class Census:
    """Who is connected, from which *source*, and how sure; *remedy* says how to become surer."""

    source: str
    confidence: Confidence
    clients: tuple[Client, ...]
    remedy: str = ""


@dataclass(frozen=True)
class Engine:
    """An engine: its RDS names and port, how to log in with verified TLS, and how to ask who is connected.

    *starttls* asks a fresh connection for TLS, where the handshake may then be broken off without harm. It is
    ``None`` where a broken-off handshake makes the server block the host: then the chain comes from a login.
    """

    name: str
    rds_names: tuple[str, ...]
    port: int
    connect: Callable[[Target], Any]
    census: Callable[[Any], Census]
    starttls: Callable[[socket.socket], None] | None


@cache
def all_engines() -> dict[str, Engine]:
    """Find every engine file, and give each engine under each of its RDS names."""
    found: dict[str, Engine] = {}
    for module in pkgutil.iter_modules(__path__):
        engine: Engine = importlib.import_module(f"{__name__}.{module.name}").ENGINE
        found |= dict.fromkeys(engine.rds_names, engine)
    return found
