"""DocumentDB: one cluster parameter answers for every client, and only when it is in force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import AwsSide
from practice import NAME, NEW, OLD, PASSWORDS, certificate

import rdsca_helpers as rdsca
from rdsca_helpers import plan
from rdsca_helpers.edge import databases
from rdsca_helpers.edge.aws import Aws
from rdsca_helpers.engines import all_engines, docdb
from rdsca_helpers.errors import Stopped, Unreachable
from rdsca_helpers.inventory import RegionFacts
from rdsca_helpers.inventory import rows as inventory_rows
from rdsca_helpers.lab.mongo import StandIn
from rdsca_helpers.lab.pki import Pki
from rdsca_helpers.lab.seed import BILLING, CENTRAL, SHOP, WEST
from rdsca_helpers.model import Client, Confidence, Instance, Sessions, Verdict, now
from rdsca_helpers.start import start

ENGINE = all_engines()["docdb"]


@pytest.mark.parametrize("value", ["enabled", "tls1.2+", "tls1.3+", "fips-140-3"])
def test_with_tls_on_every_client_uses_it(value: str) -> None:
    census = docdb.by_settings({"tls": value})
    assert (census.confidence, [c.tls for c in census.clients]) == (Confidence.FULL, [True])
    assert value in census.source
    assert "counts nobody" in census.source


def test_with_tls_off_no_client_uses_it() -> None:
    census = docdb.by_settings({"tls": "disabled"})
    assert (census.confidence, [c.tls for c in census.clients]) == (Confidence.FULL, [False])


@pytest.mark.parametrize("settings", [{}, {"tls": "unknown"}, {"tls": "tls9"}, {"tls": ""}, {"tls": "ENABLED"}])
def test_a_value_that_is_not_known_is_no_answer(settings: dict[str, str]) -> None:
    census = docdb.by_settings(settings)
    assert (census.source, census.confidence, census.clients) == ("none", Confidence.NONE, ())
    assert census.remedy


# --- which group it is, and whether it is in force


def members(aws: Aws) -> list[Instance]:
    facts, _ = aws.region_facts(CENTRAL)
    return [row for row in inventory_rows(facts, now=now()) if row.engine == "docdb"]


def told(aws: Aws, row: Instance) -> list[bool | None]:
    census = docdb.by_settings(aws.settings_of(row, ENGINE.settings_in, ENGINE.settings))
    return [c.tls for c in census.clients]


def own_group(profile: AwsSide, value: str) -> dict[str, Any]:
    """Give the practice cluster a parameter group of its own, and return the cluster's facts."""
    place = profile.world.region(SHOP, CENTRAL)
    place.parameter_groups["docs"] = {"family": "docdb5.0", "cluster": True, "values": {"tls": value}}
    facts = place.clusters["shop-docs"].facts
    facts["DBClusterParameterGroup"] = "docs"
    return facts


def test_a_group_is_read_once_for_all_members_also_the_default_of_the_engine(profile: AwsSide) -> None:
    aws = Aws(profile="lab", account=SHOP)
    rows = members(aws)
    assert len(rows) == 2
    assert {row.cluster_parameter_group for row in rows} == {"default.docdb5.0"}
    assert [told(aws, row) for row in rows] == [[True], [True]]
    calls = [c.action for c in profile.world_calls()].count("DescribeDBClusterParameters")
    assert calls == 2  # what users have set, and then the engine's defaults


def test_a_value_of_the_clusters_own_group_counts(profile: AwsSide) -> None:
    own_group(profile, "disabled")
    aws = Aws(profile="lab", account=SHOP)
    assert [told(aws, row) for row in members(aws)] == [[False], [False]]
    assert [c.action for c in profile.world_calls()].count("DescribeDBClusterParameters") == 1


def test_a_member_that_waits_for_its_reboot_is_unknown_and_the_other_is_not(profile: AwsSide) -> None:
    facts = own_group(profile, "disabled")
    facts["DBClusterMembers"][0]["DBClusterParameterGroupStatus"] = "pending-reboot"
    aws = Aws(profile="lab", account=SHOP)
    assert {row.instance: told(aws, row) for row in members(aws)} == {"shop-docs-1": [], "shop-docs-2": [False]}


def test_a_dynamic_parameter_is_in_force_while_the_group_waits_for_a_reboot(profile: AwsSide) -> None:
    instance = profile.world.region(SHOP, WEST).instances["orders-db"]
    instance.facts["DBParameterGroups"][0]["ParameterApplyStatus"] = "pending-reboot"
    aws = Aws(profile="lab", account=SHOP)
    facts, _ = aws.region_facts(WEST)
    row = next(r for r in inventory_rows(facts, now=now()) if r.instance == "orders-db")
    names = ("rds.force_ssl", "ssl", "no.such")
    assert aws.settings_of(row, "parameter_group", names) == {"rds.force_ssl": "1", "ssl": "unknown"}
    instance.facts["DBParameterGroups"][0]["ParameterApplyStatus"] = "applying"
    instance.xml = None
    facts, _ = aws.region_facts(WEST)
    row = next(r for r in inventory_rows(facts, now=now()) if r.instance == "orders-db")
    assert aws.settings_of(row, "parameter_group", names) == {"rds.force_ssl": "unknown", "ssl": "unknown"}


