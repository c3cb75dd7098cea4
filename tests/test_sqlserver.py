"""SQL Server: the census, the verified login and the served chain, on a stand-in that independent drivers judge."""

from __future__ import annotations

import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from conftest import RunningLab, typed
from practice import NAME, NEW, OLD, PASSWORDS, certificate, roots_file

from rdsca_helpers.edge import databases, wire
from rdsca_helpers.engines import Census, Target, WatchfulContext, all_engines, seen_by, sqlserver
from rdsca_helpers.errors import Obstacle, Unreachable
from rdsca_helpers.lab import control
from rdsca_helpers.lab.clients import Client as BackgroundClient
from rdsca_helpers.lab.clients import Endpoint
from rdsca_helpers.lab.pki import Pki
from rdsca_helpers.lab.tds import StandIn
from rdsca_helpers.model import Client, Confidence, Secret

BIG = "rds-ca-rsa4096-g1"
ENGINE = all_engines()["sqlserver-se"]
JOIN = """
SELECT c.encrypt_option, s.program_name FROM sys.dm_exec_connections c
JOIN sys.dm_exec_sessions s ON s.session_id = c.session_id
"""
MINE = JOIN + " WHERE c.session_id = @@SPID"


@pytest.fixture
def server(pki: Pki) -> Iterator[StandIn]:
    """Start a stand-in with a certificate of the old CA."""
    stand_in = StandIn(PASSWORDS)
    stand_in.start(certificate(pki, OLD))
    yield stand_in
    stand_in.stop()


@pytest.fixture
def roots(pki: Pki, tmp_path: Path) -> Path:
    """Write the trust store that verifies it."""
    return roots_file(tmp_path, pki, OLD)


def census(server: StandIn, roots: Path, user: str = "rdsca_ro", password: str = "", host: str = NAME) -> Census:
    """Take the census as rdsca does, with the real driver."""
    found, shown = databases.ask(
        ENGINE,
        host=host,
        address=("127.0.0.1", server.port),
        user=user,
        password=Secret(password or PASSWORDS[user]),
        roots_file=str(roots),
    )
    assert shown
    assert len(shown.chain) == 3
    return found


def target(port: int, roots: Path, timeout: float = 5.0) -> Target:
    context = WatchfulContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=roots)
    password = Secret(PASSWORDS["rdsca_ro"])
    return Target(NAME, ("127.0.0.1", port), "rdsca_ro", password, context, str(roots), timeout)


# The judges: drivers that know nothing of us


def by_pytds(server: StandIn, user: str = "app", program: str = "shop") -> Any:
    """Log in with python-tds, which without a trust store does not encrypt."""
    pytds = pytest.importorskip("pytds", reason="python-tds is missing: pip install 'rdsca[sqlserver]'")
    return pytds.connect(dsn="127.0.0.1", port=server.port, user=user, password=PASSWORDS[user], appname=program)


def by_pymssql(server: StandIn, user: str = "app", program: str = "shop", encryption: str = "require") -> Any:
    """Log in with pymssql (FreeTDS): "require" encrypts everything, "request" the login alone."""
    pymssql = pytest.importorskip("pymssql", reason="pymssql is missing: pip install 'rdsca[dev]'")
    return pymssql.connect(
        server="127.0.0.1",
        port=str(server.port),
        user=user,
        password=PASSWORDS[user],
        appname=program,
        encryption=encryption,
        login_timeout=5,
    )


def asked(session: Any, statement: str) -> list[tuple[Any, ...]]:
    with closing(session.cursor()) as cursor:
        cursor.execute(statement)
        return [tuple(row) for row in cursor.fetchall()]


