"""Sampling real databases over time: who comes and goes is seen, Ctrl-C keeps what was seen, nobody is hammered."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg2
import pymysql
import pytest
from conftest import AwsSide
from practice import PASSWORDS, put_behind

import rdsca_helpers as rdsca
from rdsca_helpers.edge.run import Run
from rdsca_helpers.lab.seed import SHOP, WEST
from rdsca_helpers.lab.servers import Server
from rdsca_helpers.lab.wire import Wish
from rdsca_helpers.model import Confidence, Inventory, SessionReport, Sessions
from rdsca_helpers.start import start

PATIENCE = 60
INSTANCES = {"postgres": "orders-db", "mariadb": "shop-sessions"}
WATCH = {
    "postgres": "select count(*) from pg_stat_activity where usename = 'rdsca_ro'",
    "mariadb": "select count(*) from information_schema.processlist where user = 'rdsca_ro'",
}


@dataclass(frozen=True)
class Place:
    """Real servers behind the practice AWS, and a run of notebook 02 with its inventory."""

    servers: dict[str, Server]
    run: Run
    inventory: Inventory

    def look(self, *, samples: int, seconds: int = 1) -> SessionReport:
        return rdsca.check_sessions(replace(self.run, samples=samples, sample_seconds=seconds), self.inventory)

    def client(self, kind: str, program: str) -> Any:
        """Log in as an application, in plain text."""
        port = self.servers[kind].port
        who = {"user": "app", "password": PASSWORDS["app"]}
        if kind == "postgres":
            return psycopg2.connect(
                host="127.0.0.1", port=port, dbname="app", application_name=program, sslmode="disable", **who
            )
        session = pymysql.connect(**who, ssl_disabled=True, program_name=program, defer_connect=True)
        session.connect(socket.create_connection(("127.0.0.1", port)))
        return session

    def await_look(self, kind: str) -> None:
        """Wait until rdsca has logged in, and out again."""
        with closing(self.servers[kind]._admin_session()) as session, session.cursor() as cursor:
            for here in (1, 0):
                deadline = time.monotonic() + PATIENCE
                while True:
                    cursor.execute(WATCH[kind])
                    if (cursor.fetchone()[0] > 0) == bool(here):
                        break
                    assert time.monotonic() < deadline, "rdsca did not come"
                    time.sleep(0.001)

    def log(self, kind: str) -> str:
        return "".join(file.read_text(errors="replace") for file in self.servers[kind].logs().values())


@contextmanager
def place(
    kinds: list[str], profile: AwsSide, templates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    instances = profile.world.region(SHOP, WEST).instances
    wishes = [Wish(instances[INSTANCES[k]], k) for k in kinds]
    with put_behind(profile, tmp_path / "profile", templates, wishes) as servers:
        monkeypatch.setenv("RDSCA_TEST_PASSWORD", PASSWORDS["rdsca_ro"])
        login = {"credentials": "env:RDSCA_TEST_PASSWORD", "db_user": "rdsca_ro"}
        run = start("02-sessions", {"run_dir": str(tmp_path / "run"), "regions": WEST, **login})
        found = rdsca.discover(run)
        rows = tuple(r for r in found.rows if r.instance in {INSTANCES[k] for k in kinds})
        yield Place(servers, run, replace(found, rows=rows))


@pytest.fixture
def both(profile: AwsSide, templates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with place(["postgres", "mariadb"], profile, templates, tmp_path, monkeypatch) as found:
        yield found


@pytest.fixture
def postgres(profile: AwsSide, templates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with place(["postgres"], profile, templates, tmp_path, monkeypatch) as found:
        yield found


@contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Do *work* in a thread; an error in it fails the test."""
    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join(PATIENCE)
    assert not thread.is_alive()


def row(report: SessionReport, kind: str) -> Sessions:
    (found,) = [r for r in report.rows if r.instance == INSTANCES[kind]]
    return found


def programs(report: SessionReport, kind: str) -> set[str]:
    return {c.program for c in row(report, kind).clients}


