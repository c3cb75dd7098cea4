"""What the practice RDS answers: one function for each action, from the request's members to the reply's."""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from . import versions
from .pki import CURRENT
from .world import AwsError, Cluster, Facts, Instance, Region, Resource, World, next_start

Answer = Callable[[World, Region, Facts], Facts]
ACTIONS: dict[str, Answer] = {}

_PARAMETERS: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    # family prefix -> (name, engine default, apply type, what it is)
    "mysql": (
        ("performance_schema", "0", "static", "Enables the Performance Schema"),
        (
            "require_secure_transport",
            "0",
            "dynamic",
            "Whether client-to-server connections must be encrypted",
        ),
    ),
    "mariadb": (
        ("performance_schema", "0", "static", "Enables the Performance Schema"),
        (
            "require_secure_transport",
            "0",
            "dynamic",
            "Whether client-to-server connections must be encrypted",
        ),
    ),
    "aurora-mysql": (
        ("performance_schema", "0", "static", "Enables the Performance Schema"),
        ("require_secure_transport", "OFF", "dynamic", "Whether client connections must be encrypted"),
    ),
    "postgres": (
        ("log_connections", "0", "dynamic", "Logs each successful connection"),
        ("rds.force_ssl", "0", "dynamic", "Force SSL connections"),
        ("ssl", "1", "static", "Enables SSL connections"),
    ),
    "aurora-postgresql": (
        ("log_connections", "0", "dynamic", "Logs each successful connection"),
        ("rds.force_ssl", "0", "dynamic", "Force SSL connections"),
        ("ssl", "1", "static", "Enables SSL connections"),
    ),
    "sqlserver": (("rds.force_ssl", "0", "static", "Force SSL connections"),),
    "docdb": (("tls", "enabled", "static", "Whether TLS is required for connections"),),
}
# Versions from which TLS is demanded unless a group says otherwise (RDS user guide, 2026).
_DEMAND_TLS = {
    "rds.force_ssl": {"postgres15", "postgres16", "postgres17", "aurora-postgresql17"},
    "require_secure_transport": {"mariadb11.8"},
}


def answers(action: str) -> Callable[[Answer], Answer]:
    """Register a function as the answer to *action*."""

    def register(function: Answer) -> Answer:
        ACTIONS[action] = function
        return function

    return register


def page(ask: Facts, rows: Mapping[str, Any], member: str, wanted: Callable[[Any], bool] = lambda _: True) -> Facts:
    """Give one page of the *wanted* ones of *rows*, in the order of their keys, and the Marker of the next.

    The Marker is the key of the last row shown, so that rows which come or go between two pages
    neither hide nor repeat another.
    """
    most = ask.get("MaxRecords", 100)
    if not 20 <= most <= 100:
        raise AwsError("InvalidParameterValue", f"Invalid value {most} for MaxRecords. Must be between 20 and 100")
    keys = sorted(rows)
    start = bisect_right(keys, _unmark(ask["Marker"])) if ask.get("Marker") else 0
    found = list(islice((k for k in keys[start:] if wanted(rows[k])), most + 1))
    reply: Facts = {member: [rows[k] for k in found[:most]]}
    if len(found) > most:
        reply["Marker"] = base64.urlsafe_b64encode(found[most - 1].encode()).decode()
    return reply


