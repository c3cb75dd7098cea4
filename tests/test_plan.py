"""The plan: the ladder of verdicts, and the rules that hold for every plan."""

from __future__ import annotations

import random
import shlex
import subprocess
import time
from dataclasses import fields, replace
from datetime import datetime, timedelta
from enum import Enum
from itertools import pairwise
from typing import Any

import pytest
from makers import NEW, NOW, OLD, REGION, client, days, instance, inventory, plan_for, report, sessions, store, unread

from rdsca_helpers import plan as plans
from rdsca_helpers.engines import EVERYBODY
from rdsca_helpers.model import Confidence, Instance, Plan, PlanRow, Restart, SessionReport, Trust, Urgency, Verdict

READY, HELD, DONE, SKIPPED = Verdict.READY, Verdict.HELD, Verdict.DONE, Verdict.SKIPPED
SCR = "server-certificate-rotation"
LACKING = (store("old-only"),)
TRUSTING = (store("ready"),)


EVERY_CLIENT = {"user": EVERYBODY, "host": ""}


def verdict(one: Instance, seen: Any = None, stores: Any = ()) -> tuple[Verdict, str]:
    (row,) = plan_for(one, seen={one.instance: seen} if seen else {}, stores=stores).rows
    return row.verdict, row.reason


def test_tls_client_without_the_new_ca_holds_its_instance() -> None:
    said, why = verdict(instance(), sessions(tls=2), LACKING)
    assert said is HELD
    assert "2 session(s)" in why
    assert "/etc/ssl/rds.pem" in why


def test_an_instance_on_the_target_whose_certificate_runs_out_is_not_called_done_without_a_word() -> None:
    said, why = verdict(instance(ca=NEW, urgency=Urgency.EXPIRED), sessions(tls=2))
    assert said is HELD
    assert "has expired" in why
    assert verdict(instance(ca=NEW, urgency=Urgency.OK), sessions(tls=2))[0] is DONE


def test_a_session_that_nobody_could_classify_holds_its_instance_like_a_tls_session() -> None:
    assert verdict(instance(), sessions(plain=5, unknown=1))[0] is HELD


def test_an_instance_with_plain_sessions_only_is_ready() -> None:
    assert verdict(instance(), sessions(plain=5), LACKING)[0] is READY


@pytest.mark.parametrize("stores", [(), LACKING])
def test_an_instance_where_nobody_was_seen_is_held_unless_every_store_accepts_the_new_ca(stores: Any) -> None:
    said, why = verdict(instance(), sessions(), stores)
    assert said is HELD
    assert "nobody was connected when rdsca looked" in why
    assert "samples" in why
    assert "trust store" in why
    assert verdict(instance(), sessions(), TRUSTING)[0] is READY


def test_a_setting_that_decides_for_every_client_is_not_one_session() -> None:
    on, off = (sessions(clients=(client(**EVERY_CLIENT, tls=tls),)) for tls in (True, False))
    for stores, expected in ((LACKING, HELD), (TRUSTING, READY)):
        said, why = verdict(instance(), on, stores)
        assert said is expected
        assert "every client may use TLS (a setting decides)" in why
        assert "1 session" not in why
    said, why = verdict(instance(), off)
    assert said is READY
    assert why == "no client may use TLS (a setting decides)"


def test_stores_that_were_shown_for_another_target_are_not_called_no_stores() -> None:
    _, why = verdict(instance(), sessions(tls=1), (store("ready", ca="rds-ca-ecc384-g1"),))
    assert "shown for rds-ca-ecc384-g1 only" in why
    assert NEW in why
    assert "no trust store was shown" in verdict(instance(), sessions(tls=1))[1]


def test_an_instance_whose_clients_trust_the_new_ca_is_ready() -> None:
    assert verdict(instance(), sessions(tls=5), TRUSTING)[0] is READY


def test_sessions_that_could_not_be_read_hold_the_instance_also_when_every_store_is_ready() -> None:
    said, why = verdict(instance(), unread(remedy="GRANT pg_monitor"), TRUSTING)
    assert said is HELD
    assert "GRANT pg_monitor" in why


def test_nobody_seen_by_a_user_who_may_not_see_all_holds_the_instance() -> None:
    partial = sessions(plain=1, confidence=Confidence.PARTIAL, remedy="GRANT PROCESS")
    said, why = verdict(instance(), partial)
    assert said is HELD
    assert "GRANT PROCESS" in why


def test_an_instance_that_the_session_report_lacks_is_held() -> None:
    plan = plans.make(
        inventory(instance()),
        report(SessionReport),
        report(Trust, store("ready")),
        target_ca=NEW,
        when="window",
        max_targets=1,
        endpoints={},
        profile="",
        now=NOW,
    )
    assert plan.rows[0].verdict is HELD


