"""From boto3's answers to rows: every kind of thing that RDS lists, and every field that may be missing."""

from __future__ import annotations

from typing import Any

import pytest
from makers import ACCOUNT, NEW, NOW, OLD, REGION, days

from rdsca_helpers.inventory import RegionFacts, restart_of, rows
from rdsca_helpers.model import Instance, Restart, Urgency

ARN = f"arn:aws:rds:{REGION}:{ACCOUNT}:"


def raw(name: str = "orders", **fields: Any) -> dict[str, Any]:
    """A DB instance as DescribeDBInstances gives it."""
    usual = {
        "DBInstanceIdentifier": name,
        "DBInstanceArn": f"{ARN}db:{name}",
        "DbiResourceId": f"db-{name.upper()}",
        "Engine": "postgres",
        "EngineVersion": "16.4",
        "DBInstanceStatus": "available",
        "Endpoint": {"Address": f"{name}.abc.eu-west-1.rds.amazonaws.com", "Port": 5432},
        "CACertificateIdentifier": NEW,
        "CertificateDetails": {"CAIdentifier": NEW, "ValidTill": NOW + days(300)},
        "PreferredMaintenanceWindow": "sun:23:45-mon:00:15",
        "PendingModifiedValues": {},
    }
    return {k: v for k, v in (usual | fields).items() if v is not ...}


def raw_cluster(name: str, *members: str, **fields: Any) -> dict[str, Any]:
    listed = [{"DBInstanceIdentifier": m, "IsClusterWriter": i == 0} for i, m in enumerate(members)]
    return {
        "DBClusterIdentifier": name,
        "DBClusterArn": f"{ARN}cluster:{name}",
        "DbClusterResourceId": f"cluster-{name.upper()}",
        "Engine": "aurora-postgresql",
        "EngineVersion": "16.4",
        "EngineMode": "provisioned",
        "Status": "available",
        "Endpoint": f"{name}.cluster-abc.eu-west-1.rds.amazonaws.com",
        "Port": 5432,
        "DBClusterMembers": listed,
    } | fields


OFFERED = [
    {"CertificateIdentifier": NEW, "Thumbprint": "AB" * 20, "ValidTill": NOW + days(12000)},
    {"CertificateIdentifier": "rds-ca-ecc384-g1", "Thumbprint": "EF" * 20, "ValidTill": NOW + days(30000)},
]


def found(*instances: dict[str, Any], **facts: Any) -> list[Instance]:
    usual: dict[str, Any] = {"clusters": [], "certificates": OFFERED, "pending_actions": [], "proxies": []}
    region = RegionFacts(account=ACCOUNT, region=REGION, instances=list(instances), **(usual | facts))
    return rows(region, now=NOW)


def one(*instances: dict[str, Any], **facts: Any) -> Instance:
    (row,) = found(*instances, **facts)
    return row


def test_a_plain_instance_is_a_row_with_all_that_aws_said() -> None:
    row = one(raw(TagList=[{"Key": "env", "Value": "dev"}, {"Key": "bare"}]))
    assert (row.account, row.region, row.instance, row.resource_id) == (ACCOUNT, REGION, "orders", "db-ORDERS")
    assert (row.ca, row.cert_expires, row.ca_expires) == (NEW, NOW + days(300), NOW + days(12000))
    assert (row.endpoint, row.port) == ("orders.abc.eu-west-1.rds.amazonaws.com", 5432)
    assert row.tags == {"env": "dev", "bare": ""}
    assert (row.urgency, row.skip_reason, row.pending_ca, row.pending_other) == (Urgency.OK, "", "", ())


@pytest.mark.parametrize("details", [..., None, {}, {"CAIdentifier": NEW}])
def test_an_instance_without_certificate_details_is_unknown_and_never_ok(details: Any) -> None:
    row = one(raw(CertificateDetails=details, DBInstanceStatus="creating", Endpoint=...))
    assert row.urgency is Urgency.UNKNOWN
    assert row.cert_expires is None
    assert (row.endpoint, row.port) == ("", None)


def test_the_date_of_the_ca_is_taken_from_the_ca_of_the_instance_and_not_from_the_first_listed() -> None:
    assert one(raw(CACertificateIdentifier="rds-ca-ecc384-g1")).ca_expires == NOW + days(30000)


def test_an_instance_on_a_ca_that_rds_no_longer_lists_is_critical_and_not_ok() -> None:
    row = one(raw(CACertificateIdentifier=OLD))
    assert row.ca_expires is None
    assert row.urgency is Urgency.RETIRED_CA


def test_cas_that_could_not_be_listed_leave_the_urgency_unknown() -> None:
    assert one(raw(), certificates=None).urgency is Urgency.UNKNOWN


