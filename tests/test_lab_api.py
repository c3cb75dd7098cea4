"""The lab's AWS side, asked by real boto3: shapes, pages, refusals, faults, time."""

from __future__ import annotations

import http.client
import json
import urllib.error
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.exceptions
import pytest
from conftest import AwsSide

from rdsca_helpers.lab import rds
from rdsca_helpers.lab.actions import ACTIONS
from rdsca_helpers.lab.seed import BILLING, CENTRAL, LEGACY, OREGON, SHOP, WEST
from rdsca_helpers.lab.versions import RSA2048, RSA4096
from rdsca_helpers.lab.world import DISABLED, ENABLED

PLACES = [(a, r) for a in (SHOP, BILLING, LEGACY) for r in ENABLED if (a, r) != (LEGACY, OREGON)]
ALWAYS = {  # what AWS sends for every instance; a foreign tool stops at the first that is missing
    "AssociatedRoles",
    "AutoMinorVersionUpgrade",
    "BackupRetentionPeriod",
    "CopyTagsToSnapshot",
    "DBInstanceArn",
    "DBInstanceClass",
    "DBInstanceIdentifier",
    "DBInstanceStatus",
    "DBParameterGroups",
    "DBSecurityGroups",
    "DBSubnetGroup",
    "DbInstancePort",
    "DbiResourceId",
    "DeletionProtection",
    "DomainMemberships",
    "Engine",
    "EngineVersion",
    "IAMDatabaseAuthenticationEnabled",
    "LicenseModel",
    "MonitoringInterval",
    "MultiAZ",
    "OptionGroupMemberships",
    "PendingModifiedValues",
    "PreferredBackupWindow",
    "PreferredMaintenanceWindow",
    "PubliclyAccessible",
    "ReadReplicaDBInstanceIdentifiers",
    "StorageEncrypted",
    "StorageType",
    "TagList",
    "VpcSecurityGroups",
}


def check(shape: Any, value: Any, path: str) -> None:
    """Hold *value* against botocore's *shape*: members, types, enumerations, required members."""
    if shape.type_name == "structure":
        assert isinstance(value, dict), path
        assert value.keys() <= shape.members.keys(), path
        assert set(shape.required_members) <= value.keys(), path
        for name, member in value.items():
            check(shape.members[name], member, f"{path}.{name}")
    elif shape.type_name == "list":
        assert isinstance(value, list), path
        for n, item in enumerate(value):
            check(shape.member, item, f"{path}[{n}]")
    else:
        kinds = {"string": str, "boolean": bool, "timestamp": datetime, "integer": int, "long": int}
        kind = kinds.get(shape.type_name, float)
        assert isinstance(value, kind), f"{path}: {value!r} is no {shape.type_name}"
        if shape.type_name == "string" and shape.enum:
            assert value in shape.enum, path


def ask(client: Any, action: str, **wish: Any) -> dict[str, Any]:
    """Call *action*, and check the reply's shape."""
    model = client.meta.service_model.operation_model(action)
    method = next(k for k, v in client.meta.method_to_api_mapping.items() if v == action)
    reply: dict[str, Any] = getattr(client, method)(**wish)
    reply.pop("ResponseMetadata")
    if model.output_shape:
        check(model.output_shape, reply, action)
    return reply


def code(call: Any, **wish: Any) -> tuple[str, int]:
    """Give the error code and HTTP status of a call that AWS refuses."""
    with pytest.raises(botocore.exceptions.ClientError) as e:
        call(**wish)
    return e.value.response["Error"]["Code"], e.value.response["ResponseMetadata"]["HTTPStatusCode"]


# --- shapes


