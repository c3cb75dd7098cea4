"""The wire: the certificate chain that a server shows, fetched without a password, in bounded time, doing no harm."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from ..engines import Channel, Engine, NoTls, Wire, seen_by
from ..errors import Obstacle, Unreachable
from . import mysql_login

T = TypeVar("T")
MESSAGE_CAP = 64 * 1024
HANDSHAKE_CAP = 256 * 1024
PROBES = 10  # to one endpoint in one run
_RECORD_CAP = 16384 + 2048  # RFC 5246, 6.2.3
_RECORD_TYPES = range(20, 25)  # change_cipher_spec, alert, handshake, application_data, heartbeat
_CLOSED = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)
_GIANT = ("EXCESSIVE_MESSAGE_SIZE",)  # in OpenSSL's words


def probe(engine: Engine, *, host: str, address: tuple[str, int], deadline: float) -> Wire:
    """Fetch the chain that the server at *address* shows for the name *host*, whatever it is worth.

    It takes at most *deadline* seconds for everything, resolving the name included. Servers with TLS 1.0 only are
    read too, and the answer says so. Raises ``Unreachable``, which tells the kind of obstacle.

    Where a broken-off handshake counts against this host (MySQL, MariaDB), the login is finished as a user that does
    not exist, and its refusal read; PostgreSQL does not even log a probe.
    """
    limit = _Deadline(deadline)

    def look(starttls: Callable[[Channel], Channel] | None, alpn: str = "") -> Wire:
        with _connected(address, limit) as sock:
            line = _Line(sock, limit)
            if starttls is None:
                return _by_login(line, host)
            tls = _Tls(starttls(line), host, agreed=line.heard, alpn=alpn)
            wire = tls.handshake()
            tls.close()
            return wire

    try:
        try:
            return look(engine.starttls)
        except _CLOSED:
            if not engine.alpn:
                raise
            return look(lambda line: line, engine.alpn)
    except Unreachable:
        raise
    except Exception as e:  # noqa: BLE001  a server of any make may be at the other end
        raise _obstructed(e) from None


@dataclass(frozen=True)
class Budget:
    """How often each endpoint may be probed in one run; a probe is for looking once, not for waiting."""

    limit: int = PROBES
    _spent: Counter[tuple[str, int]] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def spend(self, address: tuple[str, int]) -> None:
        """Take one probe of *address*; raises ``Unreachable`` when there is none left."""
        with self._lock:
            if self._spent[address] >= self.limit:
                raise Unreachable(
                    f"it was probed {self.limit} times in this run, and more could be taken for an attack",
                    "log in with credentials, or start a new run later",
                )
            self._spent[address] += 1


class _Deadline:
    """The moment at which one probe has to be at its end."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self.words = f"within {seconds:.0f} s"

    def left(self) -> float:
        """Give the seconds that are left; raises ``TimeoutError`` when there are none."""
        if (left := self._until - time.monotonic()) > 0:
            return left
        raise TimeoutError


