"""SQL Server: TLS begins inside its own protocol, TDS, and the server does not tell a session's TLS version or cipher.

No real SQL Server was at hand. Measured, on the stand-in of the practice world: the driver, the handshakes and the
login. From documents only: what the views hold and who may read them.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import Unreachable
from ..model import Client, Confidence
from . import PROGRAM, Census, Channel, Engine, NoTls, Target, seen_by

T = TypeVar("T")
_ANSWER, _PRELOGIN = 4, 18  # packet types
_HEADER, _PACKET = 8, 4096
_LAST = 1  # the status of a message's last packet
_MESSAGE_CAP = 65_536
_VERSION, _ENCRYPTION, _END = 0, 1, 255  # options of PRELOGIN
_ON, _NOT_SUPPORTED, _REQUIRED = 1, 2, 3  # values of ENCRYPTION
_CHANGE_CIPHER_SPEC = 20  # a type of TLS record

# With MARS a session has further rows of connections: children that have net_transport 'Session' and share the TLS
# of their parent. A session is counted once, and as TLS when any of its connections is.
# No "WHERE encrypt_option = 'TRUE'", and an outer join: a session whose connection is not shown is unknown, not plain.
# EXECUTE AS changes login_name; who connected, and with which trust store, is original_login_name.
# Any client may name itself as we do: other sessions of ours are alike in login, address and host too.
_SESSIONS = """
SELECT login, address, host, program, encrypted, COUNT(*)
FROM (SELECT s.session_id AS id, s.original_login_name AS login, s.host_name AS host, s.program_name AS program,
             MAX({address}) AS address, MAX({encrypted}) AS encrypted
      FROM sys.dm_exec_sessions s {connections}
      WHERE s.is_user_process = 1 AND s.session_id {which} @@SPID
        AND s.original_login_name NOT IN ('rdsadmin', 'rdsa')
        AND s.original_login_name NOT LIKE 'NT SERVICE\\%'
        AND s.original_login_name NOT LIKE 'NT AUTHORITY\\%'
      GROUP BY s.session_id, s.original_login_name, s.host_name, s.program_name) one
GROUP BY login, address, host, program, encrypted
"""
_EXACT = {
    "address": "c.client_net_address",
    "encrypted": "CASE WHEN c.parent_connection_id IS NULL THEN c.encrypt_option ELSE p.encrypt_option END",
    "connections": """
      LEFT JOIN sys.dm_exec_connections c ON c.session_id = s.session_id
      LEFT JOIN sys.dm_exec_connections p ON p.connection_id = c.parent_connection_id""",
}
_BARE = {"address": "NULL", "encrypted": "NULL", "connections": ""}

# SQL Server 2022 split the permission; a name that a server does not know gives NULL.
_MAY_SEE = """
SELECT COALESCE(HAS_PERMS_BY_NAME(NULL, NULL, 'VIEW SERVER STATE'), 0),
       COALESCE(HAS_PERMS_BY_NAME(NULL, NULL, 'VIEW SERVER PERFORMANCE STATE'), 0),
       COALESCE(HAS_PERMS_BY_NAME(NULL, NULL, 'VIEW SERVER SECURITY STATE'), 0)
