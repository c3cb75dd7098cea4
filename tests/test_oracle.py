"""Oracle: the engine on the practice world's stand-in, and the stand-in judged by Oracle's own driver."""

from __future__ import annotations

import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import oracledb
import pytest
from conftest import AwsSide
from practice import NAME, NEW, OLD, PASSWORDS, REGION, certificate, put_behind, roots_file

import rdsca_helpers as rdsca
from rdsca_helpers import certs
from rdsca_helpers.edge import databases
from rdsca_helpers.edge.aws import Aws
from rdsca_helpers.engines import PROGRAM, Target, WatchfulContext, all_engines, oracle
from rdsca_helpers.errors import Unreachable
from rdsca_helpers.inventory import rows as inventory_rows
from rdsca_helpers.lab import world
from rdsca_helpers.lab.pki import Pki
from rdsca_helpers.lab.seed import BILLING, SHOP, WEST
from rdsca_helpers.lab.tns import SERVICE, StandIn
from rdsca_helpers.lab.wire import Wish
from rdsca_helpers.model import Client, Confidence, Instance, Secret, now
from rdsca_helpers.start import start

ENGINE = all_engines()["oracle-se2"]
TCP = "TCP/IP NT Protocol Adapter for Linux: Version 19.0.0.0.0 - Production"
TCPS = "TCP/IP with SSL NT Protocol Adapter for Linux: Version 19.0.0.0.0 - Production"
NNE = (
    TCP,
    "Encryption service for Linux: Version 19.0.0.0.0 - Production",
    "AES256 Encryption service adapter for Linux: Version 19.0.0.0.0 - Production",
    "Crypto-checksumming service for Linux: Version 19.0.0.0.0 - Production",
)


@dataclass(frozen=True)
class Practice:
    """The stand-in, the roots that verify it, and the driver's sessions that a test opens on it."""

    server: StandIn
    roots: Path
    folder: Path
    sessions: ExitStack = field(default_factory=ExitStack)

    def census(self, user: str = "rdsca_ro", roots: Path | None = None, host: str = NAME) -> Any:
        return databases.ask(
            ENGINE,
            host=host,
            address=("127.0.0.1", self.server.tls_port),
            user=user,
            password=Secret(PASSWORDS[user]),
            roots_file=str(roots or self.roots),
            database=SERVICE,
        )

    def client(self, user: str = "app", password: str = "", *, tls: bool = False, **options: Any) -> Any:
        """Log in as Oracle's own driver does, left to itself."""
        context = ssl.create_default_context(cafile=str(self.roots))
        words: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.server.tls_port if tls else self.server.port,
            "protocol": "tcps" if tls else "tcp",
            "service_name": SERVICE,
            "ssl_context": context,
            "ssl_server_dn_match": False,
            "tcp_connect_timeout": 20,
            "program": "shop",
        }
        return self.sessions.enter_context(
            closing(oracledb.connect(user=user, password=password or PASSWORDS[user], **words | options))
        )

    def appears(
        self, sid: int, *banners: str | None, user: str = "ERP", program: str = "erp", kind: str = "USER"
    ) -> None:
        """Put a session into the views that no client here could open."""
        self.server.sql(
            f"INSERT INTO \"v$session\" VALUES ({sid}, 1, ?, 'os', 'host', ?, NULL, ?)", user, program, kind
        )
        for banner in banners:
            value = "NULL" if banner is None else f"'{banner}'"
            self.server.sql(f'INSERT INTO "v$session_connect_info" VALUES ({sid}, 1, {value})')


@pytest.fixture
def practice(pki: Pki, tmp_path: Path) -> Iterator[Practice]:
    server = StandIn(PASSWORDS)
    server.start(certificate(pki, OLD))
    found = Practice(server, roots_file(tmp_path, pki, OLD), tmp_path)
    with found.sessions:
        yield found
    server.stop()


# --- the stand-in, judged by Oracle's own driver in its thin mode


def test_oracles_driver_logs_in_over_tls_and_in_clear_and_the_password_counts(practice: Practice) -> None:
    assert practice.client(tls=True).version == "19.0.0.0.0"
    assert practice.client(tls=False).version == "19.0.0.0.0"
    for user, password in (("app", "wrong"), ("nobody", "x"), ("rdsca_ro", PASSWORDS["app"])):
        with pytest.raises(oracledb.DatabaseError, match="ORA-01017"):
            practice.client(user, password)