@pytest.mark.parametrize(("account", "region"), PLACES)
def test_every_describe_answers_in_botocores_shape(aws: AwsSide, account: str, region: str) -> None:
    client = aws.client(account=account, region=region)
    instances = ask(client, "DescribeDBInstances")["DBInstances"]
    assert instances
    for instance in instances:
        assert instance.keys() >= ALWAYS
        name = instance["DBInstanceIdentifier"]
        one = ask(client, "DescribeDBInstances", DBInstanceIdentifier=name)["DBInstances"]
        assert one == [instance]
        ask(client, "ListTagsForResource", ResourceName=instance["DBInstanceArn"])
        ask(client, "DescribeDBLogFiles", DBInstanceIdentifier=name)
        group = instance["DBParameterGroups"][0]["DBParameterGroupName"]
        ask(client, "DescribeDBParameters", DBParameterGroupName=group)
        ask(client, "DescribeDBParameterGroups", DBParameterGroupName=group)
        options = instance["OptionGroupMemberships"][0]["OptionGroupName"]
        (found,) = ask(client, "DescribeOptionGroups", OptionGroupName=options)["OptionGroupsList"]
        assert instance["Engine"] == found["EngineName"]
        engine = {"Engine": instance["Engine"], "EngineVersion": instance["EngineVersion"]}
        (version,) = ask(client, "DescribeDBEngineVersions", IncludeAll=True, **engine)["DBEngineVersions"]
        assert isinstance(version["SupportsCertificateRotationWithoutRestart"], bool)
        assert "SupportedCACertificateIdentifiers" in version
    for cluster in ask(client, "DescribeDBClusters")["DBClusters"]:
        ask(client, "DescribeDBClusterParameters", DBClusterParameterGroupName=cluster["DBClusterParameterGroup"])
        members = [m["DBInstanceIdentifier"] for m in cluster["DBClusterMembers"]]
        names = [i["DBInstanceIdentifier"] for i in instances]
        assert set(members) <= set(names)
    for action in (
        "DescribeCertificates",
        "DescribeDBClusterParameterGroups",
        "DescribeDBEngineVersions",
        "DescribeDBParameterGroups",
        "DescribeEvents",
        "DescribeGlobalClusters",
        "DescribeOptionGroups",
        "DescribePendingMaintenanceActions",
    ):
        ask(client, action)
    for proxy in ask(client, "DescribeDBProxies")["DBProxies"]:
        ask(client, "DescribeDBProxyTargets", DBProxyName=proxy["DBProxyName"])
    assert aws.get("stats")["missing"] == {}


def test_every_action_that_is_answered_is_one_of_botocores() -> None:
    assert set(ACTIONS) <= set(rds.model("rds").operation_names)


@pytest.mark.parametrize("service", ["docdb", "neptune"])
def test_the_sibling_services_see_the_same_instances(aws: AwsSide, service: str) -> None:
    region, account = (CENTRAL, SHOP) if service == "docdb" else (OREGON, BILLING)
    client = aws.client(service, account, region)
    rows = client.describe_db_instances(Filters=[{"Name": "engine", "Values": [service]}])["DBInstances"]
    assert {r["Engine"] for r in rows} == {service}


def test_a_describe_that_the_lab_lacks_answers_empty_lists_and_is_counted(aws: AwsSide) -> None:
    client = aws.client()
    assert client.describe_db_snapshots()["DBSnapshots"] == []
    assert client.describe_event_subscriptions()["EventSubscriptionsList"] == []
    assert aws.get("stats")["missing"] == {"DescribeDBSnapshots": 1, "DescribeEventSubscriptions": 1}


def test_other_unknown_actions_are_refused(aws: AwsSide) -> None:
    client = aws.client()
    assert code(client.delete_db_instance, DBInstanceIdentifier="orders-db") == ("InvalidAction", 400)


# --- pages


def test_all_pages_together_are_the_whole_list(aws: AwsSide) -> None:
    aws.post("grow", account=SHOP, region=WEST, count=230)
    pages = aws.client().get_paginator("describe_db_instances").paginate(PaginationConfig={"PageSize": 20})
    names = [i["DBInstanceIdentifier"] for p in pages for i in p["DBInstances"]]
    assert len(names) == len(set(names)) == 242
    assert names == sorted(names)


def test_a_page_is_a_hundred_unless_asked_otherwise(aws: AwsSide) -> None:
    aws.post("grow", account=SHOP, region=WEST, count=230)
    reply = aws.client().describe_db_instances()
    assert len(reply["DBInstances"]) == 100
    assert reply["Marker"]


def test_pages_neither_skip_nor_repeat_when_an_instance_comes_or_goes(aws: AwsSide) -> None:
    aws.post("grow", account=SHOP, region=WEST, count=60)
    client = aws.client()
    first = client.describe_db_instances(MaxRecords=20)
    names = [i["DBInstanceIdentifier"] for i in first["DBInstances"]]
    del aws.world.region(SHOP, WEST).instances[names[3]]
    rest = [i["DBInstanceIdentifier"] for i in client.describe_db_instances(Marker=first["Marker"])["DBInstances"]]
    assert len(names + rest) == len(set(names + rest)) == 72