def test_what_aws_did_not_tell_of_groups_is_unknown_and_survives_being_written_down() -> None:
    raw = {"DBInstanceIdentifier": "docs", "Engine": "docdb", "DBClusterIdentifier": "c"}
    facts = RegionFacts(account=SHOP, region=CENTRAL, instances=[raw], clusters=None)
    (row,) = inventory_rows(facts, now=now())
    assert (row.parameter_group, row.cluster_parameter_group, row.option_group) == (None, None, None)
    assert row.group_status == {}
    with pytest.raises(Stopped, match="which cluster parameter group"):
        Aws.settings_of(object.__new__(Aws), row, ENGINE.settings_in, ENGINE.settings)
    without = RegionFacts(
        account=SHOP,
        region=CENTRAL,
        instances=[raw],
        clusters=[{"DBClusterIdentifier": "c", "Engine": "docdb", "DBClusterParameterGroup": "g"}],
    )
    (row,) = inventory_rows(without, now=now())
    assert (row.cluster_parameter_group, row.group_status) == ("g", {"cluster_parameter_group": "unknown"})


# --- in the runbook


def checked(account: str, region: str, where: Path) -> dict[str, Sessions]:
    role = "" if account == SHOP else "rdsca"
    reach = where / "reach.yml"
    where.mkdir(exist_ok=True)
    reach.write_text("endpoints: {}\nothers: none\n")
    values = {"run_dir": str(where), "account": account, "regions": region, "role": role}
    inventory = rdsca.discover(start("01-discover", values))
    report = rdsca.check_sessions(start("02-sessions", values | {"reach": str(reach)}), inventory)
    return {row.instance: row for row in report.rows}


def test_the_sessions_of_documentdb_are_told_without_a_login(profile: AwsSide, tmp_path: Path) -> None:
    rows = checked(SHOP, CENTRAL, tmp_path)
    for name in ("shop-docs-1", "shop-docs-2"):
        assert (rows[name].confidence, rows[name].tls, rows[name].plain, rows[name].unknown) == ("full", 1, 0, 0)
        assert rows[name].clients == (Client(user="(every client)", host="", tls=True),)


def test_an_oracle_without_the_ssl_option_has_no_tls_sessions_and_one_with_it_is_asked(
    profile: AwsSide, tmp_path: Path
) -> None:
    rows = checked(BILLING, WEST, tmp_path / "billing")
    assert (rows["tax-oracle"].confidence, rows["tax-oracle"].tls, rows["tax-oracle"].unknown) == ("full", 0, 0)
    rows = checked(SHOP, WEST, tmp_path / "shop")
    assert rows["stock-oracle"].tls is None  # nothing stands behind it here
    assert "2484" in rows["stock-oracle"].remedy


def test_settings_that_could_not_be_read_leave_the_instance_held(profile: AwsSide, tmp_path: Path) -> None:
    profile.post("fault", code="AccessDenied", action="DescribeDBClusterParameters")
    row = checked(SHOP, CENTRAL, tmp_path)["shop-docs-1"]
    assert (row.tls, row.unknown, row.confidence) == (None, None, "none")
    assert "rds:DescribeDBClusterParameters was refused" in row.remedy


def test_a_plan_holds_documentdb_with_tls_until_its_clients_trust_and_lets_it_go_without(profile: AwsSide) -> None:
    aws = Aws(profile="lab", account=SHOP)
    row = members(aws)[0]
    untrusted = plan.Trusted(None, "no trust store was shown")
    for value, verdict in (("enabled", Verdict.HELD), ("disabled", Verdict.READY)):
        census = docdb.by_settings({"tls": value})
        seen = Sessions.of(row, census.source, census.confidence, census.clients, census.remedy)
        assert plan.judge(row, seen, target_ca="rds-ca-rsa4096-g1", trusted=untrusted)[0] is verdict


def test_its_chain_is_seen_on_a_connection_that_is_tls_from_the_first_byte(pki: Pki) -> None:
    server = StandIn(PASSWORDS)
    server.start(certificate(pki, OLD))
    before = databases.look(ENGINE, host=NAME, address=("127.0.0.1", server.port))
    server.serve(certificate(pki, NEW))
    after = databases.look(ENGINE, host=NAME, address=("127.0.0.1", server.port))
    assert (len(before.chain), len(after.chain)) == (3, 3)
    assert before.chain[2] != after.chain[2]
    server.stop()
    with pytest.raises(Unreachable, match="refused"):
        databases.look(ENGINE, host=NAME, address=("127.0.0.1", server.port))