@pytest.mark.parametrize(
    ("stores", "expected"),
    [
        ((store("ready"), store("both", store="/b")), READY),
        ((store("ready"), store("old-only", store="/b")), HELD),
        ((store("ready", region="us-east-1"),), HELD),
        ((store("ready", ca="rds-ca-ecc384-g1"),), HELD),
        ((store("ready"), store("pin-only", family="java")), HELD),
        ((store("pin-only"),), HELD),
        ((store("unreadable-by-client"),), HELD),
        ((store("unknown"),), HELD),
        ((store("unknown-ca"),), HELD),
        ((store("not-verifying"),), READY),
        ((store("not-verifying", missing_sha256=("ab",)),), HELD),
        ((store("ready", client="web"), store("not-verifying", client="cron", missing_sha256=("ab",))), HELD),
        ((), HELD),
    ],
)
def test_tls_clients_need_every_store_of_the_region_to_hold_the_target_ca(stores: Any, expected: Verdict) -> None:
    assert verdict(instance(), sessions(tls=1), stores)[0] is expected


@pytest.mark.parametrize(
    ("facts", "expected", "word"),
    [
        ({"skip_reason": "RDS Proxy"}, SKIPPED, "RDS Proxy"),
        ({"skip_reason": "RDS Proxy", "ca": NEW}, SKIPPED, "RDS Proxy"),
        ({"ca": NEW, "urgency": Urgency.DAYS_90}, DONE, NEW),
        ({"ca": NEW, "pending_action": SCR, "urgency": Urgency.DAYS_90}, DONE, SCR),
        ({"ca": NEW, "pending_action": SCR, "urgency": Urgency.DAYS_30}, HELD, SCR),
        ({"ca": NEW, "status": "stopped", "urgency": Urgency.DAYS_90}, DONE, NEW),
        ({"pending_ca": NEW}, HELD, "pending"),
        ({"ca": NEW, "pending_ca": OLD}, HELD, OLD),
        ({"ca": None}, HELD, "which CA"),
        ({"status": "stopped"}, HELD, "stopped"),
        ({"status": "modifying"}, HELD, "modifying"),
        ({"status": "unknown"}, HELD, "unknown"),
        ({"supported_cas": None}, HELD, "did not say"),
        ({"supported_cas": ()}, HELD, "does not support"),
        ({"supported_cas": (OLD,)}, HELD, "does not support"),
        ({"pending_other": ("EngineVersion", "DBInstanceClass")}, HELD, "EngineVersion, DBInstanceClass"),
    ],
)
def test_each_obstacle_in_the_instance_gives_its_verdict_with_the_reason(
    facts: dict[str, Any], expected: Verdict, word: str
) -> None:
    said, why = verdict(instance(**facts), stores=TRUSTING)
    assert said is expected
    assert word in why


def test_an_expired_certificate_does_not_keep_an_instance_from_being_ready() -> None:
    assert verdict(instance(cert_expires=NOW - days(3)), stores=TRUSTING)[0] is READY


# Rules that hold for every plan


def a_world(seed: int) -> Plan:
    """A plan over a mixed fleet; the seed picks which."""
    dice = random.Random(seed)
    fleet = []
    for number in range(dice.randrange(1, 60)):
        cluster = dice.choice(["", "", "shop", "bank", "desk"])
        region = dice.choice(["eu-west-1", "us-east-1"])
        fleet.append(
            instance(
                f"db-{number}",
                region=region,
                ca=dice.choice([OLD, OLD, OLD, NEW, None]),
                status=dice.choice(["available"] * 8 + ["stopped"]),
                cluster=cluster,
                member_role=dice.choice(["writer", "reader", "reader"]) if cluster else dice.choice(["", "replica"]),
                restart=dice.choice(list(Restart)),
                tags={"env": dice.choice(["prod", "dev", "Production"])} if dice.random() < 0.5 and not cluster else {},
                skip_reason=dice.choice([""] * 8 + ["RDS Proxy"]),
                kind=dice.choice(["instance", "multi-az-cluster"]),
            )
        )
    seen = {i.instance: sessions(i.instance, tls=dice.choice([0, 0, 3])) for i in fleet if dice.random() < 0.9}
    stores = (store("ready"), store(dice.choice(["ready", "old-only"]), region="us-east-1"))
    return replace(plan_for(*fleet, seen=seen, stores=stores, when=dice.choice(["now", "window"])), problems=())


WORLDS = [a_world(seed) for seed in range(60)]