"""
_DENIED = (229, 262, 297, 300)
_GRANT = (
    "without VIEW SERVER STATE a login sees its own session only: as the master user, "
    "USE master; GRANT VIEW SERVER STATE TO [the login that rdsca uses]"
)
_GRANT_SECURITY = (
    "without VIEW SERVER SECURITY STATE a login sees sessions but not whether they are encrypted: as the master user, "
    "USE master; GRANT VIEW SERVER SECURITY STATE TO [the login that rdsca uses]"
)
_CLEAR_MAY_VERIFY = (
    "the login of a session in clear is encrypted all the same, and few of such clients may check the certificate at "
    "the login: look at how they connect, or show their trust stores"
)


def connect(target: Target, program: str = PROGRAM) -> Any:
    """Log in as *program* over TLS that is verified, name included, before the driver is let at the connection.

    python-tds gets a connection whose TLS is done. By itself it would verify through pyOpenSSL, and with version 26.4
    its look at the certificate's names fails (measured).
    Raises ``Unreachable`` with the driver's reason, or when the driver is missing.
    """
    try:
        import pytds
    except ImportError:
        raise Unreachable(
            "sessions of SQL Server need the driver python-tds", 'install it with: pip install "rdsca[sqlserver]"'
        ) from None
    secured = _Secured(target)
    try:
        connection = pytds.connect(
            dsn=target.host,
            port=target.address[1],
            user=target.user,
            password=target.password.reveal(),
            sock=secured,
            appname=program,
            login_timeout=target.timeout,
            timeout=target.timeout,
            autocommit=True,
        )
    except pytds.Error as e:
        raise Unreachable(target.password.redact(_reason(e))) from None
    secured.logging_in = False
    return connection


def census(connection: Any) -> Census:
    """Ask the session views who is connected (SQL Server documentation, "sys.dm_exec_connections").

    encrypt_option says FALSE where the login alone was encrypted. Few such clients check the certificate all the same
    (python-tds with enc_login_only does: measured), and no view tells which: such a session is plain, and the census
    not the whole truth. Without the permission one sees oneself, or is refused.
    """
    import pytds

    try:
        ((state, performance, security),) = _rows(connection, _MAY_SEE)
        if state or (performance and security):
            clients = _clients(connection, _EXACT)
            if any(c.tls is False for c in clients):
                return Census("sys.dm_exec_connections", Confidence.PARTIAL, clients, _CLEAR_MAY_VERIFY)
            return Census("sys.dm_exec_connections", Confidence.FULL, clients)
        if performance:
            return Census("sys.dm_exec_sessions", Confidence.PARTIAL, _clients(connection, _BARE), _GRANT_SECURITY)
    except pytds.DatabaseError as e:
        if e.msg_no not in _DENIED:
            raise Unreachable(_reason(e)) from None
    return Census("none", Confidence.NONE, (), _GRANT)


def starttls(channel: Channel) -> Channel:
    """Ask for TLS with a PRELOGIN, as TDS 7 has it, and give the channel that carries TLS inside its packets.

    Source: MS-TDS, "PRELOGIN". Raises ``NoTls`` when the server has none, ``ConnectionError`` when it is no SQL Server.
    """
    inside = _Inside(channel)
    inside.send(_prelogin(_ON))
    encryption = _encryption(inside.answer())
    if encryption == _NOT_SUPPORTED:
        raise NoTls("the server offers no TLS")
    if encryption not in (_ON, _REQUIRED):
        raise ConnectionError("this is not a SQL Server")
    return inside


class _Inside:
    """A channel on which the TLS handshake travels as the content of PRELOGIN packets, and what follows it bare."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._received = bytearray()
        self._message = bytearray()
        self._over = False

    def send(self, data: bytes) -> None:
        """Send *data*, as one message while the handshake lasts."""
        self._channel.send(data if self._over else _packets(_PRELOGIN, data))

    def receive(self, count: int) -> bytes:
        """Give exactly *count* bytes."""
        while (missing := count - len(self._received)) > 0:
            self._received += self._channel.receive(missing) if self._over else self._content(_PRELOGIN)
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken

    def answer(self) -> bytes:
        """Give the message with which a server answers a PRELOGIN."""
        message = self._content(_ANSWER)
        while self._message:
            message += self._content(_ANSWER)
        return message

    def _content(self, expected: int) -> bytes:
        head = self._channel.receive(_HEADER)
        length = int.from_bytes(head[2:4])
        if head[0] != expected or length < _HEADER:
            raise ConnectionError("this is not a SQL Server")
        content = self._channel.receive(length - _HEADER)
        self._message += content
        if len(self._message) > _MESSAGE_CAP:
            raise ConnectionError(f"it sends a TDS message without end, {len(self._message)} bytes so far")
        if head[1] & _LAST:
            self._over = expected == _PRELOGIN and _ends_handshake(self._message)
            self._message.clear()
        return content


def _ends_handshake(flight: bytes | bytearray) -> bool:
    """Say whether the server sent ChangeCipherSpec; in TLS 1.2 its Finished alone comes after it."""
    at = 0
    while at + 5 <= len(flight):
        if flight[at] == _CHANGE_CIPHER_SPEC:
            return True
        at += 5 + int.from_bytes(flight[at + 3 : at + 5])
    return False


def _packets(kind: int, data: bytes) -> bytes:
    """Make one message of *data*, in packets of the size that every server takes before a login."""
    room = _PACKET - _HEADER
    pieces = [data[start : start + room] for start in range(0, len(data), room)]
    return b"".join(
        struct.pack(">BBHHBB", kind, _LAST * (n == len(pieces)), len(piece) + _HEADER, 0, n % 256, 0) + piece
        for n, piece in enumerate(pieces, 1)
    )


