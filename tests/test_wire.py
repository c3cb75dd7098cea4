"""The probe against real servers, bad ones, old ones, and MySQL's count of connection errors."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pymysql
import pytest
from bad_servers import BEHAVIOURS, Bad, bad_server, greeting, hear, hear_all, obstacle_of, packet, serving
from practice import NAME, NEW, OLD, PASSWORDS, REGION, certificate, prepared

from rdsca_helpers.edge import wire
from rdsca_helpers.engines import Engine, Wire, all_engines
from rdsca_helpers.errors import Obstacle, Unreachable
from rdsca_helpers.lab import tds, tns
from rdsca_helpers.lab.pki import Pki, Served
from rdsca_helpers.lab.servers import KINDS, Server

DEADLINE = 1.0
PATIENT = 5.0  # the deadline, and what a loaded machine takes besides
LIMIT = 3  # max_connect_errors of the practice servers here
TLS_FROM_THE_FIRST_BYTE = "docdb"


def probe(engine: str, port: int, deadline: float = 10) -> Wire:
    return wire.probe(all_engines()[engine], host=NAME, address=("127.0.0.1", port), deadline=deadline)


def pems(found: Wire) -> str:
    return "".join(ssl.DER_cert_to_PEM_cert(der) for der in found.chain)


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, templates: Path, pki: Pki) -> Iterator[Server]:
    """A real server that counts connection errors, as skip_name_resolve would keep it from doing."""
    server = prepared(request.param, templates, options=[f"--max-connect-errors={LIMIT}"])
    server.start(certificate(pki, OLD))
    yield server
    server.stop()


# What real servers show


def _wrong_name(pki: Pki) -> Served:
    now = datetime.now(UTC)
    return pki.issue(REGION, OLD, ["other.example.org"], now - timedelta(days=1), now + timedelta(days=9))


CERTIFICATES: dict[str, Callable[[Pki], Served]] = {
    "old": lambda pki: certificate(pki, OLD),
    "rsa4096": lambda pki: certificate(pki, "rds-ca-rsa4096-g1"),
    "ecc384": lambda pki: certificate(pki, NEW),
    "wrong name": _wrong_name,
    "expired": lambda pki: certificate(pki, "rds-ca-2019", days=-1),
}


@pytest.mark.parametrize("state", CERTIFICATES)
def test_the_chain_is_the_one_that_the_server_was_given_and_openssl_sees(server: Server, pki: Pki, state: str) -> None:
    served = CERTIFICATES[state](pki)
    server.serve(served)
    found = probe(server.kind, server.port)
    assert pems(found) == served.chain_pem
    assert found.version == "TLSv1.3"
    protocol = "postgres" if server.kind == "postgres" else "mysql"
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-starttls", protocol, "-showcerts"]
    seen = subprocess.run(command, input="", capture_output=True, text=True, timeout=20, check=False).stdout
    blocks = [b.partition("-----END CERTIFICATE-----")[0] for b in seen.split("-----BEGIN CERTIFICATE-----")[1:]]
    assert ["".join(b.split()) for b in blocks[:3]] == [
        "".join(b.partition("-----END")[0].split()) for b in served.chain_pem.split("-----BEGIN CERTIFICATE-----")[1:]
    ]
    assert found.cipher in seen


@pytest.mark.parametrize("server", ["postgres"], indirect=True)
def test_postgresql_logs_nothing_of_a_probe(server: Server) -> None:
    log = server.folder / "server.log"
    before = log.read_text()
    for _ in range(10):
        probe("postgres", server.port)
    time.sleep(0.3)
    assert log.read_text() == before


# MySQL and MariaDB are not harmed

APPLICATIONS_HOST = "127.0.0.2"  # errors from 127.0.0.1 are never counted


@contextmanager
def from_the_applications_host(port: int) -> Iterator[int]:
    """Give a port that leads to *port*, where all that comes through it seems to come from the applications' host."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def pump(source: socket.socket, target: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    target.sendall(data)
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_WR)

        def forward(client: socket.socket) -> None:
            with client, socket.create_connection(("127.0.0.1", port), source_address=(APPLICATIONS_HOST, 0)) as way:
                back = threading.Thread(target=pump, args=(way, client), daemon=True)
                back.start()
                pump(client, way)
                back.join(10)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=forward, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