@pytest.mark.parametrize("most", [19, 101])
def test_page_size_has_limits(aws: AwsSide, most: int) -> None:
    for call in (aws.client().describe_db_instances, aws.client().describe_db_engine_versions):
        assert code(call, MaxRecords=most) == ("InvalidParameterValue", 400)


def test_a_foreign_marker_is_refused(aws: AwsSide) -> None:
    assert code(aws.client().describe_db_instances, Marker="é") == ("InvalidParameterValue", 400)


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("engine", "mysql", ["catalog-db", "catalog-db-replica", "shop-cms"]),
        ("db-cluster-id", "shop-cart", ["shop-cart-1", "shop-cart-2", "shop-cart-3"]),
        ("db-instance-id", "orders-db", ["orders-db"]),
        ("db-instance-id", f"arn:aws:rds:{WEST}:{SHOP}:db:orders-db", ["orders-db"]),
        ("engine", "db2-se", []),
    ],
)
def test_filters(aws: AwsSide, name: str, value: str, found: list[str]) -> None:
    reply = aws.client().describe_db_instances(Filters=[{"Name": name, "Values": [value]}])
    assert [i["DBInstanceIdentifier"] for i in reply["DBInstances"]] == found


def test_filter_by_resource_id_and_refusal_of_an_unknown_one(aws: AwsSide) -> None:
    client = aws.client()
    (row,) = client.describe_db_instances(DBInstanceIdentifier="orders-db")["DBInstances"]
    by = [{"Name": "dbi-resource-id", "Values": [row["DbiResourceId"]]}]
    assert client.describe_db_instances(Filters=by)["DBInstances"] == [row]
    wrong = [{"Name": "colour", "Values": ["red"]}]
    assert code(client.describe_db_instances, Filters=wrong) == ("InvalidParameterValue", 400)


# --- certificates and engines


def test_certificates_are_the_regions_own_roots(aws: AwsSide) -> None:
    seen = {}
    for region in ENABLED:
        reply = aws.client(region=region).describe_certificates()
        assert reply["DefaultCertificateForNewLaunches"] == RSA2048
        assert len(reply["Certificates"]) == 3
        for row in reply["Certificates"]:
            seen[row["Thumbprint"]] = region
            pki = aws.world.pki
            assert row["Thumbprint"] == pki.thumbprint(region, row["CertificateIdentifier"])
            assert (row["ValidFrom"], row["ValidTill"]) == pki.validity(region, row["CertificateIdentifier"])
    assert len(seen) == 9


def test_a_retired_ca_is_not_found(aws: AwsSide) -> None:
    client = aws.client()
    assert code(client.describe_certificates, CertificateIdentifier="rds-ca-2019") == ("CertificateNotFound", 404)
    wish = {"DBInstanceIdentifier": "reports-dw", "CACertificateIdentifier": "rds-ca-2019"}
    assert code(client.modify_db_instance, **wish) == ("CertificateNotFound", 404)


def test_the_accounts_own_default_ca_can_be_set_and_removed(aws: AwsSide) -> None:
    client = aws.client()
    client.modify_certificates(CertificateIdentifier=RSA4096)
    reply = ask(client, "DescribeCertificates")
    assert reply["DefaultCertificateForNewLaunches"] == RSA4096
    (row,) = [c for c in reply["Certificates"] if c["CustomerOverride"]]
    assert row["CustomerOverrideValidTill"] > datetime.now(UTC)
    assert aws.client(region=CENTRAL).describe_certificates()["DefaultCertificateForNewLaunches"] == RSA2048
    client.modify_certificates(RemoveCustomerOverride=True)
    assert client.describe_certificates()["DefaultCertificateForNewLaunches"] == RSA2048


def test_a_retired_engine_version_shows_only_with_include_all(aws: AwsSide) -> None:
    client = aws.client()
    wish = {"Engine": "mysql", "EngineVersion": "5.7.33"}
    assert client.describe_db_engine_versions(**wish)["DBEngineVersions"] == []
    (row,) = client.describe_db_engine_versions(**wish, IncludeAll=True)["DBEngineVersions"]
    assert (row["Status"], row["SupportsCertificateRotationWithoutRestart"]) == ("deprecated", False)


