"""From what RDS answered in one region to the rows of the inventory. AWS's spelling goes in, ours comes out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from . import risk
from .model import UNKNOWN, Instance, Restart, Urgency, stamp

FOREIGN = ("neptune", "custom")  # listed among RDS instances, even with a CA, but their certificate is not from it
RDS_CAS = "the server certificate of {what} comes from {whose}, not from an RDS CA; {remedy}"
SKIPPED_ENGINES = {
    "neptune": RDS_CAS.format(
        what="Neptune",
        whose="a public Amazon CA",
        remedy="clients check it with Amazon Root CA 1-4, which operating systems carry",
    )
}


@dataclass(frozen=True)
class RegionFacts:
    """What one region answered, as boto3 gives it; ``None`` where the call was refused or failed."""

    account: str
    region: str
    instances: list[dict[str, Any]]
    clusters: list[dict[str, Any]] | None = None
    certificates: list[dict[str, Any]] | None = None
    pending_actions: list[dict[str, Any]] | None = None
    proxies: list[dict[str, Any]] | None = None
    versions: Mapping[tuple[str, str], dict[str, Any] | None] = field(default_factory=dict)

    def cas(self) -> dict[str, dict[str, str]]:
        """Give the CAs that RDS offers here: thumbprint (SHA-1 of the root) and end."""
        return {
            c["CertificateIdentifier"]: {
                "thumbprint": c.get("Thumbprint", "").lower(),
                "valid_till": stamp(c["ValidTill"]),
            }
            for c in self.certificates or ()
        }


def rows(facts: RegionFacts, *, now: datetime) -> list[Instance]:
    """Give a row for each DB instance and Multi-AZ DB cluster, and for each proxy and Serverless v1 cluster.

    Docs: API_DescribeDBInstances, API_DescribeDBClusters, API_DescribeCertificates, API_DescribeDBEngineVersions.
    """
    clusters = {c["DBClusterIdentifier"]: c for c in facts.clusters or ()}
    found = [_instance(raw, clusters, facts, now) for raw in facts.instances]
    with_members = {row.cluster for row in found if row.cluster}
    for cluster in clusters.values():
        if is_multi_az(cluster):
            found.append(_cluster(cluster, facts, now))
        elif cluster.get("EngineMode") == "serverless" or cluster["DBClusterIdentifier"] not in with_members:
            found.append(_memberless(cluster, facts))
    return found + [_proxy(p, facts) for p in facts.proxies or ()]


def is_multi_az(cluster: Mapping[str, Any]) -> bool:
    """Tell a Multi-AZ DB cluster from an Aurora one: only the former has a class and storage of its own."""
    return bool(cluster.get("DBClusterInstanceClass"))


def _instance(raw: dict[str, Any], clusters: Mapping[str, Any], facts: RegionFacts, now: datetime) -> Instance:
    cluster_id = raw.get("DBClusterIdentifier", "")
    kind, skip = _kind(raw)
    return _row(
        raw,
        facts,
        now,
        instance=raw["DBInstanceIdentifier"],
        arn=raw.get("DBInstanceArn", ""),
        resource_id=raw.get("DbiResourceId", ""),
        kind=kind,
        status=raw.get("DBInstanceStatus", "unknown"),
        endpoint=raw.get("Endpoint", {}).get("Address", ""),
        port=raw.get("Endpoint", {}).get("Port"),
        cluster=cluster_id,
        member_role=_role(raw, clusters.get(cluster_id)),
        ca=raw.get("CACertificateIdentifier"),
        iam=bool(raw.get("IAMDatabaseAuthenticationEnabled")),
        skip_reason=skip,
        database=raw.get("DBName", ""),
        **_groups(raw, clusters.get(cluster_id)),
    )


def _cluster(raw: dict[str, Any], facts: RegionFacts, now: datetime) -> Instance:
    return _row(
        raw,
        facts,
        now,
        instance=raw["DBClusterIdentifier"],
        arn=raw.get("DBClusterArn", ""),
        resource_id=raw.get("DbClusterResourceId", ""),
        kind="multi-az-cluster",
        status=raw.get("Status", "unknown"),
        endpoint=raw.get("Endpoint", ""),
        port=raw.get("Port"),
        cluster=raw["DBClusterIdentifier"],
        ca=(raw.get("CertificateDetails") or {}).get("CAIdentifier"),
        iam=bool(raw.get("IAMDatabaseAuthenticationEnabled")),
        database=raw.get("DatabaseName", ""),
        **_groups({}, raw),
    )


def _groups(raw: Mapping[str, Any], cluster: Mapping[str, Any] | None) -> dict[str, Any]:
    """Name the groups that hold the settings of an instance, and say whether their values are in force.

    A cluster's group is in force on each member for itself, since each is rebooted for itself. An instance that is
    on its way from one group to another has two of a kind: then the first is named, and is not in force.
    """
    found: dict[str, Any] = {}
    status: dict[str, str] = {}

    def take(name: str, groups: Sequence[Mapping[str, Any]], key: str, state: str) -> None:
        if groups:
            found[name] = groups[0].get(key)
            status[name] = groups[0].get(state, UNKNOWN) if len(groups) == 1 else "changing"

    take("parameter_group", raw.get("DBParameterGroups", ()), "DBParameterGroupName", "ParameterApplyStatus")
    take("option_group", raw.get("OptionGroupMemberships", ()), "OptionGroupName", "Status")
    if cluster and "DBClusterParameterGroup" in cluster:
        found["cluster_parameter_group"] = cluster["DBClusterParameterGroup"]
        status["cluster_parameter_group"] = _cluster_group_status(raw.get("DBInstanceIdentifier"), cluster)
    return found | {"group_status": status}


def _cluster_group_status(member: str | None, cluster: Mapping[str, Any]) -> str:
    """Say what RDS says of the cluster's parameters on *member*, or on all members for the cluster itself."""
    states = {
        m.get("DBClusterParameterGroupStatus", UNKNOWN)
        for m in cluster.get("DBClusterMembers", ())
        if member in (None, m["DBInstanceIdentifier"])
    }
    return states.pop() if len(states) == 1 else UNKNOWN