@pytest.mark.parametrize(
    ("login", "force_ssl", "encrypted"),
    [
        (lambda s: by_pytds(s, "rdsca_ro", "judge"), False, "FALSE"),
        (lambda s: by_pymssql(s, "rdsca_ro", "judge", "request"), False, "FALSE"),
        (lambda s: by_pymssql(s, "rdsca_ro", "judge"), False, "TRUE"),
        (lambda s: by_pymssql(s, "rdsca_ro", "judge", "request"), True, "TRUE"),
        (lambda s: by_pymssql(s, "rdsca_ro", "judge"), True, "TRUE"),
    ],
    ids=["python-tds", "pymssql", "pymssql-tls", "pymssql-forced", "pymssql-tls-forced"],
)
@pytest.mark.parametrize("ca", [OLD, BIG])
def test_independent_drivers_log_in_to_the_stand_in_and_run_the_join(
    server: StandIn, pki: Pki, *, ca: str, login: Callable[[StandIn], Any], force_ssl: bool, encrypted: str
) -> None:
    server.serve(certificate(pki, ca))
    server.force_ssl = force_ssl
    with closing(login(server)) as session:
        assert asked(session, MINE) == [(encrypted, "judge")]
        session.commit()
        assert asked(session, "SELECT count(*) FROM orders") == [(3,)]
    assert server.logins == ["rdsca_ro"]


def test_a_statement_can_also_be_called_for(server: StandIn) -> None:
    with closing(by_pytds(server, "rdsca_ro")) as session, closing(session.cursor()) as cursor:
        cursor.callproc("sp_executesql", (MINE,))
        assert cursor.fetchall() == [("FALSE", "shop")]


def test_rds_force_ssl_keeps_clients_without_tls_out(server: StandIn) -> None:
    server.force_ssl = True
    with pytest.raises(Exception, match="encryption"):
        by_pytds(server)
    assert server.logins == []


ODBC = """
import json, mssql_python, os, sys
for encrypt in ("yes", "strict"):
    session = mssql_python.connect(os.environ["TO"] + f";Encrypt={encrypt}")
    cursor = session.cursor()
    cursor.execute(sys.argv[1])
    print(json.dumps([list(row) for row in cursor.fetchall()]))
    session.close()
"""


def test_microsofts_own_driver_verifies_and_logs_in_by_tds_7_and_tds_8(server: StandIn, pki: Pki, roots: Path) -> None:
    why = "mssql-python is missing: pip install mssql-python, and Debian's libltdl7 and libgssapi-krb5-2"
    pytest.importorskip("mssql_python", reason=why)
    to = f"SERVER=127.0.0.1,{server.port};UID=rdsca_ro;PWD={PASSWORDS['rdsca_ro']};HostNameInCertificate={NAME}"

    def run(trusted: Path) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "SSL_CERT_FILE": str(trusted), "TO": to}
        return subprocess.run(
            [sys.executable, "-c", ODBC, MINE], env=env, capture_output=True, text=True, check=False, timeout=60
        )

    done = run(roots)
    if "Failed to load the driver" in done.stderr:
        pytest.skip(why)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [[["TRUE", "MSSQL-Python"]]] * 2
    server.serve(certificate(pki, NEW))
    assert "certificate verify failed" in run(roots).stderr


# The census


def test_tls_and_plain_sessions_are_counted_apart_and_our_own_are_not(server: StandIn, roots: Path) -> None:
    assert census(server, roots) == Census("sys.dm_exec_connections", Confidence.FULL, ())
    with ExitStack() as open_sessions:
        for _ in range(3):
            open_sessions.enter_context(closing(by_pymssql(server)))
        for _ in range(2):
            open_sessions.enter_context(closing(by_pytds(server)))
        open_sessions.enter_context(closing(by_pymssql(server, program="batch", encryption="request")))
        open_sessions.enter_context(closing(by_pytds(server, "rdsca_ro", "rdsca")))
        found = census(server, roots)
    assert sorted(found.clients, key=lambda c: c.count) == [
        Client(user="app", host="127.0.0.1", program="batch", tls=False, count=1),
        Client(user="app", host="127.0.0.1", program="shop", tls=False, count=2),
        Client(user="app", host="127.0.0.1", program="shop", tls=True, count=3),
    ]