def test_parameters_know_the_engines_default_and_a_groups_own_value(aws: AwsSide) -> None:
    client = aws.client(account=BILLING)

    def value(group: str, name: str) -> str:
        rows = client.describe_db_parameters(DBParameterGroupName=group)["Parameters"]
        return str({r["ParameterName"]: r["ParameterValue"] for r in rows}[name])

    assert value("payments-mariadb", "performance_schema") == "1"
    assert value("default.mariadb10.6", "performance_schema") == "0"
    assert value("default.postgres15", "rds.force_ssl") == "1"
    assert value("default.postgres13", "rds.force_ssl") == "0"
    tls = client.describe_db_cluster_parameters(DBClusterParameterGroupName="default.docdb5.0")["Parameters"]
    assert tls[0]["ParameterValue"] == "enabled"
    missing = {"DBParameterGroupName": "nobodys"}
    assert code(client.describe_db_parameters, **missing) == ("DBParameterGroupNotFound", 404)


# --- changes


def test_one_oracle_has_the_ssl_option_with_a_port_of_its_own_and_the_default_group_has_no_option(aws: AwsSide) -> None:
    client = aws.client()
    (group,) = ask(client, "DescribeOptionGroups", OptionGroupName="stock-oracle-tls")["OptionGroupsList"]
    assert [(o["OptionName"], o["Port"]) for o in group["Options"]] == [("SSL", 2484)]
    assert "SQLNET.SSL_VERSION" in {s["Name"] for s in group["Options"][0]["OptionSettings"]}
    other = aws.client(account=BILLING)
    (default,) = ask(other, "DescribeOptionGroups", OptionGroupName="default:oracle-ee-19")["OptionGroupsList"]
    assert default["Options"] == []
    named = ask(other, "DescribeOptionGroups", EngineName="oracle-ee-cdb")["OptionGroupsList"]
    assert [g["OptionGroupName"] for g in named] == ["default:oracle-ee-cdb-21"]
    assert code(client.describe_option_groups, OptionGroupName="gone") == ("OptionGroupNotFoundFault", 404)


def test_immediate_rotation_over_the_api(aws: AwsSide) -> None:
    client = aws.client()
    wish = {"DBInstanceIdentifier": "orders-db", "CACertificateIdentifier": RSA4096, "ApplyImmediately": True}
    row = ask(client, "ModifyDBInstance", **wish)["DBInstance"]
    assert row["DBInstanceStatus"] == "available"
    assert row["PendingModifiedValues"] == {"CACertificateIdentifier": RSA4096}
    aws.post("clock", advance=5)
    (row,) = client.describe_db_instances(DBInstanceIdentifier="orders-db")["DBInstances"]
    assert row["CACertificateIdentifier"] == row["CertificateDetails"]["CAIdentifier"] == RSA4096
    assert row["PendingModifiedValues"] == {}
    assert row["CertificateDetails"]["ValidTill"] > datetime.now(UTC) + timedelta(days=360)
    events = ask(client, "DescribeEvents", SourceIdentifier="orders-db", SourceType="db-instance")["Events"]
    assert f"Server certificate now signed by {RSA4096}" in [e["Message"] for e in events]


def test_a_stopped_instance_cannot_be_modified(aws: AwsSide) -> None:
    client = aws.client()
    wish = {"DBInstanceIdentifier": "batch-scratch", "CACertificateIdentifier": RSA4096}
    with pytest.raises(client.exceptions.InvalidDBInstanceStateFault, match="can't modify a stopped DB instance"):
        client.modify_db_instance(**wish)
    client.start_db_instance(DBInstanceIdentifier="batch-scratch")
    aws.post("clock", advance=5)
    client.modify_db_instance(**wish)


def test_an_aurora_cluster_takes_no_ca(aws: AwsSide) -> None:
    wish = {"DBClusterIdentifier": "shop-cart", "CACertificateIdentifier": RSA4096}
    assert code(aws.client().modify_db_cluster, **wish) == ("InvalidParameterCombination", 400)