def _row(raw: dict[str, Any], facts: RegionFacts, now: datetime, *, ca: str | None, **known: Any) -> Instance:
    """Add what is read in the same way for an instance and for a Multi-AZ DB cluster."""
    details = raw.get("CertificateDetails") or {}
    pending = dict(raw.get("PendingModifiedValues") or {})
    pending_ca = pending.pop("CACertificateIdentifier", "") or (pending.pop("CertificateDetails", None) or {}).get(
        "CAIdentifier"
    )
    offered = {c["CertificateIdentifier"]: c for c in facts.certificates} if facts.certificates is not None else None
    ca_expires = offered[ca]["ValidTill"] if offered and ca in offered else None
    cert_expires = details.get("ValidTill")
    engine, version = raw.get("Engine", "unknown"), raw.get("EngineVersion", "")
    described = facts.versions.get((engine, version))
    supported = described.get("SupportedCACertificateIdentifiers") if described else None
    return Instance(
        account=facts.account,
        region=facts.region,
        engine=engine,
        engine_version=version,
        ca=ca,
        cert_expires=cert_expires,
        ca_expires=ca_expires,
        supported_cas=tuple(supported) if supported is not None else None,
        restart=restart_of(engine, described),
        pending_ca=pending_ca or "",
        pending_other=tuple(sorted(k for k, v in pending.items() if v not in (None, "", [], {}))),
        pending_action=_pending_action(raw.get("DBInstanceArn") or raw.get("DBClusterArn"), facts.pending_actions),
        maintenance_window=raw.get("PreferredMaintenanceWindow", ""),
        tags={t["Key"]: t.get("Value", "") for t in raw.get("TagList") or ()},
        urgency=Urgency.UNKNOWN
        if known["kind"] in FOREIGN
        else risk.urgency(
            ca=ca,
            cert_expires=cert_expires,
            ca_expires=ca_expires,
            offered=ca in offered if offered is not None else None,
            now=now,
        ),
        secret=(raw.get("MasterUserSecret") or {}).get("SecretArn", ""),
        **known,
    )