class _Line:
    """A TCP connection as an engine may use it: one deadline for all, a cap on each message and on the whole."""

    def __init__(self, sock: socket.socket, deadline: _Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self._heard = 0
        self._answering = False

    @property
    def heard(self) -> bool:
        """True when the server has said anything."""
        return self._heard > 0

    def send(self, data: bytes) -> None:
        """Send all of *data*."""
        self._answering = False
        self._bounded(partial(self._sock.sendall, data))

    def receive(self, count: int) -> bytes:
        """Give exactly *count* bytes."""
        if count > MESSAGE_CAP:
            raise Unreachable(f"it announces a message of {count} bytes", obstacle=Obstacle.GIANT)
        data = bytearray()
        while len(data) < count:
            part = self._bounded(partial(self._sock.recv, count - len(data)))
            if not part:
                raise ConnectionResetError("it closed the connection")
            data += part
            self._answering = True
            self._heard += len(part)
            if self._heard > HANDSHAKE_CAP:
                raise Unreachable(f"it sends without end, {self._heard} bytes so far", obstacle=Obstacle.FLOOD)
        return bytes(data)

    def _bounded(self, step: Callable[[], T]) -> T:
        try:
            self._sock.settimeout(self._deadline.left())
            return step()
        except TimeoutError:
            if self._answering:
                said, obstacle = "did not end its answer", Obstacle.SLOW
            else:
                said, obstacle = "did not answer", Obstacle.SILENT
            raise Unreachable(f"it {said} {self._deadline.words}", obstacle=obstacle) from None


class _Tls:
    """TLS over any channel, record by record: the same on a bare connection and inside another protocol's packets.

    *agreed* says that the server has already agreed to TLS in its own protocol.
    """

    def __init__(self, channel: Channel, host: str, *, agreed: bool, alpn: str = "") -> None:
        self._channel = channel
        self._agreed = agreed
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = _context(alpn).wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    def handshake(self) -> Wire:
        """Do the handshake, and give what the server showed."""
        self._drive(self._tls.do_handshake)
        return seen_by(self._tls)

    def send(self, data: bytes) -> None:
        """Send all of *data*."""
        self._drive(partial(self._tls.write, data))

    def receive(self, count: int) -> bytes:
        """Give exactly *count* bytes."""
        data = bytearray()
        while len(data) < count:
            part = self._drive(partial(self._tls.read, count - len(data)))
            if not part:
                raise ConnectionResetError("it closed the connection")
            data += part
        return bytes(data)

    def close(self) -> None:
        """Take leave without waiting for an answer: a server that is left without a word logs an error."""
        with contextlib.suppress(OSError, Unreachable):
            with contextlib.suppress(ssl.SSLWantReadError):
                self._tls.unwrap()
            self._flush()

    def _drive(self, step: Callable[[], T]) -> T:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._flush()
                self._incoming.write(self._record())
            else:
                self._flush()
                return done

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._channel.send(data)

    def _record(self) -> bytes:
        head = self._channel.receive(5)
        if head[0] not in _RECORD_TYPES or head[1] != 3:
            if self._agreed:
                raise Unreachable("it agreed to TLS and went on in clear text", obstacle=Obstacle.PLAINTEXT)
            raise ConnectionError("what answers there does not speak TLS")
        if (length := int.from_bytes(head[3:])) > _RECORD_CAP:
            raise Unreachable(f"it announces a TLS record of {length} bytes", obstacle=Obstacle.GIANT)
        return head + self._channel.receive(length)


def _by_login(line: _Line, host: str) -> Wire:
    plugin = mysql_login.ask_for_tls(line)
    tls = _Tls(line, host, agreed=True)
    wire = tls.handshake()
    with contextlib.suppress(OSError, Unreachable):  # the chain is here already
        mysql_login.be_refused(tls, plugin)
    return wire


@cache
def _context(alpn: str) -> ssl.SSLContext:
    """Give the context that reads any server, old ones too: what they show is judged afterwards, and never used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("ALL:!kDHE:@SECLEVEL=0")
    context.options |= 0x4  # OP_LEGACY_SERVER_CONNECT, by number: the name is new in Python 3.12
    if alpn:
        context.set_alpn_protocols([alpn])
    return context


def _connected(address: tuple[str, int], deadline: _Deadline) -> socket.socket:
    """Connect to the first of the addresses behind a name that answers; each gets its share of the time."""
    ways = _resolved(address, deadline)
    failure: OSError | None = None
    for following, (family, kind, protocol, _, where) in zip(range(len(ways), 0, -1), ways, strict=True):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(deadline.left() / following)
            sock.connect(where)
        except OSError as e:
            sock.close()
            failure = e
        else:
            return sock
    if isinstance(failure, ConnectionRefusedError):
        raise Unreachable("connection refused", "look whether the database is up and the port right", Obstacle.REFUSED)
    if isinstance(failure, ConnectionError):
        raise failure
    raise Unreachable(
        f"nothing answers a connection attempt {deadline.words}",
        "let its security group admit this machine, or name a tunnel or bastion in the reach file",
        Obstacle.BLACKHOLE,
    )


def _resolved(address: tuple[str, int], deadline: _Deadline) -> list[Any]:
    """Ask what *address* stands for, in a thread of its own: getaddrinfo knows no timeout."""
    with contextlib.suppress(socket.gaierror, UnicodeError):
        return socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    answers: SimpleQueue[list[Any]] = SimpleQueue()

    def ask() -> None:
        found: list[Any] = []
        with contextlib.suppress(OSError, UnicodeError):
            found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
        answers.put(found)

    threading.Thread(target=ask, daemon=True).start()
    with contextlib.suppress(Empty, TimeoutError):
        if found := answers.get(timeout=deadline.left()):
            return found
    raise Unreachable(
        "its name cannot be resolved from here", "name a tunnel or bastion in the reach file", Obstacle.UNRESOLVED
    )


def _obstructed(error: Exception) -> Unreachable:
    if isinstance(error, NoTls):
        return Unreachable(str(error), "switch TLS on in its parameter or option group", Obstacle.NO_TLS)
    if isinstance(error, ssl.SSLError):
        reason = error.reason or ""
        if reason in _GIANT:
            return Unreachable("it announces a TLS message without measure", obstacle=Obstacle.GIANT)
        words = reason.replace("_", " ").lower() or "no reason given"
        return Unreachable(f"the TLS handshake failed: {words}", obstacle=Obstacle.HANDSHAKE)
    if isinstance(error, _CLOSED):
        return Unreachable("it closed the connection", obstacle=Obstacle.RESET)
    return Unreachable(str(error) or type(error).__name__, obstacle=Obstacle.WRONG_PROTOCOL)