def test_oracles_driver_reads_rows_of_many_packets_and_fetches(practice: Practice) -> None:
    practice.server.sql(
        "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 599) INSERT INTO "
        "\"v$session\" SELECT i, 1, 'U' || i, NULL, 'm', ?, '', 'USER' FROM n",
        "p" * 300,
    )
    cursor = practice.client("rdsca_ro").cursor()
    for _ in range(2):  # the second time by its number
        cursor.execute("SELECT sid, username, osuser, program FROM v$session WHERE sid >= 100 ORDER BY sid")
        assert cursor.fetchall() == [(i, f"U{i}", None, "p" * 300) for i in range(100, 600)]
    for number in (0, 1, 99, 100, 101, 65_536, 1_000_000, 123_456_789):
        assert cursor.execute(f"SELECT {number} FROM dual").fetchone() == (number,)


def test_a_client_with_much_to_say_of_itself_is_let_in(practice: Practice) -> None:
    practice.client(program="p" * 400)  # its connect data takes a packet of its own
    assert practice.server.sql("SELECT program FROM v$session WHERE username = 'APP'") == [("p" * 400,)]


def test_oracles_driver_is_refused_a_service_that_is_not_there(practice: Practice) -> None:
    with pytest.raises(oracledb.DatabaseError, match="DPY-6001"):  # ORA-12514
        practice.client(tls=True, service_name="NOWHERE")


def test_oracles_driver_rejects_a_root_that_is_not_in_its_wallet_and_another_name(practice: Practice, pki: Pki) -> None:
    wallet = practice.folder / "ewallet.pem"
    options = {"ssl_context": ssl.create_default_context(cafile=str(foreign_root(practice))), "tls": True}
    wallet.write_text(pki.root_pem(REGION, NEW))
    with pytest.raises(oracledb.DatabaseError, match=r"(?s)DPY-6005.*CERTIFICATE_VERIFY_FAILED"):
        practice.client(wallet_location=str(practice.folder), **options)
    wallet.write_text(pki.root_pem(REGION, OLD))
    with pytest.raises(oracledb.DatabaseError, match="DPY-6006"):
        practice.client(wallet_location=str(practice.folder), ssl_server_dn_match=True, **options)
    assert practice.client(wallet_location=str(practice.folder), **options).version


def foreign_root(practice: Practice) -> Path:
    """Give a store with a root that has signed nothing here, so that only the wallet decides."""
    other = practice.folder / "other.pem"
    other.write_text(Pki(practice.folder / "other-pki", [REGION]).root_pem(REGION, NEW))
    return other


# --- the login of the engine


def test_a_census_comes_with_the_chain_that_its_login_saw(practice: Practice) -> None:
    census, wire = practice.census()
    assert census.source == "v$session_connect_info"
    shown = [certs.read_der(der) for der in wire.chain]
    roots = [certs.read_der(ssl.PEM_cert_to_DER_cert(practice.roots.read_text()))]
    judged = certs.judge_chain(shown, roots, name=NAME, now=now())
    assert judged.trusted
    assert judged.name_ok
    assert wire.version == "TLSv1.3"


@pytest.mark.parametrize(
    ("host", "why"), [(NAME, "certificate verify failed"), ("other.example.com", "Hostname mismatch")]
)
def test_a_server_that_is_not_verified_gets_no_word_of_the_login(
    practice: Practice, pki: Pki, tmp_path: Path, host: str, why: str
) -> None:
    (tmp_path / "roots").mkdir()
    roots = practice.roots if host != NAME else roots_file(tmp_path / "roots", pki, NEW)
    with pytest.raises(Unreachable, match=why) as caught:
        practice.census(roots=roots, host=host)
    assert "CONNECTION_ID" not in str(caught.value)
    assert practice.server.log() == ""  # nothing came through the handshake


def test_a_wrong_password_is_named_and_not_shown(practice: Practice) -> None:
    with pytest.raises(Unreachable, match="ORA-01017") as caught:
        oracle.connect(target(practice.server.tls_port, practice.roots, "hunter-two"))
    assert "hunter-two" not in str(caught.value)


