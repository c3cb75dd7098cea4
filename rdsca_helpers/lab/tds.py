"""A stand-in for SQL Server on loopback: its protocol, its TLS, its logins and session views. It is not SQL Server.

It speaks as much of TDS 7.4 and TDS 8.0 as its clients ask for, after MS-TDS. Queries run in SQLite, over tables that
have the names of SQL Server's views and the sessions that are really there.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import re
import socket
import sqlite3
import ssl
import struct
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .pki import Served

_BATCH, _RPC, _ANSWER, _ATTENTION, _TRANSACTION, _LOGIN, _PRELOGIN = 1, 3, 4, 6, 14, 16, 18  # packet types
_OFF, _ON, _NOT_SUPPORTED, _REQUIRED = 0, 1, 2, 3  # ENCRYPTION in a PRELOGIN
_TLS_HANDSHAKE = 0x16  # the first byte of a client that speaks TLS at once, as TDS 8.0 has it
_HEADER, _PACKET = 8, 4096
_MOST = 65_536  # bytes of one message; also the cap on what a stranger may make us read
_COLLATION = bytes([0x09, 0x04, 0xD0, 0x00, 0x34])  # Latin1_General_CI_AS
_FIRST_SESSION = 51  # lower numbers are the server's own
_2022 = ("VIEW SERVER PERFORMANCE STATE", "VIEW SERVER SECURITY STATE")

_TABLES = """
ATTACH ':memory:' AS sys;
CREATE TABLE sys.dm_exec_sessions (
    session_id INTEGER, host_name TEXT, program_name TEXT, login_name TEXT, original_login_name TEXT,
    is_user_process INTEGER);
CREATE TABLE sys.dm_exec_connections (
    session_id INTEGER, net_transport TEXT, encrypt_option TEXT, auth_scheme TEXT, client_net_address TEXT,
    connection_id TEXT, parent_connection_id TEXT);