def handshake_and_go(port: int) -> None:
    """Look at the certificate as the usual tools do: shake hands and go, without finishing the login."""
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        plain.recv(4096)
        plain.sendall(b"\x20\0\0\x01" + (0x8AA01).to_bytes(4, "little") + b"\0\0\0\1\x21" + bytes(23))
        with unverified.wrap_socket(plain):
            pass


def application_logs_in(port: int) -> None:
    pymysql.connect(
        host="127.0.0.1",
        port=port,
        bind_address=APPLICATIONS_HOST,
        user="app",
        password=PASSWORDS["app"],
        ssl_disabled=True,
        connect_timeout=10,
    ).close()


def errors_of(server: Server) -> list[int]:
    """Give what the server holds against the applications' host."""
    found = server.sql(
        "select sum_connect_errors, count_handshake_errors from performance_schema.host_cache where ip = %s",
        APPLICATIONS_HOST,
    )
    return [int(n) for row in found for n in row]


def aborted(server: Server) -> int:
    return int(server.sql("show global status like 'Aborted_connects'")[0][1])


def until_refused(port: int) -> None:
    """Break off handshakes until the applications are refused; the server counts when it has noticed."""
    deadline = time.monotonic() + 10
    with from_the_applications_host(port) as way:
        while time.monotonic() < deadline:
            for _ in range(LIMIT):
                with contextlib.suppress(OSError):  # once the host is refused
                    handshake_and_go(way)
            application_logs_in(port)


@pytest.fixture
def counting(server: Server) -> Iterator[Server]:
    try:
        socket.getnameinfo((APPLICATIONS_HOST, 0), socket.NI_NAMEREQD)
    except socket.gaierror as e:
        if e.errno != socket.EAI_NONAME:
            pytest.skip("no name server answers, so MySQL keeps no count: let resolv.conf name one that does")
    server.sql("flush hosts" if server.kind == "mariadb" else "truncate table performance_schema.host_cache")
    yield server
    server.sql("flush hosts" if server.kind == "mariadb" else "truncate table performance_schema.host_cache")


MYSQLS = pytest.mark.parametrize("server", ["mariadb", "mysql"], indirect=True)


@MYSQLS
def test_applications_on_the_probing_host_keep_working_after_many_more_probes_than_errors_are_allowed(
    counting: Server,
) -> None:
    before = aborted(counting)
    with from_the_applications_host(counting.port) as way:
        for _ in range(10 * LIMIT):
            assert len(probe(counting.kind, way).chain) == 3
    deadline = time.monotonic() + 10
    while aborted(counting) < before + 10 * LIMIT and time.monotonic() < deadline:
        time.sleep(0.1)
    assert aborted(counting) == before + 10 * LIMIT
    assert errors_of(counting) == [0, 0]
    application_logs_in(counting.port)


@MYSQLS
def test_handshakes_that_are_broken_off_get_the_applications_on_their_host_refused(counting: Server) -> None:
    with pytest.raises(pymysql.OperationalError, match="1129"):
        until_refused(counting.port)


def test_a_host_that_is_blocked_already_is_told_so() -> None:
    def behave(peer: socket.socket, bad: Bad) -> None:
        peer.sendall(packet(b"\xff\x69\x04Host is blocked"))
        hear_all(peer, bad)

    with serving(behave) as bad, pytest.raises(Unreachable, match="1129 Host is blocked") as told:
        probe("mysql", bad.port)
    assert told.value.obstacle is Obstacle.TURNED_AWAY


@pytest.mark.parametrize("engine", ["mysql", "mariadb"])
def test_a_server_without_tls_gets_a_whole_login_too(engine: str) -> None:
    with bad_server("no_tls", engine) as bad:
        with pytest.raises(Unreachable, match="offers no TLS"):
            probe(engine, bad.port, DEADLINE)
        assert bad.heard[3] == 1
        assert bad.heard[36:] == b"rdsca_probe\0\0mysql_native_password\0"
        assert not int.from_bytes(bad.heard[4:8], "little") & 0x800


