"""Servers on loopback that behave badly, one for each obstacle between a probe and a certificate."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field

from rdsca_helpers.errors import Obstacle

MYSQLS = ("mysql", "mariadb")
PATIENT = 15.0  # seconds after which a bad server gives up on a client


@dataclass
class Bad:
    """A server's port, and every byte that clients sent it in clear or inside TLS."""

    port: int
    heard: bytearray = field(default_factory=bytearray)


Behaviour = Callable[[socket.socket, Bad], None]


@contextmanager
def serving(behave: Behaviour) -> Iterator[Bad]:
    """Serve each client with *behave* in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        bad = Bad(server.getsockname()[1])

        def talk(peer: socket.socket) -> None:
            with contextlib.suppress(OSError, ValueError), peer:
                behave(peer, bad)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    peer, _ = server.accept()
                    peer.settimeout(PATIENT)
                    threading.Thread(target=talk, args=(peer,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield bad
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


@contextmanager
def refusing() -> Iterator[Bad]:
    """Hold a port on which nobody listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield Bad(holder.getsockname()[1])


@contextmanager
def swallowing() -> Iterator[Bad]:
    """Hold a port whose queue is full, so that a connection attempt gets no answer at all."""
    with ExitStack() as held:
        server = held.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(3):
            filler = held.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        yield Bad(server.getsockname()[1])


def hear(peer: socket.socket, bad: Bad) -> bytes:
    """Receive what is there, and remember it."""
    data = peer.recv(65536)
    bad.heard += data
    return data


def hear_all(peer: socket.socket, bad: Bad) -> None:
    """Listen until the client leaves."""
    while hear(peer, bad):
        pass


def packet(body: bytes, sequence: int = 0) -> bytes:
    """Frame a packet of a MySQL server."""
    return struct.pack("<I", len(body))[:3] + bytes([sequence]) + body


def greeting(*, tls: bool) -> bytes:
    """Give MySQL's first packet, as a server of version 8 sends it."""
    flags = 0x0008_A205 | (0x0800 if tls else 0)
    body = b"\x0a8.0.36\0" + struct.pack("<I", 7) + b"saltsalt\0" + struct.pack("<H", flags & 0xFFFF)
    body += b"\x21" + struct.pack("<H", 2) + struct.pack("<H", flags >> 16) + bytes([21]) + b"\0" * 10
    return packet(body + b"saltsaltsalt\0" + b"mysql_native_password\0")


def prelogin_answer(*, encryption: int) -> bytes:
    """Give SQL Server's first packet: its version, and whether it has TLS (1) or not (2)."""
    options = struct.pack(">BHHBHHB", 0, 11, 6, 1, 17, 1, 255) + bytes([16, 0, 0, 0, 0, 0, encryption])
    return struct.pack(">BBHHBB", 4, 1, 8 + len(options), 0, 1, 0) + options


def open_talk(peer: socket.socket, bad: Bad, engine: str) -> None:
    """Bring the talk to the point where the client begins its TLS handshake."""
    if engine == "postgres":
        hear(peer, bad)
        peer.sendall(b"S")
    elif engine.startswith("sqlserver"):
        hear(peer, bad)
        peer.sendall(prelogin_answer(encryption=1))
    elif engine in MYSQLS:
        peer.sendall(greeting(tls=True))
        for size in (4, 32):  # the SSLRequest and no byte more: behind it the handshake begins
            bad.heard += peer.recv(size, socket.MSG_WAITALL)


def drip_bytes(peer: socket.socket, start: bytes, pause: float) -> None:
    """Send *start* and then zeros, one byte at a time, until nobody listens any more."""
    for byte in itertools.chain(start, itertools.repeat(0, int(PATIENT / pause))):
        peer.sendall(bytes([byte]))
        time.sleep(pause)


def silent(engine: str) -> Behaviour:
    return hear_all


def silent_in_tls(engine: str) -> Behaviour:
    def behave(peer: socket.socket, bad: Bad) -> None:
        open_talk(peer, bad, engine)
        hear_all(peer, bad)

    return behave


def drip(engine: str) -> Behaviour:
    """Give the first answer byte by byte; PostgreSQL's has one byte only."""
    return (
        (lambda peer, bad: drip_bytes(peer, greeting(tls=True)[:60], 0.6)) if engine in MYSQLS else drip_in_tls(engine)
    )


def drip_in_tls(engine: str) -> Behaviour:
    def behave(peer: socket.socket, bad: Bad) -> None:
        open_talk(peer, bad, engine)
        drip_bytes(peer, b"\x16\x03\x03\x40\x00\x02", 0.6)

    return behave


