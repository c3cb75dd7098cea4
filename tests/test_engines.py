"""Engines: each file keeps its promises, and real servers are counted right where the naive query is wrong."""

from __future__ import annotations

import importlib
import os
import pkgutil
import socket
import ssl
import struct
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg2
import psycopg2.extras
import pymysql
import pytest
from practice import NAME, NEW, OLD, PASSWORDS, certificate, prepared, roots_file

from rdsca_helpers import engines
from rdsca_helpers.edge import databases
from rdsca_helpers.engines import Census, Counters, Engine, Target, WatchfulContext, all_engines, delta, mysql, postgres
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
    assert any(name == engine.name or name.startswith(f"{engine.name}-") for name in engine.rds_names)
    assert all(name == name.lower().strip() for name in engine.rds_names)
    assert 1024 < engine.port < 49152
    assert engine.starttls is None or callable(engine.starttls)
    assert engine.counters is None or callable(engine.counters)


@pytest.mark.parametrize("engine", FOUND, ids=MODULES)
def test_an_engine_tells_of_its_sessions_by_a_login_or_by_its_settings(engine: Engine) -> None:
    assert (engine.connect is None) == (engine.census is None)
    assert callable(engine.census) or callable(engine.by_settings)
    assert engine.connect or engine.starttls, "its certificate could not be seen"


@pytest.mark.parametrize("engine", [e for e in FOUND if e.extra], ids=lambda e: e.name)
def test_the_extra_that_brings_a_driver_is_one_that_rdsca_has(engine: Engine) -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert engine.extra in project["project"]["optional-dependencies"]


@pytest.mark.parametrize("name", MODULES)
def test_an_engine_file_says_in_its_first_line_what_it_is(name: str) -> None:
    module = importlib.import_module(f"rdsca_helpers.engines.{name}")
    assert (module.__doc__ or "").strip()
    assert Path(module.__file__ or "").stem == name == module.ENGINE.name.replace("-", "_")


@pytest.mark.parametrize("name", ["aurora-mysql", "aurora-postgresql", "mariadb", "mysql", "postgres", "aurora"])
def test_the_engines_that_the_lab_serves_are_known(name: str) -> None:
    assert name in all_engines()


def test_no_engine_imports_its_driver_before_it_connects() -> None:
    drivers = {"mssql_python", "oracledb", "psycopg2", "pymssql", "pymysql", "pytds"}
    code = f"import sys, rdsca_helpers.engines as e; e.all_engines(); print({drivers} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


# Real servers


def eventually(condition: Callable[[], Any]) -> Any:
    """Wait until *condition* holds, and give what it gave."""
    for _ in range(400):
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it never became true")


@dataclass(frozen=True)
class Practice:
    """A real server with the roots that verify it, and the sessions that a test opens on it."""

    server: Server
    roots: Path
    engine: Engine

    def present(self) -> set[int]:
        """Give the numbers of the sessions that came over the network, those that are just leaving included."""
        if self.server.kind == "postgres":
            found = self.server.sql("select pid from pg_stat_activity where client_port > 0")
        else:
            found = self.server.sql("select id from information_schema.processlist where host like '%:%'")
        return {row[0] for row in found}

    @contextmanager
    def leaving_nothing(self) -> Iterator[None]:
        """Wait at the end until the sessions that began within are gone: a server takes its time for that."""
        before = self.present()
        yield
        eventually(lambda: self.present() <= before)

    def census(self, user: str = "rdsca_ro", password: str = PASSWORDS["rdsca_ro"]) -> Census:
        with self.leaving_nothing():
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

    @contextmanager
    def connection(
        self, user: str = "rdsca_ro", password: str = PASSWORDS["rdsca_ro"], timeout: float = 8.0
    ) -> Iterator[Any]:
        """Log in as rdsca itself does."""
        context = WatchfulContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=self.roots)
        address = ("127.0.0.1", self.server.port)
        assert self.engine.connect
        target = Target(NAME, address, user, Secret(password), context, str(self.roots), timeout)
        with self.leaving_nothing(), closing(self.engine.connect(target)) as connection:
            yield connection

    def run_as(self, user: str, *statements: str) -> None:
        """Run *statements* as *user*, whose password is "low"."""
        with (
            self.leaving_nothing(),
            closing(self.login(tls=False, user=user, password="low")) as session,
            session.cursor() as cursor,
        ):
            for statement in statements:
                cursor.execute(statement)

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
    started: dict[tuple[str, bool, bool], Server] = {}

    def of(kind: str, *, performance_schema: bool = True, special: bool = False) -> Practice:
        key = (kind, performance_schema, special)
        if key not in started:
            options = SPECIAL[kind] if special else OPTIONS.get((kind, performance_schema), OPTIONS["all"])
            server = prepared(kind, templates, performance_schema=performance_schema, options=options)
            server.start(certificate(pki, OLD))
            started[key] = server
        one = Practice(started[key], roots, all_engines()[kind])
        eventually(lambda: not one.present())
        return one

    yield of
    for server in started.values():
        server.stop()