def test_a_multi_az_cluster_shows_the_ca_that_waits(aws: AwsSide) -> None:
    client = aws.client(region=CENTRAL)
    client.modify_db_cluster(DBClusterIdentifier="checkout", CACertificateIdentifier=RSA4096)
    (row,) = ask(client, "DescribeDBClusters", DBClusterIdentifier="checkout")["DBClusters"]
    assert row["CertificateDetails"]["CAIdentifier"] == RSA2048
    assert row["PendingModifiedValues"] == {"CertificateDetails": {"CAIdentifier": RSA4096}}


def test_maintenance_action_is_listed_and_applied(aws: AwsSide) -> None:
    client = aws.client()
    (row,) = ask(client, "DescribePendingMaintenanceActions")["PendingMaintenanceActions"]
    assert row["PendingMaintenanceActionDetails"][0]["Action"] == "server-certificate-rotation"
    wish = {"ResourceIdentifier": row["ResourceIdentifier"], "ApplyAction": "server-certificate-rotation"}
    ask(client, "ApplyPendingMaintenanceAction", **wish, OptInType="immediate")
    aws.post("clock", advance=5)
    assert client.describe_pending_maintenance_actions()["PendingMaintenanceActions"] == []


def test_tags_are_kept_as_they_are(aws: AwsSide) -> None:
    client = aws.client(account=LEGACY)
    (row,) = client.describe_db_instances(DBInstanceIdentifier="hr-db")["DBInstances"]
    tags = {t["Key"]: t["Value"] for t in row["TagList"]}
    assert tags["note"] == '=HYPERLINK("http://x")'
    assert tags["owner"] == "<img src=x onerror=alert(1)>"
    client.add_tags_to_resource(ResourceName=row["DBInstanceArn"], Tags=[{"Key": "env", "Value": "a & b"}])
    client.remove_tags_from_resource(ResourceName=row["DBInstanceArn"], TagKeys=["note"])
    (row,) = client.describe_db_instances(DBInstanceIdentifier="hr-db")["DBInstances"]
    tags = {t["Key"]: t["Value"] for t in row["TagList"]}
    assert (tags["env"], tags.get("note")) == ("a & b", None)


def test_wrong_input_is_a_400_and_never_a_500(aws: AwsSide) -> None:
    client = aws.client(parameter_validation=False)
    assert code(client.modify_db_instance) == ("MissingParameter", 400)
    assert code(client.describe_db_instances, MaxRecords="many") == ("MalformedInput", 400)
    assert code(client.describe_db_instances, DBInstanceIdentifier="nobody") == ("DBInstanceNotFound", 404)
    assert code(client.describe_db_clusters, DBClusterIdentifier="nobody") == ("DBClusterNotFoundFault", 404)
    bad = {"ResourceIdentifier": "arn:x", "ApplyAction": "y", "OptInType": "immediate"}
    assert code(client.apply_pending_maintenance_action, **bad) == ("ResourceNotFoundFault", 404)


# --- who may do what, where


def test_accounts_and_regions_are_separate(aws: AwsSide) -> None:
    seen: set[str] = set()
    for account, region in PLACES:
        rows = aws.client(account=account, region=region).describe_db_instances()["DBInstances"]
        arns = {r["DBInstanceArn"] for r in rows}
        assert all(f":{region}:{account}:" in a for a in arns)
        assert not arns & seen
        seen |= arns
    aws.client().modify_db_instance(DBInstanceIdentifier="orders-db", CACertificateIdentifier=RSA4096)
    assert code(aws.client(account=BILLING).modify_db_instance, DBInstanceIdentifier="orders-db")[1] == 404


def test_assume_role_gives_the_other_account(aws: AwsSide) -> None:
    sts = aws.client("sts")
    role = f"arn:aws:iam::{BILLING}:role/rdsca"
    given = ask(sts, "AssumeRole", RoleArn=role, RoleSessionName="me")["Credentials"]
    inside = aws.client("sts", given["AccessKeyId"])
    who = ask(inside, "GetCallerIdentity")
    assert (who["Account"], who["Arn"]) == (BILLING, f"arn:aws:sts::{BILLING}:assumed-role/rdsca/me")
    rows = aws.client(account=given["AccessKeyId"]).describe_db_instances()["DBInstances"]
    assert "ledger-1" in {r["DBInstanceIdentifier"] for r in rows}
    outside = {"RoleArn": "arn:aws:iam::999999999999:role/rdsca", "RoleSessionName": "me"}
    assert code(sts.assume_role, **outside) == ("AccessDenied", 403)


