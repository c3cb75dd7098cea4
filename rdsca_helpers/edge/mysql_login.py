"""The beginning and the end of a login to MySQL or MariaDB, as a user that does not exist.

Both count a connection that ends before its login against the client's host, and after ``max_connect_errors`` of
them (100 unless changed) refuse the host, its applications too: error 1129. A login that is refused does not count.
Measured on MySQL 9.7 and MariaDB 10.11: such a login adds one to ``Aborted_connects`` and nothing to the host cache's
``SUM_CONNECT_ERRORS`` and ``COUNT_HANDSHAKE_ERRORS``. MariaDB also logs "Access denied", MySQL 9.7 now and then that
``sha256_password`` is deprecated, since it puts forward a plugin at random to a user that it does not know.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from ..engines import Channel, NoTls
from ..errors import Obstacle, Unreachable

USER = "rdsca_probe"

# Capability flags (MySQL internals manual, "Protocol::CapabilityFlags").
_LONG_PASSWORD, _PROTOCOL_41, _SSL, _SECURE_CONNECTION, _PLUGIN_AUTH = 0x1, 0x200, 0x800, 0x8000, 0x80000
_WANTED = _LONG_PASSWORD | _PROTOCOL_41 | _SECURE_CONNECTION | _PLUGIN_AUTH
_UTF8 = 33
_OK, _MORE, _SWITCH, _ERROR = 0x00, 0x01, 0xFE, 0xFF


@dataclass(frozen=True)
class Greeting:
    """What the server can do, and how it would have its users log in."""

    flags: int
    plugin: bytes


def ask_for_tls(channel: Channel) -> Greeting:
    """Read the greeting and ask for TLS; raises ``NoTls``, the login finished in clear, when the server has none."""
    greeting = _greeting(channel)
    if not greeting.flags & _SSL:
        with contextlib.suppress(OSError, Unreachable):
            _finish(channel, greeting, _WANTED, 1)  # it holds no secret
        raise NoTls("it offers no TLS")
    _send(channel, 1, _opening(greeting, _WANTED | _SSL))
    return greeting


def be_refused(channel: Channel, greeting: Greeting) -> None:
    """Finish inside TLS the login that :func:`ask_for_tls` began."""
    _finish(channel, greeting, _WANTED | _SSL, 2)


def _finish(channel: Channel, greeting: Greeting, wanted: int, sequence: int) -> None:
    login = _opening(greeting, wanted) + USER.encode() + b"\0\0"  # an empty password
    if greeting.flags & _PLUGIN_AUTH:
        login += greeting.plugin + b"\0"
    _send(channel, sequence, login)
    while True:
        sequence, answer = _packet(channel)
        if answer[:1] == bytes([_OK]):  # there is an anonymous user
            return _send(channel, 0, b"\x01")  # COM_QUIT
        if answer[0] not in (_MORE, _SWITCH):
            return None
        _send(channel, sequence + 1, b"\0" if answer[0] == _MORE else b"")


def _greeting(channel: Channel) -> Greeting:
    sequence, body = _packet(channel, first=True)
    if body[0] == _ERROR:
        code, text = int.from_bytes(body[1:3], "little"), body[3:].decode("utf-8", "replace")
        words = "".join(c for c in text if c.isprintable())[:200]
        raise Unreachable(f"it turns us away: {code} {words}", obstacle=Obstacle.TURNED_AWAY)
    version_end = body.find(b"\0", 1)
    fixed = body[version_end + 1 :]
    if sequence or body[0] != 10 or version_end < 0 or len(fixed) < 31:
        raise ConnectionError(_STRANGER)
    flags = int.from_bytes(fixed[13:15], "little") | int.from_bytes(fixed[18:20], "little") << 16
    second_salt = max(13, fixed[20] - 8)
    return Greeting(flags, fixed[31 + second_salt :].partition(b"\0")[0])


def _opening(greeting: Greeting, wanted: int) -> bytes:
    """Give what an SSLRequest is, and a login begins with: flags, largest packet, character set."""
    flags = wanted & greeting.flags
    return flags.to_bytes(4, "little") + (1 << 24).to_bytes(4, "little") + bytes([_UTF8]) + bytes(23)


def _packet(channel: Channel, *, first: bool = False) -> tuple[int, bytes]:
    head = channel.receive(4)
    length, sequence = int.from_bytes(head[:3], "little"), head[3]
    if not length or (first and sequence):
        raise ConnectionError(_STRANGER)
    return sequence, channel.receive(length)


def _send(channel: Channel, sequence: int, body: bytes) -> None:
    channel.send(len(body).to_bytes(3, "little") + bytes([sequence % 256]) + body)


_STRANGER = "this is no MySQL or MariaDB server"