def test_the_readonly_user_counts_as_a_client_when_somebody_else_uses_it(server: StandIn, roots: Path) -> None:
    with closing(by_pytds(server, "rdsca_ro", "a person")):
        assert [c.user for c in census(server, roots).clients] == ["rdsca_ro"]


@pytest.mark.parametrize("bare", [False, True])
def test_a_client_that_calls_itself_rdsca_is_a_client(server: StandIn, roots: Path, bare: bool) -> None:
    if bare:
        server.version = "16.0"
        server.grants = {"rdsca_ro": {"VIEW SERVER PERFORMANCE STATE"}}
    with closing(by_pytds(server, program="rdsca")), closing(by_pytds(server, "rdsca_ro", "rdsca")):
        assert [(c.user, c.program, c.count) for c in census(server, roots).clients] == [("app", "rdsca", 1)]


def test_a_client_with_the_name_and_login_of_rdsca_from_elsewhere_is_a_client(server: StandIn, roots: Path) -> None:
    server.sql("INSERT INTO sys.dm_exec_sessions VALUES (900, 'web-1', 'rdsca', 'rdsca_ro', 'rdsca_ro', 1)")
    server.sql("INSERT INTO sys.dm_exec_connections VALUES (900, 'TCP', 'TRUE', 'SQL', '10.0.0.9', 'c', NULL)")
    assert [(c.user, c.host) for c in census(server, roots).clients] == [("rdsca_ro", "10.0.0.9")]


def test_a_session_in_clear_is_no_proof_that_its_client_does_not_check_the_certificate(
    server: StandIn, roots: Path
) -> None:
    with closing(by_pymssql(server)):
        assert (census(server, roots).confidence, census(server, roots).remedy) == (Confidence.FULL, "")
        with closing(by_pytds(server)):
            found = census(server, roots)
    assert found.confidence is Confidence.PARTIAL
    assert "may check the certificate at the login" in found.remedy


def connection_of(server: StandIn, program: str) -> tuple[int, str]:
    ((number, connection),) = server.sql(
        "SELECT s.session_id, c.connection_id FROM sys.dm_exec_sessions s "
        "JOIN sys.dm_exec_connections c ON c.session_id = s.session_id WHERE s.program_name = ?",
        program,
    )
    return number, connection


def test_a_session_with_mars_is_one_session_with_the_tls_of_its_parent(server: StandIn, roots: Path) -> None:
    with closing(by_pymssql(server)), closing(by_pytds(server, "rdsca_ro", "person")) as person:
        number, parent = connection_of(server, "shop")
        for child in ("child 1", "child 2"):
            server.sql(
                "INSERT INTO sys.dm_exec_connections VALUES (?, 'Session', 'FALSE', 'SQL', '127.0.0.1', ?, ?)",
                number,
                child,
                parent,
            )
        naive = asked(person, JOIN + " WHERE s.login_name = 'app'")
        assert sorted(naive) == [("FALSE", "shop"), ("FALSE", "shop"), ("TRUE", "shop")]
        (client,) = [c for c in census(server, roots).clients if c.user == "app"]
        assert (client.tls, client.count) == (True, 1)


def test_a_mars_session_whose_parent_is_not_shown_is_unknown(server: StandIn, roots: Path) -> None:
    with closing(by_pytds(server)):
        server.sql("UPDATE sys.dm_exec_connections SET parent_connection_id = 'gone' WHERE net_transport = 'TCP'")
        assert [c.tls for c in census(server, roots).clients] == [None]


def test_sessions_of_rds_and_of_the_server_itself_are_no_clients(server: StandIn, roots: Path) -> None:
    for number, login in enumerate(("rdsa", "NT SERVICE\\SQLSERVERAGENT", "NT AUTHORITY\\SYSTEM"), 900):
        server.sql("INSERT INTO sys.dm_exec_sessions VALUES (?, 'EC2AMAZ', 'agent', ?, ?, 1)", number, login, login)
    server.sql("INSERT INTO sys.dm_exec_sessions VALUES (910, NULL, NULL, 'sales', 'sales', 0)")
    assert server.sql("SELECT count(*) FROM sys.dm_exec_sessions WHERE login_name = 'rdsadmin'") == [(1,)]
    with closing(by_pytds(server, "rdsca_ro", "person")) as person:
        assert len(asked(person, "SELECT login_name FROM sys.dm_exec_sessions")) > 5  # what the naive query counts
        assert [c.program for c in census(server, roots).clients] == ["person"]


