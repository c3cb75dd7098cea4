"""Rotation against the lab's AWS side, through real boto3: what is sent, what is not, and what a crash leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import makers
import pytest
from conftest import AwsSide

import rdsca_helpers as rdsca
from rdsca_helpers import outcome, plan
from rdsca_helpers.edge.folder import RunFolder
from rdsca_helpers.edge.run import Run
from rdsca_helpers.errors import Damaged, Locked, OutcomeUnknown, Refused, Stopped, UsageError
from rdsca_helpers.lab import seed
from rdsca_helpers.lab.seed import BILLING, CENTRAL, SHOP, WEST
from rdsca_helpers.model import (
    Confidence,
    Plan,
    Problem,
    ProofReport,
    ProofVerdict,
    Rejection,
    Restart,
    Rotation,
    SessionReport,
    Sessions,
    StepStatus,
    Trust,
    now,
)
from rdsca_helpers.runbook.rotation import read_instance
from rdsca_helpers.start import start

NEW = "rds-ca-rsa4096-g1"


PLAIN = makers.client(tls=False)


def opened(where: Path, notebook: str = "05-rotate", **values: Any) -> Run:
    """Open a run of *notebook* as its start cell does."""
    return start(notebook, {"run_dir": str(where), "regions": WEST, **values})


def planned(
    where: Path,
    *names: str,
    when: str = "now",
    target: str = NEW,
    regions: str = WEST,
    supported: tuple[str, ...] = (),
    at: timedelta = timedelta(),
    approved: bool = True,
    most: int = 10,
    **values: Any,
) -> Plan:
    """Keep a plan for the instances *names*, all their clients known to be plain, made *at* this time from now."""
    run = opened(where, "04-plan", regions=regions, **values)
    found = rdsca.discover(run)
    rows = tuple(r for r in found.rows if r.instance in names)
    if supported:
        rows = tuple(replace(r, supported_cas=supported) for r in rows)
    common: dict[str, Any] = {"account": run.account, "regions": run.regions, "made_at": now()}
    made = plan.make(
        replace(found, rows=rows),
        SessionReport(rows=tuple(Sessions.of(r, "the test", Confidence.FULL, (PLAIN,)) for r in rows), **common),
        Trust(rows=(), **common),
        target_ca=target,
        when=when,
        max_targets=most,
        endpoints={},
        profile="lab",
        now=now() + at,
    )
    run.folder.keep(made)
    if approved:
        run.folder.approve(made.digest, by="the tests", note="", now=now())
    return made


def planned_anew(where: Path, *names: str) -> Plan:
    """Plan a second time; within the same second it would be the same plan."""
    time.sleep(1.0)
    return planned(where, *names)


def rotate(where: Path, **values: Any) -> Rotation:
    """Run the rotation of the plan that *where* holds, as 05-rotate does."""
    run = opened(where, action=values.pop("action", "apply"), wave=values.pop("wave", "all"), **values)
    return rdsca.rotate(run, rdsca.load(run, Plan), say=lambda _: None)


def sent(aws: AwsSide) -> list[tuple[str, str]]:
    """Give action and name of every changing request that AWS has received."""
    return [
        (c.action, c.params.get("DBInstanceIdentifier") or c.params.get("DBClusterIdentifier"))
        for c in aws.world_calls()
        if c.mutating
    ]


def statuses(report: Rotation) -> list[str]:
    return [str(step.status) for step in report.rows]


def code(report: Rotation) -> int:
    return outcome.code(report)


def events(where: Path) -> list[str]:
    return [json.loads(line)["event"] for line in (where / "journal.jsonl").read_text().splitlines()]


def eventually(condition: Callable[[], Any], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


# --- what shows, and what is refused before anything is sent


def test_no_verb_but_an_applying_rotate_changes_anything(profile: AwsSide, tmp_path: Path) -> None:
    reach = tmp_path / "reach.yml"
    reach.write_text("endpoints: {}\nothers: none\n")
    where = tmp_path / "run"
    clients = tmp_path / "clients.yml"
    clients.write_text("clients: []\n")
    store = tmp_path / "store.pem"
    store.write_text(profile.world.pki.root_pem(WEST, "rds-ca-rsa2048-g1"))
    before = store.read_bytes()
    inventory = rdsca.discover(run := opened(where, "01-discover", regions="all"))
    rdsca.keep(run, inventory)
    sessions = rdsca.check_sessions(run := opened(where, "02-sessions", regions="all", reach=str(reach)), inventory)
    rdsca.keep(run, sessions)
    trust = rdsca.check_stores(
        run := opened(where, "03-trust-stores", regions="all", stores=str(store), clients=str(clients), target_ca=NEW),
        inventory,
    )
    rdsca.keep(run, trust)
    made = rdsca.make_plan(run := opened(where, "04-plan", regions="all", target_ca=NEW), inventory, sessions, trust)
    rdsca.keep(run, made)
    rdsca.approve(where, by="the tests")
    planned(where, "orders-db")
    shown = rotate(where, action="show")
    rdsca.keep(run := opened(where), shown)
    proof = rdsca.verify(
        opened(where, "06-verify", reach=str(reach)), rdsca.load(run, Plan), shown, inventory, sessions
    )
    rdsca.keep(run, proof)
    rdsca.write_report(run)
    rdsca.seal(run)

    assert statuses(shown) == ["would rotate"]
    assert profile.get("calls")["mutating"] == 0
    assert profile.get("calls")["total"] > 20
    assert store.read_bytes() == before
    assert not (where / "journal.jsonl").exists()


def test_a_plan_without_an_approval_is_refused(profile: AwsSide, tmp_path: Path) -> None:
    planned(tmp_path, "orders-db", approved=False)
    with pytest.raises(Refused, match=r"not approved.*rdsca approve"):
        rotate(tmp_path)
    assert sent(profile) == []


def test_an_approval_of_another_plan_is_refused(profile: AwsSide, tmp_path: Path) -> None:
    planned(tmp_path, "orders-db")
    planned(tmp_path, "orders-db", "shop-cms", approved=False)
    with pytest.raises(Refused, match="another plan"):
        rotate(tmp_path)
    assert sent(profile) == []


def test_a_plan_with_any_byte_changed_is_refused_or_says_the_very_same(profile: AwsSide, tmp_path: Path) -> None:
    planned(tmp_path, "orders-db", "shop-cms")
    run = opened(tmp_path, action="apply")
    file = tmp_path / "plan.json"
    whole = file.read_bytes()
    tried = 0
    for place in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[place] ^= 1
        file.write_bytes(changed)
        try:
            found = rdsca.load(run, Plan)
            rdsca.rotate(replace(run, action="show", wave="all"), found, say=lambda _: None)
        except (UsageError, Refused, Damaged):
            tried += 1
        else:
            assert json.loads(changed) == json.loads(whole), f"byte {place} may be changed"
    assert tried > 300
    assert sent(profile) == []


def test_an_expired_plan_is_refused_by_approval_and_by_rotation(profile: AwsSide, tmp_path: Path) -> None:
    planned(tmp_path, "orders-db", at=timedelta(hours=-25))
    with pytest.raises(Refused, match="expired"):
        rdsca.approve(tmp_path, by="the tests")
    with pytest.raises(Refused, match="expired"):
        rotate(tmp_path)
    assert sent(profile) == []


def test_the_plan_of_another_account_is_refused(profile: AwsSide, tmp_path: Path) -> None:
    role = "rdsca"
    made = planned(tmp_path, "invoices-db", account=BILLING, role=role)
    with pytest.raises(Refused, match=f"{BILLING}, not {SHOP}"):
        rotate(tmp_path)
    with pytest.raises(Refused, match=f"{BILLING}, not {SHOP}"):
        rdsca.rotate(opened(tmp_path, action="apply"), made)
    assert sent(profile) == []


@pytest.mark.parametrize("action", ["show", "apply"])
def test_one_instance_more_than_max_targets_is_refused_as_a_whole(
    profile: AwsSide, tmp_path: Path, action: str
) -> None:
    planned(tmp_path, "orders-db", "shop-cms", "catalog-db")
    with pytest.raises(Refused, match="3 instances would be changed, and max_targets is 2"):
        rotate(tmp_path, action=action, max_targets=2)
    assert sent(profile) == []


def test_the_limit_that_was_approved_holds_also_when_rotation_is_given_a_higher_one(
    profile: AwsSide, tmp_path: Path
) -> None:
    planned(tmp_path, "orders-db", "shop-cms", "catalog-db", most=2)
    with pytest.raises(Refused, match="3 instances would be changed"):
        rotate(tmp_path, max_targets=99)
    assert sent(profile) == []


def test_a_wave_that_the_plan_does_not_have_is_a_wrong_parameter(profile: AwsSide, tmp_path: Path) -> None:
    planned(tmp_path, "orders-db", "shop-cms")
    with pytest.raises(UsageError, match=r"no wave 7.*1, 2"):
        rotate(tmp_path, wave="7")
    assert sent(profile) == []


DRIFTS: dict[str, dict[str, Any]] = {
    "ca": {"ca": "rds-ca-ecc384-g1"},
    "status": {"status": "backing-up"},
    "engine_version": {"engine_version": "16.6"},
    "pending": {"pending": {"DBInstanceClass": "db.r6g.2xlarge"}},
    "pending CA": {"pending": {"CACertificateIdentifier": NEW}},
    "resource_id": {"DbiResourceId": "db-ANOTHERONEALTOGETHER"},
    "stopped": {"status": "stopped"},
}


@pytest.mark.parametrize("drift", DRIFTS)
def test_an_instance_that_is_no_longer_as_planned_is_refused_and_nothing_is_sent(
    profile: AwsSide, tmp_path: Path, drift: str
) -> None:
    planned(tmp_path, "orders-db")
    profile.post("instance", instance="orders-db", **DRIFTS[drift])
    report = rotate(tmp_path)
    assert statuses(report) == ["refused"]
    assert "not as planned" in report.rows[0].detail
    assert code(report) == 3
    assert sent(profile) == []
    assert events(tmp_path) == ["refused"]


def test_a_member_that_became_the_writer_after_the_plan_is_refused(profile: AwsSide, tmp_path: Path) -> None:
    planned(tmp_path, "shop-cart-2")
    profile.client().failover_db_cluster(DBClusterIdentifier="shop-cart", TargetDBInstanceIdentifier="shop-cart-2")
    profile.delete("calls")
    report = rotate(tmp_path)
    assert "member_role was reader, is writer" in report.rows[0].detail
    assert sent(profile) == []


def test_an_instance_that_is_gone_is_refused(profile: AwsSide, tmp_path: Path) -> None:
    planned(tmp_path, "orders-db")
    del profile.world.region(SHOP, WEST).instances["orders-db"]
    report = rotate(tmp_path)
    assert statuses(report) == ["refused"]
    assert sent(profile) == []


def test_a_pending_class_change_holds_its_instance_in_the_plan(profile: AwsSide, tmp_path: Path) -> None:
    made = planned(tmp_path, "invoices-db", account=BILLING, role="rdsca")
    assert made.rows[0].verdict == "held"
    assert "DBInstanceClass" in made.rows[0].reason
    assert rotate(tmp_path, account=BILLING, role="rdsca").rows == ()
    assert sent(profile) == []


def test_a_retired_ca_is_held_by_the_plan_and_what_aws_refuses_is_a_refusal(profile: AwsSide, tmp_path: Path) -> None:
    assert planned(tmp_path / "honest", "orders-db", target=seed.OLD).rows[0].verdict == "held"
    planned(tmp_path / "forced", "orders-db", target=seed.OLD, supported=(seed.OLD,))
    report = rotate(tmp_path / "forced")
    assert statuses(report) == ["refused"]
    assert "CertificateNotFound" in report.rows[0].detail
    assert code(report) == 3
    assert len(sent(profile)) == 1


@pytest.mark.parametrize("word", ["InvalidDBInstanceState", "KMSKeyNotAccessibleFault", "Throttling", "AccessDenied"])
def test_a_request_that_aws_says_no_to_is_refused_and_may_be_tried_again(
    profile: AwsSide, tmp_path: Path, word: str
) -> None:
    planned(tmp_path, "orders-db")
    profile.post("fault", action="ModifyDBInstance", code=word, times=1)
    report = rotate(tmp_path)
    assert statuses(report) == ["refused"]
    assert code(report) == 3
    assert len(sent(profile)) == 1
    if word == "AccessDenied":
        assert "rds:ModifyDBInstance was refused" in report.rows[0].detail
    if word == "Throttling":
        assert statuses(rotate(tmp_path)) == ["rotated"]
        assert len(sent(profile)) == 2  # the first was refused, and AWS says so


# --- what is sent


def test_one_request_an_instance_with_the_plan_in_its_user_agent_and_intent_before_it(
    profile: AwsSide, tmp_path: Path
) -> None:
    made = planned(tmp_path, "orders-db")
    report = rotate(tmp_path)
    assert statuses(report) == ["rotated"]
    assert code(report) == 0
    assert sent(profile) == [("ModifyDBInstance", "orders-db")]
    (call,) = [c for c in profile.world_calls() if c.mutating]
    assert f"plan/{made.digest[:8]}" in call.agent
    assert call.params["ApplyImmediately"] == "true"
    assert call.params.keys() <= {"DBInstanceIdentifier", "CACertificateIdentifier", "ApplyImmediately"}
    assert events(tmp_path) == ["intent", "sent", "rotated"]
    assert report.rows[0].request_id
    assert read_instance(opened(tmp_path), WEST, "orders-db", "instance").ca == NEW


def test_a_second_run_finds_the_work_done_and_sends_nothing(profile: AwsSide, tmp_path: Path) -> None:
    planned(tmp_path, "orders-db")
    rotate(tmp_path)
    again = rotate(tmp_path)
    assert statuses(again) == ["rotated"]
    assert "earlier run" in again.rows[0].detail
    assert len(sent(profile)) == 1


def test_next_goes_through_the_waves_one_run_each(profile: AwsSide, tmp_path: Path) -> None:
    planned(tmp_path, "orders-db", "shop-cms", "catalog-db")
    assert [[s.wave for s in rotate(tmp_path, wave="next").rows] for _ in range(3)] == [[1], [2, 2], []]
    assert len(sent(profile)) == 3


def test_show_names_the_next_wave_that_is_not_done_yet(profile: AwsSide, tmp_path: Path) -> None:
    planned(tmp_path, "orders-db", "shop-cms", "catalog-db")
    (done,) = rotate(tmp_path, wave="next").rows
    shown = rotate(tmp_path, action="show", wave="next")
    assert {s.wave for s in shown.rows} == {2}
    assert done.instance not in {s.instance for s in rotate(tmp_path, action="show", wave="all").rows}


def test_an_engine_that_must_restart_is_waited_for_until_it_is_back(profile: AwsSide, tmp_path: Path) -> None:
    profile.world.settings.modify = profile.world.settings.restart = 0.4
    made = planned(tmp_path, "shop-cms")
    assert made.rows[0].restart is Restart.RESTART
    assert statuses(rotate(tmp_path)) == ["rotated"]
    assert [e["Message"] for e in profile.world.region(SHOP, WEST).events][:2] == [
        "DB instance shutdown",
        "DB instance restarted",
    ]


def test_a_multi_az_cluster_is_changed_as_a_cluster_and_an_aurora_member_as_an_instance(
    profile: AwsSide, tmp_path: Path
) -> None:
    planned(tmp_path, "checkout", "shop-cart-1", regions=f"{WEST},{CENTRAL}")
    report = rotate(tmp_path, regions=f"{WEST},{CENTRAL}")
    assert statuses(report) == ["rotated", "rotated"]
    assert sorted(sent(profile)) == [("ModifyDBCluster", "checkout"), ("ModifyDBInstance", "shop-cart-1")]


def test_available_right_after_the_request_is_not_taken_for_done(profile: AwsSide, tmp_path: Path) -> None:
    profile.post("fault", kind="lag", action="ModifyDBInstance", instance="orders-db", polls=2)
    planned(tmp_path, "orders-db")
    report = rotate(tmp_path)
    assert statuses(report) == ["rotated"]
    calls = [c.action for c in profile.world_calls()]
    looks = calls[calls.index("ModifyDBInstance") :].count("DescribeDBInstances")
    assert looks == 4  # two that showed the state before, and two in a row that agree
    assert len(sent(profile)) == 1


def test_in_window_mode_the_change_is_scheduled_and_made_in_the_window(profile: AwsSide, tmp_path: Path) -> None:
    made = planned(tmp_path, "orders-db", when="window")
    report = rotate(tmp_path)
    assert statuses(report) == ["scheduled"]
    assert made.rows[0].window_utc in report.rows[0].detail
    assert code(report) == 0
    seen = read_instance(opened(tmp_path), WEST, "orders-db", "instance")
    assert (seen.ca, seen.pending_ca) == ("rds-ca-rsa2048-g1", NEW)

    profile.post("clock", advance=8 * 86400)

    seen = read_instance(opened(tmp_path), WEST, "orders-db", "instance")
    assert (seen.ca, seen.pending_ca) == (NEW, "")
    rotate(tmp_path)
    assert len(sent(profile)) == 1


def test_next_does_not_go_on_while_the_canary_waits_for_its_window(profile: AwsSide, tmp_path: Path) -> None:
    made = planned(tmp_path, "orders-db", "shop-sessions", when="window")
    canary, later = sorted(made.rows, key=lambda r: r.wave or 0)
    for _ in range(2):
        report = rotate(tmp_path, wave="next")
        assert [(s.instance, str(s.status)) for s in report.rows] == [(canary.instance, "scheduled")]
    assert {name for _, name in sent(profile)} == {canary.instance}

    profile.post("clock", advance=8 * 86400)

    assert statuses(rotate(tmp_path, wave="next")) == ["rotated"]
    rotate(tmp_path, wave="next")
    assert [name for _, name in sent(profile)] == [canary.instance, later.instance]


def test_a_later_wave_is_refused_while_the_canary_has_not_moved(profile: AwsSide, tmp_path: Path) -> None:
    made = planned(tmp_path, "orders-db", "shop-sessions")
    canary = next(r.instance for r in made.rows if r.wave == 1)
    with pytest.raises(Refused, match=f"wave 1, where {canary} has not moved"):
        rotate(tmp_path, wave="2")
    assert sent(profile) == []


# --- failures stop what would come after


@pytest.mark.parametrize(
    ("verdict", "age"), [(ProofVerdict.VERIFIED, timedelta()), (ProofVerdict.FAILED, timedelta(days=1))]
)
def test_a_canary_whose_proof_failed_stops_the_next_wave_until_it_is_well_an_older_proof_does_not(
    profile: AwsSide, tmp_path: Path, verdict: ProofVerdict, age: timedelta
) -> None:
    planned(tmp_path, "orders-db", "shop-cms")
    (canary,) = rotate(tmp_path, wave="next").rows
    named = makers.proof(ProofVerdict.FAILED, canary.instance, detail="clients reject the certificate: 10.0.0.5")
    RunFolder(tmp_path).keep(makers.report(ProofReport, named, made_at=now()))
    for wave in ("next", "all", "2"):
        with pytest.raises(Refused, match=rf"{canary.instance}.*10\.0\.0\.5.*run 06-verify again"):
            rotate(tmp_path, wave=wave)
    assert len(sent(profile)) == 1
    RunFolder(tmp_path).keep(makers.report(ProofReport, replace(named, verdict=verdict), made_at=now() - age))
    assert "rotated" in statuses(rotate(tmp_path, wave="next"))
    assert len(sent(profile)) == 2


def test_a_canary_whose_rejections_could_not_be_read_stops_the_next_wave_and_one_whose_engine_has_none_does_not(
    profile: AwsSide, tmp_path: Path
) -> None:
    planned(tmp_path, "orders-db", "shop-cms")
    (canary,) = rotate(tmp_path, wave="next").rows
    blind = replace(makers.proof(name=canary.instance), region=canary.region)
    problem = Problem(f"{SHOP}/{canary.region}/{canary.instance}", "the log was refused", "allow it in the role")
    RunFolder(tmp_path).keep(makers.report(ProofReport, blind, made_at=now(), problems=(problem,)))
    with pytest.raises(Refused, match=rf"{canary.instance}.*the log was refused.*allow it in the role"):
        rotate(tmp_path, wave="next")
    assert len(sent(profile)) == 1
    RunFolder(tmp_path).keep(makers.report(ProofReport, blind, made_at=now()))
    assert "rotated" in statuses(rotate(tmp_path, wave="next"))


def test_a_canary_with_clients_that_are_not_seen_back_stops_the_next_wave_whatever_its_verdict(
    profile: AwsSide, tmp_path: Path
) -> None:
    planned(tmp_path, "orders-db", "shop-cms")
    (canary,) = rotate(tmp_path, wave="next").rows
    waiting = Rejection(host="10.0.0.5", reason="does not know the CA", source="postgresql.log")
    row = makers.proof(ProofVerdict.UNKNOWN, canary.instance, rejected=(waiting,))
    RunFolder(tmp_path).keep(makers.report(ProofReport, replace(row, region=canary.region), made_at=now()))
    with pytest.raises(Refused, match="is not well"):
        rotate(tmp_path, wave="next")
    assert len(sent(profile)) == 1


def test_a_canary_that_is_refused_stops_all_later_waves(profile: AwsSide, tmp_path: Path) -> None:
    made = planned(tmp_path, "orders-db", "shop-cms", "catalog-db", "shop-sessions")
    canary = next(r.instance for r in made.rows if r.wave == 1)
    profile.post("fault", action="ModifyDBInstance", instance=canary, code="InvalidDBInstanceState")
    report = rotate(tmp_path)
    assert [(s.instance, str(s.status)) for s in report.rows] == [(canary, "refused")]
    assert {name for _, name in sent(profile)} == {canary}


def test_a_canary_that_fails_after_the_request_stops_all_later_waves(profile: AwsSide, tmp_path: Path) -> None:
    profile.world.settings.modify = 3600
    made = planned(tmp_path, "orders-db", "shop-cms")
    canary = next(r.instance for r in made.rows if r.wave == 1)

    def break_it() -> None:
        eventually(lambda: profile.world.region(SHOP, WEST).instances[canary].status == "modifying")
        profile.post("instance", instance=canary, status="incompatible-parameters")

    breaker = threading.Thread(target=break_it)
    breaker.start()
    report = rotate(tmp_path)
    breaker.join()
    assert [(s.instance, str(s.status)) for s in report.rows] == [(canary, "failed")]
    assert code(report) == 4
    assert {name for _, name in sent(profile)} == {canary}


def test_a_failure_inside_a_wave_stops_its_rest_and_waits_for_what_was_sent(profile: AwsSide, tmp_path: Path) -> None:
    made = planned(tmp_path, "orders-db", "shop-cms", "catalog-db")
    first, second = sorted(r.instance for r in made.rows if r.wave == 2)
    profile.post("fault", action="ModifyDBInstance", instance=second, code="InvalidDBInstanceState")
    report = rotate(tmp_path)
    found = {s.instance: str(s.status) for s in report.rows}
    assert found.pop(first) == "rotated"
    assert found.pop(second) == "refused"
    assert code(report) == 4
    with pytest.raises(Stopped, match=second):
        rdsca.keep(opened(tmp_path), report)


def test_credentials_that_expire_between_two_waves_stop_before_the_next_instance(
    profile: AwsSide, tmp_path: Path
) -> None:
    made = planned(tmp_path, "orders-db", "shop-cms")
    later = next(r.instance for r in made.rows if r.wave == 2)
    profile.post("fault", action="DescribeDBInstances", instance=later, code="ExpiredToken")
    report = rotate(tmp_path)
    assert statuses(report) == ["rotated", "refused"]
    assert "log in again" in report.rows[1].detail
    assert code(report) == 4
    profile.delete("fault")
    assert statuses(rotate(tmp_path)) == ["rotated", "rotated"]
    assert len(sent(profile)) == 2


def test_credentials_that_expire_while_it_waits_end_the_wait_and_the_outcome_is_unknown(
    profile: AwsSide, tmp_path: Path
) -> None:
    planned(tmp_path, "orders-db")
    profile.post("fault", action="DescribeDBInstances", instance="orders-db", code="ExpiredToken", skip=1)
    report = rotate(tmp_path)
    assert statuses(report) == ["unknown"]
    assert "log in again" in report.rows[0].detail
    assert code(report) == 6
    profile.delete("fault")
    assert statuses(rotate(tmp_path)) == ["rotated"]
    assert len(sent(profile)) == 1


# --- replies that never come, and crashes


def test_a_lost_reply_is_unknown_and_running_again_looks_and_sends_nothing(profile: AwsSide, tmp_path: Path) -> None:
    planned(tmp_path, "orders-db", "shop-cms")
    profile.post("fault", action="ModifyDBInstance", kind="lost_reply", times=1)
    report = rotate(tmp_path)
    assert statuses(report) == ["unknown"]
    assert code(report) == 6
    with pytest.raises(OutcomeUnknown):
        rdsca.keep(opened(tmp_path), report)
    assert len(sent(profile)) == 1

    again = rotate(tmp_path, wave="1")
    assert statuses(again) == ["rotated"]
    assert len(sent(profile)) == 1


@pytest.mark.parametrize("fault", [{"kind": "lost_request"}, {"code": "InternalFailure"}])
def test_a_request_that_may_have_arrived_is_never_sent_again_under_the_same_plan(
    profile: AwsSide, tmp_path: Path, fault: dict[str, str]
) -> None:
    planned(tmp_path, "orders-db")
    profile.post("fault", action="ModifyDBInstance", times=1, **fault)
    assert statuses(rotate(tmp_path)) == ["unknown"]
    for _ in range(2):
        again = rotate(tmp_path)
        assert statuses(again) == ["unknown"]
        assert code(again) == 6
        assert "still on rds-ca-rsa2048-g1" in again.rows[0].detail
    assert len(sent(profile)) == 1

    planned_anew(tmp_path, "orders-db")
    assert statuses(rotate(tmp_path)) == ["rotated"]
    assert len(sent(profile)) == 2


_CHILD = """
import os, signal, sys
import rdsca_helpers as rdsca
where, at = sys.argv[1:]
run = rdsca.start("05-rotate", {"run_dir": where, "action": "apply", "wave": "all"})

