"""Verification against real databases: what AWS says, what the wire shows, and whether the clients are back."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import AwsSide, RunningLab, start_lab

import rdsca_helpers as rdsca
from rdsca_helpers import outcome
from rdsca_helpers.edge.folder import RunFolder
from rdsca_helpers.edge.run import Run
from rdsca_helpers.errors import Unreachable
from rdsca_helpers.lab import control
from rdsca_helpers.lab.seed import CENTRAL, LEGACY, SHOP, WEST
from rdsca_helpers.model import (
    Client,
    Confidence,
    Inventory,
    Plan,
    PlanRow,
    Proof,
    ProofReport,
    Restart,
    Rotation,
    SessionReport,
    Sessions,
    Step,
    StepStatus,
    Verdict,
    now,
)
from rdsca_helpers.runbook.sessions import Databases
from rdsca_helpers.start import start

OLD, NEW, OTHER = "rds-ca-rsa2048-g1", "rds-ca-rsa4096-g1", "rds-ca-ecc384-g1"


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A lab for this module alone: its instances are changed behind RDS's back, and its clock is put forward."""
    before = dict(os.environ)
    running = start_lab(tmp_path_factory.mktemp("verify"))
    os.environ.update(running.env)
    yield running
    control.stop(running.folder)
    os.environ.clear()
    os.environ.update(before)


def opened(where: Path, account: str = SHOP, **values: Any) -> Run:
    role = "" if account == SHOP else "rdsca"
    return start("06-verify", {"run_dir": str(where), "account": account, "role": role, "regions": WEST, **values})


def plan_for(run: Run, found: Inventory, *names: str, target: str = OLD) -> Plan:
    """Make a plan that has moved *names* to *target*."""
    rows = [
        PlanRow(
            region=i.region,
            instance=i.instance,
            resource_id=i.resource_id,
            verdict=Verdict.READY,
            reason="",
            wave=1,
            from_ca=i.ca,
            to_ca=target,
            when="now",
            window_utc="unknown",
            restart=Restart.NONE,
            rollback="none",
            cli="",
            kind=i.kind,
        )
        for i in found.rows
        if i.instance in names
    ]
    common: dict[str, Any] = {"account": run.account, "regions": run.regions, "made_at": now()}
    return Plan(rows=tuple(rows), target_ca=target, digest="0" * 64, expires_at=now(), **common)


def rotated(plan: Plan, status: StepStatus = StepStatus.ROTATED) -> Rotation:
    steps = tuple(Step(region=r.region, instance=r.instance, status=status, detail="", wave=1) for r in plan.rows)
    return Rotation(account=plan.account, regions=plan.regions, made_at=now(), rows=steps, action="apply")


def before(run: Run, *rows: Sessions) -> SessionReport:
    return SessionReport(account=run.account, regions=run.regions, made_at=now(), rows=rows)


def seen(name: str, *clients: Client, region: str = WEST) -> Sessions:
    def count(tls: bool | None) -> int:
        return sum(c.count for c in clients if c.tls is tls)

    return Sessions(
        region=region,
        instance=name,
        source="the test",
        confidence=Confidence.FULL,
        clients=clients,
        tls=count(True),
        plain=count(False),
        unknown=count(None),
    )


def only(report: ProofReport, name: str) -> Proof:
    (row,) = (r for r in report.rows if r.instance == name)
    return row


def test_where_aws_and_the_wire_agree_chain_and_name_hold_and_it_is_verified(mine: RunningLab, tmp_path: Path) -> None:
    found = rdsca.discover(run := opened(tmp_path))
    plan = plan_for(run, found, "orders-db")
    row = only(rdsca.verify(run, plan, rotated(plan), found, before(run)), "orders-db")
    assert row.verdict == "verified", row.detail
    assert (row.api_ca, row.wire_ca, row.chain_ok, row.name_ok) == (OLD, OLD, True, True)
    assert row.tls_version.startswith("TLSv1.")
    assert row.wire_expires is not None
    assert row.wire_names[0].startswith("orders-db.")
    assert (row.wire_subject, row.wire_key, row.dates_ok, row.partial_chain_ok) == (
        row.wire_names[0],
        "RSA2048",
        True,
        True,
    )
    assert "Subordinate CA RSA2048 G1" in row.wire_issuer


def test_where_aws_and_the_wire_disagree_it_is_drift_and_exit_5(mine: RunningLab, tmp_path: Path) -> None:
    found = rdsca.discover(run := opened(tmp_path, account=LEGACY))
    plan = plan_for(run, found, "hr-db", target=OTHER)
    mine.post("instance", account=LEGACY, region=WEST, instance="hr-db", ca=OTHER)
    report = rdsca.verify(run, plan, rotated(plan), found, before(run))
    mine.post("instance", account=LEGACY, region=WEST, instance="hr-db", ca=OLD)
    row = only(report, "hr-db")
    assert row.verdict == "drift"
    assert (row.api_ca, row.wire_ca) == (OTHER, OLD)
    assert outcome.code(report) == 5


def test_a_change_that_never_came_is_failed_not_verified(mine: RunningLab, tmp_path: Path) -> None:
    found = rdsca.discover(run := opened(tmp_path))
    plan = plan_for(run, found, "orders-db", target=NEW)
    report = rdsca.verify(run, plan, rotated(plan, StepStatus.UNKNOWN), found, before(run))
    assert only(report, "orders-db").verdict == "failed"
    assert outcome.code(report) == 5


