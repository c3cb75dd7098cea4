"""A stand-in for an Oracle database on loopback: its listener, its login and its session views. It is not Oracle.

It speaks as much of Oracle Net and TTC, as 19c does, as python-oracledb's thin mode asks for; the layouts were read
off that driver's source. Queries run in SQLite, over tables that have the names of Oracle's views and the sessions
that are really there.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import socket
import sqlite3
import ssl
import struct
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from .pki import Served

SERVICE = "ORCL"
_NET_VERSION, _FIELD_VERSION = 318, 12  # what a 19c server answers
_MOST = 65_536  # bytes of one packet; also the cap on what a stranger may make us read
_SDU = 8_192
_VARCHAR, _NUMBER, _UTF8 = 1, 2, 873
_NO_MORE_ROWS = 1403
_ROUNDS, _SESSION_ROUNDS = 4096, 3
_PLAIN_BANNER = "TCP/IP NT Protocol Adapter for Linux: Version 19.0.0.0.0 - Production"
_SERVICE_BANNERS = (
    "Encryption service for Linux: Version 19.0.0.0.0 - Production",
    "Crypto-checksumming service for Linux: Version 19.0.0.0.0 - Production",
)
_TABLES = """
CREATE TABLE "v$session" (sid INTEGER, "SERIAL#" INTEGER, username TEXT, osuser TEXT, machine TEXT, program TEXT,
                          module TEXT, type TEXT);