def say(line):
    if at == "intent" and "->" in line:
        os.kill(os.getpid(), signal.SIGKILL)

rdsca.rotate(run, rdsca.load(run, rdsca.Plan), say=say)
"""


def killed(where: Path, at: str, moment: Callable[[], Any] | None = None) -> None:
    """Rotate in a process of its own, which is killed *at* a step of the journal."""
    child = subprocess.Popen([sys.executable, "-c", _CHILD, str(where), at], stdout=subprocess.DEVNULL)
    try:
        if moment:
            eventually(moment)
            os.kill(child.pid, signal.SIGKILL)
        assert child.wait(30) == -signal.SIGKILL
    finally:
        child.kill()


def test_killed_between_intent_and_request_the_next_run_says_unknown_and_a_new_plan_rotates(
    profile: AwsSide, tmp_path: Path
) -> None:
    planned(tmp_path, "orders-db")
    killed(tmp_path, "intent")
    assert events(tmp_path) == ["intent"]
    report = rotate(tmp_path)
    assert statuses(report) == ["unknown"]
    assert code(report) == 6
    assert sent(profile) == []

    planned_anew(tmp_path, "orders-db")
    assert statuses(rotate(tmp_path)) == ["rotated"]
    assert len(sent(profile)) == 1


def test_killed_after_the_request_before_its_line_the_next_run_finds_the_change_by_looking(
    profile: AwsSide, tmp_path: Path
) -> None:
    planned(tmp_path, "orders-db")
    profile.post("fault", action="ModifyDBInstance", kind="delay", delay=1.0)
    killed(tmp_path, "request", lambda: sent(profile))
    assert events(tmp_path) == ["intent"]
    eventually(lambda: profile.world.region(SHOP, WEST).instances["orders-db"].ca == NEW)
    report = rotate(tmp_path)
    assert statuses(report) == ["rotated"]
    assert code(report) == 0
    assert len(sent(profile)) == 1


def test_killed_while_it_waits_the_next_run_waits_on(profile: AwsSide, tmp_path: Path) -> None:
    profile.world.settings.modify = 2.0
    planned(tmp_path, "orders-db")
    journal = tmp_path / "journal.jsonl"
    killed(tmp_path, "sent", lambda: journal.exists() and events(tmp_path)[-1:] == ["sent"])
    report = rotate(tmp_path)
    assert statuses(report) == ["rotated"]
    assert len(sent(profile)) == 1
    assert events(tmp_path) == ["intent", "sent", "rotated"]


# --- the journal


def test_a_second_writer_of_the_journal_is_refused(profile: AwsSide, tmp_path: Path) -> None:
    planned(tmp_path, "orders-db")
    with RunFolder(tmp_path).journal(), pytest.raises(Locked, match="in use by another run"):
        rotate(tmp_path)
    assert sent(profile) == []


def test_a_damaged_journal_stops_before_anything_is_sent(profile: AwsSide, tmp_path: Path) -> None:
    planned(tmp_path, "orders-db")
    with RunFolder(tmp_path).journal() as journal:
        journal.write("note", text="first")
        journal.write("note", text="second")
    file = tmp_path / "journal.jsonl"
    file.write_bytes(file.read_bytes().replace(b"first", b"FIRST"))
    with pytest.raises(Damaged, match="line 2"):
        rotate(tmp_path)
    assert sent(profile) == []


def test_a_last_line_torn_by_a_crash_is_cut_and_work_goes_on(profile: AwsSide, tmp_path: Path) -> None:
    planned(tmp_path, "orders-db")
    (tmp_path / "journal.jsonl").write_bytes(b'{"at": "2026-11-2')
    assert statuses(rotate(tmp_path)) == ["rotated"]
    assert events(tmp_path) == ["intent", "sent", "rotated"]
    assert StepStatus.ROTATED in events(tmp_path)