def test_a_session_is_told_by_who_connected_not_by_whom_it_acts_as(server: StandIn, roots: Path) -> None:
    with closing(by_pytds(server)):
        server.sql("UPDATE sys.dm_exec_sessions SET login_name = 'rdsadmin' WHERE login_name = 'app'")  # EXECUTE AS
        assert [c.user for c in census(server, roots).clients] == ["app"]


def test_empty_columns_hide_no_session_and_one_without_a_connection_is_unknown(server: StandIn, roots: Path) -> None:
    server.sql("INSERT INTO sys.dm_exec_sessions VALUES (900, 'web-1', NULL, 'app', 'app', 1)")
    server.sql("INSERT INTO sys.dm_exec_sessions VALUES (901, NULL, NULL, 'app', 'app', 1)")
    server.sql("INSERT INTO sys.dm_exec_connections VALUES (901, 'TCP', 'TRUE', 'SQL', NULL, 'c', NULL)")
    naive = server.sql(JOIN + " WHERE s.program_name <> 'rdsca' AND s.login_name = 'app'")
    assert naive == []
    assert sorted(census(server, roots).clients, key=lambda c: c.host) == [
        Client(user="app", host="", tls=True),
        Client(user="app", host="web-1", tls=None),
    ]


def test_without_view_server_state_nobody_is_counted_and_the_grant_is_named(server: StandIn, roots: Path) -> None:
    with closing(by_pymssql(server)), closing(by_pytds(server, program="person")) as person:
        found = census(server, roots, "app")
        assert (found.source, found.confidence, found.clients) == ("none", Confidence.NONE, ())
        assert "GRANT VIEW SERVER STATE TO" in found.remedy
        # What the naive queries say of the TLS session that is there:
        assert asked(person, "SELECT program_name FROM sys.dm_exec_sessions") == [("person",)]
        with pytest.raises(Exception, match="VIEW SERVER STATE permission was denied"):
            asked(person, JOIN)


def test_a_permission_that_turns_out_to_be_too_little_is_no_defect(server: StandIn, roots: Path) -> None:
    server._database.create_function("HAS_PERMS_BY_NAME", 3, lambda *_: 1)
    found = census(server, roots, "app")
    assert (found.source, found.confidence) == ("none", Confidence.NONE)


@pytest.mark.parametrize(
    ("grants", "confidence", "seen"),
    [
        ({"VIEW SERVER PERFORMANCE STATE", "VIEW SERVER SECURITY STATE"}, Confidence.FULL, [True]),
        ({"VIEW SERVER STATE"}, Confidence.FULL, [True]),
        ({"VIEW SERVER PERFORMANCE STATE"}, Confidence.PARTIAL, [None]),
        ({"VIEW SERVER SECURITY STATE"}, Confidence.NONE, []),
    ],
)
def test_with_the_permissions_of_2022_what_is_not_shown_is_unknown(
    pki: Pki, roots: Path, grants: set[str], confidence: Confidence, seen: list[bool | None]
) -> None:
    server = StandIn(PASSWORDS, version="16.0")
    server.grants = {"rdsca_ro": grants}
    server.start(certificate(pki, OLD))
    try:
        with closing(by_pymssql(server)):
            found = census(server, roots)
    finally:
        server.stop()
    assert found.confidence is confidence
    assert [c.tls for c in found.clients] == seen
    assert ("GRANT VIEW SERVER" in found.remedy) == (confidence is not Confidence.FULL)