def test_a_new_certificate_shows_at_the_next_login_and_leaves_open_sessions_alone(practice: Practice, pki: Pki) -> None:
    session = practice.client("rdsca_ro", tls=True)
    _, before = practice.census()
    practice.server.serve(certificate(pki, NEW))
    with pytest.raises(Unreachable, match="certificate verify failed"):
        practice.census()
    _, after = practice.census(roots=roots_file(practice.folder, pki, OLD, NEW))
    assert before.chain[0] != after.chain[0]
    assert session.cursor().execute("SELECT 1 FROM dual").fetchone() == (1,)
    practice.server.restart()
    with pytest.raises(oracledb.DatabaseError):
        session.ping()


@pytest.mark.parametrize("speaks_tls", [False, True], ids=["silent from the start", "silent after its handshake"])
def test_a_silent_server_holds_the_login_up_for_its_timeout_only(pki: Pki, tmp_path: Path, *, speaks_tls: bool) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served = certificate(pki, OLD)
    file = tmp_path / "served.pem"
    file.write_text(served.chain_pem + served.key_pem)
    context.load_cert_chain(file)
    kept: list[socket.socket] = []

    def accept() -> None:
        sock, _ = listener.accept()
        kept.append(context.wrap_socket(sock, server_side=True) if speaks_tls else sock)

    threading.Thread(target=accept, daemon=True).start()
    began = time.monotonic()
    with pytest.raises(Unreachable):
        oracle.connect(target(listener.getsockname()[1], roots_file(tmp_path, pki, OLD), "x", timeout=0.5))
    assert time.monotonic() - began < 20
    for sock in (listener, *kept):
        sock.close()


def target(port: int, roots: Path, password: str, timeout: float = 10) -> Target:
    context = WatchfulContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=str(roots))
    return Target(NAME, ("127.0.0.1", port), "rdsca_ro", Secret(password), context, str(roots), timeout)