def flood(engine: str) -> Behaviour:
    """Send HelloRequests without end: OpenSSL passes over each of them."""

    def behave(peer: socket.socket, bad: Bad) -> None:
        open_talk(peer, bad, engine)
        while True:
            peer.sendall(b"\x16\x03\x03\x40\x00" + bytes(0x4000))

    return behave


def giant(engine: str) -> Behaviour:
    """Announce a packet of 16 MiB, or a TLS record beyond all measure."""

    def behave(peer: socket.socket, bad: Bad) -> None:
        if engine in MYSQLS:
            peer.sendall(b"\xff\xff\xff\0\x0a")
        else:
            open_talk(peer, bad, engine)
            peer.sendall(b"\x16\x03\x03\xff\xff")
        hear_all(peer, bad)

    return behave


def giant_in_tls(engine: str) -> Behaviour:
    def behave(peer: socket.socket, bad: Bad) -> None:
        open_talk(peer, bad, engine)
        peer.sendall(b"\x16\x03\x03\x00\x04\x02\xff\xff\xff")
        hear_all(peer, bad)

    return behave


def no_tls(engine: str) -> Behaviour:
    def behave(peer: socket.socket, bad: Bad) -> None:
        if engine == "postgres":
            hear(peer, bad)
            peer.sendall(b"N")
        elif engine.startswith("sqlserver"):
            hear(peer, bad)
            peer.sendall(prelogin_answer(encryption=2))
        else:
            peer.sendall(greeting(tls=False))
            hear(peer, bad)
            peer.sendall(packet(b"\xff\x15\x04#28000denied", sequence=2))
        hear_all(peer, bad)

    return behave


def plaintext_behind_the_yes(engine: str) -> Behaviour:
    def behave(peer: socket.socket, bad: Bad) -> None:
        if engine == "postgres":
            hear(peer, bad)
            peer.sendall(b"S" + b"R\0\0\0\x08\0\0\0\x03" * 5)
        elif engine.startswith("sqlserver"):
            hear(peer, bad)
            peer.sendall(prelogin_answer(encryption=1) + b"\x04\x01\0\x0d\0\0\x01\0hello")
        else:
            peer.sendall(greeting(tls=True) + b"\x01\0\0\x02\xfe" * 5)
        hear_all(peer, bad)

    return behave


def garbage(engine: str) -> Behaviour:
    def behave(peer: socket.socket, bad: Bad) -> None:
        peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 20)
        hear_all(peer, bad)

    return behave


def garbage_in_tls(engine: str) -> Behaviour:
    def behave(peer: socket.socket, bad: Bad) -> None:
        open_talk(peer, bad, engine)
        peer.sendall(b"\0\xff" * 500)
        hear_all(peer, bad)

    return behave


def hangs_up(engine: str) -> Behaviour:
    def behave(peer: socket.socket, bad: Bad) -> None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return behave


def closes_in_tls(engine: str) -> Behaviour:
    return lambda peer, bad: open_talk(peer, bad, engine)


BEHAVIOURS: dict[str, tuple[Callable[[str], Behaviour], Obstacle]] = {
    make.__name__: (make, obstacle)
    for make, obstacle in (
        (silent, Obstacle.SILENT),
        (silent_in_tls, Obstacle.SILENT),
        (drip, Obstacle.SLOW),
        (drip_in_tls, Obstacle.SLOW),
        (flood, Obstacle.FLOOD),
        (giant, Obstacle.GIANT),
        (giant_in_tls, Obstacle.GIANT),
        (no_tls, Obstacle.NO_TLS),
        (plaintext_behind_the_yes, Obstacle.PLAINTEXT),
        (garbage_in_tls, Obstacle.PLAINTEXT),
        (garbage, Obstacle.WRONG_PROTOCOL),
        (hangs_up, Obstacle.RESET),
        (closes_in_tls, Obstacle.RESET),
    )
}

# One of each of the ten kinds.
TEN = ("refused", "blackhole", *(n for n in BEHAVIOURS if not n.endswith("_in_tls")))


def bad_server(name: str, engine: str) -> AbstractContextManager[Bad]:
    """Make a server that behaves as *name* says."""
    if name == "refused":
        return refusing()
    if name == "blackhole":
        return swallowing()
    return serving(BEHAVIOURS[name][0](engine))


def obstacle_of(name: str) -> Obstacle:
    """Say which obstacle the server *name* is."""
    return BEHAVIOURS[name][1] if name in BEHAVIOURS else Obstacle(name)