LOGGED = ("--log-bin=bin", "--server-id=7")
OPTIONS: dict[Any, tuple[str, ...]] = {
    "all": ("--skip-name-resolve", *LOGGED),
    ("mysql", False): ("--skip-name-resolve", "--bind-address=127.0.0.1,::1", *LOGGED),
    ("mariadb", False): LOGGED,
}
# Names of hosts are resolved, so that there is a host cache; MariaDB has little room in performance_schema besides.
SPECIAL = {
    "mysql": (),
    "mariadb": ("--performance-schema-max-thread-instances=30", "--performance-schema-session-connect-attrs-size=0"),
}
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
        open_sessions.enter_context(one.connection())
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
    eventually(lambda: one.census().clients == ())


@pytest.mark.parametrize("kind", KINDS)
def test_the_readonly_user_counts_as_a_client_when_somebody_else_uses_it(
    practice: Callable[..., Practice], kind: str
) -> None:
    one = practice(kind)
    with closing(one.login(tls=False, user="rdsca_ro", program="a person")):
        assert by_user(one.census()) == {("rdsca_ro", False): 1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_calls_itself_rdsca_is_a_client(practice: Callable[..., Practice], kind: str) -> None:
    one = practice(kind)
    with closing(one.login(tls=True, program="rdsca")), one.connection():
        census = one.census()
        assert [(c.user, c.program, c.tls, c.count) for c in census.clients] == [("app", "rdsca", True, 1)]
        assert census.confidence is Confidence.FULL


def test_a_postgres_client_with_the_name_and_user_of_rdsca_from_elsewhere_is_a_client(
    practice: Callable[..., Practice],
) -> None:
    one = practice("postgres")
    hba = one.server.folder / "data" / "pg_hba.conf"
    before = hba.read_text()
    hba.write_text(before + "local all rdsca_ro trust\n")
    one.server.sql("select pg_reload_conf()")
    settings: dict[str, Any] = {"host": str(one.server.folder), "port": one.server.port, "dbname": "postgres"}

    def login() -> Any:
        with suppress(psycopg2.OperationalError):
            return psycopg2.connect(user="rdsca_ro", application_name="rdsca", **settings)

    with closing(eventually(login)):
        assert [(c.user, c.host) for c in one.census().clients] == [("rdsca_ro", "[local]")]
    hba.write_text(before)
    one.server.sql("select pg_reload_conf()")


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
    name = "it's %s <b>" if kind == "postgres" else "it's %s <b>é\0"
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


# The traps of MySQL and MariaDB, each with the query that falls into it

ON_AND_OFF = pytest.mark.parametrize("performance_schema", [True, False], ids=["on", "off"])
EVERY_MYSQL = pytest.mark.parametrize("kind", MYSQLS)


def asked(one: Practice, query: str, user: str = "rdsca_ro", password: str = "") -> list[tuple[Any, ...]]:
    """Give what the naive *query* says to the very user that rdsca logs in as."""
    with (
        one.leaving_nothing(),
        closing(one.login(tls=False, user=user, password=password, program="naive")) as session,
        session.cursor() as cursor,
    ):
        cursor.execute(query)
        return list(cursor.fetchall())


class Bent:
    """A connection to a real server of another version: *words* are changed on their way to it."""

    def __init__(self, connection: Any, words: dict[str, str]) -> None:
        self._connection, self._words = connection, words

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        with self._connection.cursor() as cursor:
            execute = cursor.execute

            def bent(query: str) -> Any:
                for word, other in self._words.items():
                    query = query.replace(word, other)
                return execute(query)

            cursor.execute = bent
            yield cursor


@EVERY_MYSQL
@ON_AND_OFF
def test_twenty_sessions_of_a_kind_are_one_row(
    practice: Callable[..., Practice], kind: str, performance_schema: bool
) -> None:
    one = practice(kind, performance_schema=performance_schema)
    with ExitStack() as open_sessions:
        for _ in range(20):
            open_sessions.enter_context(closing(one.login(tls=False)))
        (client,) = one.census().clients
    assert (client.user, client.count) == ("app", 20)


@EVERY_MYSQL
@pytest.mark.parametrize(("performance_schema", "special"), [(False, False), (True, True)], ids=["off", "cramped"])
def test_sessions_of_another_rdsca_are_no_clients_where_no_program_is_told(
    practice: Callable[..., Practice], kind: str, performance_schema: bool, special: bool
) -> None:
    one = practice(kind, performance_schema=performance_schema, special=special)
    with one.connection(), one.connection():
        assert one.census().clients == ()
        with closing(one.login(tls=False, user="rdsca_ro", program="a person")):
            assert [(c.user, c.count) for c in one.census().clients] == [("rdsca_ro", 1)]
            naive = asked(one, "select id from information_schema.processlist where user = 'rdsca_ro'")
            assert len(naive) == 4  # two of rdsca, the person, and the asking session itself


@EVERY_MYSQL
@ON_AND_OFF
def test_an_event_that_runs_as_a_user_is_no_client(
    practice: Callable[..., Practice], kind: str, performance_schema: bool
) -> None:
    one = practice(kind, performance_schema=performance_schema)
    one.user("boss", "grant all on *.* to NAME@'%'")  # MariaDB shows the event as the session of who switched it on
    one.run_as("boss", "set global event_scheduler = on")
    one.server.sql("create definer = app@'%' event app.slow on schedule every 1 second do do sleep(2)")
    try:
        naive = "select 1 from information_schema.processlist where user = 'app'"
        assert eventually(lambda: asked(one, naive))  # nobody of that name has logged in
        assert one.census().clients == ()
    finally:
        one.server.sql("drop event app.slow")
        one.server.sql("set global event_scheduler = off")
        one.server.sql("drop user boss")
        eventually(lambda: not asked(one, naive))


@EVERY_MYSQL
@ON_AND_OFF
def test_a_replica_that_somebody_runs_elsewhere_is_a_client(
    practice: Callable[..., Practice], kind: str, performance_schema: bool
) -> None:
    one = practice(kind, performance_schema=performance_schema)
    one.user("repl", "grant replication slave on *.* to NAME@'%'")
    dump = "select 1 from information_schema.processlist where user = 'repl' and command like 'Binlog Dump%'"
    try:
        with closing(one.login(tls=True, user="repl", password="low")) as replica:
            with replica.cursor() as cursor:
                cursor.execute("set @master_binlog_checksum = 'NONE', @source_binlog_checksum = 'NONE'")
            file = one.server.sql("show binary logs")[0][0].encode()
            replica._execute_command(0x12, struct.pack("<IHI", 4, 0, 99) + file)  # COM_BINLOG_DUMP
            eventually(lambda: asked(one, dump))
            assert by_user(one.census()) == {("repl", True if performance_schema else None): 1}
    finally:
        one.server.sql("drop user repl")


@EVERY_MYSQL
@ON_AND_OFF
def test_the_threads_of_a_server_that_is_itself_a_replica_are_no_clients(
    practice: Callable[..., Practice], kind: str, performance_schema: bool
) -> None:
    one = practice(kind, performance_schema=performance_schema)
    change, word = (
        ("change master to master_host='127.0.0.1', master_port=1, master_user='app'", "slave")
        if kind == "mariadb"
        else ("change replication source to source_host='127.0.0.1', source_port=1, source_user='app'", "replica")
    )
    one.user("boss", "grant all on *.* to NAME@'%'")  # MariaDB shows the threads as the sessions of who started them
    one.run_as("boss", change, f"start {word}")
    try:
        naive = "select id from information_schema.processlist where user = 'system user'"
        assert len(eventually(lambda: asked(one, naive))) >= 2
        assert one.census().clients == ()
    finally:
        one.server.sql(f"stop {word}")
        one.server.sql(f"reset {word} all")
        one.server.sql("drop user boss")


@EVERY_MYSQL
@ON_AND_OFF
def test_who_has_not_logged_in_is_no_client_yet(
    practice: Callable[..., Practice], kind: str, performance_schema: bool
) -> None:
    one = practice(kind, performance_schema=performance_schema)
    with socket.create_connection(("127.0.0.1", one.server.port)):
        naive = "select 1 from information_schema.processlist where user = 'unauthenticated user'"
        eventually(lambda: one.server.sql(naive))
        assert one.census().clients == ()


def test_the_port_of_a_client_is_told_from_its_ipv6_address(practice: Callable[..., Practice]) -> None:
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").read_text().strip():
        pytest.skip("this machine has no IPv6: switch it on for the loopback interface")
    one = practice("mysql", performance_schema=False)
    session = pymysql.connect(host="::1", port=one.server.port, user="app", password=PASSWORDS["app"])
    with closing(session):
        (client,) = one.census().clients
        assert (client.user, client.host, client.tls) == ("app", "::1", None)
        naive = asked(
            one, "select substring_index(host, ':', 1) from information_schema.processlist where user = 'app'"
        )
        assert naive == [("",)]


def test_sessions_that_performance_schema_has_no_room_for_are_unknown_and_not_left_out(
    practice: Callable[..., Practice],
) -> None:
    one = practice("mariadb", special=True)
    with ExitStack() as open_sessions:
        for _ in range(25):
            open_sessions.enter_context(closing(one.login(tls=True)))
        naive = asked(one, "select count(*) from performance_schema.threads where processlist_user = 'app'")
        assert naive[0][0] < 25
        census = one.census()
        count = by_user(census)
        assert sum(count.values()) == 25
        assert count["app", None] > 0
        assert count["app", True] > 0
        assert census.confidence is Confidence.PARTIAL
        assert "performance_schema_max_thread_instances" in census.remedy
    eventually(lambda: one.census() == Census("performance_schema.threads", Confidence.FULL, ()))


def test_sessions_that_performance_schema_has_no_class_for_are_unknown_and_not_left_out(
    practice: Callable[..., Practice], pki: Pki, tmp_path_factory: pytest.TempPathFactory
) -> None:
    roots = practice("mariadb").roots
    options = ("--skip-name-resolve", "--performance-schema-max-thread-classes=1")
    server = prepared("mariadb", tmp_path_factory.mktemp("classless"), options=options)
    server.start(certificate(pki, OLD))
    try:
        one = Practice(server, roots, all_engines()["mariadb"])
        with closing(one.login(tls=True)):
            assert asked(one, "select 1 from performance_schema.threads where processlist_user = 'app'") == []
            census = one.census()
    finally:
        server.stop()
    assert by_user(census) == {("app", None): 1}
    assert census.confidence is Confidence.PARTIAL
    assert "performance_schema_max_thread_classes" in census.remedy


@EVERY_MYSQL
def test_the_process_privilege_counts_when_its_role_is_active_and_not_before(
    practice: Callable[..., Practice], kind: str
) -> None:
    one = practice(kind)
    one.server.sql("create role seer")
    one.server.sql("grant process on *.* to seer")
    one.user("low", "grant select on performance_schema.* to NAME@'%'", "grant seer to NAME@'%'")
    try:
        idle = one.census("low", "low")
        assert idle.confidence is Confidence.PARTIAL
        assert "PROCESS" in idle.remedy
        one.server.sql(f"set default role seer {'for' if kind == 'mariadb' else 'to'} low@'%'")
        assert one.census("low", "low").confidence is Confidence.FULL
        naive = "select 1 from information_schema.user_privileges where privilege_type = 'PROCESS'"
        assert asked(one, naive, "low", "low") == []
    finally:
        one.server.sql("drop user low")
        one.server.sql("drop role seer")


def test_a_partial_revoke_is_seen_though_the_grant_on_everything_stands(practice: Callable[..., Practice]) -> None:
    one = practice("mysql")
    one.server.sql("set global partial_revokes = on")
    one.user("low", "grant select, process on *.* to NAME@'%'", "revoke select on performance_schema.* from NAME@'%'")
    try:
        with closing(one.login(tls=True)):
            assert asked(one, "show grants", "low", "low")[0][0].startswith("GRANT SELECT, PROCESS ON *.*")
            census = one.census("low", "low")
            assert by_user(census) == {("app", None): 1}
            assert (census.source, census.confidence) == ("information_schema.PROCESSLIST", Confidence.PARTIAL)
            assert "GRANT SELECT ON performance_schema" in census.remedy
    finally:
        one.server.sql("drop user low")
        one.server.sql("set global partial_revokes = off")


@EVERY_MYSQL
def test_a_user_who_may_read_the_threads_and_no_more_still_tells_tls_from_plain(
    practice: Callable[..., Practice], kind: str
) -> None:
    one = practice(kind)
    one.user("low", "grant process on *.* to NAME@'%'", "grant select on performance_schema.threads to NAME@'%'")
    try:
        with closing(one.login(tls=True)), closing(one.login(tls=False)):
            census = one.census("low", "low")
            assert by_user(census) == {("app", True): 1, ("app", False): 1}
            assert census.confidence is Confidence.FULL
    finally:
        one.server.sql("drop user low")


@EVERY_MYSQL
@pytest.mark.parametrize("kind_told", ["NULL", "'carrier pigeon'"])
def test_a_kind_of_connection_that_nobody_knows_is_unknown_and_not_plain(
    practice: Callable[..., Practice], kind: str, kind_told: str
) -> None:
    one = practice(kind)
    with closing(one.login(tls=True)), one.connection() as connection:
        assert by_user(mysql.census(Bent(connection, {"t.CONNECTION_TYPE": kind_told}))) == {("app", None): 1}


@EVERY_MYSQL
@pytest.mark.parametrize(
    "words",
    [
        {"t.CONNECTION_TYPE": "t.NOT_YET"},  # MariaDB before 10.5, MySQL 5.6
        {"performance_schema.threads": "performance_schema.not_yet"},
    ],
    ids=["column", "table"],
)
def test_a_version_that_does_not_tell_the_kind_of_connection_has_unknown_clients(
    practice: Callable[..., Practice], kind: str, words: dict[str, str]
) -> None:
    one = practice(kind)
    with closing(one.login(tls=True)), one.connection() as connection:
        census = mysql.census(Bent(connection, words))
    assert by_user(census) == {("app", None): 1}
    assert census.confidence is Confidence.PARTIAL
    assert census.remedy


def test_when_mysql_drops_the_old_process_list_the_new_one_is_asked(practice: Callable[..., Practice]) -> None:
    one = practice("mysql")
    words = {"information_schema.PROCESSLIST": "information_schema.GONE", "t.CONNECTION_TYPE": "t.GONE"}
    with closing(one.login(tls=True)), one.connection() as connection:
        assert by_user(mysql.census(Bent(connection, words))) == {("app", None): 1}
    off = practice("mysql", performance_schema=False)
    with closing(off.login(tls=True)):
        assert by_user(off.census()) == {("app", None): 1}
        assert asked(off, "select * from performance_schema.processlist") == []  # the naive answer of the new one


@EVERY_MYSQL
def test_forced_tls_says_nothing_of_sessions_that_are_older(practice: Callable[..., Practice], kind: str) -> None:
    one = practice(kind, performance_schema=False)
    with closing(one.login(tls=False)):
        one.server.sql("set global require_secure_transport = on")
        try:
            census = one.census()
        finally:
            one.server.sql("set global require_secure_transport = off")
    assert by_user(census) == {("app", None): 1}
    assert census.confidence is Confidence.PARTIAL
    assert "require_secure_transport is ON" in census.remedy
    assert "require_secure_transport" not in one.census().remedy


@EVERY_MYSQL
def test_the_remedy_for_performance_schema_off_names_the_parameter_the_reboot_and_the_other_ways(
    practice: Callable[..., Practice], kind: str
) -> None:
    remedy = practice(kind, performance_schema=False).census().remedy
    for words in ("performance_schema=1", "reboot", "default group cannot be changed", "Performance Insights",
                  "t4g.medium", "general_log=1", "log_output=TABLE"):  # fmt: skip
        assert words in remedy


@EVERY_MYSQL
def test_a_query_that_takes_too_long_ends_in_the_server_and_not_only_here(
    practice: Callable[..., Practice], kind: str
) -> None:
    one = practice(kind)
    with one.connection(timeout=2.0) as connection, connection.cursor() as cursor:
        with pytest.raises(pymysql.err.OperationalError) as ended:
            cursor.execute(
                f"select count(*) from {', '.join(f'information_schema.collations as t{i}' for i in range(5))}"
            )
        assert ended.value.args[0] in (1969, 3024)  # said by the server


# The general log, where its owner has switched it on

ODD = "mül@ on x [a] using"


@pytest.fixture
def logged(practice: Callable[..., Practice], kind: str) -> Iterator[Practice]:
    """Give a server with performance_schema OFF that writes its general log to a table once :meth:`sql` says so."""
    one = practice(kind, performance_schema=False)
    one.server.sql("grant select on mysql.general_log to rdsca_ro@'%'")
    one.server.sql("set global log_output = 'TABLE'")
    yield one
    one.server.sql("set global general_log = off")
    one.server.sql("set global log_output = 'FILE'")
    one.server.sql("truncate mysql.general_log")
    one.server.sql("revoke select on mysql.general_log from rdsca_ro@'%'")


@EVERY_MYSQL
def test_the_general_log_tells_each_new_session_and_older_ones_stay_unknown(logged: Practice, kind: str) -> None:
    logged.server.sql(f"create user `{ODD}`@'%' identified by 'low'")
    try:
        with closing(logged.login(tls=True)):
            logged.server.sql("set global general_log = on")
            with closing(logged.login(tls=True)), closing(logged.login(tls=True)), logged.connection():
                logged.login(tls=False).close()  # is gone before anybody asks
                logged.login(tls=False, user=ODD, password="low").close()
                with pytest.raises(pymysql.err.OperationalError):
                    logged.login(tls=False, password="wrong")
                census = logged.census()
    finally:
        logged.server.sql(f"drop user `{ODD}`@'%'")
    assert by_user(census) == {("app", True): 2, ("app", False): 1, (ODD, False): 1, ("app", None): 1}
    assert (census.source, census.confidence) == ("mysql.general_log", Confidence.PARTIAL)
    assert "older than the general log" in census.remedy
    assert {c.host for c in census.clients} == {"localhost" if kind == "mariadb" else "127.0.0.1"}
    eventually(lambda: not logged.present())
    again = logged.census()
    assert again.confidence is Confidence.FULL  # the older session has ended, and the log knows of all others
    assert by_user(again) == {("app", True): 2, ("app", False): 1, (ODD, False): 1}


@EVERY_MYSQL
def test_the_general_log_is_read_from_a_time_on(logged: Practice, kind: str) -> None:
    logged.server.sql("set global general_log = on")
    logged.login(tls=False).close()
    with logged.connection() as connection:
        assert [c.count for c in mysql.read_general_log(connection)] == [1]
        a_day = timedelta(days=1)
        assert [c.count for c in mysql.read_general_log(connection, datetime.now(UTC) - a_day)] == [1]
        assert mysql.read_general_log(connection, datetime.now(UTC) + a_day) == ()


@EVERY_MYSQL
def test_a_person_with_the_readonly_account_is_not_lost_behind_the_general_log(logged: Practice, kind: str) -> None:
    logged.server.sql("set global general_log = on")
    with closing(logged.login(tls=False, user="rdsca_ro", program="a person")):
        census = logged.census()
    assert by_user(census) == {("rdsca_ro", None): 1}
    assert census.confidence is Confidence.PARTIAL


@EVERY_MYSQL
@pytest.mark.parametrize("output", ["FILE", "NONE"])
def test_a_general_log_that_goes_elsewhere_is_not_taken_for_an_empty_one(
    logged: Practice, kind: str, output: str
) -> None:
    logged.server.sql(f"set global log_output = '{output}'")
    logged.server.sql("set global general_log = on")
    with closing(logged.login(tls=False)), logged.connection() as connection:
        with pytest.raises(Unreachable, match="not written to a table"):
            mysql.read_general_log(connection)
        assert by_user(logged.census()) == {("app", None): 1}
        assert asked(logged, "select * from mysql.general_log where command_type = 'Connect'") == []


@EVERY_MYSQL
def test_a_general_log_that_this_user_may_not_read_is_named_in_the_remedy(logged: Practice, kind: str) -> None:
    logged.server.sql("set global general_log = on")
    logged.user("low", "grant process on *.* to NAME@'%'")
    try:
        with closing(logged.login(tls=False)):
            census = logged.census("low", "low")
        assert by_user(census) == {("app", None): 1}
        assert "GRANT SELECT ON mysql.general_log" in census.remedy
    finally:
        logged.server.sql("drop user low")


# What the server counts by itself


def rejected(one: Practice, pki: Pki, folder: Path) -> None:
    """Come from 127.0.0.2 with a trust store that lacks the server's CA, and leave."""
    roots = roots_file(folder, pki, NEW)
    client = pymysql.connect(
        host=NAME, user="app", password=PASSWORDS["app"], ssl={"ca": str(roots)}, defer_connect=True, read_timeout=10
    )
    way = socket.create_connection(("127.0.0.1", one.server.port), source_address=("127.0.0.2", 0))
    with way, pytest.raises(pymysql.err.OperationalError, match="CERTIFICATE_VERIFY_FAILED"):
        client.connect(way)


def read_counters(one: Practice, user: str = "rdsca_ro", password: str = PASSWORDS["rdsca_ro"]) -> Counters:
    assert one.engine.counters
    with one.connection(user, password) as connection:
        found = one.engine.counters(connection)
    assert found
    return found


@EVERY_MYSQL
@ON_AND_OFF
def test_clients_that_do_not_accept_the_certificate_are_begun_and_not_finished(
    practice: Callable[..., Practice], pki: Pki, tmp_path: Path, kind: str, performance_schema: bool
) -> None:
    one = practice(kind, performance_schema=performance_schema)
    one.user("low")
    try:
        before = read_counters(one, "low", "low")  # this needs no grants
        one.login(tls=True).close()
        one.login(tls=False).close()
        for _ in range(3):
            rejected(one, pki, tmp_path)

        def three_failed() -> Counters | None:
            change = delta(before, read_counters(one, "low", "low"))
            assert change
            assert change.tls_begun is not None
            assert change.tls_finished is not None
            return change if change.tls_begun - change.tls_finished == 3 == change.aborted else None

        change = eventually(three_failed)
        assert change.tls_finished >= 2  # the good client, and the one that reads
        assert change.connections >= change.tls_begun + 1
        one.server.serve(certificate(pki, OLD))
        assert delta(before, read_counters(one, "low", "low")) is None, "a reload sets them back"
    finally:
        one.server.sql("drop user low")


@EVERY_MYSQL
def test_the_host_cache_names_the_address_of_the_client_that_does_not_accept_the_certificate(
    practice: Callable[..., Practice], pki: Pki, tmp_path: Path, kind: str
) -> None:
    one = practice(kind, special=True)
    with one.connection() as connection:
        assert mysql.handshake_errors(connection) == {}
        for _ in range(2):
            rejected(one, pki, tmp_path)
        eventually(lambda: mysql.handshake_errors(connection) == {"127.0.0.2": 2})


@EVERY_MYSQL
def test_a_host_cache_that_is_not_kept_or_not_shown_is_not_taken_for_an_empty_one(
    practice: Callable[..., Practice], kind: str
) -> None:
    one = practice(kind)
    with one.connection() as connection, pytest.raises(Unreachable, match="skip_name_resolve"):
        mysql.handshake_errors(connection)
    assert asked(one, "select * from performance_schema.host_cache") == []
    special = practice(kind, special=True)
    special.user("low")
    try:
        with special.connection("low", "low") as connection, pytest.raises(Unreachable, match="GRANT SELECT"):
            mysql.handshake_errors(connection)
    finally:
        special.server.sql("drop user low")


def test_mariadb_hides_its_host_cache_when_performance_schema_is_off(
    practice: Callable[..., Practice], pki: Pki, tmp_path: Path
) -> None:
    one = practice("mariadb", performance_schema=False)
    rejected(one, pki, tmp_path)
    with one.connection() as connection, pytest.raises(Unreachable, match="performance_schema is OFF"):
        mysql.handshake_errors(connection)
    assert asked(one, "select * from performance_schema.host_cache") == []


def test_counters_of_two_starts_are_not_subtracted() -> None:
    before = Counters(100, 50, 20, 19, 1)
    assert delta(before, Counters(160, 60, 25, 22, 3)) == Counters(60, 10, 5, 3, 2)
    assert delta(before, Counters(30, 60, 25, 22, 3)) is None
    assert delta(before, Counters(160, 60, 2, 2, 3)) is None
    assert delta(Counters(100, 50), Counters(160, 60)) == Counters(60, 10, None, None, None)
    assert delta(Counters(1, 50), Counters(20, 60), elapsed=60) is None, "it is up for less than the time between"
    assert delta(Counters(1, 50), Counters(20, 60), elapsed=21) == Counters(19, 10)


def test_postgres_counts_its_sessions_and_no_handshakes(practice: Callable[..., Practice]) -> None:
    one = practice("postgres")
    before = read_counters(one)
    for _ in range(3):
        one.login(tls=True).close()

    def grown() -> Counters | None:
        change = delta(before, read_counters(one))
        assert change
        return change if change.connections >= 3 else None

    assert eventually(grown).tls_begun is None

    class Thirteen:
        server_version = 130018

    assert postgres.counters(Thirteen()) is None


# The traps of PostgreSQL


def drop_role(one: Practice, name: str) -> None:
    one.server.sql(f'drop role if exists "{name}"')


def test_a_member_of_pg_monitor_who_does_not_inherit_never_claims_to_have_seen_all(
    practice: Callable[..., Practice],
) -> None:
    one = practice("postgres")
    one.user("aloof", "alter role NAME noinherit", "grant pg_monitor to NAME")
    try:
        assert one.census("aloof", "low").confidence is Confidence.PARTIAL
        with closing(one.login(tls=True)):
            census = one.census("aloof", "low")
            assert by_user(census) == {("app", None): 1}
            assert census.confidence is Confidence.PARTIAL
            naive = "select pg_has_role('pg_monitor', 'MEMBER')"
            assert asked(one, naive, "aloof", "low") == [(True,)]
    finally:
        drop_role(one, "aloof")


def test_a_role_that_should_see_all_is_not_believed_when_the_server_hides_something(
    practice: Callable[..., Practice],
) -> None:
    one = practice("postgres")
    one.server.sql("create role rds_superuser")  # in name only, as it is where RDS does not let it see
    one.user("grand", "grant rds_superuser to NAME")
    try:
        with closing(one.login(tls=True)):
            census = one.census("grand", "low")
        assert by_user(census) == {("app", None): 1}
        assert census.confidence is Confidence.PARTIAL
    finally:
        drop_role(one, "grand")
        drop_role(one, "rds_superuser")


def test_a_session_that_outlives_its_role_is_a_client(practice: Callable[..., Practice]) -> None:
    one = practice("postgres")
    one.user("ghost")
    with closing(one.login(tls=True, user="ghost", password="low")):
        drop_role(one, "ghost")
        assert by_user(one.census()) == {("", True): 1}
        naive = "select 1 from pg_stat_activity where usename is not null and application_name = 'shop'"
        assert asked(one, naive, "rdsca_ro") == []


def test_a_role_whose_name_is_no_utf8_does_not_stop_the_census(
    practice: Callable[..., Practice], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = practice("postgres")
    one.server.sql("create database latin encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' template template0")
    settings: dict[str, Any] = {"host": "127.0.0.1", "port": one.server.port, "dbname": "latin"}
    one.user("maker", "alter role NAME createrole")
    try:
        with closing(psycopg2.connect(user="maker", password="low", **settings)) as maker, maker.cursor() as cursor:
            cursor.execute("create role café login password 'low'")
            maker.commit()
        monkeypatch.setenv("PGUSER", os.fsdecode(b"caf\xe9"))
        with closing(psycopg2.connect(password="low", application_name="shop", sslmode="require", **settings)):
            with pytest.raises(UnicodeDecodeError):
                asked(one, "select usename from pg_stat_activity")
            assert by_user(one.census()) == {("caf\\xe9", True): 1}
        with closing(psycopg2.connect(user="maker", password="low", **settings)) as maker, maker.cursor() as cursor:
            cursor.execute("drop role café")
            maker.commit()
    finally:
        eventually(lambda: not one.server.sql("select 1 from pg_stat_activity where datname = 'latin'"))
        one.server.sql("drop database latin")
        drop_role(one, "maker")


def test_workers_for_a_parallel_query_are_no_clients(practice: Callable[..., Practice]) -> None:
    one = practice("postgres")
    with closing(one.login(tls=True)) as session:
        with session.cursor() as cursor:
            for setting in ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size"):
                cursor.execute(f"set {setting} = 0")
            cursor.execute("set parallel_leader_participation = off")
        busy = Thread(target=lambda: session.cursor().execute("select count(*) from orders where pg_sleep(1) is null"))
        busy.start()
        naive = "select count(*) from pg_stat_activity where usename = 'app'"
        eventually(lambda: one.server.sql(naive)[0][0] > 1)
        assert by_user(one.census()) == {("app", True): 1}
        busy.join()


def test_a_session_over_the_socket_says_so(practice: Callable[..., Practice]) -> None:
    one = practice("postgres")
    hba = one.server.folder / "data" / "pg_hba.conf"
    before = hba.read_text()
    hba.write_text(before + "local all app trust\n")
    one.server.sql("select pg_reload_conf()")
    settings: dict[str, Any] = {"host": str(one.server.folder), "port": one.server.port, "dbname": "app"}

    def login() -> Any:
        with suppress(psycopg2.OperationalError):
            return psycopg2.connect(user="app", application_name="shop", **settings)

    with closing(eventually(login)):
        assert one.census().clients == (Client(user="app", host="[local]", program="shop", tls=False),)
    hba.write_text(before)
    one.server.sql("select pg_reload_conf()")


def test_forced_tls_on_postgres_says_nothing_of_sessions_that_are_hidden(practice: Callable[..., Practice]) -> None:
    one = practice("postgres")
    one.user("humble", "alter role NAME set rds.force_ssl = '1'")
    try:
        with closing(one.login(tls=False)):
            census = one.census("humble", "low")
        assert by_user(census) == {("app", None): 1}
        assert census.confidence is Confidence.PARTIAL
        assert "rds.force_ssl is on" in census.remedy
    finally:
        drop_role(one, "humble")