def test_an_endpoint_has_a_budget_of_probes() -> None:
    budget = wire.Budget(limit=2)
    for _ in range(2):
        budget.spend(("db", 3306))
    budget.spend(("other", 3306))
    with pytest.raises(Unreachable, match="2 times"):
        budget.spend(("db", 3306))


# Bad servers

CASES = [
    (engine, name)
    for engine in ("postgres", "mysql", TLS_FROM_THE_FIRST_BYTE)
    for name in ("refused", "blackhole", *BEHAVIOURS)
    if engine != TLS_FROM_THE_FIRST_BYTE or name not in ("no_tls", "plaintext_behind_the_yes", "garbage_in_tls")
]


@pytest.fixture(scope="module")
def met() -> dict[tuple[str, str], tuple[float, Unreachable]]:
    """Meet all bad servers at once, each with one second of patience."""

    def meet(case: tuple[str, str]) -> tuple[float, Unreachable]:
        engine, name = case
        with bad_server(name, engine) as bad:
            began = time.monotonic()
            with pytest.raises(Unreachable) as raised:
                probe(engine, bad.port, DEADLINE)
            return time.monotonic() - began, raised.value

    with ThreadPoolExecutor(len(CASES)) as pool:
        return dict(zip(CASES, pool.map(meet, CASES), strict=True))


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_a_bad_server_is_told_by_its_kind_in_time(
    met: dict[tuple[str, str], tuple[float, Unreachable]], case: tuple[str, str]
) -> None:
    seconds, told = met[case]
    assert told.obstacle is obstacle_of(case[1]), told
    assert seconds < PATIENT


def test_each_kind_of_bad_server_has_words_of_its_own(met: dict[tuple[str, str], tuple[float, Unreachable]]) -> None:
    words: dict[str, set[Obstacle | None]] = {}
    for _, told in met.values():
        words.setdefault(told.what, set()).add(told.obstacle)
    assert len({o for kinds in words.values() for o in kinds}) == 10
    assert all(len(kinds) == 1 for kinds in words.values())


@pytest.mark.parametrize("name", ["name.invalid", "x" * 70 + ".invalid", "two..dots"])
def test_a_name_that_leads_nowhere_is_told_as_such(name: str) -> None:
    with pytest.raises(Unreachable) as told:
        wire.probe(all_engines()["postgres"], host=NAME, address=(name, 5432), deadline=PATIENT)
    assert told.value.obstacle is Obstacle.UNRESOLVED


def test_a_server_that_stays_silent_after_the_chain_was_shown_takes_nothing_of_it_away(
    pki: Pki, tmp_path: Path
) -> None:
    context = server_context(certificate(pki, OLD), tmp_path)

    def behave(peer: socket.socket, bad: Bad) -> None:
        peer.sendall(greeting(tls=True))
        peer.recv(36, socket.MSG_WAITALL)
        with context.wrap_socket(peer, server_side=True) as tls:
            hear_all(tls, bad)

    with serving(behave) as bad:
        began = time.monotonic()
        assert len(probe("mysql", bad.port, DEADLINE).chain) == 3
        assert time.monotonic() - began < PATIENT


# Old servers, and TLS inside other packets