INSERT INTO sys.dm_exec_sessions VALUES (1, NULL, NULL, 'sa', 'sa', 0), (9, NULL, NULL, 'sa', 'sa', 0);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT NOT NULL, total NUMERIC NOT NULL);
INSERT INTO orders VALUES (1, 'Ada', 12.50), (2, 'Grace', 99.00), (3, 'Edsger', 7.25);
"""


class _Malformed(Exception):
    """What the client sent is not understood; its session ends."""


@dataclass(frozen=True)
class _Login:
    """What a LOGIN7 says."""

    host: str
    user: str
    password: str
    program: str


@dataclass(frozen=True)
class _Failure:
    """An error as the server tells it."""

    number: int
    level: int
    text: str


class StandIn:
    """A server with two accounts, a table and a certificate that can be changed.

    `rdsca_ro` has VIEW SERVER STATE, `app` has not. *force_ssl* does what rds.force_ssl does; *offers_tls* and
    *strict* are for tests: no certificate at all, and TDS 8.0 only. *redirect* sends every login to another server,
    and *starting* puts it off.
    """

    kind = "sqlserver"

    def __init__(self, passwords: dict[str, str], version: str = "15.0 (a stand-in)") -> None:
        self.version = version
        self.port = 0
        self.pid = 0
        self.folder = Path()
        self.force_ssl = False
        self.offers_tls = True
        self.strict = False
        self.redirect: tuple[str, int] | None = None
        self.starting = False
        self.grants = {"rdsca_ro": {"VIEW SERVER STATE"}}
        self.logins: list[str] = []  # who sent a login, let in or not
        self._passwords = dict(passwords)
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._lock = threading.RLock()
        self._last = _FIRST_SESSION - 1
        self._asking = (0, "")
        self._database = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._database.executescript(_TABLES)
        self._database.create_function("HAS_PERMS_BY_NAME", 3, lambda _, __, name: self._has(self._asking[1], name))
        self._enter(_Login("EC2AMAZ", "rdsadmin", "", "SQLAgent - Generic Refresher"), "<local machine>", secure=False)

    def start(self, served: Served) -> None:
        """Listen on a free port of loopback, or on the one it had."""
        with self._lock:
            self.serve(served)
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self.port = self._listener.getsockname()[1]
            self.pid = os.getpid()
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def serve(self, served: Served) -> None:
        """Show the certificate *served* to those who come from now on."""
        strict, usual = served.context(), served.context()
        strict.set_alpn_protocols(["tds/8.0"])
        usual.maximum_version = ssl.TLSVersion.TLSv1_2  # SQL Server speaks 1.3 in TDS 8.0 only
        self._contexts = {True: strict, False: usual}

    def restart(self) -> None:
        """Cut every session, as a restart of the database does."""
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Close the port and cut the sessions."""
        with self._lock:
            listener, self._listener, self.pid = self._listener, None, 0
            if listener:
                with contextlib.suppress(OSError):
                    listener.shutdown(socket.SHUT_RDWR)
                listener.close()
            self.restart()

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run *statement* over the stand-in's tables, and give its rows."""
        with self._lock:
            return self._database.execute(statement, parameters).fetchall()

    def context(self, *, strict: bool) -> ssl.SSLContext:
        """Give the TLS context for TDS 7, or the strict one for TDS 8.0."""
        return self._contexts[strict]

    def encryption(self, asked: int) -> int:
        """Say what the server answers to the ENCRYPTION that a client asked for (MS-TDS, "PRELOGIN")."""
        if not self.offers_tls:
            return _NOT_SUPPORTED
        if asked in (_ON, _REQUIRED):
            return _ON
        if self.force_ssl:
            return _REQUIRED
        return _OFF if asked == _OFF else _NOT_SUPPORTED

    def admit(self, login: _Login, address: str, *, secure: bool) -> int | _Failure:
        """Give the number of the session that *login* opens, or why it opens none."""
        with self._lock:
            self.logins.append(login.user)
            if self.starting:
                return _Failure(17187, 16, "SQL Server is not ready to accept new client connections.")
            password = self._passwords.get(login.user)
            if password is None or not hmac.compare_digest(password.encode(), login.password.encode()):
                return _Failure(18456, 14, f"Login failed for user '{login.user}'.")
            return self._enter(login, address, secure=secure)

    def forget(self, session: int) -> None:
        """Take a session that has ended out of the views."""
        with self._lock:
            for view in ("sys.dm_exec_sessions", "sys.dm_exec_connections"):
                self._database.execute(f"DELETE FROM {view} WHERE session_id = ?", (session,))  # noqa: S608  our names

    def run(self, session: int, user: str, statement: str) -> tuple[list[str], list[tuple[Any, ...]], _Failure | None]:
        """Run a client's *statement*: column names, rows, and the error when there is one.

        Without the permission one sees oneself in one view and is refused the other.
        """
        if not re.match(r"\s*(select|with)\b", statement, re.IGNORECASE):
            return [], [], None  # SET and the like change nothing here
        if "dm_exec_connections" in statement and not self._has(user, "VIEW SERVER SECURITY STATE", implied=True):
            text = "VIEW SERVER STATE permission was denied on object 'server', database 'master'."
            return [], [], _Failure(300, 14, text)
        if not self._has(user, "VIEW SERVER PERFORMANCE STATE", implied=True):
            own = f"(SELECT * FROM sys.dm_exec_sessions WHERE session_id = {session})"  # noqa: S608  our number
            statement = statement.replace("sys.dm_exec_sessions", own)
        statement = re.sub(r"@@SPID\b", str(session), statement, flags=re.IGNORECASE)
        statement = re.sub(r"@@VERSION\b", f"'{self.version}'", statement, flags=re.IGNORECASE)
        with self._lock:
            self._asking = (session, user)
            try:
                cursor = self._database.execute(re.sub(r"\bN'", "'", statement))
                rows = cursor.fetchall()
            except sqlite3.Error as e:
                return [], [], _Failure(102, 15, f"The stand-in cannot run this: {e}")
        return [column[0] for column in cursor.description], rows, None

    def _has(self, user: str, permission: str, *, implied: bool = False) -> int | None:
        """Answer HAS_PERMS_BY_NAME: NULL for a permission that this version lacks, unless *implied* is asked."""
        if permission in _2022 and int(self.version.partition(".")[0]) < 16 and not implied:
            return None
        return int(bool(self.grants.get(user, set()) & {permission, "VIEW SERVER STATE"}))

    def _enter(self, login: _Login, address: str, *, secure: bool) -> int:
        self._last += 1
        local = address == "<local machine>"
        self._database.execute(
            "INSERT INTO sys.dm_exec_sessions VALUES (?, ?, ?, ?, ?, 1)",
            (self._last, login.host, login.program, login.user, login.user),
        )
        self._database.execute(
            "INSERT INTO sys.dm_exec_connections VALUES (?, ?, ?, 'SQL', ?, ?, NULL)",
            (
                self._last,
                "Shared memory" if local else "TCP",
                "TRUE" if secure else "FALSE",
                address,
                str(uuid.uuid4()),
            ),
        )
        return self._last

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, (address, _) = listener.accept()
            except OSError:  # stop() closed it
                return
            threading.Thread(target=self._serve, args=(sock, address), daemon=True).start()

    def _serve(self, sock: socket.socket, address: str) -> None:
        with self._lock:
            self._open.add(sock)
        with contextlib.suppress(OSError, _Malformed), sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(300)
            _Talk(self, sock, address).run()
        with self._lock:
            self._open.discard(sock)