def test_clients_are_grouped_so_that_many_sessions_are_few_rows(server: StandIn, roots: Path) -> None:
    server.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 20999) "
        "INSERT INTO sys.dm_exec_sessions SELECT i, 'web', 'shop', 'app', 'app', 1 FROM n"
    )
    assert census(server, roots).clients == (Client(user="app", host="web", program="shop", tls=None, count=20_000),)


def test_program_names_of_any_letters_are_told_as_they_are(server: StandIn, roots: Path) -> None:
    with closing(by_pytds(server, program="it's %s <b>é")):
        assert [c.program for c in census(server, roots).clients] == ["it's %s <b>é"]


# The login


@pytest.mark.parametrize(
    ("ca", "host", "days", "reason"),
    [
        (NEW, NAME, 300, "self-signed certificate in certificate chain"),
        (OLD, "payments." + NAME.partition(".")[2], 300, "Hostname mismatch"),
        (OLD, NAME, -1, "certificate has expired"),
    ],
    ids=["unknown root", "wrong name", "expired"],
)
def test_what_cannot_be_verified_gets_no_login(
    server: StandIn, pki: Pki, roots: Path, *, ca: str, host: str, days: float, reason: str
) -> None:
    server.serve(certificate(pki, ca, days))
    with pytest.raises(Unreachable, match=reason):
        census(server, roots, host=host)
    assert server.logins == []


def test_a_server_without_tls_gets_no_login(server: StandIn, roots: Path) -> None:
    server.offers_tls = False
    with pytest.raises(Unreachable, match="offers no TLS"):
        census(server, roots)
    with closing(by_pytds(server)):
        assert server.logins == ["app"]  # and that was not us


def test_a_login_that_is_sent_to_another_server_ends_there(server: StandIn, pki: Pki, roots: Path) -> None:
    other = StandIn(PASSWORDS)
    other.start(certificate(pki, OLD))
    server.redirect = ("127.0.0.1", other.port)
    try:
        with pytest.raises(Unreachable, match="sends logins to another server"):
            census(server, roots)
        assert other.logins == []
    finally:
        other.stop()


def test_a_wrong_password_is_one_attempt_with_a_reason_that_does_not_hold_it(server: StandIn, roots: Path) -> None:
    with pytest.raises(Unreachable) as refused:
        census(server, roots, "app", "wrong-horse-battery")
    assert str(refused.value) == "Login failed for user 'app'."
    assert server.logins == ["app"]


def test_a_server_that_is_not_ready_is_asked_once_and_quoted(server: StandIn, roots: Path) -> None:
    server.starting = True
    with pytest.raises(Unreachable, match=r"^SQL Server is not ready to accept new client connections\.$"):
        census(server, roots)
    assert server.logins == ["rdsca_ro"]