def test_a_socket_of_the_driver_can_be_cut_from_outside(pki: Pki, tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    aim = target(listener.getsockname()[1], roots_file(tmp_path, pki, OLD), "x", timeout=120)
    failed: list[Exception] = []

    def connect() -> None:
        try:
            oracle.connect(aim)
        except Unreachable as e:
            failed.append(e)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    peer, _ = listener.accept()
    peer.recv(1)  # its hello has come, so it waits for ours
    aim.opened[0].shutdown(socket.SHUT_RDWR)
    thread.join(60)
    assert failed
    for sock in (listener, peer):
        sock.close()


def test_a_missing_driver_is_said_in_one_line_with_the_way_to_get_it(
    practice: Practice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "oracledb", None)
    with pytest.raises(Unreachable, match=r'not installed; install it with: pip install "rdsca\[oracle\]"'):
        practice.census()


def test_the_chain_is_seen_without_a_password_too(practice: Practice) -> None:
    wire = databases.look(ENGINE, host=NAME, address=("127.0.0.1", practice.server.tls_port))
    assert wire.chain == practice.census()[1].chain
    with pytest.raises(Unreachable):
        databases.look(ENGINE, host=NAME, address=("127.0.0.1", practice.server.port))


# --- the census


def test_sessions_in_clear_and_over_tls_are_told_apart_and_our_own_is_no_client(practice: Practice) -> None:
    practice.client()
    practice.client()
    census, _ = practice.census()
    (shop,) = census.clients
    assert (shop.user, shop.program, shop.tls, shop.count) == ("APP", "shop", False, 2)
    assert shop.host == os.uname().nodename
    assert census.confidence is Confidence.FULL

    practice.client(tls=True)
    census, _ = practice.census()
    assert {(c.tls, c.count) for c in census.clients} == {(False, 2), (None, 1)}
    assert census.confidence is Confidence.PARTIAL  # it may be TLS, and nothing says that it is
    assert "listener log" in census.remedy


def test_a_session_with_native_encryption_is_one_session_and_not_tls(practice: Practice) -> None:
    practice.appears(500, *NNE)
    census, _ = practice.census()
    assert census.clients == (Client(user="ERP", host="host", program="erp", tls=False, count=1),)
    joined = "SELECT COUNT(*) FROM v$session s JOIN v$session_connect_info c ON c.sid = s.sid WHERE s.username = 'ERP'"
    assert practice.server.sql(joined) == [(4,)]  # what the naive query counts


def test_a_session_with_the_adapter_of_tls_is_tls(practice: Practice) -> None:
    practice.appears(500, TCPS)
    census, _ = practice.census()
    assert [(c.tls, c.count) for c in census.clients] == [(True, 1)]
    assert census.confidence is Confidence.FULL


def test_a_session_that_has_no_banner_or_no_row_of_them_is_unknown(practice: Practice) -> None:
    practice.appears(500, None)
    practice.appears(501, program="other")
    practice.appears(
        502, "AES256 Encryption service adapter for Linux: Version 19.0.0.0.0 - Production", program="third"
    )
    census, _ = practice.census()
    assert {c.program: c.tls for c in census.clients} == {"erp": None, "other": None, "third": None}
    assert census.confidence is Confidence.PARTIAL


def test_what_is_no_client_is_left_out_and_what_only_looks_like_it_is_kept(practice: Practice) -> None:
    for sid, user, program in [
        (500, "RDSADMIN", "agent"),
        (501, "SYS", "oracle@ip-10-0-0-1 (TNS V1-V3)"),
        (502, "ERP", "oracle@ip-10-0-0-1 (P001)"),
        (503, "ERP", "oracle@ip-10-0-0-1 (J000)"),
        (504, "ERP", PROGRAM),
    ]:
        practice.appears(sid, TCP, user=user, program=program)
    practice.appears(505, TCP, kind="BACKGROUND", program="oracle@ip-10-0-0-1 (ARC0)")
    kept = ["oracle@other-host (TNS V1-V3)", "batch (PROD)", "batch (JOBS)"]  # a database link is a client
    for n, program in enumerate(kept):
        practice.appears(600 + n, TCP, program=program)
    census, _ = practice.census()
    assert sorted(c.program for c in census.clients) == sorted(kept)


def test_without_the_privilege_nothing_is_counted_and_the_grant_is_named(practice: Practice) -> None:
    practice.client()
    census, _ = practice.census("app")
    assert (census.source, census.confidence, census.clients) == ("none", Confidence.NONE, ())
    assert "SELECT_CATALOG_ROLE" in census.remedy
    assert "V_$SESSION_CONNECT_INFO" in census.remedy


def session(adapter: str | None, *, own: int = 0, user: str = "ERP") -> tuple[Any, ...]:
    return user, "host", "erp", adapter, own, 1


def test_where_our_own_tls_session_shows_as_one_in_clear_nobody_is_said_to_be_in_clear() -> None:
    census = oracle.census_of([session(TCP, own=1), session(TCP), session(TCPS, user="B")])
    assert [c.tls for c in census.clients] == [None, True]
    assert census.confidence is Confidence.PARTIAL
    assert "banners do not tell TLS" in census.remedy


def test_where_our_own_session_is_not_seen_nobody_is_said_to_be_in_clear() -> None:
    census = oracle.census_of([session(TCP)])
    assert [c.tls for c in census.clients] == [None]
    assert census.confidence is Confidence.PARTIAL


def test_where_our_own_session_shows_as_tls_the_banners_are_believed() -> None:
    census = oracle.census_of([session(TCPS, own=1), session(TCP), session(TCPS, user="B")])
    assert [c.tls for c in census.clients] == [False, True]
    assert census.confidence is Confidence.FULL


# --- the listener log

LOG = """\
24-NOV-2026 10:00:00 * (CONNECT_DATA=(SID=ORCL)(CID=(PROGRAM=sqlplus)(HOST=bastion)(USER=ann))) * (ADDRESS=(PROTOCOL=tcps)(HOST=10.0.0.5)(PORT=40000)) * establish * ORCL * 0
24-NOV-2026 10:00:01 * (CONNECT_DATA=(SID=ORCL)(CID=(PROGRAM=sqlplus)(HOST=bastion)(USER=ann))) * (ADDRESS=(PROTOCOL=tcps)(HOST=10.0.0.5)(PORT=40001)) * establish * ORCL * 0
24-NOV-2026 10:00:02 * (CONNECT_DATA=(CID=(PROGRAM=JDBC Thin Client)(HOST=__jdbc__)(USER=app))(SERVICE_NAME=ORCL)) * (ADDRESS=(PROTOCOL=tcp)(HOST=10.0.0.6)(PORT=40002)) * establish * ORCL * 0
24-NOV-2026 10:00:03 * (CONNECT_DATA=(SID=ORCL)(CID=(PROGRAM=C:\\Apps (x86)\\toad.exe)(HOST=PC-7)(USER=bob))) * (ADDRESS=(PROTOCOL=TCPS)(HOST=10.0.0.7)(PORT=40003)) * establish * ORCL * 0
24-NOV-2026 10:00:04 * (CONNECT_DATA=(SID=ORCL)(CID=(PROGRAM=)(HOST=db)(USER=rdsdb))) * (ADDRESS=(PROTOCOL=tcp)(HOST=127.0.0.1)(PORT=40004)) * establish * ORCL * 0
24-NOV-2026 10:00:05 * (CONNECT_DATA=(SID=NIX)(CID=(PROGRAM=x)(HOST=h)(USER=u))) * (ADDRESS=(PROTOCOL=tcps)(HOST=10.0.0.8)(PORT=40005)) * establish * NIX * 12505
24-NOV-2026 10:00:06 * service_update * ORCL * 0
24-NOV-2026 10:00:07 * (CONNECT_DATA=(SID=ORCL)(CID=(PROGRAM=rdsca)(HOST=h)(USER=u))) * (ADDRESS=(PROTOCOL=tcps)(HOST=10.0.0.9)(PORT=40006)) * establish * ORCL * 0
TNS-12560: TNS:protocol adapter error
"""  # noqa: E501  a line of the log is a line


def test_the_listener_log_names_who_came_over_tls_and_who_in_clear() -> None:
    assert set(oracle.log_clients(LOG)) == {
        Client(user="ann", host="10.0.0.5", program="sqlplus", tls=True, count=2),
        Client(user="app", host="10.0.0.6", program="JDBC Thin Client", tls=False),
        Client(user="bob", host="10.0.0.7", program="C:\\Apps (x86)\\toad.exe", tls=True),
    }


def test_what_a_client_writes_into_the_listener_log_counts_for_nothing_else_than_itself() -> None:
    forged = "x) * (ADDRESS=(PROTOCOL=tcp)(HOST=6.6.6.6)(PORT=1)) * establish * ORCL * 0"
    line = LOG.splitlines()[0].replace("sqlplus", forged)
    assert {(c.host, c.tls) for c in oracle.log_clients(line)} == {("10.0.0.5", True)}
    refused = LOG.splitlines()[5].replace("* NIX *", f"* {forged} *")
    assert oracle.log_clients(refused) == ()


@pytest.mark.parametrize("filling", ["(", "(PROGRAM=", " * ", ")(HOST=", "(CID=(PROGRAM=(CID="])
def test_a_hostile_listener_log_takes_no_time(filling: str) -> None:
    began = time.monotonic()
    for length in (16_000, 2_000_000):
        oracle.log_clients(LOG.splitlines()[0].replace("sqlplus", filling * (length // len(filling))))
        oracle.log_clients(filling * (length // len(filling)))
    assert time.monotonic() - began < 10


def test_the_stand_ins_own_log_is_read_like_that(practice: Practice) -> None:
    practice.client()
    practice.client(tls=True)
    log = practice.server.log()
    assert oracle.log_clients(log) == ()  # all from this machine, where RDS has its agent
    clients = oracle.log_clients(log.replace("127.0.0.1", "10.0.0.1"))
    assert sorted((c.host, c.program, c.tls) for c in clients) == [
        ("10.0.0.1", "shop", False),
        ("10.0.0.1", "shop", True),
    ]


# --- the option group decides whether there is TLS at all


def inventoried(aws: Aws, region: str, name: str) -> Instance:
    facts, _ = aws.region_facts(region)
    return next(row for row in inventory_rows(facts, now=now()) if row.instance == name)


def test_the_ssl_option_gives_the_port_of_tls_and_its_absence_says_that_nobody_uses_it(profile: AwsSide) -> None:
    shop, billing = Aws(profile="lab", account=SHOP), Aws(profile="lab", account=BILLING, role="rdsca")
    stock = inventoried(shop, WEST, "stock-oracle")
    settings = shop.settings_of(stock, ENGINE.settings_in, ENGINE.settings)
    assert oracle.by_settings(settings) is None
    assert (oracle.tls_port(settings), stock.port, stock.database) == (2484, 1521, "ORCL")

    tax = inventoried(billing, WEST, "tax-oracle")
    settings = billing.settings_of(tax, ENGINE.settings_in, ENGINE.settings)
    census = oracle.by_settings(settings)
    assert census is not None
    assert (census.confidence, [c.tls for c in census.clients]) == (Confidence.FULL, [False])
    assert "SSL option" in census.source
    with pytest.raises(Unreachable, match="no SSL option"):
        oracle.tls_port(settings)


@pytest.mark.parametrize("status", ["applying", "pending-apply", "removing", "failed"])
def test_options_that_are_not_in_sync_say_nothing(profile: AwsSide, status: str) -> None:
    stock = profile.world.region(SHOP, WEST).instances["stock-oracle"]
    stock.facts["OptionGroupMemberships"][0]["Status"] = status
    aws = Aws(profile="lab", account=SHOP)
    settings = aws.settings_of(inventoried(aws, WEST, "stock-oracle"), ENGINE.settings_in, ENGINE.settings)
    census = oracle.by_settings(settings)
    assert census is not None
    assert (census.source, census.confidence) == ("none", Confidence.NONE)


def test_an_instance_between_two_option_groups_says_nothing(profile: AwsSide) -> None:
    stock = profile.world.region(SHOP, WEST).instances["stock-oracle"]
    stock.facts["OptionGroupMemberships"] *= 2
    aws = Aws(profile="lab", account=SHOP)
    row = inventoried(aws, WEST, "stock-oracle")
    assert aws.settings_of(row, "option_group", ("SSL",)) == {"SSL": "unknown"}


def test_a_group_is_read_once_for_all_its_instances_and_a_refusal_is_not_no(profile: AwsSide) -> None:
    aws = Aws(profile="lab", account=SHOP)
    row = inventoried(aws, WEST, "stock-oracle")
    for n in range(5):
        aws.settings_of(replace(row, instance=f"stock-{n}"), "option_group", ("SSL",))
    assert [c.action for c in profile.world_calls()].count("DescribeOptionGroups") == 1
    with pytest.raises(Unreachable, match="which option group"):
        aws.settings_of(replace(row, option_group=None), "option_group", ("SSL",))
    with pytest.raises(Exception, match="OptionGroupNotFoundFault"):
        aws.settings_of(replace(row, option_group="gone"), "option_group", ("SSL",))


# --- the runbook


def test_where_no_login_is_possible_the_listener_log_tells_and_never_the_whole_truth(
    profile: AwsSide, templates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = profile.world.region(SHOP, WEST).instances["stock-oracle"]
    with put_behind(profile, tmp_path / "profile", templates, [Wish(instance, "oracle")]):
        (file,) = _log_after_a_client(profile, instance)
        file.write_text(
            "24-NOV-2026 10:00:00 * (CONNECT_DATA=(CID=(PROGRAM=erp)(HOST=app1)(USER=svc))) * "
            "(ADDRESS=(PROTOCOL=tcps)(HOST=10.0.0.5)(PORT=40000)) * establish * ORCL * 0\n"
        )
        monkeypatch.setenv("RDSCA_TEST_PASSWORD", "wrong")
        login = {"credentials": "env:RDSCA_TEST_PASSWORD", "db_user": "rdsca_ro"}
        run = start("02-sessions", {"run_dir": str(tmp_path / "run"), "regions": WEST, **login})
        found = rdsca.discover(run)
        only = replace(found, rows=tuple(r for r in found.rows if r.instance == "stock-oracle"))
        (row,) = rdsca.check_sessions(run, only).rows
    assert (row.source, row.confidence) == ("listener log", Confidence.PARTIAL)
    assert [(c.user, c.host, c.program, c.tls) for c in row.clients] == [("svc", "10.0.0.5", "erp", True)]
    assert "ORA-01017" in row.remedy
    assert "last day" in row.remedy


def _log_after_a_client(aws: AwsSide, instance: world.Instance) -> list[Path]:
    """Let one client come, so that the listener has a log."""
    way = next(way for name, way in aws.world.wire.endpoints().items() if name.endswith(":1521"))
    with pytest.raises(oracledb.DatabaseError):
        oracledb.connect(user="app", password="wrong", dsn=f"tcp://{way}/{SERVICE}")
    return list(aws.world.wire.logs(instance).values())