CREATE TABLE "v$session_connect_info" (sid INTEGER, "SERIAL#" INTEGER, network_service_banner TEXT);
CREATE TABLE dual (dummy TEXT);
INSERT INTO dual VALUES ('X');
INSERT INTO "v$session" VALUES (1, 1, NULL, 'rdsdb', 'ip-10-0-0-1', 'oracle@ip-10-0-0-1 (PMON)', NULL, 'BACKGROUND');
"""


class _Packet(IntEnum):
    CONNECT = 1
    ACCEPT = 2
    REFUSE = 4
    DATA = 6


class _Message(IntEnum):
    """What a data packet begins with."""

    PROTOCOL = 1
    DATA_TYPES = 2
    CALL = 3
    ERROR = 4
    ROW_HEADER = 6
    ROW = 7
    PARAMETER = 8
    STATUS = 9
    DESCRIBE = 16
    PIGGYBACK = 17


class _Call(IntEnum):
    """What a client asks for."""

    FETCH = 5
    LOG_OFF = 9
    COMMIT = 14
    ROLLBACK = 15
    EXECUTE_AGAIN = 78
    EXECUTE = 94
    CLOSE_CURSORS = 105
    AUTHENTICATE = 115
    LOG_ON = 118
    PING = 147


class _Malformed(Exception):
    """What the client sent is not understood; its session ends."""


@dataclass
class _Session:
    """One client: who it says it is, and what it has asked."""

    sid: int
    serial: int
    secure: bool
    facts: dict[str, str] = field(default_factory=dict)
    user: str = ""
    salt: bytes = b""
    server_key: bytes = b""
    key_salt: bytes = b""
    key: bytes = b""
    statements: dict[int, str] = field(default_factory=dict)
    waiting: dict[int, list[tuple[Any, ...]]] = field(default_factory=dict)


class StandIn:
    """A listener with a port in clear and one over TLS, two accounts, and a certificate that can be changed.

    `rdsca_ro` may read the session views, `app` may not. As with Oracle on RDS, a new certificate leaves the
    sessions alone that are there.
    """

    kind = "oracle"
    version = "19 (a stand-in)"

    def __init__(self, passwords: dict[str, str]) -> None:
        self.port = 0
        self.tls_port = 0
        self.pid = 0
        self.folder = Path()
        self.readers = {"RDSCA_RO"}
        self._passwords = {user.upper(): password for user, password in passwords.items()}
        self._context: ssl.SSLContext | None = None
        self._listeners: list[socket.socket] = []
        self._open: dict[int, socket.socket] = {}
        self._logs = tempfile.TemporaryDirectory(prefix="rdsca-")
        self._last_sid = 10
        self._lock = threading.RLock()
        self._asking: _Session | None = None
        self._database = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._database.executescript(_TABLES)
        self._database.create_function("SYS_CONTEXT", 2, self._sys_context)

    def start(self, served: Served) -> None:
        """Listen on two free ports of loopback; after a stop, on the same ones again."""
        with self._lock:
            self.serve(served)
            try:
                self.port = self._listen(self.port, secure=False)
                self.tls_port = self._listen(self.tls_port, secure=True)
            except OSError:
                self.stop()
                raise
            self.pid = os.getpid()

    def serve(self, served: Served) -> None:
        """Show the certificate *served* to those who come from now on."""
        self._context = served.context()

    def restart(self) -> None:
        """Cut every session, as a restart of the database does."""
        with self._lock:
            for sock in self._open.values():
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Close the ports and cut the sessions."""
        with self._lock:
            listeners, self._listeners, self.pid = self._listeners, [], 0
            for listener in listeners:
                with suppress(OSError):
                    listener.shutdown(socket.SHUT_RDWR)
                listener.close()
            self.restart()

    def sql(self, statement: str, *parameters: str) -> list[tuple[Any, ...]]:
        """Run *statement* over the stand-in's tables, and give its rows."""
        with self._lock:
            return self._database.execute(statement, parameters).fetchall()

    def log(self) -> str:
        """Give the listener log, in the words of Oracle's listener.log."""
        return "".join(file.read_text(encoding="utf-8") for file in self.logs().values())

    def logs(self) -> dict[str, Path]:
        """Give the log files, by the names that RDS gives them; none before a client has come."""
        file = Path(self._logs.name, "listener.log")
        return {"trace/listener.log": file} if file.exists() else {}

    def _listen(self, port: int, *, secure: bool) -> int:
        listener = socket.create_server(("127.0.0.1", port))
        self._listeners.append(listener)
        threading.Thread(target=self._accept, args=(listener, secure), daemon=True).start()
        return int(listener.getsockname()[1])

    def _accept(self, listener: socket.socket, secure: bool) -> None:
        while True:
            try:
                sock, peer = listener.accept()
            except OSError:  # stop() closed it
                return
            threading.Thread(target=self._serve, args=(sock, peer, secure), daemon=True).start()

    def _serve(self, sock: socket.socket, peer: tuple[str, int], secure: bool) -> None:
        with self._lock:
            self._last_sid += 1
            session = _Session(self._last_sid, self._last_sid + 1000, secure)
            self._open[session.sid] = sock
        with suppress(OSError, _Malformed), sock:
            sock.settimeout(300)
            if secure and self._context:
                sock = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
                self._open[session.sid] = sock
                sock.do_handshake()
            with sock:
                _Talk(self, session, _Packets(sock), peer).run()
        with self._lock:
            self._open.pop(session.sid, None)
            for table in ("v$session", "v$session_connect_info"):
                self._database.execute(f'DELETE FROM "{table}" WHERE sid = ?', (session.sid,))  # noqa: S608  our names

    def established(self, session: _Session, peer: tuple[str, int], connect_data: str, code: int) -> None:
        """Write the line of the listener log for a client that came."""
        with self._lock:
            protocol = "tcps" if session.secure else "tcp"
            line = (
                f"{datetime.now().astimezone():%d-%b-%Y %H:%M:%S}".upper()
                + f" * {connect_data} * (ADDRESS=(PROTOCOL={protocol})(HOST={peer[0]})(PORT={peer[1]}))"
                + f" * establish * {SERVICE} * {code}\n"
            )
            with Path(self._logs.name, "listener.log").open("a", encoding="utf-8", errors="replace") as log:
                log.write(line)

    def verifier(self, user: str, salt: bytes) -> bytes:
        """Give the 12c password hash of *user*; for an unknown one, a hash that no password has."""
        password = self._passwords.get(user, secrets.token_hex(16)).encode()
        derived = hashlib.pbkdf2_hmac("sha512", password, salt + b"AUTH_PBKDF2_SPEEDY_KEY", _ROUNDS, 64)
        return hashlib.sha512(derived + salt).digest()[:32]

    def password_is(self, user: str, password: bytes) -> bool:
        """Compare the password that came with the user's own."""
        return user in self._passwords and hmac.compare_digest(self._passwords[user].encode(), password)

    def enter(self, session: _Session) -> None:
        """Show the session in the views, with the banners that Oracle gives it.

        A session over TLS has none: by that, administrators' scripts tell TCPS. Nobody has measured it here.
        """
        facts = session.facts
        row = (session.sid, session.serial, session.user, facts.get("AUTH_SID"), facts.get("AUTH_MACHINE"))
        program = facts.get("AUTH_PROGRAM_NM")
        banners = (None,) if session.secure else (_PLAIN_BANNER, *_SERVICE_BANNERS)
        with self._lock:
            self._database.execute(
                "INSERT INTO \"v$session\" VALUES (?, ?, ?, ?, ?, ?, ?, 'USER')", (*row, program, program)
            )
            self._database.executemany(
                'INSERT INTO "v$session_connect_info" VALUES (?, ?, ?)',
                [(session.sid, session.serial, banner) for banner in banners],
            )

    def run(self, session: _Session, statement: str) -> tuple[list[str], list[tuple[Any, ...]], tuple[int, str]]:
        """Run a client's *statement*: column names, rows, and Oracle's error number and text (0 when it went well)."""
        if re.search(r"v\$", statement, re.IGNORECASE) and session.user not in self.readers:
            return [], [], (942, "ORA-00942: table or view does not exist")
        if not re.match(r"\s*select\b", statement, re.IGNORECASE):
            return [], [], (0, "")  # ALTER SESSION and the like change nothing here
        with self._lock:
            self._asking = session
            try:
                cursor = self._database.execute(statement)
                rows = cursor.fetchall()
            except sqlite3.Error as e:
                return [], [], (900, f"ORA-00900: the stand-in cannot run this: {e}")
        return [column[0] for column in cursor.description], rows, (0, "")

    def _sys_context(self, namespace: str, name: str) -> str | None:
        session = self._asking
        if session is None or namespace.upper() != "USERENV":
            return None
        answers = {"SID": str(session.sid), "NETWORK_PROTOCOL": "tcps" if session.secure else "tcp"}
        return answers.get(name.upper())