def ready_rows(plan: Plan) -> list[PlanRow]:
    return [r for r in plan.rows if r.verdict is READY]


def test_each_instance_has_exactly_one_row_with_a_reason() -> None:
    for plan in WORLDS:
        assert len({(r.region, r.instance) for r in plan.rows}) == len(plan.rows)
        assert all(r.reason for r in plan.rows)


def test_exactly_the_ready_rows_have_a_wave_and_a_command() -> None:
    for plan in WORLDS:
        for row in plan.rows:
            assert (row.wave is not None) == (row.verdict is READY) == bool(row.cli)


def test_the_first_wave_is_one_and_waves_are_counted_without_a_gap() -> None:
    for plan in WORLDS:
        waves = [r.wave for r in ready_rows(plan)]
        if waves:
            assert waves.count(1) == 1
            assert set(waves) == set(range(1, max(w or 0 for w in waves) + 1))


def fleets() -> list[list[Instance]]:
    dice, made = random.Random(7), []
    for _ in range(200):
        fleet: list[Instance] = []
        for c in range(dice.randrange(0, 4)):
            members = dice.randrange(1, 7)
            tags = {"env": dice.choice(["prod", "dev"])}
            fleet += [
                instance(f"c{c}-{m}", cluster=f"c{c}", member_role="reader" if m else "writer", tags=tags)
                for m in range(members)
            ]
        fleet += [
            instance(
                f"solo-{i}", tags={"env": dice.choice(["dev", "prod", "test"])}, restart=dice.choice(list(Restart))
            )
            for i in range(dice.randrange(0, 20))
        ]
        dice.shuffle(fleet)
        made.append(fleet)
    return made


def test_no_two_members_of_a_cluster_share_a_wave_and_no_wave_doubles_more_than_the_one_before() -> None:
    for fleet in fleets():
        waves = plans.order(fleet)
        assert len(waves) == len(fleet)
        sizes = [list(waves.values()).count(w) for w in range(1, len(waves) + 1) if w in waves.values()]
        assert all(size <= 2**i for i, size in enumerate(sizes))
        pairs = [(i.region, i.cluster, waves[i.region, i.instance]) for i in fleet if i.cluster]
        assert len(pairs) == len(set(pairs))


def test_a_writer_moves_after_all_its_readers() -> None:
    for fleet in fleets():
        waves = plans.order(fleet)
        for one in fleet:
            if one.member_role == "writer":
                readers = [waves[i.region, i.instance] for i in fleet if i.cluster == one.cluster and i is not one]
                assert all(r < waves[one.region, one.instance] for r in readers)


def test_a_writer_moves_after_its_readers_also_when_only_the_readers_are_tagged_as_production() -> None:
    writer = instance("a", cluster="shop", member_role="writer", tags={"env": "dev"})
    reader = instance("b", cluster="shop", member_role="reader", tags={"env": "prod"})
    waves = plans.order([writer, reader])
    assert waves[REGION, "b"] < waves[REGION, "a"]


def test_other_environments_move_before_production_and_what_is_not_tagged_counts_as_production() -> None:
    tagged = [instance(n, tags=t) for n, t in (("a", {}), ("b", {"Env": "PROD"}), ("z", {"environment": "dev"}))]
    assert plans.order(tagged)[REGION, "z"] == 1


def test_same_names_in_two_regions_are_two_instances() -> None:
    pair = [instance("orders"), instance("orders", region="us-east-1")]
    plan = plan_for(*pair, stores=(store(), store(region="us-east-1")))
    assert sorted(r.wave or 0 for r in plan.rows) == [1, 2]
    assert {r.region for r in plan.rows} == {"eu-west-1", "us-east-1"}


def test_an_instance_listed_twice_is_a_problem_that_is_named() -> None:
    (problem,) = plan_for(instance(), instance()).problems
    assert "orders" in problem.where


def test_three_thousand_instances_are_ordered_in_seconds() -> None:
    fleet = [
        instance(f"db-{i}", cluster=f"c{i // 3}", member_role="reader" if i % 3 else "writer") for i in range(3000)
    ]
    began = time.monotonic()
    assert len(plans.order(fleet)) == 3000
    assert time.monotonic() - began < 5


def test_no_instance_at_all_is_a_plan_that_says_so() -> None:
    plan = plan_for()
    assert plan.rows == ()
    assert "No instance is ready" in plan.meaning


# The digest


def other(value: Any) -> Any:
    """Give another value of the same kind."""
    if isinstance(value, Enum):
        return next(v for v in type(value) if v is not value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, datetime):
        return value + timedelta(seconds=1)
    if isinstance(value, dict):
        return {**value, "one more": "1" if not value or isinstance(next(iter(value.values())), str) else 1}
    if isinstance(value, tuple):
        return (*value, "one more")
    return f"{value}x" if isinstance(value, str) else "x"


