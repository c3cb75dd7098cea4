"""Engines: each file keeps its promises, and real servers are counted right where the naive query is wrong."""

from __future__ import annotations

import importlib
import pkgutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extras
import pymysql
import pytest
from practice import NAME, OLD, PASSWORDS, certificate, prepared, roots_file

from rdsca_helpers import engines
from rdsca_helpers.edge import databases
from rdsca_helpers.engines import Census, Engine, all_engines
from rdsca_helpers.errors import Unreachable
from rdsca_helpers.lab.pki import Pki
from rdsca_helpers.lab.servers import Server
from rdsca_helpers.model import Client, Confidence, Secret

MODULES = [m.name for m in pkgutil.iter_modules(engines.__path__)]
FOUND: list[Engine] = [importlib.import_module(f"rdsca_helpers.engines.{name}").ENGINE for name in MODULES]

# Conformance: every engine file that there is


def test_every_rds_name_belongs_to_one_engine() -> None:
    names = [name for engine in FOUND for name in engine.rds_names]
    assert len(names) == len(set(names))
    assert set(all_engines()) == set(names)
    assert len({e.name for e in FOUND}) == len(FOUND)


@pytest.mark.parametrize("engine", FOUND, ids=MODULES)
def test_an_engine_has_a_name_a_port_and_a_way_to_see_its_certificate(engine: Engine) -> None:
    assert engine.name in engine.rds_names
    assert all(name == name.lower().strip() for name in engine.rds_names)
    assert 1024 < engine.port < 49152
    assert callable(engine.connect)
    assert callable(engine.census)
    assert engine.starttls is None or callable(engine.starttls)


@pytest.mark.parametrize("name", MODULES)
def test_an_engine_file_says_in_its_first_line_what_it_is(name: str) -> None:
    module = importlib.import_module(f"rdsca_helpers.engines.{name}")
    assert (module.__doc__ or "").strip()
    assert Path(module.__file__ or "").stem == name == module.ENGINE.name.replace("-", "_")


@pytest.mark.parametrize("name", ["aurora-mysql", "aurora-postgresql", "mariadb", "mysql", "postgres", "aurora"])
def test_the_engines_that_the_lab_serves_are_known(name: str) -> None:
    assert name in all_engines()


def test_no_engine_imports_its_driver_before_it_connects() -> None:
    code = "import sys, rdsca_helpers.engines as e; e.all_engines(); print({'psycopg2', 'pymysql'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


# Real servers


@dataclass(frozen=True)
class Practice:
    """A real server with the roots that verify it, and the sessions that a test opens on it."""

    server: Server
    roots: Path
    engine: Engine

    def census(self, user: str = "rdsca_ro", password: str = PASSWORDS["rdsca_ro"]) -> Census:
        found, wire = databases.ask(
            self.engine,
            host=NAME,
            address=("127.0.0.1", self.server.port),
            user=user,
            password=Secret(password),
            roots_file=str(self.roots),
        )
        assert wire is None or len(wire.chain) == 3
        return found

    def login(self, *, tls: bool, user: str = "app", program: str = "shop", password: str = "") -> Any:
        password = password or PASSWORDS[user]
        if self.server.kind == "postgres":
            settings = {"sslmode": "verify-full", "sslrootcert": str(self.roots)} if tls else {"sslmode": "disable"}
            return psycopg2.connect(
                host=NAME,
                hostaddr="127.0.0.1",
                port=self.server.port,
                user=user,
                password=password,
                dbname="app" if user == "app" else "postgres",
                application_name=program,
                **settings,
            )
        how: dict[str, Any] = {"ssl": {"ca": str(self.roots)}} if tls else {"ssl_disabled": True}
        session = pymysql.connect(
            host=NAME, user=user, password=password, program_name=program, defer_connect=True, read_timeout=10, **how
        )
        session.connect(socket.create_connection(("127.0.0.1", self.server.port)))
        return session

    def user(self, name: str, *grants: str) -> None:
        """Make a user who may log in, with *grants* and no more; password "low"."""
        if self.server.kind == "postgres":
            statements = [f"create role {name} login password 'low'"]
        else:
            statements = [f"create user {name}@'%' identified by 'low'"]
        for statement in [*statements, *(g.replace("NAME", name) for g in grants)]:
            self.server.sql(statement)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"), regions=("eu-west-1",))


@pytest.fixture(scope="module")
def practice(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Practice]]:
    """Start each kind of server once, when first asked for."""
    templates, roots = tmp_path_factory.mktemp("templates"), roots_file(tmp_path_factory.mktemp("roots"), pki, OLD)
    started: dict[tuple[str, bool], Server] = {}

    def of(kind: str, *, performance_schema: bool = True) -> Practice:
        key = (kind, performance_schema)
        if key not in started:
            server = prepared(kind, templates, performance_schema=performance_schema)
            server.start(certificate(pki, OLD))
            started[key] = server
        return Practice(started[key], roots, all_engines()[kind])

    yield of
    for server in started.values():
        server.stop()