class _Secured:
    """What python-tds takes for its socket: a connection over which verified TLS runs from the beginning.

    The driver is told that the server has no encryption, so it adds none; whatever it sends goes through this TLS.
    """

    def __init__(self, target: Target) -> None:
        self.logging_in = True
        self._target = target
        self._left: Unreachable | None = None
        self._answer = b""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        target.context.maximum_version = ssl.TLSVersion.TLSv1_2  # what TDS 7 carries; 1.3 is for TDS 8
        self._tls = target.context.wrap_bio(self._incoming, self._outgoing, server_hostname=target.host)
        self._sock = target.dial()
        try:
            self._channel = starttls(_Plain(self._sock))
            self._drive(self._tls.do_handshake)
        except BaseException:
            self._sock.close()
            raise
        target.context.wire = seen_by(self._tls)

    def sendall(self, data: bytes) -> None:
        """Send all of *data* over TLS; the driver's own PRELOGIN comes after ours and is answered here."""
        if data[0] == _PRELOGIN:
            self._answer = _packets(_ANSWER, _prelogin(_NOT_SUPPORTED))
        else:
            self._drive(lambda: self._tls.write(data))

    def recv(self, count: int) -> bytes:
        """Give up to *count* bytes that came over TLS; that no more will come is an error."""
        if self._answer:
            taken, self._answer = self._answer[:count], self._answer[count:]
            return taken
        if not (data := self._drive(lambda: self._tls.read(count))):
            raise ConnectionResetError("it closed the connection")
        return data

    def recv_into(self, buffer: bytearray | memoryview, size: int = 0) -> int:
        """Fill *buffer* with what came over TLS, up to *size* bytes."""
        data = self.recv(size or len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def setsockopt(self, *_: Any) -> None:
        """Refuse a second attempt, which the driver begins with this call, on a connection that it has closed."""
        if self._left:
            raise self._left

    def gettimeout(self) -> float | None:
        """Give the patience for one reading or writing."""
        return self._sock.gettimeout()

    def settimeout(self, _: float | None) -> None:
        """Keep our own patience: the driver's first attempt would have a twelfth of it."""

    def close(self) -> None:
        """Close; a driver that leaves in the middle of the login without an error was sent to another server.

        The way there would not be verified, and not even encrypted.
        """
        failure = sys.exception()
        self._left = Unreachable(
            self._target.password.redact(_reason(failure)) if failure else "it sends logins to another server"
        )
        self._sock.close()
        if self.logging_in and not failure:
            raise self._left

    def _drive(self, step: Callable[[], T]) -> T:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._flush()
                head = self._channel.receive(5)
                self._incoming.write(head + self._channel.receive(int.from_bytes(head[3:])))
            except ssl.SSLError:
                with contextlib.suppress(OSError):  # the server's log is to say why
                    self._flush()
                raise
            else:
                self._flush()
                return done

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._channel.send(data)


class _Plain:
    """A connection in clear as a channel."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, data: bytes) -> None:
        """Send all of *data*."""
        self._sock.sendall(data)

    def receive(self, count: int) -> bytes:
        """Give exactly *count* bytes."""
        data = bytearray()
        while len(data) < count:
            try:
                part = self._sock.recv(count - len(data))
            except TimeoutError:
                raise Unreachable(f"it did not answer within {self._sock.gettimeout():.0f} s") from None
            if not part:
                raise ConnectionResetError("it closed the connection")
            data += part
        return bytes(data)


def _prelogin(encryption: int) -> bytes:
    """Make a PRELOGIN, or its answer: for each option its number, place and length, then what they hold."""
    places = struct.pack(">BHHBHHB", _VERSION, 11, 6, _ENCRYPTION, 17, 1, _END)
    return places + bytes([16, 0, 0, 0, 0, 0]) + bytes([encryption])


def _encryption(options: bytes) -> int | None:
    for at in range(0, len(options) - 4, 5):
        if options[at] == _END:
            break
        place, length = int.from_bytes(options[at + 1 : at + 3]), int.from_bytes(options[at + 3 : at + 5])
        if options[at] == _ENCRYPTION and length == 1 and place < len(options):
            return options[place]
    return None


def _reason(error: BaseException) -> str:
    """Give the server's own words, which the driver has first among its own."""
    return str(error.args[0]) if error.args else type(error).__name__


def _rows(connection: Any, statement: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def _clients(connection: Any, words: dict[str, str]) -> tuple[Client, ...]:
    """Give the clients by the statement that *words* complete, those that are alike to this very session left out."""
    own = {row[:4] for row in _rows(connection, _SESSIONS.format(which="=", **words))}
    return tuple(
        Client(
            user=login,
            host=address or host or "",
            program=program or "",
            tls={"TRUE": True, "FALSE": False}.get(encrypted or ""),
            count=int(count),
        )
        for login, address, host, program, encrypted, count in _rows(connection, _SESSIONS.format(which="<>", **words))
        if (login, address, host, program) not in own
    )


ENGINE = Engine(
    name="sqlserver",
    # RDS guide, "Microsoft SQL Server"; the last two are Developer Edition
    rds_names=("sqlserver-ee", "sqlserver-se", "sqlserver-ex", "sqlserver-web", "sqlserver-dev-ee", "sqlserver-dev-se"),
    port=1433,
    connect=connect,
    census=census,
    starttls=starttls,
    extra="sqlserver",
    alpn="tds/8.0",
)