def test_any_changed_field_of_the_plan_or_of_a_row_changes_the_digest() -> None:
    plan = plan_for(instance(), stores=TRUSTING)
    assert plans.digest(plan) == plan.digest
    digests = {plan.digest}
    changed = [
        replace(plan, **{f.name: other(getattr(plan, f.name))})
        for f in fields(Plan)
        if f.name not in ("digest", "rows")
    ]
    row = plan.rows[0]
    changed += [replace(plan, rows=(replace(row, **{f.name: other(getattr(row, f.name))}),)) for f in fields(PlanRow)]
    changed += [replace(plan, rows=()), replace(plan, rows=(row, row))]
    digests |= {plans.digest(c) for c in changed}
    assert len(digests) == len(changed) + 1


def test_the_order_of_rows_is_part_of_the_digest_and_making_it_again_is_not() -> None:
    a, b = instance("a"), instance("b")
    assert plan_for(a, b).digest == plan_for(a, b).digest
    assert plan_for(a, b).digest != plan_for(b, a).digest


# What a person copies


@pytest.mark.parametrize("when", ["now", "window"])
@pytest.mark.parametrize("kind", ["instance", "multi-az-cluster", "aurora", "docdb"])
def test_the_command_line_is_what_rotation_would_do_and_survives_a_shell(when: str, kind: str) -> None:
    (row,) = plan_for(instance("orders", kind=kind), stores=TRUSTING, when=when).rows
    words = shlex.split(row.cli)
    said = dict(pairwise(words[3:]))
    thing = "cluster" if kind == "multi-az-cluster" else "instance"
    assert words[:3] == ["aws", "rds", f"modify-db-{thing}"]
    assert said[f"--db-{thing}-identifier"] == "orders"
    assert said["--ca-certificate-identifier"] == NEW
    assert said["--region"] == REGION
    assert said["--endpoint-url"] == f"https://rds.{REGION}.amazonaws.com"
    assert ("--apply-immediately" in words) == (when == "now")
    assert ("--no-apply-immediately" in words) == (when == "window")
    assert "--certificate-rotation-restart" not in row.cli


@pytest.mark.parametrize("hostile", ["$(touch /tmp/x)", "`id`", "a'b", 'a"b', "a\nb", "; rm -rf ~", "é &"])
def test_a_hostile_word_in_a_command_line_stays_one_word(hostile: str) -> None:
    (row,) = plan_for(instance(hostile), stores=TRUSTING, profile=hostile).rows
    assert shlex.split(row.cli).count(hostile) == 2
    said = subprocess.run(["sh", "-c", f"set -- {row.cli}; printf '%s|' \"$@\""], capture_output=True, check=True)
    assert said.stdout.decode().split("|").count(hostile) == 2
    assert subprocess.run(["sh", "-n"], input=row.cli.encode(), check=False).returncode == 0


@pytest.mark.parametrize(
    ("ca", "supported", "said"),
    [(OLD, (OLD, NEW), "possible"), (OLD, (NEW,), "none"), ("rds-ca-2015", (NEW, "rds-ca-2015"), "none")],
)
def test_going_back_is_possible_only_to_a_ca_that_rds_still_offers(
    ca: str, supported: tuple[str, ...], said: str
) -> None:
    assert plan_for(instance(ca=ca, supported_cas=supported), stores=TRUSTING).rows[0].rollback == said


def test_going_back_to_a_ca_that_ends_within_90_days_is_not_called_possible() -> None:
    soon = {OLD: {"thumbprint": "", "valid_till": "2027-01-15T00:00:00Z"}}
    assert plans.rollback(instance(), soon, NOW) == "none"


def test_a_plan_lasts_a_day_and_says_its_limits_and_its_windows() -> None:
    plan = plan_for(instance(), instance("odd", maintenance_window=""), max_targets=3)
    assert plan.expires_at == NOW + days(1)
    assert plan.limits == {"max_targets": 3}
    assert [r.window_utc for r in plan.rows] == ["2026-11-29T23:45:00Z/2026-11-30T00:15:00Z", "unknown"]


def test_what_the_plan_saw_tells_every_fact_that_must_still_hold() -> None:
    base = plans.observed(instance())
    for change in (
        {"ca": NEW},
        {"status": "stopped"},
        {"engine_version": "17"},
        {"resource_id": "db-OTHER"},
        {"member_role": "reader"},
        {"pending_ca": NEW},
        {"pending_other": ("Iops",)},
    ):
        assert plans.observed(instance(**change)) != base
