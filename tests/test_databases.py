"""Deadlines and refusals: loopback servers that behave badly never hold us up and never get the password."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from practice import NAME, NEW, OLD, certificate, roots_file

from rdsca_helpers.edge import databases
from rdsca_helpers.engines import all_engines
from rdsca_helpers.errors import Unreachable
from rdsca_helpers.lab.pki import Pki, Served
from rdsca_helpers.model import Secret

PASSWORD = "correct-horse-battery"
PATIENT = 12.0
ENGINES = ("postgres", "mysql", "mariadb")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"), regions=("eu-west-1",))


@dataclass
class Bad:
    """A server's port, and every byte that clients sent it in clear or inside TLS."""

    port: int
    heard: bytearray = field(default_factory=bytearray)


Behaviour = Callable[[socket.socket, Bad], None]


@contextmanager
def serving(behave: Behaviour) -> Iterator[Bad]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        bad = Bad(server.getsockname()[1])

        def talk(peer: socket.socket) -> None:
            with contextlib.suppress(OSError, ValueError), peer:
                behave(peer, bad)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    peer, _ = server.accept()
                    peer.settimeout(PATIENT + 3)
                    threading.Thread(target=talk, args=(peer,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield bad
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


def hear(peer: socket.socket, bad: Bad) -> bytes:
    data = peer.recv(65536)
    bad.heard += data
    return data


def hear_all(peer: socket.socket, bad: Bad) -> None:
    while hear(peer, bad):
        pass


def greeting(*, tls: bool) -> bytes:
    """MySQL's first packet, as a server of version 8 sends it."""
    flags = 0x0008_A205 | (0x0800 if tls else 0)
    body = b"\x0a8.0.36\0" + struct.pack("<I", 7) + b"saltsalt\0" + struct.pack("<H", flags & 0xFFFF)
    body += b"\x21" + struct.pack("<H", 2) + struct.pack("<H", flags >> 16) + bytes([21]) + b"\0" * 10
    body += b"saltsaltsalt\0" + b"mysql_native_password\0"
    return struct.pack("<I", len(body))[:3] + b"\0" + body


def open_talk(peer: socket.socket, bad: Bad, engine: str) -> None:
    """Bring the talk to the point where the client begins its TLS handshake."""
    if engine == "postgres":
        hear(peer, bad)
        peer.sendall(b"S")
    else:
        peer.sendall(greeting(tls=True))
        for size in (4, 32):  # the SSLRequest and no byte more: behind it the handshake begins
            bad.heard += peer.recv(size, socket.MSG_WAITALL)


def silent(engine: str) -> Behaviour:
    return hear_all


def drip(engine: str) -> Behaviour:
    def behave(peer: socket.socket, bad: Bad) -> None:
        for byte in b"\xff\xff\xff\x00" + b"x" * 60 if engine != "postgres" else b"E\0\0\xff\xff" + b"x" * 60:
            peer.sendall(bytes([byte]))
            time.sleep(0.6)

    return behave


def drip_in_tls(engine: str) -> Behaviour:
    def behave(peer: socket.socket, bad: Bad) -> None:
        open_talk(peer, bad, engine)
        for byte in b"\x16\x03\x03\x40\x00\x02" + b"\0" * 60:
            peer.sendall(bytes([byte]))
            time.sleep(0.6)

    return behave


def silent_in_tls(engine: str) -> Behaviour:
    def behave(peer: socket.socket, bad: Bad) -> None:
        open_talk(peer, bad, engine)
        hear_all(peer, bad)

    return behave


def no_tls(engine: str) -> Behaviour:
    def behave(peer: socket.socket, bad: Bad) -> None:
        if engine == "postgres":
            hear(peer, bad)
            peer.sendall(b"N")
        else:
            peer.sendall(greeting(tls=False))
        hear_all(peer, bad)

    return behave


def plaintext_behind_the_yes(engine: str) -> Behaviour:
    def behave(peer: socket.socket, bad: Bad) -> None:
        if engine == "postgres":
            hear(peer, bad)
            peer.sendall(b"S" + b"R\0\0\0\x08\0\0\0\x03" * 5)
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


def with_certificate(served: Served, folder: Path, *, hang_up: bool = False) -> Callable[[str], Behaviour]:
    """Finish the TLS handshake with *served*, and listen to what comes inside."""
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_text(served.chain_pem)
    key.write_text(served.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)

    def for_engine(engine: str) -> Behaviour:
        def behave(peer: socket.socket, bad: Bad) -> None:
            open_talk(peer, bad, engine)
            with context.wrap_socket(peer, server_side=True) as tls:
                hear(tls, bad) if hang_up else hear_all(tls, bad)

        return behave

    return for_engine


BEHAVIOURS: dict[str, Callable[[str], Behaviour]] = {
    f.__name__: f
    for f in (
        silent,
        drip,
        drip_in_tls,
        silent_in_tls,
        no_tls,
        plaintext_behind_the_yes,
        garbage,
        garbage_in_tls,
        hangs_up,
    )
}


def ask(engine: str, port: int, roots: Path) -> Any:
    return databases.ask(
        all_engines()[engine],
        host=NAME,
        address=("127.0.0.1", port),
        user="app",
        password=Secret(PASSWORD),
        roots_file=str(roots),
    )


def look(engine: str, port: int) -> Any:
    return databases.look(all_engines()[engine], host=NAME, address=("127.0.0.1", port))


@dataclass(frozen=True)
class Outcome:
    seconds: float
    said: str
    heard: bytes


def attempt(how: str, engine: str, behave: Callable[[str], Behaviour], roots: Path) -> Outcome:
    with serving(behave(engine)) as bad:
        began = time.monotonic()
        try:
            ask(engine, bad.port, roots) if how == "ask" else look(engine, bad.port)
            said = ""
        except Unreachable as e:
            said = str(e)
        return Outcome(time.monotonic() - began, said, bytes(bad.heard))


CASES = [(how, e, b) for how in ("ask", "look") for e in ENGINES for b in BEHAVIOURS]


@pytest.fixture(scope="module")
def outcomes(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, str], Outcome]:
    """Meet all the bad servers at the same time: each may take its ten seconds."""
    roots = roots_file(tmp_path_factory.mktemp("roots"), pki, OLD)
    with ThreadPoolExecutor(len(CASES)) as pool:
        found = pool.map(lambda case: attempt(case[0], case[1], BEHAVIOURS[case[2]], roots), CASES)
        return dict(zip(CASES, found, strict=True))


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_a_bad_server_ends_in_time_with_a_reason_and_without_the_password(
    outcomes: dict[tuple[str, str, str], Outcome], case: tuple[str, str, str]
) -> None:
    outcome = outcomes[case]
    assert outcome.seconds < PATIENT
    assert len(outcome.said) > 10
    assert "\n" not in outcome.said
    assert PASSWORD not in outcome.said
    assert PASSWORD.encode() not in outcome.heard
    assert b"app\0" not in outcome.heard


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_only_a_server_that_offers_no_tls_is_said_to_offer_none(
    outcomes: dict[tuple[str, str, str], Outcome], case: tuple[str, str, str]
) -> None:
    words = outcomes[case].said.lower()
    none = any(w in words for w in ("no tls", "doesn't support", "does not support ssl"))
    assert none == (case[2] == "no_tls"), words


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("how", ["ask", "look"])
def test_a_port_where_nobody_listens_is_refused_at_once(how: str, engine: str, pki: Pki, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"(?i)connection refused") as refused:
        ask(engine, port, roots_file(tmp_path, pki, OLD)) if how == "ask" else look(engine, port)
    assert time.monotonic() - began < 3
    assert "no TLS" not in str(refused.value)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("fault", ["wrong root", "expired", "wrong name"])
def test_a_server_that_cannot_prove_who_it_is_never_hears_the_password(
    engine: str, fault: str, pki: Pki, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    served = {
        "wrong root": lambda: certificate(pki, NEW),
        "expired": lambda: certificate(pki, OLD, days=-1),
        "wrong name": lambda: pki.issue(
            "eu-west-1", OLD, ["other.example"], now - timedelta(days=1), now + timedelta(days=9)
        ),
    }[fault]()
    outcome = attempt("ask", engine, with_certificate(served, tmp_path), roots_file(tmp_path, pki, OLD))
    assert outcome.seconds < PATIENT
    assert PASSWORD.encode() not in outcome.heard
    assert b"app\0" not in outcome.heard
    assert PASSWORD not in outcome.said
    word = {
        "wrong root": "certificate verify failed",
        "expired": "expired|certificate verify failed",
        "wrong name": "match|mismatch|valid for",
    }
    assert any(w in outcome.said for w in word[fault].split("|")), outcome.said


@pytest.mark.parametrize("engine", ENGINES)
def test_looking_shows_the_served_chain_of_a_server_that_nobody_trusts(engine: str, pki: Pki, tmp_path: Path) -> None:
    served = certificate(pki, "rds-ca-2019", days=-1)
    with serving(with_certificate(served, tmp_path, hang_up=True)(engine)) as bad:
        wire = look(engine, bad.port)
    assert [ssl.DER_cert_to_PEM_cert(der) for der in wire.chain] == [
        block + "-----END CERTIFICATE-----\n"
        for block in served.chain_pem.split("-----END CERTIFICATE-----\n")
        if block
    ]
    assert wire.version.startswith("TLSv1.")
    assert wire.cipher


def test_a_name_that_leads_nowhere_is_a_reason(pki: Pki, tmp_path: Path) -> None:
    roots = roots_file(tmp_path, pki, OLD)
    for engine in ENGINES:
        with pytest.raises(Unreachable):
            databases.ask(
                all_engines()[engine],
                host=NAME,
                address=("name.invalid", 5432),
                user="app",
                password=Secret(PASSWORD),
                roots_file=str(roots),
            )