class _Wire:
    """TDS messages on a socket, in clear or over TLS. While TLS is agreed upon, its bytes are in TDS packets too."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()

    def handshake(self, context: ssl.SSLContext, *, inside: bool) -> None:
        """Do the handshake, *inside* packets (TDS 7) or before the first one (TDS 8.0)."""
        tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush(inside=inside)
                self._incoming.write(self.receive(_PRELOGIN) if inside else self._some())
            else:
                self._flush(inside=inside)
                self._tls = tls
                return

    def leave_tls(self) -> None:
        """Go on in clear: for a client that wants its login encrypted and nothing more."""
        self._tls = None

    def message(self) -> tuple[int, bytes]:
        """Give the next message's type and what its packets hold."""
        data = bytearray()
        while True:
            kind, status, length = struct.unpack(">BBH", self._exactly(_HEADER)[:4])
            if length < _HEADER or len(data) + length > _MOST:
                raise _Malformed
            data += self._exactly(length - _HEADER)
            if status & 1:
                return kind, bytes(data)

    def receive(self, expected: int) -> bytes:
        """Give the next message, which has to be of the type *expected*."""
        kind, data = self.message()
        if kind != expected:
            raise _Malformed
        return data

    def send(self, kind: int, data: bytes) -> None:
        """Send *data* as one message, in packets of at most 4,096 bytes."""
        room = _PACKET - _HEADER
        pieces = [data[start : start + room] for start in range(0, len(data), room)]
        packets = b"".join(
            struct.pack(">BBHHBB", kind, n == len(pieces), len(piece) + _HEADER, 0, n % 256, 0) + piece
            for n, piece in enumerate(pieces, 1)
        )
        if self._tls:
            self._tls.write(packets)
            packets = self._outgoing.read()
        self._sock.sendall(packets)

    def _flush(self, *, inside: bool) -> None:
        if data := self._outgoing.read():
            if inside:
                self.send(_PRELOGIN, data)
            else:
                self._sock.sendall(data)

    def _exactly(self, count: int) -> bytes:
        found = bytearray()
        while len(found) < count:
            if not self._tls:
                more = self._sock.recv(count - len(found))
            else:
                try:
                    more = self._tls.read(count - len(found))
                except ssl.SSLWantReadError:
                    self._incoming.write(self._some())
                    continue
            if not more:
                raise ConnectionError
            found += more
        return bytes(found)

    def _some(self) -> bytes:
        if not (more := self._sock.recv(_MOST)):
            raise ConnectionError
        return more