KINDS = ("postgres", "mariadb", "mysql")
MYSQLS = ("mariadb", "mysql")


def by_user(census: Census) -> dict[tuple[str, bool | None], int]:
    count: dict[tuple[str, bool | None], int] = {}
    for client in census.clients:
        count[client.user, client.tls] = count.get((client.user, client.tls), 0) + client.count
    return count


@pytest.mark.parametrize("kind", KINDS)
def test_tls_and_plain_sessions_are_counted_apart_and_our_own_are_not(
    practice: Callable[..., Practice], kind: str
) -> None:
    one = practice(kind)
    assert one.census().clients == ()
    with ExitStack() as open_sessions:
        for tls in (True, True, True, False, False):
            open_sessions.enter_context(closing(one.login(tls=tls)))
        open_sessions.enter_context(closing(one.login(tls=True, user="rdsca_ro", program="rdsca")))
        census = one.census()
        assert by_user(census) == {("app", True): 3, ("app", False): 2}
        assert census.confidence is Confidence.FULL
        assert census.remedy == ""
        (secure,) = [c for c in census.clients if c.tls]
        assert secure.version.startswith("TLSv1.")
        assert secure.cipher
        assert (secure.host, secure.program) == ("127.0.0.1", "shop")
        (bare,) = [c for c in census.clients if not c.tls]
        assert (bare.version, bare.cipher) == ("", "")
    assert one.census().clients == ()


@pytest.mark.parametrize("kind", KINDS)
def test_the_readonly_user_counts_as_a_client_when_somebody_else_uses_it(
    practice: Callable[..., Practice], kind: str
) -> None:
    one = practice(kind)
    with closing(one.login(tls=False, user="rdsca_ro", program="a person")):
        assert by_user(one.census()) == {("rdsca_ro", False): 1}


@pytest.mark.parametrize("kind", KINDS)
def test_background_and_administrator_sessions_are_no_clients(practice: Callable[..., Practice], kind: str) -> None:
    one = practice(kind)
    if kind == "postgres":
        assert one.server.sql("select 1 from pg_stat_activity where backend_type <> 'client backend'")
    else:
        one.server.sql("set global event_scheduler = on")
        assert one.server.sql("select 1 from information_schema.processlist where user = 'event_scheduler'")
    with closing(one.server._admin_session()) as session, session.cursor() as cursor:
        cursor.execute("select 1")
        assert one.census().clients == ()
    if kind != "postgres":
        one.server.sql("set global event_scheduler = off")


@pytest.mark.parametrize("kind", KINDS)
def test_program_names_of_any_letters_are_told_as_they_are(practice: Callable[..., Practice], kind: str) -> None:
    one = practice(kind)
    name = "it's %s <b>" if kind == "postgres" else "it's %s <b>é"
    with closing(one.login(tls=True, program=name)):
        (client,) = one.census().clients
        assert client.program == name


def test_a_postgres_user_without_pg_monitor_sees_others_as_unknown_and_says_so(
    practice: Callable[..., Practice],
) -> None:
    one = practice("postgres")
    one.user("low")
    with closing(one.login(tls=True)), closing(one.login(tls=False)):
        census = one.census("low", "low")
        assert by_user(census) == {("app", None): 2}
        assert census.confidence is Confidence.PARTIAL
        assert "pg_monitor" in census.remedy
        with closing(one.login(tls=True, user="low", password="low")) as session, session.cursor() as cursor:
            cursor.execute("select count(*) from pg_stat_ssl where ssl and pid <> pg_backend_pid()")
            assert cursor.fetchone() == (0,)  # what the naive query says of the TLS session that is there


def test_a_postgres_replication_client_is_a_client(practice: Callable[..., Practice]) -> None:
    one = practice("postgres")
    one.user("cdc", "alter role NAME replication")
    hba = one.server.folder / "data" / "pg_hba.conf"
    hba.write_text(hba.read_text() + "host replication all 127.0.0.1/32 scram-sha-256\n")
    one.server.sql("select pg_reload_conf()")
    settings = {"sslmode": "verify-full", "sslrootcert": str(one.roots), "application_name": "debezium"}

    def replicate() -> Any:
        return psycopg2.connect(
            host=NAME,
            hostaddr="127.0.0.1",
            port=one.server.port,
            user="cdc",
            password="low",
            connection_factory=psycopg2.extras.PhysicalReplicationConnection,
            **settings,
        )

    for _ in range(100):  # the server reads its file some time after the call
        with suppress(psycopg2.OperationalError):
            replicate().close()
            break
        time.sleep(0.05)
    session = replicate()
    with closing(session):
        assert by_user(one.census()) == {("cdc", True): 1}