def test_clients_that_are_not_back_or_lost_their_encryption_fail_the_proof(mine: RunningLab, tmp_path: Path) -> None:
    found = rdsca.discover(run := opened(tmp_path, regions=f"{WEST},{CENTRAL}"))
    plan = plan_for(run, found, "orders-db", "orders-eu-db")
    now_there = {s.instance: s for s in rdsca.check_sessions(run, found).rows}
    plain = next(c for s in now_there.values() for c in s.clients if c.tls is False)
    where = next(s for s in now_there.values() if plain in s.clients)
    other = next(name for name in ("orders-db", "orders-eu-db") if name != where.instance)
    once_tls = replace(plain, tls=True)
    gone = Client(user="nightly", host="10.9.9.9", program="billing", tls=True)
    said = before(
        run,
        seen(where.instance, once_tls, region=where.region),
        seen(other, gone, region=now_there[other].region),
    )
    report = rdsca.verify(run, plan, rotated(plan), found, said)
    assert only(report, where.instance).verdict == "failed"
    assert "clear text" in only(report, where.instance).detail
    assert only(report, other).verdict == "failed"
    assert "nightly billing" in only(report, other).detail
    assert outcome.code(report) == 5


def test_a_database_that_is_out_of_reach_is_unknown_and_exit_5(mine: RunningLab, tmp_path: Path) -> None:
    reach = tmp_path / "reach.yml"
    reach.write_text("endpoints: {}\nothers: none\n")
    found = rdsca.discover(run := opened(tmp_path, reach=str(reach)))
    plan = plan_for(run, found, "orders-db")
    report = rdsca.verify(run, plan, rotated(plan), found, before(run))
    row = only(report, "orders-db")
    assert row.verdict == "unknown"
    assert row.wire_ca is None
    assert "could not be seen" in row.detail
    assert outcome.code(report) == 5


def test_a_login_that_no_longer_works_is_no_success_when_sessions_were_seen_before(
    mine: RunningLab, tmp_path: Path
) -> None:
    found = rdsca.discover(run := opened(tmp_path, credentials="none"))
    plan = plan_for(run, found, "orders-db")
    client = Client(user="app", host="10.1.1.1", tls=True)
    row = only(rdsca.verify(run, plan, rotated(plan), found, before(run, seen("orders-db", client))), "orders-db")
    assert row.verdict == "failed"
    assert "cannot be read now" in row.detail
    assert row.chain_ok is True


def test_a_change_that_waits_for_the_window_is_scheduled_and_after_it_the_wire_is_looked_at(
    mine: RunningLab, tmp_path: Path
) -> None:
    found = rdsca.discover(run := opened(tmp_path, account=LEGACY))
    plan = plan_for(run, found, "hr-db", target=NEW)
    run.aws.change_ca(WEST, "hr-db", "instance", NEW, now=False, plan=plan.digest)
    waiting = rdsca.verify(run, plan, rotated(plan, StepStatus.SCHEDULED), found, before(run))
    assert only(waiting, "hr-db").verdict == "scheduled"
    assert outcome.code(waiting) == 0

    mine.post("clock", advance=8 * 86400)

    report = rdsca.verify(run, plan, rotated(plan, StepStatus.SCHEDULED), found, before(run))
    row = only(report, "hr-db")
    assert row.verdict == "verified", row.detail
    assert (row.api_ca, row.wire_ca) == (NEW, NEW)


def test_what_the_journal_says_was_sent_is_looked_at_also_when_the_rotation_was_never_kept(
    profile: AwsSide, tmp_path: Path
) -> None:
    reach = tmp_path / "reach.yml"
    reach.write_text("endpoints: {}\nothers: none\n")
    found = rdsca.discover(run := opened(tmp_path, reach=str(reach)))
    plan = plan_for(run, found, "orders-db", "shop-cms", "catalog-db")
    with RunFolder(tmp_path).journal() as journal:
        journal.write("intent", plan=plan.digest, step=f"{WEST}/orders-db")
        journal.write("refused", plan=plan.digest, step=f"{WEST}/shop-cms")
        journal.write("intent", plan="of another plan", step=f"{WEST}/catalog-db")
    shown = rotated(plan, StepStatus.WOULD_ROTATE)
    report = rdsca.verify(run, plan, shown, found, before(run))
    assert [r.instance for r in report.rows] == ["orders-db"]
    assert outcome.code(report) == 5


def test_a_database_is_looked_at_ten_times_in_a_run_at_most_and_mysql_not_at_all_where_that_is_switched_off(
    profile: AwsSide, tmp_path: Path
) -> None:
    found = rdsca.discover(opened(tmp_path))
    mysql = next(i for i in found.rows if i.engine == "mysql" and i.endpoint)
    with socket.socket() as holder:  # a port on which nobody listens
        holder.bind(("127.0.0.1", 0))
        reach = tmp_path / "reach.yml"
        reach.write_text(f'endpoints: {{"{mysql.endpoint}:{mysql.port}": "127.0.0.1:{holder.getsockname()[1]}"}}\n')
        databases = Databases.of(opened(tmp_path, reach=str(reach)), found)
        for _ in range(10):
            with pytest.raises(Unreachable, match="connection refused"):
                databases.look(mysql)
        with pytest.raises(Unreachable, match="10 times"):
            databases.look(mysql)
        config = Path(os.environ["AWS_CONFIG_FILE"])
        config.write_text(config.read_text().replace("[profile lab]\n", "[profile lab]\nrdsca_probe = off\n"))
        with pytest.raises(Unreachable, match="rdsca_probe = off"):
            Databases.of(opened(tmp_path, reach=str(reach)), found).look(mysql)
