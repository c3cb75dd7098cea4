"""The fleet that the practice world starts with: three accounts, three regions, every kind of database."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from . import versions
from .actions import major, pending_rotation, ssl_option
from .versions import ECC384, RSA2048, RSA4096
from .wire import Wish
from .world import Account, Cluster, Facts, Instance, Region, World

SHOP, BILLING, LEGACY = "111111111111", "222222222222", "333333333333"
WEST, CENTRAL, OREGON = "eu-west-1", "eu-central-1", "us-west-2"
ACCOUNTS = [Account(SHOP, "shop"), Account(BILLING, "billing"), Account(LEGACY, "legacy", denied=(OREGON,))]

OLD = "rds-ca-2019"
_OLD_ENDED = datetime(2024, 8, 22, 17, 8, 50, tzinfo=UTC)  # when Amazon's own ended, in most regions

_PORTS = {
    "mysql": 3306,
    "mariadb": 3306,
    "postgres": 5432,
    "aurora-mysql": 3306,
    "aurora-postgresql": 5432,
    "sqlserver-se": 1433,
    "sqlserver-ex": 1433,
    "oracle-se2": 1521,
    "oracle-ee": 1521,
    "oracle-ee-cdb": 1521,
    "custom-oracle-ee": 1521,
    "docdb": 27017,
    "neptune": 8182,
}
_LICENSES = {"postgres": "postgresql-license", "aurora-postgresql": "postgresql-license"}
_BY_PREFIX = {"sqlserver": "license-included", "oracle": "bring-your-own-license"}

ORACLE_TLS_PORT = 2484  # the port that Oracle proposes for TCPS

HOSTILE = {"note": '=HYPERLINK("http://x")', "owner": "<img src=x onerror=alert(1)>"}


@dataclass(frozen=True)
class Member:
    """A DB instance to be: the server certificate ends *days* from now."""

    id: str
    ca: str = RSA2048
    days: float = 200
    cls: str = "db.r6g.large"


class _Place:
    """One account and region while it is filled."""

    def __init__(self, world: World, account: str, region: str, now: datetime) -> None:
        self.world = world
        self.account = account
        self.region = region
        self.now = now
        self.tail = _hash(12, account, region).lower()
        self.here: Region = world.region(account, region)

    def db(
        self,
        name: str,
        engine: str,
        number: str,
        *,
        ca: str = RSA2048,
        days: float = 200,
        cls: str = "db.t4g.medium",
        window: str = "sun:03:00-sun:03:30",
        env: str = "prod",
        team: str = "",
        tags: dict[str, str] | None = None,
        status: str = "available",
        group: str = "",
        options: str = "",
        **facts: Any,
    ) -> Instance:
        """Add an instance."""
        version = versions.find(engine, number)
        if version is None:
            raise KeyError(f"{engine} {number} is not in the table of versions")
        family = version.family
        address = f"{name}.{self.tail}.{self.region}.{_suffix(engine)}"
        instance = Instance(
            self.account,
            self.region,
            name,
            version,
            window,
            status,
            ca,
            _OLD_ENDED if ca == OLD else (self.now + timedelta(days=days)).replace(microsecond=0),
        )
        every = {"env": env, "team": team or self.world.accounts[self.account].name, **(tags or {})}
        license_model = _LICENSES.get(engine) or _BY_PREFIX.get(engine.split("-", maxsplit=1)[0])
        instance.facts = {
            "DBInstanceClass": cls,
            "MasterUsername": "dbadmin",
            "Endpoint": {"Address": address, "Port": _PORTS[engine], "HostedZoneId": "Z29XKXDKYMONMX"},
            "AllocatedStorage": 100,
            "InstanceCreateTime": self.now - timedelta(days=900),
            "PreferredBackupWindow": "01:00-01:30",
            "BackupRetentionPeriod": 7,
            "DBSecurityGroups": [],
            "VpcSecurityGroups": [{"VpcSecurityGroupId": f"sg-{_hash(17, address).lower()}", "Status": "active"}],
            "DBParameterGroups": [
                {"DBParameterGroupName": group or f"default.{family}", "ParameterApplyStatus": "in-sync"}
            ],
            "AvailabilityZone": f"{self.region}a",
            "DBSubnetGroup": self._subnets(),
            "LatestRestorableTime": self.now - timedelta(minutes=5),
            "MultiAZ": False,
            "AutoMinorVersionUpgrade": True,
            "ReadReplicaDBInstanceIdentifiers": [],
            "LicenseModel": license_model or "general-public-license",
            "OptionGroupMemberships": [
                {
                    "OptionGroupName": options or f"default:{engine}-{major(version).replace('.', '-')}",
                    "Status": "in-sync",
                }
            ],
            "PubliclyAccessible": False,
            "StatusInfos": [],
            "StorageType": "aurora" if engine.startswith("aurora") else "gp3",
            "DbInstancePort": 0,
            "StorageEncrypted": True,
            "KmsKeyId": f"arn:aws:kms:{self.region}:{self.account}:key/{_uuid(self.account, self.region)}",
            "DbiResourceId": f"db-{_hash(26, address)}",
            "DomainMemberships": [],
            "CopyTagsToSnapshot": True,
            "MonitoringInterval": 0,
            "IAMDatabaseAuthenticationEnabled": False,
            "DatabaseInsightsMode": "standard",
            "PerformanceInsightsEnabled": False,
            "DeletionProtection": env == "prod",
            "AssociatedRoles": [],
            "TagList": [{"Key": k, "Value": v} for k, v in every.items()],
            "CustomerOwnedIpEnabled": False,
            "NetworkType": "IPV4",
            "ActivityStreamStatus": "stopped",
            "BackupTarget": "region",
            "MultiTenant": False,
            "DedicatedLogVolume": False,
            "IsStorageConfigUpgradeAvailable": False,
            "EngineLifecycleSupport": "open-source-rds-extended-support-disabled",
            **({"DBName": "ORCL"} if engine.startswith("oracle") else {}),
            **facts,
        }
        self.world.add(instance)
        return instance

    def cluster(
        self,
        name: str,
        engine: str,
        number: str,
        members: Sequence[Member],
        *,
        window: str = "sat:04:00-sat:04:30",
        env: str = "prod",
        certificate: float | None = None,
        **facts: Any,
    ) -> Cluster:
        """Add a cluster with its members, the first of them the writer.

        With *certificate* (days to its end) it is a Multi-AZ DB cluster, which has one of its own.
        """
        version = versions.find(engine, number)
        if version is None:
            raise KeyError(f"{engine} {number} is not in the table of versions")
        suffix = f"{self.tail}.{self.region}.{_suffix(engine)}"
        cluster = Cluster(self.account, self.region, name, version, window, ca=None)
        if certificate is not None:
            cluster.ca = RSA2048
            cluster.expires = (self.now + timedelta(days=certificate)).replace(microsecond=0)
        zones = [f"{self.region}{z}" for z in "abc"]
        cluster.facts = {
            "AllocatedStorage": 1,
            "AvailabilityZones": zones,
            "BackupRetentionPeriod": 7,
            "DBClusterParameterGroup": f"default.{version.family}",
            "DBSubnetGroup": "default",
            "EarliestRestorableTime": self.now - timedelta(days=7),
            "Endpoint": f"{name}.cluster-{suffix}",
            "ReaderEndpoint": f"{name}.cluster-ro-{suffix}",
            "MultiAZ": len(members) > 1,
            "LatestRestorableTime": self.now - timedelta(minutes=5),
            "Port": _PORTS[engine],
            "MasterUsername": "dbadmin",
            "PreferredBackupWindow": "02:00-02:30",
            "ReadReplicaIdentifiers": [],
            "DBClusterMembers": [
                {
                    "DBInstanceIdentifier": m.id,
                    "IsClusterWriter": n == 0,
                    "DBClusterParameterGroupStatus": "in-sync",
                    "PromotionTier": 1,
                }
                for n, m in enumerate(members)
            ],
            "VpcSecurityGroups": [{"VpcSecurityGroupId": f"sg-{_hash(17, suffix).lower()}", "Status": "active"}],
            "HostedZoneId": "Z29XKXDKYMONMX",
            "StorageEncrypted": True,
            "DbClusterResourceId": f"cluster-{_hash(26, name, suffix)}",
            "AssociatedRoles": [],
            "IAMDatabaseAuthenticationEnabled": False,
            "ClusterCreateTime": self.now - timedelta(days=900),
            "EngineMode": "provisioned",
            "AutoMinorVersionUpgrade": True,
            "DeletionProtection": env == "prod",
            "HttpEndpointEnabled": False,
            "ActivityStreamStatus": "stopped",
            "CopyTagsToSnapshot": True,
            "CrossAccountClone": False,
            "DomainMemberships": [],
            "TagList": [{"Key": "env", "Value": env}],
            "NetworkType": "IPV4",
            "EngineLifecycleSupport": "open-source-rds-extended-support-disabled",
            **facts,
        }
        self.world.add(cluster)
        for n, m in enumerate(members):
            self.db(
                m.id,
                engine,
                number,
                ca=m.ca,
                days=m.days,
                cls=m.cls,
                window=window,
                env=env,
                DBClusterIdentifier=name,
                PromotionTier=1,
                AvailabilityZone=zones[n % 3],
            )
        return cluster

    def _subnets(self) -> Facts:
        return {
            "DBSubnetGroupName": "default",
            "DBSubnetGroupDescription": "default",
            "VpcId": f"vpc-{_hash(17, self.account, self.region).lower()}",
            "SubnetGroupStatus": "Complete",
            "Subnets": [
                {
                    "SubnetIdentifier": f"subnet-{_hash(17, self.account, self.region, zone).lower()}",
                    "SubnetAvailabilityZone": {"Name": f"{self.region}{zone}"},
                    "SubnetOutpost": {},
                    "SubnetStatus": "Active",
                }
                for zone in "abc"
            ],
        }


def seed(world: World) -> list[Wish]:
    """Fill *world*; give the instances that want a real server.

    Those start on rds-ca-rsa2048-g1 with a certificate that still lives, so that every client that
    trusts that root works before the rotation.
    """
    now = world.clock.now()
    wishes = [*_shop(world, now), *_billing(world, now), *_legacy(world, now)]
    for place in world.regions():
        for resource in place.resources():
            if resource.pending:
                world.resume(resource)
    return wishes


def _shop(world: World, now: datetime) -> list[Wish]:
    west = _Place(world, SHOP, WEST, now)
    orders = west.db("orders-db", "postgres", "16.8", days=37, cls="db.r6g.large", team="orders")
    catalog = west.db("catalog-db", "mysql", "8.4.6", days=95, team="catalog", window="tue:02:30-tue:03:00")
    catalog.facts["ReadReplicaDBInstanceIdentifiers"] = ["catalog-db-replica"]
    west.db(
        "catalog-db-replica",
        "mysql",
        "8.4.6",
        days=96,
        team="catalog",
        window="wed:02:30-wed:03:00",
        ReadReplicaSourceDBInstanceIdentifier="catalog-db",
        StatusInfos=[{"StatusType": "read replication", "Normal": True, "Status": "replicating"}],
    )
    west.db("shop-sessions", "mariadb", "10.11.13", days=21, window="sun:23:45-mon:00:15")
    west.db("reports-dw", "postgres", "12.22", ca=OLD, team="reports", window="mon:03:00-mon:04:00")
    west.db("shop-cms", "mysql", "5.7.44", days=-1, team="web", window="thu:22:00-thu:22:30")
    west.cluster(
        "shop-cart",
        "aurora-mysql",
        "8.0.mysql_aurora.3.08.2",
        [Member("shop-cart-1", days=140), Member("shop-cart-2", days=150), Member("shop-cart-3", ECC384, 310)],
    )
    west.here.option_groups["stock-oracle-tls"] = {
        "engine": "oracle-se2",
        "major": "19",
        "options": [ssl_option(ORACLE_TLS_PORT)],
    }
    stock = west.db(
        "stock-oracle",
        "oracle-se2",
        "19.0.0.0.ru-2025-04.rur-2025-04.r1",
        days=80,
        cls="db.m5.large",
        team="stock",
        options="stock-oracle-tls",
    )
    action = pending_rotation(stock, now)
    stock.actions[action["Action"]] = action
    pricing = west.db("pricing-mssql", "sqlserver-se", "15.00.4430.1.v1", days=400, cls="db.m5.xlarge", team="pricing")
    west.db("batch-scratch", "postgres", "15.10", days=12, env="test", status="stopped")
    _proxy(west, "orders-proxy", "POSTGRESQL", orders)

    central = _Place(world, SHOP, CENTRAL, now)
    orders_eu = central.db("orders-eu-db", "postgres", "17.4", days=60, team="orders")
    nodes = [Member(f"checkout-instance-{n}", days=88, cls="db.m6gd.large") for n in (1, 2, 3)]
    central.cluster("checkout", "postgres", "16.6", nodes, certificate=88, DBClusterInstanceClass="db.m6gd.large")
    docs = [Member("shop-docs-1", days=45), Member("shop-docs-2", days=45)]
    central.cluster("shop-docs", "docdb", "5.0.0", docs, window="fri:05:00-fri:05:30")

    oregon = _Place(world, SHOP, OREGON, now)
    oregon.db("shop-us-db", "mysql", "8.0.42", ca=ECC384, days=300, window="sat:09:00-sat:09:30")
    new = oregon.db("shop-us-new", "postgres", "17.6", status="creating")
    new.ca = new.expires = None
    del new.facts["Endpoint"]
    oregon.cluster(
        "shop-us-burst",
        "aurora-mysql",
        "5.7.mysql_aurora.2.12.5",
        [],
        EngineMode="serverless",
        Capacity=2,
        ScalingConfigurationInfo={"MinCapacity": 1, "MaxCapacity": 8, "AutoPause": True},
    )
    return [
        Wish(orders, "postgres"),
        Wish(catalog, "mysql"),
        Wish(orders_eu, "postgres"),
        Wish(stock, "oracle"),
        Wish(pricing, "sqlserver"),
        *(Wish(central.here.instances[m.id], "docdb") for m in docs),
    ]


def _billing(world: World, now: datetime) -> list[Wish]:
    west = _Place(world, BILLING, WEST, now)
    cluster = west.cluster(
        "ledger",
        "aurora-postgresql",
        "16.6",
        [Member("ledger-1", days=120), Member("ledger-2", days=120), Member("ledger-3", RSA4096, 340)],
        window="sun:05:00-sun:05:30",
    )
    west.here.global_clusters["ledger-global"] = {
        "GlobalClusterIdentifier": "ledger-global",
        "GlobalClusterResourceId": f"cluster-{_hash(16, 'ledger-global').lower()}",
        "GlobalClusterArn": f"arn:aws:rds::{BILLING}:global-cluster:ledger-global",
        "Status": "available",
        "Engine": "aurora-postgresql",
        "EngineVersion": "16.6",
        "StorageEncrypted": True,
        "DeletionProtection": True,
        "GlobalClusterMembers": [{"DBClusterArn": cluster.arn, "Readers": [], "IsWriter": True}],
        "TagList": [],
    }
    cluster.facts["GlobalClusterIdentifier"] = "ledger-global"
    west.here.parameter_groups["payments-mariadb"] = {
        "family": "mariadb10.11",
        "cluster": False,
        "values": {"performance_schema": "1"},
    }
    payments = west.db(
        "payments-db",
        "mariadb",
        "10.11.13",
        days=199,
        team="payments",
        window="sun:23:45-mon:00:15",
        group="payments-mariadb",
    )
    invoices = west.db("invoices-db", "postgres", "15.12", days=55, team="invoices")
    invoices.pending = {"DBInstanceClass": "db.r6g.2xlarge"}
    west.db("tax-oracle", "oracle-ee", "19.0.0.0.ru-2025-07.rur-2025-07.r1", ca=RSA4096, days=700, cls="db.m5.large")
    west.db("tax-oracle-cdb", "oracle-ee-cdb", "21.0.0.0.ru-2025-07.rur-2025-07.r1", days=500, cls="db.m5.large")

    central = _Place(world, BILLING, CENTRAL, now)
    central.db("billing-archive", "postgres", "14.17", ca=RSA4096, days=364, env="test")
    central.db("billing-mssql", "sqlserver-ex", "16.00.4195.2.v1", days=170, cls="db.t3.small", env="test")
    central.db("dunning-db", "mysql", "8.4.7", ca=RSA4096, days=250, window="thu:01:00-thu:01:30")
    central.cluster(
        "billing-v2",
        "aurora-postgresql",
        "17.4",
        [Member("billing-v2-1", days=33, cls="db.serverless")],
        ServerlessV2ScalingConfiguration={"MinCapacity": 0.5, "MaxCapacity": 8},
    )

    oregon = _Place(world, BILLING, OREGON, now)
    oregon.cluster("fraud-graph", "neptune", "1.3.2.1", [Member("fraud-graph-1", OLD)])
    graph = oregon.here.instances["fraud-graph-1"]
    graph.expires = None
    oregon.db("billing-us-db", "mysql", "8.0.43", days=170, window="mon:08:00-mon:08:30")
    ledger = west.here.instances["ledger-1"]
    return [Wish(ledger, "postgres"), Wish(payments, "mariadb")]


def _legacy(world: World, now: datetime) -> list[Wish]:
    west = _Place(world, LEGACY, WEST, now)
    west.here.parameter_groups["crm-mariadb"] = {
        "family": "mariadb10.6",
        "cluster": False,
        "values": {"performance_schema": "0"},
    }
    crm = west.db(
        "crm-db", "mariadb", "10.6.21", days=25, team="crm", window="sat:22:30-sat:23:00", group="crm-mariadb"
    )
    people = west.db("hr-db", "postgres", "15.12", days=20, team="hr", tags=HOSTILE)
    custom = west.db("erp-custom", "custom-oracle-ee", "19.cdb_cev1", cls="db.m5.xlarge", team="erp")
    custom.ca = custom.expires = None
    west.db("old-forum", "mysql", "5.7.33", ca=OLD, env="test")

    central = _Place(world, LEGACY, CENTRAL, now)
    central.db("wiki-db", "mariadb", "11.4.7", days=44, window="fri:23:00-fri:23:30")
    central.db("intranet-db", "postgres", "13.20", ca=OLD, window="wed:03:00-wed:03:30")

    oregon = _Place(world, LEGACY, OREGON, now)
    oregon.db("hidden-db", "postgres", "16.6", days=90)
    return [Wish(crm, "mariadb", performance_schema=False), Wish(people, "postgres")]


def grow(world: World, account: str, region: str, count: int, engine: str = "postgres") -> None:
    """Add *count* plain instances, for paging and for measuring."""
    place = _Place(world, account, region, world.clock.now())
    number = versions.default(engine).number
    for n in range(count):
        place.db(f"grown-{engine}-{n:05}", engine, number, days=30 + n % 300, env="test")


def _proxy(place: _Place, name: str, family: str, target: Instance) -> None:
    created = place.now - timedelta(days=400)
    arn = f"arn:aws:rds:{place.region}:{place.account}:db-proxy:prx-{_hash(17, name).lower()}"
    place.here.proxies[name] = {
        "DBProxyName": name,
        "DBProxyArn": arn,
        "Status": "available",
        "EngineFamily": family,
        "VpcId": target.facts["DBSubnetGroup"]["VpcId"],
        "VpcSecurityGroupIds": [],
        "VpcSubnetIds": [s["SubnetIdentifier"] for s in target.facts["DBSubnetGroup"]["Subnets"]],
        "Auth": [],
        "RoleArn": f"arn:aws:iam::{place.account}:role/proxy",
        "Endpoint": f"{name}.proxy-{place.tail}.{place.region}.rds.amazonaws.com",
        "RequireTLS": True,
        "IdleClientTimeout": 1800,
        "DebugLogging": False,
        "CreatedDate": created,
        "UpdatedDate": created,
    }
    place.here.proxy_targets[name] = [
        {
            "Endpoint": target.facts["Endpoint"]["Address"],
            "RdsResourceId": target.id,
            "Port": target.facts["Endpoint"]["Port"],
            "Type": "RDS_INSTANCE",
            "Role": "READ_WRITE",
            "TargetHealth": {"State": "AVAILABLE"},
        }
    ]


def _suffix(engine: str) -> str:
    return f"{engine if engine in ('docdb', 'neptune') else 'rds'}.amazonaws.com"


def _hash(length: int, *words: str) -> str:
    """Make capital letters and digits that look random and are the same every time."""
    number = int(hashlib.sha256("/".join(words).encode()).hexdigest(), 16)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    return "".join(alphabet[number >> 5 * n & 31] for n in range(length))


def _uuid(*words: str) -> str:
    text = hashlib.sha256("/".join(words).encode()).hexdigest()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:32]}"
