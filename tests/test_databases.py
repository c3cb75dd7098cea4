"""Deadlines and refusals: loopback servers that behave badly never hold us up and never get the password."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bad_servers import BEHAVIOURS, Bad, Behaviour, bad_server, drip_bytes, hear, hear_all, open_talk, serving
from practice import NAME, NEW, OLD, certificate, roots_file

from rdsca_helpers.edge import databases
from rdsca_helpers.edge.databases import THREAD
from rdsca_helpers.engines import all_engines
from rdsca_helpers.errors import Unreachable
from rdsca_helpers.lab.pki import Pki, Served
from rdsca_helpers.model import Secret

PASSWORD = "correct-horse-battery"
PATIENT = 12.0
ENGINES = ("postgres", "mysql", "mariadb")
DRIVERS = (*ENGINES, "sqlserver-ee", "oracle-ee")
# Oracle's TLS begins with the first byte, so there is no yes before it and no no.
NOT_THERE = {("oracle-ee", "no_tls"), ("oracle-ee", "plaintext_behind_the_yes")}


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"), regions=("eu-west-1",))


def context_with(served: Served, folder: Path) -> ssl.SSLContext:
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_text(served.chain_pem)
    key.write_text(served.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context


def with_certificate(served: Served, folder: Path, *, hang_up: bool = False) -> Callable[[str], Behaviour]:
    """Finish the TLS handshake with *served*, and listen to what comes inside."""
    context = context_with(served, folder)

    def for_engine(engine: str) -> Behaviour:
        def behave(peer: socket.socket, bad: Bad) -> None:
            open_talk(peer, bad, engine)
            with context.wrap_socket(peer, server_side=True) as tls:
                hear(tls, bad) if hang_up else hear_all(tls, bad)

        return behave

    return for_engine


def dripping_inside(served: Served, folder: Path, engine: str) -> Behaviour:
    """Finish the TLS handshake, and answer the login byte by byte without an end."""
    finish = context_with(served, folder)

    def behave(peer: socket.socket, bad: Bad) -> None:
        open_talk(peer, bad, engine)
        with finish.wrap_socket(peer, server_side=True) as tls:
            hear(tls, bad)
            drip_bytes(tls, b"R\0\0\x10\0" if engine == "postgres" else b"\xff\x10\0\x03", 0.6)

    return behave


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


def attempt(engine: str, server: AbstractContextManager[Bad], roots: Path) -> Outcome:
    with server as bad:
        began = time.monotonic()
        try:
            ask(engine, bad.port, roots)
            said = ""
        except Unreachable as e:
            said = str(e)
        return Outcome(time.monotonic() - began, said, bytes(bad.heard))


CASES = [(e, b) for e in DRIVERS for b in ("refused", "blackhole", *BEHAVIOURS) if (e, b) not in NOT_THERE]
INSIDE = [(e, "dripping_inside") for e in ENGINES]


@pytest.fixture(scope="module")
def outcomes(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Outcome]:
    """Meet all the bad servers at the same time: each may take its ten seconds."""
    folder = tmp_path_factory.mktemp("bad")
    roots, trusted = roots_file(folder, pki, OLD), certificate(pki, OLD)
    servers = [bad_server(name, engine) for engine, name in CASES]
    servers += [serving(dripping_inside(trusted, folder, engine)) for engine, _ in INSIDE]
    cases = [*CASES, *INSIDE]
    with ThreadPoolExecutor(len(cases)) as pool:
        found = pool.map(attempt, [engine for engine, _ in cases], servers, [roots] * len(cases))
        return dict(zip(cases, found, strict=True))


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_a_bad_server_ends_in_time_with_a_reason_and_without_the_password(
    outcomes: dict[tuple[str, str], Outcome], case: tuple[str, str]
) -> None:
    outcome = outcomes[case]
    assert outcome.seconds < PATIENT
    assert len(outcome.said) >= len("timed out")
    assert "\n" not in outcome.said
    assert PASSWORD not in outcome.said
    assert PASSWORD.encode() not in outcome.heard
    assert b"app\0" not in outcome.heard


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_only_a_server_that_offers_no_tls_is_said_to_offer_none(
    outcomes: dict[tuple[str, str], Outcome], case: tuple[str, str]
) -> None:
    words = outcomes[case].said.lower()
    none = any(w in words for w in ("no tls", "doesn't support", "does not support ssl"))
    assert none == (case[1] == "no_tls"), words


@pytest.mark.parametrize("engine", ENGINES)
def test_a_login_that_is_answered_byte_by_byte_inside_tls_is_cut(
    outcomes: dict[tuple[str, str], Outcome], engine: str
) -> None:
    outcome = outcomes[engine, "dripping_inside"]
    assert outcome.heard
    assert outcome.seconds < PATIENT
    assert outcome.said
    assert PASSWORD not in outcome.said


def test_no_driver_is_left_behind_with_a_bad_server(outcomes: dict[tuple[str, str], Outcome]) -> None:
    deadline = time.monotonic() + 30  # on a loaded machine the last one takes a while to be cut
    while (left := [t for t in threading.enumerate() if t.name == THREAD]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


@pytest.mark.parametrize("engine", DRIVERS)
def test_a_port_where_nobody_listens_is_refused_at_once(outcomes: dict[tuple[str, str], Outcome], engine: str) -> None:
    assert outcomes[engine, "refused"].seconds < PATIENT
    assert "connection refused" in outcomes[engine, "refused"].said.lower()


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
    outcome = attempt(engine, serving(with_certificate(served, tmp_path)(engine)), roots_file(tmp_path, pki, OLD))
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