class _Packets:
    """Packets on a socket. Their length has two bytes until both sides agreed on a version, and then four."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.agreed = False

    def receive(self, wanted: int | None = None) -> tuple[int, bytes]:
        """Give the next packet's type and what follows its header; one that is not *wanted* ends the session."""
        header = self._exactly(8)
        size = int.from_bytes(header[: 4 if self.agreed else 2], "big")
        if not 8 <= size <= _MOST or wanted not in (None, header[4]):
            raise _Malformed  # a stranger, such as one who wants TLS on the port in clear
        return header[4], self._exactly(size - 8)

    def send(self, kind: int, body: bytes) -> None:
        """Send *body* as one packet."""
        size = (len(body) + 8).to_bytes(4, "big") if self.agreed else struct.pack(">HH", len(body) + 8, 0)
        self._sock.sendall(size + bytes([kind, 0, 0, 0]) + body)

    def data(self, message: bytes) -> None:
        """Send *message* in as many data packets as it takes."""
        room = _SDU - 10
        for start in range(0, len(message), room):
            self.send(_Packet.DATA, b"\0\0" + message[start : start + room])

    def _exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            if not (more := self._sock.recv(count - len(found))):
                raise ConnectionError
            found += more
        return found


class _Reader:
    """Reads what a client wrote, in Oracle's encodings; a request of more than one packet is not understood."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def raw(self, count: int) -> bytes:
        if self._at + count > len(self._data):
            raise _Malformed
        self._at += count
        return self._data[self._at - count : self._at]

    def byte(self) -> int:
        return self.raw(1)[0]

    def number(self) -> int:
        """Read a universal integer: its length, then so many bytes."""
        if (length := self.byte()) > 8:
            raise _Malformed
        return int.from_bytes(self.raw(length), "big")

    def text(self) -> bytes:
        """Read bytes after their length; long ones come in pieces that end with an empty one."""
        if (length := self.byte()) != 254:
            return self.raw(length)
        found = b""
        while piece := self.number():
            found += self.raw(piece)
        return found

    def pair(self) -> tuple[str, str]:
        """Read a key and its value, each after two lengths, and leave the flags behind."""
        key, value = (self.text() if self.number() else b"" for _ in range(2))
        self.number()
        return key.decode(errors="replace"), value.decode(errors="replace")

    def skip(self, layout: str) -> None:
        """Pass over fields: b a byte, n a universal integer."""
        for kind in layout:
            if kind == "b":
                self.byte()
            else:
                self.number()


def _number(value: int) -> bytes:
    """Write a universal integer."""
    length = (value.bit_length() + 7) // 8
    return bytes([length]) + value.to_bytes(length, "big")


def _text(value: bytes) -> bytes:
    """Write bytes after their length."""
    if len(value) < 253:
        return bytes([len(value)]) + value
    return b"\xfe" + _number(len(value)) + value + b"\0"


def _twice(value: str) -> bytes:
    """Write a string after two lengths."""
    data = value.encode()
    return _number(len(data)) + (_text(data) if data else b"")


def _oracle_number(value: int) -> bytes:
    """Write a count as an Oracle NUMBER: an exponent of 100, then digits of 100, each one too large."""
    digits = []
    while value:
        value, digit = divmod(value, 100)
        digits.append(digit + 1)
    digits.reverse()
    exponent = 0xC0 + len(digits) if digits else 0x80
    while digits and digits[-1] == 1:
        digits.pop()
    return bytes([exponent, *digits])


def _aes(key: bytes) -> Cipher[modes.CBC]:
    return Cipher(algorithms.AES(key), modes.CBC(bytes(16)))


def _encrypted(key: bytes, data: bytes) -> str:
    encryptor = _aes(key).encryptor()
    return (encryptor.update(data) + encryptor.finalize()).hex().upper()


def _decrypted(key: bytes, text: str) -> bytes:
    try:
        data = bytes.fromhex(text)
    except ValueError:
        raise _Malformed from None
    if not data or len(data) % 16:
        raise _Malformed
    decryptor = _aes(key).decryptor()
    return decryptor.update(data) + decryptor.finalize()


class _Talk:
    """The conversation with one client, from CONNECT to its end."""

    def __init__(self, owner: StandIn, session: _Session, packets: _Packets, peer: tuple[str, int]) -> None:
        self._owner = owner
        self._session = session
        self._packets = packets
        self._peer = peer

    def run(self) -> None:
        """Answer until the client goes."""
        if not self._connect():
            return
        while True:
            kind, body = self._packets.receive()
            if kind != _Packet.DATA or body[:2] == b"\0\x40":  # the end of data
                return
            if not self._answer(_Reader(body[2:])):
                return

    def _connect(self) -> bool:
        _, body = self._packets.receive(_Packet.CONNECT)
        if len(body) < 20:
            raise _Malformed
        length, offset = struct.unpack(">HH", body[16:20])
        data = body[max(offset - 8, 0) :][:length]
        if not data and length:  # long connect data comes in a packet of its own
            data = self._packets.receive(_Packet.DATA)[1][2:]
        text = data.decode(errors="replace")
        service = re.search(r"\((?:SERVICE_NAME|SID)=([^()]*)\)", text, re.IGNORECASE)
        known = service is not None and service[1].upper() == SERVICE
        self._owner.established(self._session, self._peer, _connect_data(text), 0 if known else 12514)
        if not known:
            words = "(DESCRIPTION=(TMP=)(VSNNUM=318767104)(ERR=12514)(ERROR_STACK=(ERROR=(CODE=12514)(EMFI=4))))"
            self._packets.send(_Packet.REFUSE, struct.pack(">BBH", 34, 0, len(words)) + words.encode())
            return False
        self._packets.send(_Packet.ACCEPT, struct.pack(">HH10xB9xI5xI", _NET_VERSION, 1, 0, _SDU, 0))
        self._packets.agreed = True
        return True

    def _answer(self, asked: _Reader) -> bool:
        """Answer one message; false when it was the last."""
        kind = asked.byte()
        while kind == _Message.PIGGYBACK:
            self._piggyback(asked)
            kind = asked.byte()
        if kind == _Message.PROTOCOL:
            self._packets.data(self._protocol())
            return True
        if kind == _Message.DATA_TYPES:
            self._packets.data(bytes([_Message.DATA_TYPES, 0, 0]))
            return True
        if kind != _Message.CALL:
            raise _Malformed
        try:
            call = _Call(asked.byte())
        except ValueError:
            raise _Malformed from None
        asked.byte()  # a sequence number
        if call in (_Call.LOG_ON, _Call.AUTHENTICATE):
            return self._login(call, asked)
        if not self._session.key:
            raise _Malformed  # nobody gets further without a password
        answers = {_Call.EXECUTE: self._execute, _Call.FETCH: self._fetch, _Call.EXECUTE_AGAIN: self._again}
        if call in answers:
            self._packets.data(answers[call](asked))
            return True
        if call not in (_Call.COMMIT, _Call.ROLLBACK, _Call.PING, _Call.LOG_OFF):
            raise _Malformed
        self._packets.data(_status())
        return call != _Call.LOG_OFF

    def _piggyback(self, asked: _Reader) -> None:
        function, _, _ = asked.byte(), asked.byte(), asked.byte()
        if function != _Call.CLOSE_CURSORS:
            raise _Malformed
        for _ in range(asked.number()):
            self._session.statements.pop(cursor := asked.number(), None)
            self._session.waiting.pop(cursor, None)

    @staticmethod
    def _protocol() -> bytes:
        compile_time, run_time = bytearray(45), bytearray(13)
        compile_time[7] = _FIELD_VERSION
        charset_description = bytearray(11)
        charset_description[9:11] = (2000).to_bytes(2, "big")  # the national character set
        return (
            bytes([_Message.PROTOCOL, 6, 0])
            + b"a stand-in, not Oracle\0"
            + struct.pack("<HBH", _UTF8, 1, 0)
            + struct.pack(">H", len(charset_description))
            + charset_description
            + _text(bytes(compile_time))
            + _text(bytes(run_time))
        )

    def _login(self, call: _Call, asked: _Reader) -> bool:
        """Take the two steps of the 12c login; the password travels under a key that both sides made."""
        session = self._session
        has_user = asked.byte()
        asked.skip("nnb")
        pairs = asked.number()
        asked.skip("bb")
        user = asked.text().decode(errors="replace").upper() if has_user else ""
        facts = dict(asked.pair() for _ in range(min(pairs, 64)))
        if call is _Call.LOG_ON:
            session.user, session.facts = user, facts
            session.salt, session.server_key, session.key_salt = (secrets.token_bytes(n) for n in (16, 32, 16))
            half = _encrypted(self._owner.verifier(user, session.salt), session.server_key)
            answer = [
                ("AUTH_SESSKEY", half, 0),
                ("AUTH_VFR_DATA", session.salt.hex().upper(), 0x4815),
                ("AUTH_PBKDF2_CSK_SALT", session.key_salt.hex().upper(), 0),
                ("AUTH_PBKDF2_VGEN_COUNT", str(_ROUNDS), 0),
                ("AUTH_PBKDF2_SDER_COUNT", str(_SESSION_ROUNDS), 0),
            ]
            self._packets.data(_parameters(answer) + _status())
            return True
        client_key = _decrypted(self._owner.verifier(session.user, session.salt), facts.get("AUTH_SESSKEY", ""))
        both = (client_key[:32] + session.server_key).hex().upper().encode()
        key = hashlib.pbkdf2_hmac("sha512", both, session.key_salt, _SESSION_ROUNDS, 32)
        padded = _decrypted(key, facts.get("AUTH_PASSWORD", ""))[16:]
        password = padded[: -padded[-1]] if padded else b""
        if not self._owner.password_is(session.user, password):
            self._packets.data(_error(1017, "ORA-01017: invalid username/password; logon denied"))
            return False
        session.key = key
        self._owner.enter(session)
        answer = [
            ("AUTH_VERSION_NO", str(0x13000000), 0),
            ("AUTH_SESSION_ID", str(session.sid), 0),
            ("AUTH_SERIAL_NUM", str(session.serial), 0),
            ("AUTH_SC_SERVICE_NAME", SERVICE, 0),
            ("AUTH_SVR_RESPONSE", _encrypted(key, secrets.token_bytes(16) + b"SERVER_TO_CLIENT"), 0),
        ]
        self._packets.data(_parameters(answer) + _status())
        return True

    def _execute(self, asked: _Reader) -> bytes:
        asked.number()  # options
        cursor = asked.number()
        has_text = asked.byte()
        asked.skip("nbnbbn")
        most = asked.number()
        asked.skip("nb")
        binds = asked.number()
        asked.skip("bbbbb" + "bn" + "nbbbnbnn" + "bnb" + "bnbnb" + "bn")
        if has_text:
            cursor = max(self._session.statements, default=0) + 1
            self._session.statements[cursor] = asked.text().decode(errors="replace")
        if binds:
            return _error(1008, "ORA-01008: the stand-in takes no bind variables")
        return self._rows(cursor, most, describe=bool(has_text))

    def _again(self, asked: _Reader) -> bytes:
        return self._rows(asked.number(), asked.number(), describe=False)

    def _rows(self, cursor: int, most: int, *, describe: bool) -> bytes:
        if cursor not in self._session.statements:
            return _error(1001, "ORA-01001: invalid cursor")
        names, rows, (code, words) = self._owner.run(self._session, self._session.statements[cursor])
        if code or not names:
            return _error(code, words)
        self._session.waiting[cursor] = rows
        return (_described(names, rows) if describe else b"") + self._next(cursor, most)

    def _fetch(self, asked: _Reader) -> bytes:
        return self._next(asked.number(), asked.number())

    def _next(self, cursor: int, most: int) -> bytes:
        waiting = self._session.waiting.get(cursor, [])
        rows, self._session.waiting[cursor] = waiting[:most], waiting[most:]
        message = bytes([_Message.ROW_HEADER]) + bytes(7) if rows else b""
        for row in rows:
            message += bytes([_Message.ROW]) + b"".join(_text(_column(value)) for value in row)
        done = not self._session.waiting[cursor]
        return message + (_error(_NO_MORE_ROWS, "ORA-01403: no data found", cursor) if done else _error(0, "", cursor))


def _connect_data(text: str) -> str:
    """Cut the part that the listener logs out of a client's connect descriptor: up to the parenthesis that ends it."""
    part = text[max(text.upper().find("(CONNECT_DATA="), 0) :]
    depth = 0
    for end, letter in enumerate(part, 1):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return part[:end]
    return part