@pytest.mark.parametrize("kind", MYSQLS)
def test_with_performance_schema_off_every_session_is_unknown_and_never_plain_or_none(
    practice: Callable[..., Practice], kind: str
) -> None:
    one = practice(kind, performance_schema=False)
    with closing(one.login(tls=True)), closing(one.login(tls=False)):
        census = one.census()
        assert by_user(census) == {("app", None): 2}
        assert census.confidence is Confidence.PARTIAL
        assert "performance_schema is OFF" in census.remedy
        with closing(one.login(tls=False, user="rdsca_ro")) as session, session.cursor() as cursor:
            cursor.execute("select count(*) from performance_schema.threads where connection_type = 'SSL/TLS'")
            assert cursor.fetchone() == (0,)  # what the naive query says of the TLS session that is there


@pytest.mark.parametrize("kind", MYSQLS)
def test_with_performance_schema_off_our_own_sessions_are_no_clients(
    practice: Callable[..., Practice], kind: str
) -> None:
    one = practice(kind, performance_schema=False)
    assert one.census().clients == ()


@pytest.mark.parametrize("kind", MYSQLS)
@pytest.mark.parametrize("performance_schema", [True, False])
def test_a_mysql_user_without_process_never_claims_to_have_seen_all(
    practice: Callable[..., Practice], kind: str, performance_schema: bool
) -> None:
    one = practice(kind, performance_schema=performance_schema)
    one.user("low", "grant select on performance_schema.* to NAME@'%'")
    try:
        with closing(one.login(tls=True)):
            census = one.census("low", "low")
            assert census.confidence is not Confidence.FULL
            assert "PROCESS" in census.remedy
            assert ("app", False) not in by_user(census)
            with closing(one.login(tls=False, user="low", password="low")) as session, session.cursor() as cursor:
                cursor.execute("select count(*) from information_schema.processlist where user = 'app'")
                assert cursor.fetchone() == (0,)  # what the naive query says of the session that is there
    finally:
        one.server.sql("drop user low")


@pytest.mark.parametrize("kind", MYSQLS)
def test_a_mysql_user_who_may_not_read_performance_schema_knows_nothing(
    practice: Callable[..., Practice], kind: str
) -> None:
    one = practice(kind)
    one.user("blind", "grant process on *.* to NAME@'%'")
    try:
        with closing(one.login(tls=True)):
            census = one.census("blind", "low")
            assert census.confidence is not Confidence.FULL
            assert ("app", False) not in by_user(census)
            assert "performance_schema" in census.remedy
    finally:
        one.server.sql("drop user blind")


@pytest.mark.parametrize(
    ("grants", "sees_all"),
    [
        (("grant process on *.* to NAME@'%'", "grant select on performance_schema.* to NAME@'%'"), True),
        (("grant all on *.* to NAME@'%'",), True),
        (("create database process", "grant all on process.* to NAME@'%'", "grant select on *.* to NAME@'%'"), False),
        (("grant select, process, replication client on *.* to NAME@'%'",), True),
    ],
)
@pytest.mark.parametrize("kind", MYSQLS)
def test_the_process_privilege_is_found_among_the_grants_and_not_in_names(
    practice: Callable[..., Practice], kind: str, grants: tuple[str, ...], sees_all: bool
) -> None:
    one = practice(kind)
    one.user("process", *grants)
    try:
        assert (one.census("process", "low").confidence is Confidence.FULL) == sees_all
    finally:
        one.server.sql("drop user process")
        one.server.sql("drop database if exists process")


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_password_is_one_attempt_with_a_reason_that_does_not_hold_it(
    practice: Callable[..., Practice], kind: str
) -> None:
    one = practice(kind)
    with pytest.raises(Unreachable) as refused:
        one.census("app", "wrong-horse-battery")
    assert "wrong-horse" not in str(refused.value)
    assert "app" in str(refused.value)


@pytest.mark.parametrize("kind", KINDS)
def test_looking_at_the_certificate_needs_no_password_and_does_not_get_the_host_blocked(
    practice: Callable[..., Practice], kind: str
) -> None:
    one = practice(kind)
    if kind != "postgres":
        one.server.sql("set global max_connect_errors = 3")
    for _ in range(8):
        assert len(databases.look(one.engine, host=NAME, address=("127.0.0.1", one.server.port)).chain) == 3
    assert isinstance(one.census(), Census)


def test_clients_are_grouped_so_that_many_sessions_are_few_rows(practice: Callable[..., Practice]) -> None:
    one = practice("postgres")
    with ExitStack() as open_sessions:
        for _ in range(20):
            open_sessions.enter_context(closing(one.login(tls=False)))
        (client,) = one.census().clients
    assert client == Client(user="app", host="127.0.0.1", program="shop", tls=False, count=20)