def test_an_unknown_key_is_refused_everywhere(aws: AwsSide) -> None:
    for service, method in (("rds", "describe_db_instances"), ("sts", "get_caller_identity")):
        client = aws.client(service, "AKIAIOSFODNN7EXAMPLE")
        assert code(getattr(client, method)) == ("InvalidClientTokenId", 403)
    assert code(aws.client("s3", "AKIAIOSFODNN7EXAMPLE").list_buckets)[1] == 403


def test_the_denied_region_names_user_action_and_resource(aws: AwsSide) -> None:
    client = aws.client(account=LEGACY, region=OREGON)
    with pytest.raises(botocore.exceptions.ClientError) as e:
        client.describe_db_instances()
    error = e.value.response["Error"]
    assert error["Code"] == "AccessDenied"
    assert f"User: arn:aws:iam::{LEGACY}:user/operator is not authorized to perform: rds:Desc" in error["Message"]
    assert f"on resource: arn:aws:rds:{OREGON}:{LEGACY}:db:*" in error["Message"]
    assert code(client.describe_certificates) == ("AccessDenied", 403)
    assert aws.client(account=LEGACY, region=WEST).describe_certificates()["Certificates"]


def test_regions_agree_between_services_and_a_disabled_one_refuses(aws: AwsSide) -> None:
    rows = ask(aws.client("account"), "ListRegions")["Regions"]
    states = {r["RegionName"]: r["RegionOptStatus"] for r in rows}
    assert states == dict.fromkeys(ENABLED, "ENABLED_BY_DEFAULT") | dict.fromkeys(DISABLED, "DISABLED")
    ec2 = aws.client("ec2")
    assert {r["RegionName"] for r in ec2.describe_regions()["Regions"]} == set(ENABLED)
    assert {r["RegionName"] for r in ec2.describe_regions(AllRegions=True)["Regions"]} == set(states)
    off = aws.client(region=DISABLED[0])
    assert code(off.describe_db_instances) == ("InvalidClientTokenId", 403)


def test_organizations_knows_the_three_accounts(aws: AwsSide) -> None:
    rows = ask(aws.client("organizations"), "ListAccounts")["Accounts"]
    assert [(r["Id"], r["Name"]) for r in rows] == [(SHOP, "shop"), (BILLING, "billing"), (LEGACY, "legacy")]
    assert code(aws.client("organizations", BILLING).list_accounts)[0] == "AccessDeniedException"


def test_secrets_calendar_and_conditional_writes(aws: AwsSide) -> None:
    vault = aws.client("secretsmanager")
    made = vault.create_secret(Name="x", SecretString="y")
    assert f":{SHOP}:" in made["ARN"]
    assert vault.get_secret_value(SecretId=made["ARN"])["SecretString"] == "y"
    assert aws.client("secretsmanager", BILLING).list_secrets()["SecretList"] == []
    ssm = aws.client("ssm")
    assert ssm.get_calendar_state(CalendarNames=["rdsca-changes"])["State"] == "OPEN"
    aws.post("settings", calendars={"rdsca-changes": "CLOSED"})
    assert ssm.get_calendar_state(CalendarNames=["rdsca-changes"])["State"] == "CLOSED"
    assert code(ssm.get_calendar_state, CalendarNames=["other"])[0] == "InvalidDocument"
    s3 = aws.client("s3", s3={"addressing_style": "path"})
    s3.create_bucket(Bucket="locks", CreateBucketConfiguration={"LocationConstraint": WEST})
    s3.put_object(Bucket="locks", Key="a b/ü", Body=b"1", IfNoneMatch="*")
    assert code(s3.put_object, Bucket="locks", Key="a b/ü", Body=b"2", IfNoneMatch="*") == (
        "PreconditionFailed",
        412,
    )
    assert s3.get_object(Bucket="locks", Key="a b/ü")["Body"].read() == b"1"


# --- faults, calls, pages below /_lab/