class _Talk:
    """One client, from its first byte to its end."""

    def __init__(self, server: StandIn, sock: socket.socket, address: str) -> None:
        self._server = server
        self._sock = sock
        self._address = address
        self._wire = _Wire(sock)
        self._session = 0
        self._user = ""

    def run(self) -> None:
        """Let the client in, and answer it until it leaves."""
        secure = self._agree()
        login = _login(self._wire.receive(_LOGIN))
        if not secure:
            self._wire.leave_tls()
        session = self._server.admit(login, self._address, secure=secure)
        if isinstance(session, _Failure):
            self._wire.send(_ANSWER, _error(session) + _done(error=True))
            return
        self._session, self._user = session, login.user
        try:
            self._wire.send(_ANSWER, self._welcome())
            while True:
                self._wire.send(_ANSWER, self._answer(*self._wire.message()))
        finally:
            self._server.forget(self._session)

    def _agree(self) -> bool:
        """Agree on TLS; say whether it lasts beyond the login."""
        if self._sock.recv(1, socket.MSG_PEEK) == bytes([_TLS_HANDSHAKE]):
            self._wire.handshake(self._server.context(strict=True), inside=False)
            self._wire.receive(_PRELOGIN)
            self._wire.send(_ANSWER, _prelogin(_NOT_SUPPORTED))
            return True
        if self._server.strict:
            raise _Malformed
        asked = _encryption(self._wire.receive(_PRELOGIN))
        answer = self._server.encryption(asked)
        self._wire.send(_ANSWER, _prelogin(answer))
        if answer == _NOT_SUPPORTED:
            return False
        if asked == _NOT_SUPPORTED:
            raise _Malformed  # a client without TLS where TLS is required
        self._wire.handshake(self._server.context(strict=False), inside=True)
        return answer in (_ON, _REQUIRED)

    def _welcome(self) -> bytes:
        name = "Microsoft SQL Server"
        acknowledged = b"\x01\x74\x00\x00\x04" + _text(name) + bytes([15, 0, 0, 0])
        tokens = [
            _change(1, _text("master"), _text("master")),
            _change(7, bytes([5]) + _COLLATION, b"\0"),
            b"\xad" + struct.pack("<H", len(acknowledged)) + acknowledged,
            _change(4, _text(str(_PACKET)), _text(str(_PACKET))),
        ]
        if self._server.redirect:
            host, port = self._server.redirect
            route = struct.pack("<BHH", 0, port, len(host)) + host.encode("utf-16-le")
            tokens.append(_change(20, struct.pack("<H", len(route)) + route, b"\0\0"))
        return b"".join(tokens) + _done()

    def _answer(self, kind: int, data: bytes) -> bytes:
        if kind == _ATTENTION:
            return _done(attention=True)
        if kind not in (_BATCH, _RPC, _TRANSACTION) or len(data) < 4:
            raise _Malformed
        body = data[int.from_bytes(data[:4], "little") :]  # what follows the headers
        if kind == _TRANSACTION:
            return _transaction(int.from_bytes(body[:2], "little"))
        called = kind == _RPC
        statement = _called_with(body) if called else body.decode("utf-16-le", errors="replace")
        if statement is None:
            return _error(_Failure(2812, 16, "The stand-in has sp_executesql only.")) + _done(error=True, called=called)
        columns, rows, failure = self._server.run(self._session, self._user, statement)
        if failure:
            return _error(failure) + _done(error=True, called=called)
        if columns:
            return _table(columns, rows) + _done(len(rows), called=called)
        return _done(called=called)


def _prelogin(encryption: int) -> bytes:
    """Make the answer to a PRELOGIN: version, ENCRYPTION, and MARS, which it does not have."""
    places = struct.pack(">BHHBHHBHHB", 0, 16, 6, 1, 22, 1, 4, 23, 1, 255)
    return places + bytes([15, 0, 0x10, 0, 0, 0]) + bytes([encryption, 0])


def _encryption(options: bytes) -> int:
    """Read ENCRYPTION off a client's PRELOGIN."""
    for at in range(0, len(options) - 5, 5):
        place = int.from_bytes(options[at + 1 : at + 3])
        if options[at] == 1 and place < len(options):
            return options[place]
        if options[at] == 255:
            break
    raise _Malformed


def _login(data: bytes) -> _Login:
    """Read a LOGIN7; the password is disguised, not encrypted: nibbles swapped, then XOR."""

    def field(number: int) -> bytes:
        place, count = struct.unpack_from("<HH", data, 36 + 4 * number)
        return data[place : place + 2 * count]

    try:
        password = bytes((b ^ 0xA5) >> 4 | (b ^ 0xA5) << 4 & 0xF0 for b in field(2))
        texts = [raw.decode("utf-16-le") for raw in (field(0), field(1), password, field(3))]
    except (struct.error, UnicodeDecodeError):
        raise _Malformed from None
    return _Login(*texts)