def test_clients_that_come_and_go_are_seen_by_samples_over_time_and_not_by_one_look(both: Place) -> None:
    later: dict[str, Any] = {}

    def relieve(kind: str) -> None:
        with closing(both.client(kind, "early")):
            ready.wait(PATIENCE)
            both.await_look(kind)
        later[kind] = both.client(kind, "late")

    ready = threading.Barrier(3)
    with meanwhile(lambda: relieve("postgres")), meanwhile(lambda: relieve("mariadb")):
        ready.wait(PATIENCE)
        many = both.look(samples=6)
    one = both.look(samples=1)
    for kind in INSTANCES:
        later[kind].close()
        assert programs(many, kind) == {"early", "late"}
        assert programs(one, kind) == {"late"}
        assert row(many, kind).evidence.startswith("6 of 6 sample(s) in ")
        assert "connection(s) were made in between" in row(many, kind).evidence
        assert row(one, kind).evidence == "1 of 1 sample(s)"
    assert "There were 6 look(s)" in many.meaning
    assert "This was one look" in one.meaning


def test_looks_at_servers_where_nobody_came_or_went_rest_on_no_login_but_their_own(both: Place) -> None:
    with closing(both.client("postgres", "shop")), closing(both.client("mariadb", "shop")):
        report = both.look(samples=4)
    for kind in INSTANCES:
        assert programs(report, kind) == {"shop"}
        assert row(report, kind).confidence is Confidence.FULL
        assert "; 0 connection(s) were made in between" in row(report, kind).evidence


def test_a_client_that_no_look_saw_makes_the_count_less_sure(both: Place) -> None:
    def visit() -> None:
        both.await_look("mariadb")
        for _ in range(3):
            both.client("mariadb", "brief").close()

    with meanwhile(visit):
        report = both.look(samples=3, seconds=4)
    assert programs(report, "mariadb") == set()
    assert row(report, "mariadb").confidence is Confidence.PARTIAL
    assert "connection(s) between the looks, 0 of them over TLS" in row(report, "mariadb").remedy


def test_ctrl_c_keeps_what_was_gathered_and_says_so(postgres: Place) -> None:
    def interrupt() -> None:
        postgres.await_look("postgres")
        os.kill(os.getpid(), signal.SIGINT)

    with closing(postgres.client("postgres", "shop")), meanwhile(interrupt):
        began = time.monotonic()
        report = postgres.look(samples=1000)
    assert time.monotonic() - began < PATIENCE
    assert programs(report, "postgres") == {"shop"}
    assert " of 1000 sample(s)" in row(report, "postgres").evidence
    (problem,) = report.problems
    assert "the sampling was stopped by hand after " in problem.what
    assert "stopped by hand after " in report.meaning
    rdsca.keep(postgres.run, report)
    assert rdsca.load(postgres.run, SessionReport).rows == report.rows


def test_ctrl_c_before_anything_was_gathered_is_an_interrupt_like_any_other(postgres: Place) -> None:
    nothing = replace(postgres, inventory=replace(postgres.inventory, rows=()))
    timer = threading.Timer(2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            nothing.look(samples=1000)
    finally:
        timer.cancel()


def test_a_login_that_is_refused_is_tried_three_times_and_no_more(
    postgres: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RDSCA_TEST_PASSWORD", "wrong")
    report = postgres.look(samples=8, seconds=0)
    assert postgres.log("postgres").count('FATAL:  password authentication failed for user "rdsca_ro"') == 3
    assert not row(report, "postgres").counted
    assert "password authentication failed" in row(report, "postgres").remedy
    (problem,) = report.problems
    assert problem.what == "its client sessions could not be read"
    assert "password authentication failed" in problem.remedy
    assert "1 could not be asked or did not tell, so nobody knows" in report.meaning


def test_a_database_that_could_not_be_asked_once_is_asked_again(postgres: Place) -> None:
    server = postgres.servers["postgres"]
    server.sql("alter role rdsca_ro nologin")

    def mend() -> None:
        deadline = time.monotonic() + PATIENCE
        while "not permitted to log in" not in postgres.log("postgres"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        server.sql("alter role rdsca_ro login")

    with closing(postgres.client("postgres", "shop")), meanwhile(mend):
        report = postgres.look(samples=4)
    assert programs(report, "postgres") == {"shop"}
    assert row(report, "postgres").counted
    assert "failed, the last one because" in row(report, "postgres").evidence
    assert row(report, "postgres").confidence is Confidence.PARTIAL
    assert not report.problems


def test_a_restart_between_two_samples_is_told(both: Place) -> None:
    def restart() -> None:
        both.await_look("mariadb")
        both.servers["mariadb"].restart()

    with meanwhile(restart):
        report = both.look(samples=6)
    assert "counters began anew in between" in row(report, "mariadb").evidence
    assert "began anew" not in row(report, "postgres").evidence
