"""The practice RDS's rules over time, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rdsca_helpers.lab import folder, seed
from rdsca_helpers.lab.pki import Pki
from rdsca_helpers.lab.seed import CENTRAL, LEGACY, SHOP, WEST
from rdsca_helpers.lab.versions import ECC384, RSA2048, RSA4096, VERSIONS
from rdsca_helpers.lab.world import AwsError, Cluster, Instance, World, next_start


@pytest.fixture
def world() -> Iterator[World]:
    made = World(Pki(folder.cache() / "pki", folder.REGIONS), seed.ACCOUNTS)
    seed.seed(made)
    yield made
    made.clock.stop()
    assert made.clock.errors == []


def instance(world: World, name: str = "orders-db", account: str = SHOP, region: str = WEST) -> Instance:
    return world.instance(account, region, name)


def modify(world: World, found: Instance | Cluster, *, now: bool = True, restart: bool = True, **changes: Any) -> None:
    world.modify(found, changes, at_once=now, restart=restart)


def after(world: World, seconds: float = 5) -> None:
    world.clock.advance(timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("window", "now", "start"),
    [
        ("sun:03:00-sun:03:30", "2026-11-24T10:00", "2026-11-29T03:00"),
        ("sun:23:45-mon:00:15", "2026-11-29T23:44", "2026-11-29T23:45"),
        ("sun:23:45-mon:00:15", "2026-11-30T00:05", "2026-12-06T23:45"),
        ("tue:10:00-tue:10:30", "2026-11-24T10:00", "2026-12-01T10:00"),
    ],
)
def test_window_starts_next(window: str, now: str, start: str) -> None:
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert next_start(window, at) == datetime.fromisoformat(start).replace(tzinfo=UTC)


def test_each_event_of_a_chain_sees_its_own_time_over_a_jump(world: World) -> None:
    found = instance(world)
    asked = world.clock.now()
    modify(world, found, CACertificateIdentifier=RSA4096)
    after(world, 10 * 86400)
    assert found.expires is not None
    assert abs(found.expires - asked - timedelta(days=365)) < timedelta(seconds=30)
    assert world.region(SHOP, WEST).events[-1]["Date"] < asked + timedelta(seconds=30)


def test_immediate_change_shows_available_first_then_modifying(world: World) -> None:
    found = instance(world)
    modify(world, found, CACertificateIdentifier=RSA4096)
    assert (found.status, found.ca, found.pending) == (
        "available",
        RSA2048,
        {"CACertificateIdentifier": RSA4096},
    )
    after(world, world.settings.lag + 0.05)
    assert (found.status, found.ca) == ("modifying", RSA2048)
    after(world)
    assert (found.status, found.ca, found.pending) == ("available", RSA4096, {})


def test_engine_that_cannot_rotate_without_restart_reboots(world: World) -> None:
    found = instance(world, "crm-db", LEGACY)
    modify(world, found, CACertificateIdentifier=RSA4096)
    after(world, world.settings.lag + world.settings.modify + 0.05)
    assert found.status == "rebooting"
    after(world)
    assert (found.status, found.ca) == ("available", RSA4096)
    messages = [e["Message"] for e in world.region(LEGACY, WEST).events]
    assert messages[:2] == ["DB instance shutdown", "DB instance restarted"]


def test_oracle_is_modified_but_not_rebooted(world: World) -> None:
    found = instance(world, "stock-oracle")
    modify(world, found, CACertificateIdentifier=RSA4096)
    after(world)
    assert found.ca == RSA4096
    assert "DB instance restarted" not in [e["Message"] for e in world.region(SHOP, WEST).events]


def test_restart_engine_gets_a_certificate_for_three_years(world: World) -> None:
    found = instance(world, "crm-db", LEGACY)
    modify(world, found, CACertificateIdentifier=RSA4096)
    after(world)
    assert found.expires is not None
    assert timedelta(days=1090) < found.expires - world.clock.now() < timedelta(days=1100)


def test_apply_immediately_applies_what_else_is_pending(world: World) -> None:
    found = instance(world, "invoices-db", seed.BILLING)
    assert found.pending == {"DBInstanceClass": "db.r6g.2xlarge"}
    modify(world, found, CACertificateIdentifier=RSA4096)
    after(world)
    assert (found.facts["DBInstanceClass"], found.ca, found.pending) == ("db.r6g.2xlarge", RSA4096, {})


def test_change_in_the_window_waits_for_it(world: World) -> None:
    found = instance(world, "shop-sessions")
    modify(world, found, now=False, CACertificateIdentifier=RSA4096)
    start = next_start(found.window, world.clock.now())
    after(world, (start - world.clock.now()).total_seconds() - 60)
    assert (found.ca, found.pending) == (RSA2048, {"CACertificateIdentifier": RSA4096})
    after(world, 120)
    assert (found.ca, found.pending, found.status) == (RSA4096, {}, "available")


def test_two_changes_before_one_window_are_applied_together(world: World) -> None:
    found = instance(world)
    modify(world, found, now=False, CACertificateIdentifier=RSA4096)
    modify(world, found, now=False, DBInstanceClass="db.r6g.xlarge")
    after(world, 8 * 86400)
    assert (found.ca, found.facts["DBInstanceClass"], found.pending) == (RSA4096, "db.r6g.xlarge", {})


def test_without_restart_the_ca_stays_pending_until_a_reboot(world: World) -> None:
    found = instance(world)
    modify(world, found, restart=False, CACertificateIdentifier=RSA4096)
    after(world, 30 * 86400)
    assert (found.ca, found.pending) == (RSA2048, {"CACertificateIdentifier": RSA4096})
    world.reboot(found)
    assert found.status == "rebooting"
    after(world)
    assert (found.ca, found.pending, found.status) == (RSA4096, {}, "available")


def test_a_class_change_restarts_and_so_applies_a_staged_ca(world: World) -> None:
    found = instance(world)
    modify(world, found, restart=False, CACertificateIdentifier=RSA4096)
    modify(world, found, DBInstanceClass="db.r6g.xlarge")
    after(world)
    assert (found.ca, found.pending) == (RSA4096, {})


def test_storage_change_alone_leaves_a_staged_ca_staged(world: World) -> None:
    found = instance(world)
    modify(world, found, restart=False, CACertificateIdentifier=RSA4096)
    modify(world, found, AllocatedStorage=200)
    after(world)
    assert (found.facts["AllocatedStorage"], found.pending) == (200, {"CACertificateIdentifier": RSA4096})


def test_the_same_ca_again_issues_a_new_certificate(world: World) -> None:
    found = instance(world)
    before = found.expires
    modify(world, found, CACertificateIdentifier=RSA2048)
    after(world)
    assert before is not None
    assert found.expires is not None
    assert found.expires > before


@pytest.mark.parametrize(
    ("account", "region", "name", "ca", "code"),
    [
        (SHOP, WEST, "orders-db", "rds-ca-2019", "CertificateNotFound"),
        (SHOP, WEST, "orders-db", "rds-ca-2031", "CertificateNotFound"),
        (SHOP, WEST, "batch-scratch", RSA4096, "InvalidDBInstanceState"),
        (SHOP, WEST, "stock-oracle", ECC384, "InvalidParameterCombination"),
        (SHOP, CENTRAL, "checkout-instance-1", RSA4096, "InvalidParameterCombination"),
        (SHOP, "us-west-2", "shop-us-new", RSA4096, "InvalidDBInstanceState"),
    ],
)
def test_refused(world: World, account: str, region: str, name: str, ca: str, code: str) -> None:  # noqa: PLR0917
    found = instance(world, name, account, region)
    with pytest.raises(AwsError) as e:
        modify(world, found, CACertificateIdentifier=ca)
    assert e.value.code == code
    after(world, 30 * 86400)
    assert "CACertificateIdentifier" not in found.pending


def test_a_second_change_while_modifying_is_refused(world: World) -> None:
    found = instance(world)
    modify(world, found, CACertificateIdentifier=RSA4096)
    after(world, world.settings.lag + 0.05)
    with pytest.raises(AwsError, match="not in available state"):
        modify(world, found, CACertificateIdentifier=ECC384)


def test_only_a_multi_az_cluster_takes_a_ca_and_takes_its_members_along(world: World) -> None:
    aurora = world.cluster(SHOP, WEST, "shop-cart")
    with pytest.raises(AwsError, match="only valid for Multi-AZ DB clusters"):
        modify(world, aurora, CACertificateIdentifier=RSA4096)
    checkout = world.cluster(SHOP, CENTRAL, "checkout")
    modify(world, checkout, CACertificateIdentifier=RSA4096)
    assert checkout.answer()["PendingModifiedValues"] == {"CertificateDetails": {"CAIdentifier": RSA4096}}
    after(world)
    members = [instance(world, m, region=CENTRAL) for m in checkout.members]
    assert [checkout.ca, *(m.ca for m in members)] == [RSA4096] * 4
    assert "PendingModifiedValues" not in checkout.answer()


def test_windows_pass_a_stopped_instance_by_and_aws_starts_it_after_a_week(world: World) -> None:
    found = instance(world)
    modify(world, found, now=False, CACertificateIdentifier=RSA4096)
    world.stop(found)
    after(world, 6.9 * 86400)
    assert (found.status, found.ca) == ("stopped", RSA2048)
    after(world, 86400)
    assert found.status == "available"
    after(world, 8 * 86400)
    assert found.pending == {}


def test_opt_in_for_the_next_window_can_be_undone_an_immediate_one_cannot(world: World) -> None:
    found = instance(world, "stock-oracle")
    (name,) = found.actions
    before = found.expires
    world.opt_in(found, name, "next-maintenance")
    assert found.actions[name]["OptInStatus"] == "next-maintenance"
    world.opt_in(found, name, "undo-opt-in")
    after(world, 8 * 86400)
    assert found.expires == before
    world.opt_in(found, name, "immediate")
    with pytest.raises(AwsError, match="can't be changed"):
        world.opt_in(found, name, "undo-opt-in")
    after(world)
    assert found.actions == {}
    assert found.ca == RSA2048
    assert found.expires is not None
    assert before is not None
    assert found.expires > before


def test_every_seeded_version_is_in_the_table_and_every_version_has_a_month_count() -> None:
    assert {v.months for v in VERSIONS} == {12, 36}
    assert len({(v.engine, v.number) for v in VERSIONS}) == len(VERSIONS)


def test_the_fleet_has_every_kind(world: World) -> None:
    fleet = [i for place in world.regions() for i in place.instances.values()]
    assert len(fleet) == 40
    assert len({i.facts["DbiResourceId"] for i in fleet}) == 40
    assert {"rds-ca-2019", RSA2048, RSA4096, ECC384, None} == {i.ca for i in fleet}
    now = world.clock.now()
    days = [(i.expires - now).days for i in fleet if i.expires and i.ca != "rds-ca-2019"]
    assert min(days) == -2 or min(days) == -1  # yesterday, counted from a moment later
    assert max(days) > 300