def _unmark(marker: str) -> str:
    try:
        return base64.b64decode(marker.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as e:
        raise AwsError("InvalidParameterValue", "The provided Marker is not valid.") from e


def _filters(ask: Facts, *known: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for entry in ask.get("Filters", []):
        name = entry.get("Name", "")
        if name not in known:
            raise AwsError("InvalidParameterValue", f"Unrecognized filter name: {name}")
        found[name] = {v.lower() for v in entry.get("Values", [])}
    return found


def _seen(resource: Resource) -> Resource | Facts:
    """Give *resource* as a describe shows it: for a while, after a "lag" fault, as it was."""
    if resource.shown is None:
        return resource
    before, polls = resource.shown
    resource.shown = (before, polls - 1) if polls > 1 else None
    return before


def _by_arn(region: Region, arn: str) -> Resource | None:
    return next((r for r in region.resources() if r.arn == arn), None)


def _named(values: set[str] | None, *names: str) -> bool:
    return values is None or any(n.lower() in values for n in names)


# --- instances


@answers("DescribeDBInstances")
def describe_instances(world: World, region: Region, ask: Facts) -> Facts:
    """List instances, Aurora's, DocumentDB's and Neptune's too, as AWS does."""
    if name := ask.get("DBInstanceIdentifier"):
        if not name.startswith("arn:"):
            return {"DBInstances": [_seen(world.instance(region.account, region.name, name))]}
        if not isinstance(found := _by_arn(region, name), Instance):
            raise AwsError("DBInstanceNotFound", f"DBInstance {name} not found.", 404)
        return {"DBInstances": [_seen(found)]}
    by = _filters(ask, "db-cluster-id", "db-instance-id", "dbi-resource-id", "domain", "engine")

    def wanted(i: Instance) -> bool:
        return not by or (
            _named(by.get("db-instance-id"), i.id, i.arn)
            and _named(by.get("db-cluster-id"), i.facts.get("DBClusterIdentifier", ""))
            and _named(by.get("dbi-resource-id"), i.facts["DbiResourceId"])
            and _named(by.get("engine"), i.version.engine)
            and "domain" not in by
        )

    reply = page(ask, region.instances, "DBInstances", wanted)
    return {**reply, "DBInstances": [_seen(i) for i in reply["DBInstances"]]}


@answers("ModifyDBInstance")
def modify_instance(world: World, region: Region, ask: Facts) -> Facts:
    """Take a change over, at once or for the maintenance window."""
    found = world.instance(region.account, region.name, ask["DBInstanceIdentifier"])
    if found.version.engine.startswith("custom-") and "CACertificateIdentifier" in ask:
        raise AwsError(
            "InvalidParameterCombination", "CACertificateIdentifier doesn't apply to RDS Custom DB instances."
        )
    group = ask.get("DBParameterGroupName")
    if group and _group(region, group, cluster=False)["family"] != found.version.family:
        raise AwsError("InvalidParameterCombination", f"The parameter group {group} is not of {found.version.family}.")
    world.modify(
        found,
        ask,
        at_once=ask.get("ApplyImmediately", False),
        restart=ask.get("CertificateRotationRestart", True),
    )
    if group:  # named at once, in force after a reboot
        with world.lock:
            found.facts["DBParameterGroups"] = [
                {"DBParameterGroupName": group, "ParameterApplyStatus": "pending-reboot"}
            ]
            found.xml = None
    return {"DBInstance": found}


@answers("RebootDBInstance")
def reboot_instance(world: World, region: Region, ask: Facts) -> Facts:
    """Restart an instance."""
    world.reboot(found := world.instance(region.account, region.name, ask["DBInstanceIdentifier"]))
    return {"DBInstance": found}


@answers("StopDBInstance")
def stop_instance(world: World, region: Region, ask: Facts) -> Facts:
    """Stop an instance."""
    world.stop(found := world.instance(region.account, region.name, ask["DBInstanceIdentifier"]))
    return {"DBInstance": found}


@answers("StartDBInstance")
def start_instance(world: World, region: Region, ask: Facts) -> Facts:
    """Start a stopped instance."""
    world.start(found := world.instance(region.account, region.name, ask["DBInstanceIdentifier"]))
    return {"DBInstance": found}


@answers("DescribeDBLogFiles")
def describe_log_files(world: World, region: Region, ask: Facts) -> Facts:
    """List the log files of the database behind an instance; one without a database has none."""
    found = world.instance(region.account, region.name, ask["DBInstanceIdentifier"])
    rows = {}
    for name, file in world.wire.logs(found).items():
        seen = file.stat()
        rows[name] = {"LogFileName": name, "LastWritten": int(seen.st_mtime * 1000), "Size": seen.st_size}

    def wanted(row: Facts) -> bool:
        return (
            ask.get("FilenameContains", "") in row["LogFileName"]
            and row["LastWritten"] >= ask.get("FileLastWritten", 0)
            and row["Size"] >= ask.get("FileSize", 0)
        )

    return page(ask, rows, "DescribeDBLogFiles", wanted)


@answers("DownloadDBLogFilePortion")
def download_log_file_portion(world: World, region: Region, ask: Facts) -> Facts:
    """Give a part of a log file: up to 1 MB and 10,000 lines, from the Marker on, or else the last ones.

    AWS cuts what is longer than 1 MB in mid-line; the next portion goes on behind the cut.
    """
    found = world.instance(region.account, region.name, ask["DBInstanceIdentifier"])
    name = ask["LogFileName"]
    if (file := world.wire.logs(found).get(name)) is None:
        raise AwsError("DBLogFileNotFoundFault", f"DBLog File: {name}, is not found on the DB instance", 404)
    most = ask.get("NumberOfLines", _PORTION_LINES)
    with file.open("rb") as log:
        size = file.stat().st_size
        marker = ask.get("Marker")
        log.seek(_offset(marker) if marker else max(0, size - _PORTION_BYTES))
        lines = log.read(_PORTION_BYTES).splitlines(keepends=True)
        lines = lines[:most] if marker else lines[-most:]
        end = min(size, _offset(marker) + sum(map(len, lines))) if marker else size
    return {
        "LogFileData": b"".join(lines).decode(errors="replace").translate(_NO_XML),
        "Marker": f"0:{end}",
        "AdditionalDataPending": end < size,
    }


_PORTION_BYTES, _PORTION_LINES = 1024 * 1024, 10_000
_NO_XML = {n: "?" for n in range(32) if chr(n) not in "\t\n\r"}  # control characters have no place in XML 1.0


def _offset(marker: str) -> int:
    """Read a Marker: "0", or what an earlier portion gave, which ends with the number of bytes before it."""
    number = marker.rpartition(":")[2]
    if not number.isdecimal():
        raise AwsError("InvalidParameterValue", f"The Marker {marker} is not valid.")
    return int(number)


# --- clusters


@answers("DescribeDBClusters")
def describe_clusters(world: World, region: Region, ask: Facts) -> Facts:
    """List clusters."""
    if name := ask.get("DBClusterIdentifier"):
        return {"DBClusters": [_seen(world.cluster(region.account, region.name, name))]}
    known = ("clone-group-id", "db-cluster-id", "db-cluster-resource-id", "domain", "engine")
    by = _filters(ask, *known)

    def wanted(c: Cluster) -> bool:
        return (
            _named(by.get("db-cluster-id"), c.id, c.arn)
            and _named(by.get("db-cluster-resource-id"), c.facts["DbClusterResourceId"])
            and _named(by.get("engine"), c.version.engine)
            and not {"domain", "clone-group-id"} & by.keys()
        )

    reply = page(ask, region.clusters, "DBClusters", wanted)
    return {**reply, "DBClusters": [_seen(c) for c in reply["DBClusters"]]}


@answers("ModifyDBCluster")
def modify_cluster(world: World, region: Region, ask: Facts) -> Facts:
    """Take a change of a cluster over; a CA only for a Multi-AZ DB cluster."""
    found = world.cluster(region.account, region.name, ask["DBClusterIdentifier"])
    world.modify(found, ask, at_once=ask.get("ApplyImmediately", False))
    return {"DBCluster": found}


@answers("FailoverDBCluster")
def failover(world: World, region: Region, ask: Facts) -> Facts:
    """Make another member the writer."""
    found = world.cluster(region.account, region.name, ask["DBClusterIdentifier"])
    members = found.facts.get("DBClusterMembers", [])
    readers = [m["DBInstanceIdentifier"] for m in members if not m["IsClusterWriter"]]
    target = ask.get("TargetDBInstanceIdentifier") or next(iter(readers), None)
    if target not in readers:
        raise AwsError("InvalidDBClusterStateFault", f"{found.id} has no reader to fail over to.")
    with world.lock:
        for member in members:
            member["IsClusterWriter"] = member["DBInstanceIdentifier"] == target
        found.xml = None
        world.event(found, f"Completed failover to DB instance: {target}", "failover", world.clock.now())
    return {"DBCluster": found}


@answers("DescribeGlobalClusters")
def describe_global_clusters(_: World, region: Region, ask: Facts) -> Facts:
    """List Aurora global databases."""
    if (name := ask.get("GlobalClusterIdentifier")) and name not in region.global_clusters:
        raise AwsError("GlobalClusterNotFoundFault", f"Global cluster {name} not found", 404)
    return page(ask, region.global_clusters, "GlobalClusters", lambda g: name in (None, g["GlobalClusterIdentifier"]))


# --- certificates


def _certificate(world: World, region: Region, ca: str) -> Facts:
    start, end = world.pki.validity(region.name, ca)
    row: Facts = {
        "CertificateIdentifier": ca,
        "CertificateType": "CA",
        "Thumbprint": world.pki.thumbprint(region.name, ca),
        "ValidFrom": start,
        "ValidTill": end,
        "CertificateArn": f"arn:aws:rds:{region.name}::cert:{ca}",
        "CustomerOverride": False,
    }
    if region.override and region.override[0] == ca:
        row |= {"CustomerOverride": True, "CustomerOverrideValidTill": region.override[1]}
    return row


def _known_ca(ca: str) -> str:
    if ca not in CURRENT:
        raise AwsError("CertificateNotFound", f"Certificate not found: {ca}", 404)
    return ca


@answers("DescribeCertificates")
def describe_certificates(world: World, region: Region, ask: Facts) -> Facts:
    """List the CAs that are offered, never a retired one; Filters are not supported, so they do nothing."""
    asked = ask.get("CertificateIdentifier")
    wanted = [_known_ca(asked)] if asked else CURRENT
    reply = page(ask, {ca: _certificate(world, region, ca) for ca in wanted}, "Certificates")
    return {**reply, "DefaultCertificateForNewLaunches": world.default_ca(region.account, region.name)}


@answers("ModifyCertificates")
def modify_certificates(world: World, region: Region, ask: Facts) -> Facts:
    """Set or remove the CA that new instances of this account and region get."""
    if ask.get("RemoveCustomerOverride"):
        region.override = None
        return {"Certificate": _certificate(world, region, versions.RSA2048)}
    ca = _known_ca(ask.get("CertificateIdentifier", ""))
    region.override = (ca, world.clock.now() + timedelta(days=365))
    return {"Certificate": _certificate(world, region, ca)}


# --- engines and parameters


@answers("DescribeDBEngineVersions")
def describe_engine_versions(_: World, region: Region, ask: Facts) -> Facts:
    """List engine versions; retired ones only with IncludeAll, or when they are asked for by number."""
    by = _filters(ask, "db-parameter-group-family", "engine", "engine-mode", "engine-version", "status")
    number = ask.get("EngineVersion")

    def wanted(v: versions.Version) -> bool:
        return (
            ask.get("Engine") in (None, v.engine)
            and (number is None or v.number == number or v.number.startswith(number + "."))
            and ask.get("DBParameterGroupFamily") in (None, v.family)
            and _named(by.get("engine"), v.engine)
            and _named(by.get("engine-version"), v.number)
            and _named(by.get("db-parameter-group-family"), v.family)
            and (not v.retired or bool(ask.get("IncludeAll")))
            and (not ask.get("DefaultOnly") or v is versions.default(v.engine))
        )

    rows = {f"{n:05}": v for n, v in enumerate(versions.VERSIONS)}
    reply = page(ask, rows, "DBEngineVersions", wanted)
    return {**reply, "DBEngineVersions": [_engine_version(v, region) for v in reply["DBEngineVersions"]]}


def _engine_version(v: versions.Version, region: Region) -> Facts:
    description = versions.DESCRIPTIONS[v.engine]
    return {
        "Engine": v.engine,
        "MajorEngineVersion": major(v),
        "EngineVersion": v.number,
        "DBParameterGroupFamily": v.family,
        "DBEngineDescription": description,
        "DBEngineVersionDescription": f"{description} {v.number}",
        "DBEngineVersionArn": f"arn:aws:rds:{region.name}::engine-version:{v.engine}/{v.number}",
        "ValidUpgradeTarget": [
            {
                "Engine": v.engine,
                "EngineVersion": w.number,
                "Description": f"{description} {w.number}",
                "AutoUpgrade": False,
                "IsMajorVersionUpgrade": w.family != v.family,
            }
            for w in versions.VERSIONS[versions.VERSIONS.index(v) + 1 :]
            if w.engine == v.engine and not w.retired
        ],
        "ExportableLogTypes": [],
        "SupportsLogExportsToCloudwatchLogs": False,
        "SupportsReadReplica": "aurora" not in v.engine,
        "SupportedEngineModes": ["provisioned"] if "aurora" in v.engine else [],
        "SupportedFeatureNames": [],
        "Status": "deprecated" if v.retired else "available",
        "SupportsParallelQuery": False,
        "SupportsGlobalDatabases": "aurora" in v.engine,
        "TagList": [],
        "SupportsBabelfish": v.engine == "aurora-postgresql",
        "SupportsLimitlessDatabase": False,
        "SupportsCertificateRotationWithoutRestart": v.restart_free,
        "SupportedCACertificateIdentifiers": list(v.cas),
        "SupportsLocalWriteForwarding": False,
        "SupportsIntegrations": False,
    }


def _group(region: Region, name: str, *, cluster: bool) -> Facts:
    if found := region.parameter_groups.get(name):
        if found["cluster"] == cluster:
            return found
    elif name.startswith("default.") and any(v.family == name[8:] for v in versions.VERSIONS):
        return {"family": name[8:], "cluster": cluster, "values": {}}
    kind = "DBClusterParameterGroup" if cluster else "DBParameterGroup"
    raise AwsError("DBParameterGroupNotFound", f"{kind} not found: {name}", 404)


def _parameters(group: Facts) -> list[Facts]:
    family = group["family"]
    names = [p for p in _PARAMETERS if family.startswith(p)]
    known = _PARAMETERS[max(names, key=len)] if names else ()
    rows = []
    for name, default, apply_type, about in known:
        own = group["values"].get(name)
        demanded = family in _DEMAND_TLS.get(name, ())
        rows.append(
            {
                "ParameterName": name,
                "ParameterValue": own or ("1" if demanded else default),
                "Description": about,
                "Source": "user" if own else "system",
                "ApplyType": apply_type,
                "DataType": "string" if name == "tls" else "boolean",
                "AllowedValues": "disabled,enabled,fips-140-3,tls1.2+,tls1.3+" if name == "tls" else "0,1",
                "IsModifiable": name != "ssl",
                "ApplyMethod": "pending-reboot" if apply_type == "static" else "immediate",
            }
        )
    return rows


def _describe_parameters(region: Region, ask: Facts, name: str, *, cluster: bool) -> Facts:
    rows = {r["ParameterName"]: r for r in _parameters(_group(region, name, cluster=cluster))}
    return page(ask, rows, "Parameters", lambda r: ask.get("Source") in (None, r["Source"]))


@answers("DescribeDBParameters")
def describe_parameters(_: World, region: Region, ask: Facts) -> Facts:
    """List the parameters of a group: only those that bear on TLS and on seeing sessions."""
    return _describe_parameters(region, ask, ask["DBParameterGroupName"], cluster=False)


@answers("DescribeDBClusterParameters")
def describe_cluster_parameters(_: World, region: Region, ask: Facts) -> Facts:
    """List the parameters of a cluster group, DocumentDB's `tls` among them."""
    return _describe_parameters(region, ask, ask["DBClusterParameterGroupName"], cluster=True)


@answers("ModifyDBParameterGroup")
def modify_parameter_group(world: World, region: Region, ask: Facts) -> Facts:
    """Set parameters: a dynamic one at once, a static one from the next reboot of each instance of the group on.

    A default group is nobody's to change, and a static parameter takes ApplyMethod=pending-reboot.
    """
    name = ask["DBParameterGroupName"]
    group = _group(region, name, cluster=False)
    if name not in region.parameter_groups:
        raise AwsError("InvalidParameterValue", f"The default parameter group {name} can't be modified.")
    known = {r["ParameterName"]: r for r in _parameters(group)}
    waits = False
    for wish in ask["Parameters"]:
        found = known.get(wish.get("ParameterName", ""))
        if found is None or not found["IsModifiable"]:
            raise AwsError("InvalidParameterValue", f"Could not modify the parameter {wish.get('ParameterName')}.")
        if wish.get("ParameterValue") not in found["AllowedValues"].split(","):
            raise AwsError("InvalidParameterValue", f"{wish.get('ParameterValue')} isn't allowed: 0,1")
        if found["ApplyType"] == "static" and wish.get("ApplyMethod") != "pending-reboot":
            raise AwsError("InvalidParameterCombination", "cannot use immediate apply method for static parameter")
        waits = waits or wish.get("ApplyMethod") == "pending-reboot"
    with world.lock:
        group["values"] |= {w["ParameterName"]: w["ParameterValue"] for w in ask["Parameters"]}
        for instance in region.instances.values():
            for mine in instance.facts["DBParameterGroups"]:
                if waits and mine["DBParameterGroupName"] == name:
                    mine["ParameterApplyStatus"] = "pending-reboot"
                    instance.xml = None
    return {"DBParameterGroupName": name}


@answers("CreateDBParameterGroup")
def create_parameter_group(_: World, region: Region, ask: Facts) -> Facts:
    """Make a group with the defaults of its family."""
    name, family = ask["DBParameterGroupName"], ask["DBParameterGroupFamily"]
    if name in region.parameter_groups:
        raise AwsError("DBParameterGroupAlreadyExists", f"Parameter group {name} already exists")
    if not any(v.family == family for v in versions.VERSIONS):
        raise AwsError("InvalidParameterValue", f"ParameterGroupFamily {family} is not a valid parameter group family")
    region.parameter_groups[name] = {"family": family, "cluster": False, "values": {}}
    return {
        "DBParameterGroup": {
            "DBParameterGroupName": name,
            "DBParameterGroupFamily": family,
            "Description": ask["Description"],
            "DBParameterGroupArn": f"arn:aws:rds:{region.name}:{region.account}:pg:{name}",
        }
    }


def _groups(region: Region, ask: Facts, *, cluster: bool) -> Facts:
    kind, arn = ("DBClusterParameterGroup", "cluster-pg") if cluster else ("DBParameterGroup", "pg")
    name = ask.get(f"{kind}Name")
    families = {r.version.family for r in region.resources()}
    defaults = {f"default.{f}": {"family": f, "cluster": cluster} for f in families}
    own = {k: g for k, g in region.parameter_groups.items() if g["cluster"] == cluster}
    chosen = {name: _group(region, name, cluster=cluster)} if name else {**defaults, **own}
    rows = {
        k: {
            f"{kind}Name": k,
            "DBParameterGroupFamily": g["family"],
            "Description": f"{'Default' if k.startswith('default.') else 'Own'} group for {g['family']}",
            f"{kind}Arn": f"arn:aws:rds:{region.name}:{region.account}:{arn}:{k}",
        }
        for k, g in chosen.items()
    }
    return page(ask, rows, f"{kind}s")


@answers("DescribeDBParameterGroups")
def describe_parameter_groups(_: World, region: Region, ask: Facts) -> Facts:
    """List parameter groups."""
    return _groups(region, ask, cluster=False)


@answers("DescribeDBClusterParameterGroups")
def describe_cluster_parameter_groups(_: World, region: Region, ask: Facts) -> Facts:
    """List cluster parameter groups."""
    return _groups(region, ask, cluster=True)


@answers("DescribeOptionGroups")
def describe_option_groups(_: World, region: Region, ask: Facts) -> Facts:
    """List option groups: the own ones, and for each version that is in use the default one, which has no options."""
    used = {(r.version.engine, major(r.version)) for r in region.instances.values()}
    defaults: Facts = {
        f"default:{engine}-{number.replace('.', '-')}": {"engine": engine, "major": number, "options": []}
        for engine, number in used
    }
    groups = defaults | region.option_groups
    if (name := ask.get("OptionGroupName")) and name not in groups:
        raise AwsError("OptionGroupNotFoundFault", f"Specified OptionGroupName: {name} not found.", 404)

    def wanted(row: Facts) -> bool:
        return (
            name in (None, row["OptionGroupName"])
            and ask.get("EngineName") in (None, row["EngineName"])
            and ask.get("MajorEngineVersion") in (None, row["MajorEngineVersion"])
        )

    rows = {
        k: {
            "OptionGroupName": k,
            "OptionGroupDescription": f"Options for {g['engine']} {g['major']}",
            "EngineName": g["engine"],
            "MajorEngineVersion": g["major"],
            "Options": g["options"],
            "AllowsVpcAndNonVpcInstanceMemberships": True,
            "OptionGroupArn": f"arn:aws:rds:{region.name}:{region.account}:og:{k}",
        }
        for k, g in groups.items()
    }
    return page(ask, rows, "OptionGroupsList", wanted)


def major(version: versions.Version) -> str:
    """Give the major version number, as the parameter group family ends with it."""
    return version.family.rpartition("-")[2].lstrip("abcdefghijklmnopqrstuvwxyz")


def ssl_option(port: int) -> Facts:
    """Make Oracle's SSL option, which gives TLS a port of its own."""
    settings = {
        "SQLNET.SSL_VERSION": ("1.2", "1.0,1.2,1.2 or 1.0"),
        "SQLNET.CIPHER_SUITE": ("SSL_RSA_WITH_AES_256_CBC_SHA", ""),
        "FIPS.SSLFIPS_140": ("FALSE", "TRUE,FALSE"),
    }
    return {
        "OptionName": "SSL",
        "OptionDescription": "Oracle Secure Sockets Layer",
        "Persistent": False,
        "Permanent": False,
        "Port": port,
        "OptionSettings": [
            {
                "Name": name,
                "Value": value,
                "DefaultValue": value,
                "Description": name,
                "ApplyType": "STATIC",
                "DataType": "STRING",
                "AllowedValues": allowed,
                "IsModifiable": True,
                "IsCollection": False,
            }
            for name, (value, allowed) in settings.items()
        ],
        "DBSecurityGroupMemberships": [],
        "VpcSecurityGroupMemberships": [],
    }


# --- maintenance, events, tags, proxies


def _actions(resource: Resource) -> Facts:
    return {
        "ResourceIdentifier": resource.arn,
        "PendingMaintenanceActionDetails": list(resource.actions.values()),
    }


@answers("DescribePendingMaintenanceActions")
def describe_pending_actions(_: World, region: Region, ask: Facts) -> Facts:
    """List what maintenance waits for a yes or for its date."""
    by = _filters(ask, "db-cluster-id", "db-instance-id")
    arn = ask.get("ResourceIdentifier")
    if arn and _by_arn(region, arn) is None:
        raise AwsError("ResourceNotFoundFault", f"Resource not found: {arn}", 404)
    wanted = by.get("db-instance-id", set()) | by.get("db-cluster-id", set())
    rows = {
        r.arn: _actions(r)
        for r in region.resources()
        if r.actions and arn in (None, r.arn) and _named(wanted or None, r.id, r.arn)
    }
    return page(ask, rows, "PendingMaintenanceActions")


@answers("ApplyPendingMaintenanceAction")
def apply_pending_action(world: World, region: Region, ask: Facts) -> Facts:
    """Say yes to a pending maintenance action."""
    found = _by_arn(region, ask["ResourceIdentifier"])
    if found is None:
        raise AwsError("ResourceNotFoundFault", f"Resource not found: {ask['ResourceIdentifier']}", 404)
    choice = ask["OptInType"]
    if choice not in ("immediate", "next-maintenance", "undo-opt-in"):
        raise AwsError("InvalidParameterValue", f"Invalid OptInType: {choice}")
    world.opt_in(found, ask["ApplyAction"], choice)
    return {"ResourcePendingMaintenanceActions": _actions(found)}


@answers("DescribeEvents")
def describe_events(world: World, region: Region, ask: Facts) -> Facts:
    """List events of the last hour, or of the time asked for; RDS keeps them for 14 days."""
    now = world.clock.now()
    end = ask.get("EndTime", now)
    start = ask.get("StartTime", end - timedelta(minutes=ask.get("Duration", 60)))
    if ask.get("SourceIdentifier") and not ask.get("SourceType"):
        raise AwsError("InvalidParameterCombination", "SourceIdentifier needs SourceType.")
    kinds = set(ask.get("EventCategories", []))
    rows = {
        f"{e['Date'].isoformat()} {n:06}": e
        for n, e in enumerate(list(region.events))
        if max(start, now - timedelta(days=14)) <= e["Date"] <= end
        and ask.get("SourceIdentifier") in (None, e["SourceIdentifier"])
        and ask.get("SourceType") in (None, e["SourceType"])
        and (not kinds or kinds & set(e["EventCategories"]))
    }
    return page(ask, rows, "Events")


def _tagged(region: Region, ask: Facts) -> tuple[Resource | None, Facts]:
    arn = ask["ResourceName"]
    if found := _by_arn(region, arn):
        return found, found.facts
    for group in (region.proxies, region.global_clusters):
        for row in group.values():
            if arn in (row.get("DBProxyArn"), row.get("GlobalClusterArn")):
                return None, row
    raise AwsError("DBInstanceNotFound", f"Could not find DB Instance matching: {arn}", 404)


@answers("ListTagsForResource")
def list_tags(_: World, region: Region, ask: Facts) -> Facts:
    """List the tags of a resource."""
    return {"TagList": _tagged(region, ask)[1].get("TagList", [])}


@answers("AddTagsToResource")
def add_tags(world: World, region: Region, ask: Facts) -> Facts:
    """Add tags, or change them."""
    resource, facts = _tagged(region, ask)
    new = {t["Key"]: t for t in ask.get("Tags", [])}
    with world.lock:
        facts["TagList"] = [t for t in facts.get("TagList", []) if t["Key"] not in new] + list(new.values())
        if resource:
            resource.xml = None
    return {}


@answers("RemoveTagsFromResource")
def remove_tags(world: World, region: Region, ask: Facts) -> Facts:
    """Remove tags."""
    resource, facts = _tagged(region, ask)
    with world.lock:
        facts["TagList"] = [t for t in facts.get("TagList", []) if t["Key"] not in ask.get("TagKeys", [])]
        if resource:
            resource.xml = None
    return {}


@answers("DescribeDBProxies")
def describe_proxies(_: World, region: Region, ask: Facts) -> Facts:
    """List RDS Proxies."""
    if (name := ask.get("DBProxyName")) and name not in region.proxies:
        raise AwsError("DBProxyNotFoundFault", f"DBProxy {name} not found.", 404)
    return page(ask, region.proxies, "DBProxies", lambda p: name in (None, p["DBProxyName"]))


@answers("DescribeDBProxyTargets")
def describe_proxy_targets(_: World, region: Region, ask: Facts) -> Facts:
    """List what a proxy leads to."""
    if ask["DBProxyName"] not in region.proxies:
        raise AwsError("DBProxyNotFoundFault", f"DBProxy {ask['DBProxyName']} not found.", 404)
    rows = {t["RdsResourceId"]: t for t in region.proxy_targets.get(ask["DBProxyName"], [])}
    return page(ask, rows, "Targets")


def pending_rotation(resource: Resource, now: datetime) -> Facts:
    """Make the action that RDS shows for a certificate which takes a restart to renew."""
    return {
        "Action": "server-certificate-rotation",
        "Description": "Rotate the server certificate",
        "AutoAppliedAfterDate": next_start(resource.window, now + timedelta(days=30)),
        "CurrentApplyDate": next_start(resource.window, now + timedelta(days=30)),
    }