def test_throttling_hits_so_often_and_after_so_many(aws: AwsSide) -> None:
    aws.post("fault", action="DescribeDBInstances", code="Throttling", skip=1, times=1)
    client = aws.client()
    client.describe_db_instances()
    assert code(client.describe_db_instances) == ("Throttling", 400)
    client.describe_db_instances()


def test_a_rate_can_be_set(aws: AwsSide) -> None:
    aws.post("settings", rate=2)
    client = aws.client()
    codes = []
    for _ in range(5):
        try:
            client.describe_certificates()
        except botocore.exceptions.ClientError as e:
            codes.append(e.response["Error"]["Code"])
    assert codes
    assert set(codes) == {"Throttling"}


def test_lost_reply_does_the_work_and_says_nothing(aws: AwsSide) -> None:
    aws.post("fault", action="ModifyDBInstance", instance="orders-db", kind="lost_reply", times=1)
    client = aws.client()
    wish = {"DBInstanceIdentifier": "orders-db", "CACertificateIdentifier": RSA4096, "ApplyImmediately": True}
    with pytest.raises(botocore.exceptions.ConnectionClosedError):
        client.modify_db_instance(**wish)
    aws.post("clock", advance=5)
    (row,) = client.describe_db_instances(DBInstanceIdentifier="orders-db")["DBInstances"]
    assert row["CACertificateIdentifier"] == RSA4096
    calls = aws.get("calls?action=ModifyDBInstance")
    assert (calls["total"], calls["mutating"]) == (1, 1)


def test_lost_request_does_nothing(aws: AwsSide) -> None:
    aws.post("fault", action="RebootDBInstance", kind="lost_request")
    with pytest.raises(botocore.exceptions.ConnectionClosedError):
        aws.client().reboot_db_instance(DBInstanceIdentifier="orders-db")
    assert aws.world.instance(SHOP, WEST, "orders-db").status == "available"
    aws.delete("fault")
    aws.client().reboot_db_instance(DBInstanceIdentifier="orders-db")


def test_lag_shows_the_old_state_for_some_polls(aws: AwsSide) -> None:
    aws.post("fault", action="ModifyDBInstance", kind="lag", polls=2)
    client = aws.client()
    client.modify_db_instance(DBInstanceIdentifier="orders-db", CACertificateIdentifier=RSA4096)
    pending = [
        client.describe_db_instances(DBInstanceIdentifier="orders-db")["DBInstances"][0]["PendingModifiedValues"]
        for _ in range(3)
    ]
    assert pending == [{}, {}, {"CACertificateIdentifier": RSA4096}]


def test_faults_speak_each_services_protocol(aws: AwsSide) -> None:
    aws.post("fault", account=SHOP, code="ExpiredToken")
    assert code(aws.client().describe_db_instances) == ("ExpiredToken", 403)
    assert code(aws.client("sts").get_caller_identity) == ("ExpiredToken", 403)
    assert code(aws.client("secretsmanager").list_secrets) == ("ExpiredToken", 403)
    assert code(aws.client("ec2").describe_regions) == ("ExpiredToken", 403)
    assert code(aws.client("account").list_regions) == ("ExpiredToken", 403)
    assert code(aws.client("s3").list_buckets) == ("ExpiredToken", 403)
    aws.client(account=BILLING).describe_db_instances()


def test_an_access_denied_fault_names_action_and_resource(aws: AwsSide) -> None:
    aws.post("fault", action="ModifyDBInstance", code="AccessDenied")
    with pytest.raises(botocore.exceptions.ClientError, match=r"rds:ModifyDBInstance on resource: .*:db:orders-db"):
        aws.client().modify_db_instance(DBInstanceIdentifier="orders-db")


@pytest.mark.parametrize("wish", [{"colour": "red"}, {"kind": "flood"}, {"kind": "error"}])
def test_a_fault_that_makes_no_sense_is_refused(aws: AwsSide, wish: dict[str, str]) -> None:
    with pytest.raises(urllib.error.HTTPError, match="400"):
        aws.post("fault", **wish)