def test_without_the_driver_it_says_what_to_install(
    server: StandIn, roots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pytds", None)
    with pytest.raises(Unreachable, match="need the driver python-tds") as missing:
        census(server, roots)
    assert 'pip install "rdsca[sqlserver]"' in missing.value.remedy


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_silent_server_is_given_up(silent: int, roots: Path) -> None:
    began = time.monotonic()
    with pytest.raises(Unreachable, match="did not answer"):
        sqlserver.connect(target(silent, roots, timeout=0.3))
    with pytest.raises(Unreachable) as given_up:
        wire.probe(ENGINE, host=NAME, address=("127.0.0.1", silent), deadline=0.3)
    assert given_up.value.obstacle is Obstacle.SILENT
    assert time.monotonic() - began < 10


def test_a_server_that_falls_silent_after_the_handshake_is_given_up(server: StandIn, roots: Path) -> None:
    with server._lock:  # it cannot let anybody in
        began = time.monotonic()
        with pytest.raises(Unreachable, match="did not answer"):
            sqlserver.connect(target(server.port, roots, timeout=0.5))
        assert time.monotonic() - began < 10


def test_a_session_that_is_cut_ends_with_a_reason(server: StandIn, roots: Path) -> None:
    connection = sqlserver.connect(target(server.port, roots))
    server.restart()
    with pytest.raises(ConnectionResetError, match="it closed the connection"):
        sqlserver.census(connection)


# The served chain


@pytest.mark.parametrize("ca", [OLD, BIG, NEW])
def test_the_chain_is_read_through_tds_7(server: StandIn, pki: Pki, ca: str) -> None:
    served = certificate(pki, ca)
    server.serve(served)
    shown = wire.probe(ENGINE, host=NAME, address=("127.0.0.1", server.port), deadline=5)
    assert [ssl.DER_cert_to_PEM_cert(der) for der in shown.chain] == split(served.chain_pem)
    assert shown.version == "TLSv1.2"
    assert server.logins == []


def split(pem: str) -> list[str]:
    end = "-----END CERTIFICATE-----\n"
    return [part + end for part in pem.split(end)[:-1]]


def test_a_chain_larger_than_a_packet_comes_in_packets_of_4096_bytes(server: StandIn, pki: Pki) -> None:
    server.serve(certificate(pki, BIG))
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
        channel = Recording(sock)
        inside = sqlserver.starttls(channel)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = unverifying().wrap_bio(incoming, outgoing, server_hostname=NAME)
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        inside.send(outgoing.read())
        while len(channel.packets) < 3:
            head = inside.receive(5)
            inside.receive(int.from_bytes(head[3:]))
    assert channel.packets[1] == 4096
    assert channel.packets[2] < 4096


class Recording:
    """A channel on a socket that notes the lengths of TDS packets."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.packets: list[int] = []

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def receive(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.sock.recv(count - len(data))
            assert more, "it closed the connection"
            data += more
        if count == 8:
            self.packets.append(int.from_bytes(data[2:4]))
        return data


def unverifying() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize("ca", [OLD, BIG])
def test_the_chain_is_read_from_the_first_byte_by_the_name_of_tds_8(server: StandIn, pki: Pki, ca: str) -> None:
    served = certificate(pki, ca)
    server.serve(served)
    server.strict = True
    context = unverifying()
    context.set_alpn_protocols([ENGINE.alpn])
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock,
        context.wrap_socket(sock, server_hostname=NAME) as tls,
    ):
        assert tls.selected_alpn_protocol() == "tds/8.0"
        assert [ssl.DER_cert_to_PEM_cert(der) for der in seen_by(tls).chain] == split(served.chain_pem)


def test_the_probe_tries_tds_8_where_tds_7_is_closed_on(server: StandIn, pki: Pki) -> None:
    served = certificate(pki, NEW)
    server.serve(served)
    server.strict = True
    shown = wire.probe(ENGINE, host=NAME, address=("127.0.0.1", server.port), deadline=5)
    assert [ssl.DER_cert_to_PEM_cert(der) for der in shown.chain] == split(served.chain_pem)
    assert shown.version == "TLSv1.3"


def test_a_server_without_tls_is_told_from_one_that_does_not_answer(server: StandIn) -> None:
    server.offers_tls = False
    with pytest.raises(Unreachable) as found:
        wire.probe(ENGINE, host=NAME, address=("127.0.0.1", server.port), deadline=5)
    assert found.value.obstacle is Obstacle.NO_TLS


def packet(kind: int, content: bytes, *, last: bool = True, length: int | None = None) -> bytes:
    return struct.pack(">BBHI", kind, last, len(content) + 8 if length is None else length, 0) + content


AGREED = packet(4, bytes([1, 0, 6, 0, 1, 255, 1]))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "this is not a SQL Server"),
        (packet(4, b"", length=3), "this is not a SQL Server"),
        (packet(4, b"\xff"), "this is not a SQL Server"),
        (packet(4, bytes([1, 255, 255, 0, 1, 255, 1])), "this is not a SQL Server"),
        (packet(4, bytes(4000), last=False) * 17, "a TDS message without end"),
        (AGREED + packet(18, bytes(4000), last=False) * 17, "a TDS message without end"),
        (AGREED + packet(4, bytes(16)), "this is not a SQL Server"),
    ],
    ids=["http", "short length", "no options", "wild place", "endless answer", "endless handshake", "clear text"],
)
def test_what_is_no_sql_server_is_given_up_early(answer: bytes, reason: str) -> None:
    def serve(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client:
            client.recv(100)
            client.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        with socket.create_connection(listener.getsockname(), timeout=5) as sock:
            channel = Recording(sock)
            with pytest.raises(ConnectionError, match=reason):
                sqlserver.starttls(channel).receive(60_000 + 10_000)
        thread.join()


# The stand-in itself


def test_a_new_certificate_leaves_sessions_alone_and_a_restart_cuts_them(server: StandIn, pki: Pki) -> None:
    with closing(by_pytds(server, "rdsca_ro", "first")) as session:
        server.serve(certificate(pki, NEW))
        assert asked(session, MINE) == [("FALSE", "first")]
        server.restart()
        with pytest.raises(Exception, match="closed"):
            asked(session, MINE)
    for _ in range(100):
        if server.sql("SELECT count(*) FROM sys.dm_exec_sessions WHERE program_name = 'first'") == [(0,)]:
            break
        time.sleep(0.05)
    else:
        pytest.fail("a session that was cut is still shown")
    with closing(by_pytds(server)):
        assert server.logins == ["rdsca_ro", "app"]


def test_after_a_stop_nobody_answers_and_a_start_takes_the_same_port(server: StandIn, pki: Pki) -> None:
    port = server.port
    server.stop()
    assert server.pid == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    server.start(certificate(pki, OLD))
    assert (server.port, server.pid) == (port, os.getpid())
    with closing(by_pytds(server)):
        pass


def until(seen: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not seen():
        time.sleep(0.05)
    return seen()


@pytest.mark.parametrize("tls", ["verify-full", "disable"])
def test_an_application_of_the_practice_world_keeps_a_session_and_comes_back(
    server: StandIn, roots: Path, tls: str
) -> None:
    client = BackgroundClient(
        "pricing-api", Endpoint("sqlserver", NAME, server.port, "app", PASSWORDS["app"]), tls, roots
    )
    client.start()
    try:
        assert until(lambda: client.state.queries > 0), client.state
        (seen,) = census(server, roots).clients
        assert (seen.user, seen.program) == ("app", "pricing-api")
        assert seen.tls is client.state.tls is (tls == "verify-full")
        server.restart()
        assert until(lambda: client.state.reconnects == 1), client.state
    finally:
        client.stop()
    assert not client._thread.is_alive()


def test_an_application_that_does_not_trust_the_new_ca_fails_until_its_store_does(
    server: StandIn, pki: Pki, roots: Path
) -> None:
    endpoint = Endpoint("sqlserver", NAME, server.port, "app", PASSWORDS["app"])
    client = BackgroundClient("pricing-api", endpoint, "verify-full", roots)
    client.start()
    try:
        assert until(lambda: client.state.queries > 0), client.state
        server.serve(certificate(pki, NEW))
        server.restart()
        assert until(lambda: client.state.last_error == "SSLCertVerificationError"), client.state
        roots_file(roots.parent, pki, OLD, NEW)
        assert until(lambda: client.state.connected), client.state
    finally:
        client.stop()


def test_the_practice_world_has_one_and_calls_it_a_stand_in(lab: RunningLab) -> None:
    (row,) = [c for c in (control.status(lab.folder) or {})["children"] if c["kind"] == "sqlserver"]
    assert (row["instance"], row["pid"]) == ("pricing-mssql", (control.status(lab.folder) or {})["pid"])
    assert f"sqlserver {row['version']} behind pricing-mssql" in typed("lab", "status", "--dir", str(lab.folder)).out
    assert "practice sqlserver: a stand-in" in typed("doctor", "--profile", "lab").out
    assert "stand-in" in row["version"]
    shown = wire.probe(ENGINE, host=row["endpoint"], address=("127.0.0.1", row["port"]), deadline=5)
    assert len(shown.chain) == 3