@pytest.mark.parametrize(
    ("engine", "kind"),
    [("neptune", "neptune"), ("custom-oracle-ee", "custom"), ("custom-sqlserver-se", "custom")],
)
def test_what_has_no_certificate_of_an_rds_ca_is_skipped_with_a_reason(engine: str, kind: str) -> None:
    row = one(raw(Engine=engine, CertificateDetails=...))
    assert row.kind == kind
    assert row.skip_reason


@pytest.mark.parametrize("engine", ["oracle-ee", "sqlserver-ex", "db2-se", "mariadb", "mysql", "docdb", "aurora-mysql"])
def test_every_engine_with_an_rds_certificate_is_a_job(engine: str) -> None:
    assert one(raw(Engine=engine)).skip_reason == ""


def test_documentdb_is_told_from_rds() -> None:
    assert one(raw(Engine="docdb")).kind == "docdb"


def test_each_member_of_an_aurora_cluster_is_a_row_with_its_role_and_the_cluster_is_none() -> None:
    members = [raw(n, Engine="aurora-postgresql", DBClusterIdentifier="shop") for n in ("shop-1", "shop-2", "shop-3")]
    cluster = raw_cluster("shop", "shop-2", "shop-1", "shop-3")
    by_name = {row.instance: row for row in found(*members, clusters=[cluster])}
    assert {n: r.member_role for n, r in by_name.items()} == {
        "shop-1": "reader",
        "shop-2": "writer",
        "shop-3": "reader",
    }
    assert {r.kind for r in by_name.values()} == {"aurora"}


def test_serverless_v2_is_a_job_and_serverless_v1_is_not() -> None:
    v2 = raw("v2", Engine="aurora-mysql", DBClusterIdentifier="two", DBInstanceClass="db.serverless")
    clusters = [raw_cluster("two", "v2", Engine="aurora-mysql"), raw_cluster("v1", EngineMode="serverless")]
    by_name = {row.instance: row for row in found(v2, clusters=clusters)}
    assert by_name["v2"].skip_reason == ""
    assert by_name["v1"].kind == "serverless-v1"
    assert "Amazon Root CA" in by_name["v1"].skip_reason
    assert set(by_name) == {"v1", "v2"}


def test_a_multi_az_cluster_is_one_job_and_its_members_move_with_it() -> None:
    cluster = raw_cluster(
        "multi",
        "multi-1",
        "multi-2",
        "multi-3",
        Engine="postgres",
        DBClusterInstanceClass="db.m6gd.large",
        PreferredMaintenanceWindow="tue:01:00-tue:01:30",
        CertificateDetails={"CAIdentifier": NEW, "ValidTill": NOW + days(25)},
    )
    members = [raw(f"multi-{i}", DBClusterIdentifier="multi") for i in (1, 2, 3)]
    by_name = {row.instance: row for row in found(*members, clusters=[cluster])}
    whole = by_name["multi"]
    assert (whole.kind, whole.ca, whole.urgency, whole.skip_reason) == ("multi-az-cluster", NEW, "30d", "")
    assert whole.maintenance_window == "tue:01:00-tue:01:30"
    for name in ("multi-1", "multi-2", "multi-3"):
        assert by_name[name].kind == "multi-az-member"
        assert "multi" in by_name[name].skip_reason


def test_a_member_of_a_multi_az_cluster_is_no_job_also_when_clusters_could_not_be_listed() -> None:
    assert one(raw("multi-1", Engine="mysql", DBClusterIdentifier="multi"), clusters=None).kind == "multi-az-member"


@pytest.mark.parametrize("details", [None, {}])
def test_a_multi_az_cluster_without_certificate_details_is_unknown(details: Any) -> None:
    cluster = raw_cluster("multi", Engine="mysql", DBClusterInstanceClass="db.m6gd.large", CertificateDetails=details)
    row = one(clusters=[cluster])
    assert (row.ca, row.urgency) == (None, Urgency.UNKNOWN)


def test_a_proxy_is_told_apart_and_never_a_job() -> None:
    proxy = {
        "DBProxyName": "front",
        "DBProxyArn": f"{ARN}db-proxy:prx-1",
        "EngineFamily": "POSTGRESQL",
        "Status": "available",
        "Endpoint": "front.proxy-abc.eu-west-1.rds.amazonaws.com",
    }
    row = one(proxies=[proxy])
    assert (row.kind, row.engine) == ("proxy", "postgresql")
    assert "Amazon Root CA" in row.skip_reason


def test_a_replica_is_called_one() -> None:
    assert one(raw(ReadReplicaSourceDBInstanceIdentifier="orders-main")).member_role == "replica"