def test_calls_are_recorded_with_who_where_and_what(aws: AwsSide) -> None:
    aws.client(account=BILLING, region=CENTRAL).describe_db_instances(MaxRecords=20)
    wish = {"DBInstanceIdentifier": "orders-db", "MasterUserPassword": "CANARY"}
    aws.client(user_agent_extra="rdsca/1 plan/12345678").modify_db_instance(**wish)
    seen = aws.get("calls?service=rds")
    assert (seen["total"], seen["mutating"]) == (2, 1)
    first, second = seen["calls"]
    assert (first["action"], first["account"], first["region"]) == ("DescribeDBInstances", BILLING, CENTRAL)
    assert first["params"] == {"MaxRecords": "20"}
    assert "plan/12345678" in second["agent"]
    assert "CANARY" not in json.dumps(seen)


def test_an_instance_can_be_changed_behind_rdss_back(aws: AwsSide) -> None:
    aws.post("instance", instance="orders-db", status="storage-full", ca=RSA4096, pending={"EngineVersion": "16.10"})
    (row,) = aws.client().describe_db_instances(DBInstanceIdentifier="orders-db")["DBInstances"]
    assert (row["DBInstanceStatus"], row["CACertificateIdentifier"]) == ("storage-full", RSA4096)
    assert row["PendingModifiedValues"] == {"EngineVersion": "16.10"}
    for wish in ({"instance": "nobody"}, {"instance": "orders-db", "colour": "red"}):
        with pytest.raises(urllib.error.HTTPError, match="400"):
            aws.post("instance", **wish)


def test_the_bundle_is_published_under_amazons_names(aws: AwsSide) -> None:
    def get(path: str) -> tuple[int, str]:
        door = http.client.HTTPConnection(aws.url.removeprefix("http://"))
        door.request("GET", f"/_lab/truststore/{path}")
        answer = door.getresponse()
        return answer.status, answer.read().decode()

    assert get("global/global-bundle.pem")[1].count("BEGIN CERTIFICATE") == 9
    assert get(f"{WEST}/{WEST}-bundle.pem")[1].count("BEGIN CERTIFICATE") == 3
    assert get("us-east-1/us-east-1-bundle.pem")[0] == 404


def test_the_connection_is_kept_alive(aws: AwsSide) -> None:
    door = http.client.HTTPConnection(aws.url.removeprefix("http://"))
    door.connect()
    socket = door.sock
    for _ in range(3):
        door.request("GET", "/_lab/status")
        assert json.load(door.getresponse())["instances"] == 40
        assert door.sock is socket


def test_a_chunked_body_is_read_whole(aws: AwsSide) -> None:
    door = http.client.HTTPConnection(aws.url.removeprefix("http://"))
    body = iter([b'{"advance"', b": 60}"])
    door.request("POST", "/_lab/clock", body, {"Transfer-Encoding": "chunked"}, encode_chunked=True)
    assert "now" in json.load(door.getresponse())
    door.request("GET", "/_lab/nothing")
    assert door.getresponse().status == 404


def test_a_parameter_of_an_own_group_waits_for_the_reboot_and_a_default_group_is_nobodys_to_change(
    aws: AwsSide,
) -> None:
    client = aws.client(account=LEGACY)

    def change(group: str, name: str = "performance_schema", value: str = "1", method: str = "pending-reboot") -> Any:
        wish = {"ParameterName": name, "ParameterValue": value, "ApplyMethod": method}
        return {"DBParameterGroupName": group, "Parameters": [wish]}

    def status() -> str:
        (row,) = client.describe_db_instances(DBInstanceIdentifier="crm-db")["DBInstances"]
        return str(row["DBParameterGroups"][0]["ParameterApplyStatus"])

    refused = client.modify_db_parameter_group
    assert code(refused, **change("default.mariadb10.6")) == ("InvalidParameterValue", 400)
    assert code(refused, **change("no-such-group")) == ("DBParameterGroupNotFound", 404)
    assert code(refused, **change("crm-mariadb", method="immediate")) == ("InvalidParameterCombination", 400)
    assert code(refused, **change("crm-mariadb", name="no_such_parameter")) == ("InvalidParameterValue", 400)
    assert code(refused, **change("crm-mariadb", value="maybe")) == ("InvalidParameterValue", 400)
    assert status() == "in-sync"
    client.modify_db_parameter_group(**change("crm-mariadb"))
    assert status() == "pending-reboot"
    client.reboot_db_instance(DBInstanceIdentifier="crm-db")
    aws.post("clock", advance=60)
    assert status() == "in-sync"