def restart_of(engine: str, described: Mapping[str, Any] | None) -> Restart:
    """Say what a certificate change restarts, from DescribeDBEngineVersions.

    Oracle's flag is false, yet only its listener restarts (AWS: Rotating your SSL/TLS certificate).
    """
    flag = described.get("SupportsCertificateRotationWithoutRestart") if described else None
    if flag is None:
        return Restart.UNKNOWN
    if flag:
        return Restart.NONE
    return Restart.LISTENER if engine.startswith("oracle") else Restart.RESTART


def _kind(raw: Mapping[str, Any]) -> tuple[str, str]:
    """Tell the kinds apart, with the reason for those that this job does not touch.

    A plain MySQL or PostgreSQL instance inside a cluster is a member of a Multi-AZ DB cluster, also when the
    clusters themselves could not be listed.
    """
    engine = raw.get("Engine", "")
    if engine in SKIPPED_ENGINES:
        return engine, SKIPPED_ENGINES[engine]
    if engine.startswith("custom-"):
        return "custom", "RDS Custom: RDS does not manage the certificate; renew it inside the host"
    if raw.get("DBClusterIdentifier") and engine in ("mysql", "postgres"):
        return "multi-az-member", f"moves with its Multi-AZ DB cluster {raw['DBClusterIdentifier']}"
    if engine == "docdb":
        return "docdb", ""
    if engine.startswith("aurora"):
        return "aurora", ""
    return "instance", ""


def _role(raw: Mapping[str, Any], cluster: Mapping[str, Any] | None) -> str:
    if cluster:
        writers = {m["DBInstanceIdentifier"] for m in cluster.get("DBClusterMembers", ()) if m.get("IsClusterWriter")}
        return "writer" if raw["DBInstanceIdentifier"] in writers else "reader"
    return "replica" if raw.get("ReadReplicaSourceDBInstanceIdentifier") else ""


def _memberless(cluster: Mapping[str, Any], facts: RegionFacts) -> Instance:
    """Give the row of a cluster that has no instance to change: Aurora Serverless v1, or an empty one."""
    serverless = cluster.get("EngineMode") == "serverless"
    reason = (
        RDS_CAS.format(what="Aurora Serverless v1", whose="ACM", remedy="clients need Amazon Root CA 1-4")
        if serverless
        else "a cluster without instances has no server certificate"
    )
    return _skipped(
        cluster["DBClusterIdentifier"], "serverless-v1" if serverless else "cluster", reason, cluster, facts
    )


def _proxy(proxy: Mapping[str, Any], facts: RegionFacts) -> Instance:
    reason = RDS_CAS.format(what="RDS Proxy", whose="ACM", remedy="clients need Amazon Root CA 1-4")
    return _skipped(proxy["DBProxyName"], "proxy", reason, proxy, facts)


def _skipped(name: str, kind: str, reason: str, raw: Mapping[str, Any], facts: RegionFacts) -> Instance:
    return Instance(
        account=facts.account,
        region=facts.region,
        instance=name,
        arn=raw.get("DBClusterArn") or raw.get("DBProxyArn", ""),
        engine=raw.get("Engine") or raw.get("EngineFamily", "unknown").lower(),
        engine_version=raw.get("EngineVersion", ""),
        kind=kind,
        status=raw.get("Status", "unknown"),
        endpoint=raw.get("Endpoint", ""),
        port=raw.get("Port"),
        skip_reason=reason,
    )


def _pending_action(arn: str | None, actions: Iterable[Mapping[str, Any]] | None) -> str:
    """Give the pending certificate action of *arn*; botocore calls it ca-, the guide server-certificate-rotation."""
    if actions is None:
        return "unknown"
    names = [
        detail["Action"]
        for action in actions
        if action["ResourceIdentifier"] == arn
        for detail in action.get("PendingMaintenanceActionDetails", ())
    ]
    return next((n for n in names if n.endswith("certificate-rotation")), "")