def test_pending_values_are_told_apart_into_the_ca_and_the_rest() -> None:
    pending = {"CACertificateIdentifier": "rds-ca-ecc384-g1", "DBInstanceClass": "db.m7g.large", "Iops": 3000}
    row = one(raw(PendingModifiedValues=pending))
    assert row.pending_ca == "rds-ca-ecc384-g1"
    assert row.pending_other == ("DBInstanceClass", "Iops")


@pytest.mark.parametrize("change", [{"IAMDatabaseAuthenticationEnabled": False}, {"BackupRetentionPeriod": 0}])
def test_a_pending_change_to_no_or_to_nought_is_a_pending_change(change: dict[str, Any]) -> None:
    assert one(raw(PendingModifiedValues=change)).pending_other == tuple(change)


@pytest.mark.parametrize("empty", [None, {}, {"ProcessorFeatures": []}, {"DBInstanceClass": ""}])
def test_empty_pending_values_are_none(empty: Any) -> None:
    assert one(raw(PendingModifiedValues=empty)).pending_other == ()


def test_the_pending_ca_of_a_multi_az_cluster_is_found_in_its_certificate_details() -> None:
    cluster = raw_cluster(
        "multi",
        Engine="mysql",
        DBClusterInstanceClass="db.m6gd.large",
        CertificateDetails={"CAIdentifier": OLD},
        PendingModifiedValues={"CertificateDetails": {"CAIdentifier": NEW}, "EngineVersion": "8.4.4"},
    )
    row = one(clusters=[cluster])
    assert (row.pending_ca, row.pending_other) == (NEW, ("EngineVersion",))


@pytest.mark.parametrize("action", ["ca-certificate-rotation", "server-certificate-rotation"])
def test_both_names_of_the_certificate_action_are_known(action: str) -> None:
    actions = [
        {
            "ResourceIdentifier": f"{ARN}db:orders",
            "PendingMaintenanceActionDetails": [{"Action": "system-update"}, {"Action": action}],
        },
        {"ResourceIdentifier": f"{ARN}db:other", "PendingMaintenanceActionDetails": [{"Action": "db-upgrade"}]},
    ]
    by_name = {r.instance: r for r in found(raw(), raw("other"), raw("calm"), pending_actions=actions)}
    assert by_name["orders"].pending_action == action
    assert (by_name["other"].pending_action, by_name["calm"].pending_action) == ("", "")


def test_actions_that_could_not_be_listed_are_unknown_and_not_none() -> None:
    assert one(raw(), pending_actions=None).pending_action == "unknown"


@pytest.mark.parametrize(
    ("engine", "flag", "restart"),
    [
        ("postgres", True, Restart.NONE),
        ("postgres", False, Restart.RESTART),
        ("oracle-ee", False, Restart.LISTENER),
        ("oracle-se2-cdb", False, Restart.LISTENER),
        ("oracle-ee", True, Restart.NONE),
        ("mysql", None, Restart.UNKNOWN),
    ],
)
def test_restart_is_what_the_engine_version_says_and_oracles_no_is_its_listener(
    engine: str, flag: bool | None, restart: Restart
) -> None:
    described = {} if flag is None else {"SupportsCertificateRotationWithoutRestart": flag}
    versions = {(engine, "1"): described | {"SupportedCACertificateIdentifiers": [NEW]}}
    row = one(raw(Engine=engine, EngineVersion="1"), versions=versions)
    assert row.restart is restart
    assert row.supported_cas == (NEW,)
    assert restart_of(engine, None) is Restart.UNKNOWN


@pytest.mark.parametrize("versions", [{}, {("postgres", "16.4"): None}])
def test_an_engine_version_that_could_not_be_read_supports_what_nobody_knows(versions: Any) -> None:
    assert one(raw(), versions=versions).supported_cas is None


def test_an_engine_version_that_supports_no_ca_says_so() -> None:
    assert one(raw(), versions={("postgres", "16.4"): {"SupportedCACertificateIdentifiers": []}}).supported_cas == ()


def test_every_instance_listed_is_exactly_one_row() -> None:
    listed = [raw(f"db-{i}", Engine=e) for i, e in enumerate(["mysql", "neptune", "docdb", "custom-oracle-ee"])]
    assert sorted(r.instance for r in found(*listed)) == [f"db-{i}" for i in range(4)]


def test_the_region_names_each_ca_with_its_thumbprint_in_lower_case() -> None:
    facts = RegionFacts(account=ACCOUNT, region=REGION, instances=[], certificates=OFFERED)
    assert facts.cas()[NEW]["thumbprint"] == "ab" * 20
    assert RegionFacts(account=ACCOUNT, region=REGION, instances=[]).cas() == {}