def server_context(served: Served, folder: Path) -> ssl.SSLContext:
    (folder / "chain.pem").write_text(served.chain_pem)
    (folder / "key.pem").write_text(served.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    return context


def after_the_yes(context: ssl.SSLContext) -> Callable[[socket.socket, Bad], None]:
    def behave(peer: socket.socket, bad: Bad) -> None:
        hear(peer, bad)
        peer.sendall(b"S")
        with context.wrap_socket(peer, server_side=True) as tls:
            tls.recv(1)

    return behave


@pytest.mark.parametrize(("newest", "name"), [("TLSv1", "TLSv1"), ("TLSv1_1", "TLSv1.1"), ("TLSv1_2", "TLSv1.2")])
def test_a_server_with_nothing_newer_is_read_and_its_protocol_told(
    pki: Pki, tmp_path: Path, newest: str, name: str
) -> None:
    served = certificate(pki, OLD)
    context = server_context(served, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old protocols are the point here
        context.minimum_version = context.maximum_version = ssl.TLSVersion[newest]
    context.set_ciphers("ALL:@SECLEVEL=0")
    with serving(after_the_yes(context)) as bad:
        found = probe("postgres", bad.port)
    assert found.version == name
    assert pems(found) == served.chain_pem


def test_the_probe_warns_of_nothing() -> None:
    code = "import warnings; warnings.simplefilter('error'); import rdsca_helpers.edge.wire"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


class Wrapped:
    """A channel whose every message travels in a packet of another protocol, as SQL Server has it."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._waiting = b""

    def send(self, data: bytes) -> None:
        self._channel.send(len(data).to_bytes(2) + data)

    def receive(self, count: int) -> bytes:
        while len(self._waiting) < count:
            self._waiting += self._channel.receive(int.from_bytes(self._channel.receive(2)))
        data, self._waiting = self._waiting[:count], self._waiting[count:]
        return data


def test_tls_inside_packets_of_another_protocol_is_read_by_the_same_code(pki: Pki, tmp_path: Path) -> None:
    served = certificate(pki, NEW)
    context = server_context(served, tmp_path)
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    def behave(peer: socket.socket, bad: Bad) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        done = False
        while not done:
            try:
                tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            data = outgoing.read()
            for part in (data[i : i + 500] for i in range(0, len(data), 500)):
                peer.sendall(len(part).to_bytes(2) + part)
            if not done:
                incoming.write(peer.recv(int.from_bytes(peer.recv(2, socket.MSG_WAITALL)), socket.MSG_WAITALL))
        hear_all(peer, bad)

    engine: Engine = replace(all_engines()["postgres"], starttls=Wrapped)
    with serving(behave) as bad:
        found = wire.probe(engine, host=NAME, address=("127.0.0.1", bad.port), deadline=10)
    assert pems(found) == served.chain_pem
    assert found.version == "TLSv1.2"


@pytest.mark.parametrize("strict", [False, True], ids=["TDS 7", "TDS 8 only"])
def test_sql_servers_chain_is_read_in_both_ways_that_it_speaks_tls(pki: Pki, strict: bool) -> None:
    served = certificate(pki, "rds-ca-rsa4096-g1")
    stand_in = tds.StandIn(PASSWORDS)
    stand_in.strict = strict
    stand_in.start(served)
    try:
        assert pems(probe("sqlserver-ee", stand_in.port)) == served.chain_pem
    finally:
        stand_in.stop()


def test_oracles_chain_is_read_on_its_port_of_tls_and_the_other_one_has_none(pki: Pki) -> None:
    served = certificate(pki, OLD)
    stand_in = tns.StandIn(PASSWORDS)
    stand_in.start(served)
    try:
        assert pems(probe("oracle-ee", stand_in.tls_port)) == served.chain_pem
        with pytest.raises(Unreachable) as told:
            probe("oracle-ee", stand_in.port)
    finally:
        stand_in.stop()
    assert told.value.obstacle in (Obstacle.WRONG_PROTOCOL, Obstacle.RESET)


def test_a_name_with_two_addresses_is_reached_by_the_one_that_answers(pki: Pki, tmp_path: Path) -> None:
    context = server_context(certificate(pki, OLD), tmp_path)
    with serving(after_the_yes(context)) as bad:  # it listens on 127.0.0.1 only; localhost is ::1 as well
        found = wire.probe(all_engines()["postgres"], host=NAME, address=("localhost", bad.port), deadline=10)
    assert len(found.chain) == 3


def test_a_probe_leaves_no_descriptor_open() -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("this system does not list open descriptors under /proc/self/fd")
    with bad_server("garbage", "postgres") as bad:
        before = len(list(descriptors.iterdir()))
        for _ in range(20):
            with pytest.raises(Unreachable):
                probe("postgres", bad.port)
        time.sleep(0.5)  # the server closes its side in threads
        assert len(list(descriptors.iterdir())) < before + 10