def _called_with(body: bytes) -> str | None:
    """Give the statement of a call of sp_executesql: its first parameter, NVARCHAR or the older NTEXT."""
    try:
        (length,) = struct.unpack_from("<H", body)
        if length == 0xFFFF:  # called by its number
            name, at = body[2:4], 4
        else:
            name, at = body[2 : 2 + 2 * length], 2 + 2 * length
        if name not in (b"\x0a\0", "sp_executesql".encode("utf-16-le")):
            return None
        at += 2  # flags
        at += 1 + 2 * body[at] + 1  # the parameter's name, and its status
        kind, at = body[at], at + 1
        if kind == 0xE7:
            (most,) = struct.unpack_from("<H", body, at)
            return _pieces(body, at + 7) if most == 0xFFFF else _sized(body, at + 7, "<H")
        return _sized(body, at + 9, "<I") if kind == 0x63 else None
    except (struct.error, IndexError, UnicodeDecodeError):
        raise _Malformed from None


def _sized(body: bytes, at: int, layout: str) -> str:
    (length,) = struct.unpack_from(layout, body, at)
    start = at + struct.calcsize(layout)
    return body[start : start + length].decode("utf-16-le")


def _pieces(body: bytes, at: int) -> str:
    """Read a value of NVARCHAR(MAX): its whole length, then pieces, the last of them empty."""
    found, at = b"", at + 8
    while length := struct.unpack_from("<I", body, at)[0]:
        found += body[at + 4 : at + 4 + length]
        at += 4 + length
    return found.decode("utf-16-le")


def _text(text: str) -> bytes:
    return bytes([len(text)]) + text.encode("utf-16-le")


def _change(kind: int, new: bytes, old: bytes) -> bytes:
    return struct.pack("<BHB", 0xE3, len(new) + len(old) + 1, kind) + new + old


def _transaction(request: int) -> bytes:
    """Answer a request of the transaction manager: to begin, to commit, to roll back."""
    number = bytes([8]) + struct.pack("<Q", 1)
    changes = {5: (8, number, b"\0"), 7: (9, b"\0", number), 8: (10, b"\0", number)}
    if request not in changes:
        raise _Malformed
    return _change(*changes[request]) + _done()


def _error(failure: _Failure) -> bytes:
    text = failure.text.encode("utf-16-le")
    body = struct.pack("<IBBH", failure.number, 1, failure.level, len(failure.text)) + text
    body += _text("stand-in") + _text("") + struct.pack("<I", 1)
    return struct.pack("<BH", 0xAA, len(body)) + body


def _done(rows: int | None = None, *, error: bool = False, called: bool = False, attention: bool = False) -> bytes:
    status = 2 * error | 0x10 * (rows is not None) | 0x20 * attention
    if called:  # the end of the statement, what the procedure returns, the end of the procedure
        inner = struct.pack("<BHHQ", 0xFF, status | 1, 0xC1, rows or 0)
        return inner + struct.pack("<Bi", 0x79, int(error)) + struct.pack("<BHHQ", 0xFE, 2 * error, 0xE0, 0)
    return struct.pack("<BHHQ", 0xFD, status, 0xC1, rows or 0)


def _table(columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> bytes:
    """Make a result: columns with numbers in them are BIGINT, all others NVARCHAR(4000)."""
    numeric = [any(isinstance(row[n], int) for row in rows) for n in range(len(columns))]
    tokens = [struct.pack("<BH", 0x81, len(columns))]
    for name, number in zip(columns, numeric, strict=True):
        kind = bytes([0x26, 8]) if number else struct.pack("<BH", 0xE7, 8000) + _COLLATION
        tokens.append(struct.pack("<IH", 0, 1) + kind + _text(name[:128]))
    for row in rows:
        tokens.append(b"\xd1")
        for value, number in zip(row, numeric, strict=True):
            if number:
                tokens.append(b"\0" if value is None else b"\x08" + struct.pack("<q", value))
            elif value is None:
                tokens.append(b"\xff\xff")
            else:
                text = str(value)[:4000].encode("utf-16-le")
                tokens.append(struct.pack("<H", len(text)) + text)
    return b"".join(tokens)
