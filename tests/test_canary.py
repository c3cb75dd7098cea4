"""Proof by canary: after a rotation real servers tell which real clients reject the new CA, and 06 names them."""

from __future__ import annotations

import os
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import AwsSide
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from practice import PASSWORDS, prepared

import rdsca_helpers as rdsca
from rdsca_helpers import outcome
from rdsca_helpers.edge.folder import RunFolder
from rdsca_helpers.edge.run import Run
from rdsca_helpers.lab import folder, seed
from rdsca_helpers.lab.applications import Clients
from rdsca_helpers.lab.front import Front
from rdsca_helpers.lab.http import Server
from rdsca_helpers.lab.pages import Pages
from rdsca_helpers.lab.pki import Pki
from rdsca_helpers.lab.seed import SHOP, WEST
from rdsca_helpers.lab.servers import MariaDB, Postgres
from rdsca_helpers.lab.wire import Databases
from rdsca_helpers.lab.world import World
from rdsca_helpers.model import (
    Plan,
    PlanRow,
    Proof,
    ProofReport,
    Restart,
    Rotation,
    SessionReport,
    Step,
    StepStatus,
    Verdict,
    now,
)
from rdsca_helpers.rejections import of_mysql_log
from rdsca_helpers.start import start

OLD, NEW = "rds-ca-rsa2048-g1", "rds-ca-ecc384-g1"
PG, MARIA = "orders-db", "catalog-db"
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Practice(AwsSide):
    """An AWS side with a real PostgreSQL and a real MariaDB behind it, both on the old CA."""

    databases: Databases

    def instance(self, name: str) -> Any:
        return self.world.instance(SHOP, WEST, name)

    def application(self, name: str) -> Any:
        return next(row for row in self.get("clients") if row["name"] == name)


@pytest.fixture(scope="module")
def practice(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Practice]:
    pki = Pki(folder.cache() / "pki", folder.REGIONS)
    world = World(pki, seed.ACCOUNTS)
    seed.seed(world)
    where = tmp_path_factory.mktemp("practice")
    pages = Pages(world)
    pages.front = Front(world, pages, lambda: DomainDispatcherApplication(create_backend_app))
    http = Server(folder.HOST, 0, pages.front)
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    databases = Databases(world, pki, templates, lambda: None)
    world.wire = pages.databases = databases
    world.settings.lag = world.settings.modify = world.settings.restart = 0.05
    folder.write_aws_files(where, http.server_port)
    folder.write_roots(where, pki)
    for name in (n for n in folder.STORES if n.endswith(".pem")):  # the lab's own applications hold both roots
        folder.write_whole(folder.store(where, name), "".join(pki.root_pem(WEST, ca) for ca in (OLD, NEW)))
    pages.clients = Clients(world, databases, lambda name: folder.store(where, name), PASSWORDS["app"])
    # A host cache is kept only without --skip-name-resolve; what its error log tells is left out at first.
    maria = prepared("mariadb", templates, options=("--log-warnings=0",))
    for name, server in ((PG, prepared("postgres", templates)), (MARIA, maria)):
        instance = world.instance(SHOP, WEST, name)
        assert instance.expires
        server.start(databases._served(instance, OLD, instance.expires))
        databases.servers[instance.arn] = server
    world.clock.start()
    pages.ready = True
    reach = where / "reach.yml"
    folder.write_reach(where, databases.endpoints())
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_REGION"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_CONFIG_FILE", str(where / "aws/config"))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(where / "aws/credentials"))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("CANARY_PASSWORD", PASSWORDS["rdsca_ro"])
        assert reach.exists()
        yield Practice(where, folder.url(http.server_port), {}, world=world, front=pages.front, databases=databases)
    pages.clients.stop()
    world.clock.stop()
    databases.stop()
    http.shutdown()
    http.server_close()
    assert world.clock.errors == []


def opened(where: Path, notebook: str = "06-verify", **values: Any) -> Run:
    usual = {"run_dir": str(where), "account": SHOP, "regions": WEST}
    login = {"credentials": "env:CANARY_PASSWORD", "db_user": "rdsca_ro", "samples": 3, "sample_seconds": 1}
    return start(notebook, usual | (login if notebook != "01-discover" else {}) | values)