def _column(value: Any) -> bytes:
    if value is None:
        return b""
    return _oracle_number(value) if isinstance(value, int) else str(value).encode()


def _parameters(pairs: list[tuple[str, str, int]]) -> bytes:
    return (
        bytes([_Message.PARAMETER])
        + _number(len(pairs))
        + b"".join(_twice(key) + _twice(value) + _number(flags) for key, value, flags in pairs)
    )


def _status() -> bytes:
    return bytes([_Message.STATUS, 0, 0])


def _error(code: int, words: str, cursor: int = 0) -> bytes:
    """Write the message that ends an answer, also a good one; its fields are those of 12.2 to 19c."""
    return (
        bytes([_Message.ERROR])
        + bytes(6)  # call status, sequence, row, error, two of an array
        + _number(cursor)
        + bytes(1 + 6 + 5 + 1 + 2 + 1 + 1 + 1)  # position, six flags, row id, OS error, two numbers, and so on
        + bytes(3)  # no errors of a batch
        + _number(code)
        + _number(0)
        + (_text(words.encode()) if code else b"")
    )


def _described(names: list[str], rows: list[tuple[Any, ...]]) -> bytes:
    """Describe the columns: a number where every value is one, else text."""
    message = bytes([_Message.DESCRIBE]) + _text(b"") + _number(0) + _number(len(names)) + b"\0"
    for position, name in enumerate(names):
        values = [row[position] for row in rows if row[position] is not None]
        is_number = bool(values) and all(isinstance(v, int) for v in values)
        size = 22 if is_number else 4000
        message += bytes([_NUMBER if is_number else _VARCHAR, 0, 0, 0]) + _number(size)
        message += bytes(2) + bytes(2)  # no array, no flags; no object type, no version
        message += bytes(2) if is_number else _number(_UTF8) + b"\1"
        message += _number(size) + _number(0) + b"\1\0"  # longest; column id; nulls allowed
        message += _twice(name.upper()) + bytes(2) + _number(position + 1) + _number(0)
    return message + bytes(6)