def eventually(seen: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@dataclass(frozen=True)
class Walk:
    """A walk up to the rotation of one instance, and how to verify it as 06 does."""

    where: Path
    plan: Plan
    rotation: Rotation
    inventory: Any
    sessions: SessionReport

    def verify(self, **values: Any) -> tuple[ProofReport, dict[str, Proof]]:
        run = opened(self.where, **values)
        report = rdsca.verify(run, self.plan, self.rotation, self.inventory, self.sessions)
        run.folder.keep(report)
        return report, {row.instance: row for row in report.rows}


def rotated(practice: Practice, where: Path, *names: str) -> Walk:
    """Ask who is connected, then move *names* to the new CA by way of RDS, as 05 writes it down."""
    found = rdsca.discover(opened(where, "01-discover"))
    mine = replace(found, rows=tuple(i for i in found.rows if i.instance in names))
    sessions = rdsca.check_sessions(opened(where, "02-sessions"), mine)
    rows = tuple(
        PlanRow(
            region=WEST,
            instance=i.instance,
            resource_id=i.resource_id,
            verdict=Verdict.READY,
            reason="",
            wave=1,
            from_ca=OLD,
            to_ca=NEW,
            when="now",
            window_utc="unknown",
            restart=Restart.NONE,
            rollback="",
            cli="",
            kind="instance",
        )
        for i in mine.rows
    )
    common: dict[str, Any] = {"account": SHOP, "regions": (WEST,), "made_at": now()}
    plan = Plan(rows=rows, target_ca=NEW, digest="0" * 64, expires_at=now(), **common)
    run = opened(where)
    for name in names:
        with RunFolder(where).journal() as journal:
            journal.write("intent", plan=plan.digest, step=f"{WEST}/{name}")
        run.aws.change_ca(WEST, name, "instance", NEW, now=True, plan=plan.digest)
        seen = practice.instance(name)
        eventually(lambda seen=seen: seen.ca == NEW and not seen.pending and seen.status == "available")
    steps = [Step(region=WEST, instance=name, status=StepStatus.ROTATED, detail="", wave=1) for name in names]
    return Walk(where, plan, Rotation(rows=tuple(steps), action="apply", **common), found, sessions)


def add(practice: Practice, name: str, instance: str, tls: str, source: str, *cas: str) -> None:
    practice.post("clients", name=name, instance=instance, tls=tls, source=source, cas=cas)
    eventually(lambda: bool(practice.application(name)["queries"]))


def test_clients_that_reject_the_new_ca_are_named_and_verified_once_their_stores_hold_its_root(
    practice: Practice, tmp_path: Path
) -> None:
    add(practice, "billing", PG, "verify-full", "127.0.0.2", OLD)
    add(practice, "exports", PG, "prefer", "127.0.0.3", OLD)
    add(practice, "fine", PG, "verify-full", "127.0.0.4", OLD, NEW)
    add(practice, "prices", MARIA, "verify-full", "127.0.0.5", OLD)
    add(practice, "fine-too", MARIA, "verify-full", "127.0.0.6", OLD, NEW)
    assert practice.application("exports")["tls"]
    walk = rotated(practice, tmp_path, PG, MARIA)
    eventually(
        lambda: bool(practice.application("billing")["last_error"] and practice.application("prices")["last_error"])
    )
    eventually(lambda: not practice.application("exports")["tls"])

    report, seen = walk.verify()
    assert [row.verdict for row in seen.values()] == ["failed", "failed"]
    assert outcome.code(report) == 5
    by_host = {(r.host, r.reason): r for r in seen[PG].rejected}
    refusing = by_host["127.0.0.2", "does not know the CA"]
    assert refusing.count >= 1
    assert refusing.last is not None
    plain = by_host["127.0.0.3", "went on in clear text"]
    assert (plain.user, plain.program) == ("app", "exports")
    assert {r.host for r in seen[PG].rejected} == {"127.0.0.2", "127.0.0.3"}
    assert [(r.host, r.source) for r in seen[MARIA].rejected] == [("127.0.0.5", "host_cache")]
    assert seen[MARIA].broken_off
    for words in ("127.0.0.2 does not know the CA", "app exports 127.0.0.3", "127.0.0.5 broke off"):
        assert words in report.meaning
    assert "fine" not in report.meaning

    maria = practice.databases.servers[practice.instance(MARIA).arn]
    assert isinstance(maria, MariaDB)
    maria.sql("set global log_warnings = 2")
    (log,) = maria.logs().values()
    eventually(lambda: [r.host for r in of_mysql_log(log.read_text(), now() - DAY).rejections] == ["127.0.0.5"])

    for name in ("billing", "prices"):
        practice.delete(f"clients?name={name}")
    time.sleep(1)  # logs tell whole seconds
    report, seen = walk.verify(samples=1)
    assert [row.verdict for row in seen.values()] == ["failed", "failed"], "silence is no proof"
    assert {r.host for r in seen[PG].rejected if "not seen to come back" in r.reason} == {"127.0.0.2"}
    assert {r.host for r in seen[MARIA].rejected if "not seen to come back" in r.reason} == {"127.0.0.5"}

    add(practice, "billing", PG, "verify-full", "127.0.0.2", OLD, NEW)
    add(practice, "exports", PG, "prefer", "127.0.0.3", OLD, NEW)
    add(practice, "prices", MARIA, "verify-full", "127.0.0.5", OLD, NEW)
    time.sleep(1)  # logs and journal tell whole seconds
    report, seen = walk.verify()
    assert [row.verdict for row in seen.values()] == ["verified", "verified"], report.meaning
    assert outcome.code(report) == 0
    assert "back over TLS since the last verification: 127.0.0.2" in seen[PG].detail


def test_a_log_that_may_not_be_read_leaves_the_clients_unknown(practice: Practice, tmp_path: Path) -> None:
    walk = rotated(practice, tmp_path, PG)
    practice.post("fault", kind="error", action="DownloadDBLogFilePortion", code="AccessDenied")
    report, seen = walk.verify(samples=1)
    practice.delete("fault")
    assert "nobody knows which clients reject the new CA" in seen[PG].detail
    assert f"NOBODY KNOWS which clients reject the new CA on {PG}" in report.meaning
    (problem,) = report.problems
    assert "rds:DownloadDBLogFilePortion was refused" in problem.what
    assert "allow it in the role" in problem.remedy
    assert outcome.code(report) == 4


def test_a_practice_client_that_makes_no_sense_is_refused_and_one_that_was_added_can_go(practice: Practice) -> None:
    good = {"name": "guest", "instance": PG, "tls": "disable"}
    for wrong in (
        {"name": "orders-api"},
        {"name": "../x"},
        {"tls": "verify-ca"},
        {"instance": MARIA, "tls": "prefer"},
        {"instance": "shop-cms"},
        {"instance": "none"},
        {"cas": ["rds-ca-9999"]},
        {"port": 1},
        {"source": "10.0.0.5"},
        {"source": "not an address"},
    ):
        with pytest.raises(urllib.error.HTTPError, match="400"):
            practice.post("clients", **(good | wrong))
    assert [row["name"] for row in practice.post("clients", **good)] == ["guest"]
    assert "guest" not in {row["name"] for row in practice.delete("clients?name=guest")}
    with pytest.raises(urllib.error.HTTPError, match="400"):
        practice.delete("clients?name=orders-api")
    with pytest.raises(urllib.error.HTTPError) as refused:
        practice.post("clients", **(good | {"instance": "no-such-db"}))
    assert f"account {SHOP} has no instance no-such-db in {WEST}" in refused.value.read().decode()


def test_a_log_that_tells_nothing_is_no_proof(practice: Practice, tmp_path: Path) -> None:
    walk = rotated(practice, tmp_path, PG)
    server = practice.databases.servers[practice.instance(PG).arn]
    assert isinstance(server, Postgres)
    server.sql("alter system set log_min_messages = fatal")
    server.sql("select pg_reload_conf()")
    time.sleep(1)  # each process takes it up on its own
    for log in server.logs().values():
        os.truncate(log, 0)
    report, seen = walk.verify(samples=1)
    server.sql("alter system reset log_min_messages")
    server.sql("select pg_reload_conf()")
    assert seen[PG].verdict == "verified"
    assert seen[PG].rejections_read == ""
    (problem,) = report.problems
    assert "has no line that would tell" in problem.what
    assert outcome.code(report) == 4
