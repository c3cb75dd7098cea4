"""The practice RDS: accounts, databases, and what a change does to them over time; no HTTP in here."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from . import versions
from .clock import Clock
from .pki import CURRENT, Pki

Facts = dict[str, Any]

ENABLED = ("eu-west-1", "eu-central-1", "us-west-2")
DISABLED = ("af-south-1", "me-south-1")

# A change of these needs the window, or ApplyImmediately; and the database restarts for the first two.
_RESTARTS = ("DBInstanceClass", "EngineVersion")
_WAITS = (
    *_RESTARTS,
    "AllocatedStorage",
    "BackupRetentionPeriod",
    "Iops",
    "LicenseModel",
    "MultiAZ",
    "StorageType",
)
_AT_ONCE = (
    "AutoMinorVersionUpgrade",
    "CopyTagsToSnapshot",
    "DeletionProtection",
    "MaxAllocatedStorage",
    "MonitoringInterval",
    "PreferredBackupWindow",
    "PreferredMaintenanceWindow",
    "PromotionTier",
    "PubliclyAccessible",
)
_MODIFIABLE = ("available", "storage-optimization", "incompatible-network", "storage-full")
ROTATIONS = ("server-certificate-rotation", "ca-certificate-rotation")  # guide's and botocore's word for it
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class AwsError(Exception):
    """What AWS answers instead of a result: a code, a text and an HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


class Wire(Protocol):
    """What stands behind the endpoints; the world calls it when a certificate changes."""

    def serves(self, instance: Instance) -> bool:
        """Say whether a real database stands behind *instance*."""

    def show(self, instance: Instance, ca: str, until: datetime, *, restart: bool) -> None:
        """Make the database behind *instance* show a certificate of *ca*; return when it does."""

    def halt(self, instance: Instance) -> None:
        """Stop the database behind *instance*."""

    def logs(self, instance: Instance) -> dict[str, Path]:
        """Give the log files of the database behind *instance*, by the names that RDS gives them."""


class NoWire:
    """Endpoints with nothing behind them."""

    def serves(self, instance: Instance) -> bool:  # noqa: ARG002
        """No."""
        return False

    def show(self, instance: Instance, ca: str, until: datetime, *, restart: bool) -> None:
        """Nothing to do."""

    def halt(self, instance: Instance) -> None:
        """Nothing to do."""

    def logs(self, instance: Instance) -> dict[str, Path]:  # noqa: ARG002
        """None."""
        return {}


@dataclass
class Settings:
    """How long things take in the lab, in seconds; the real ones take minutes."""

    lag: float = 0.3  # an immediate change shows as "available" for so long
    modify: float = 0.7
    restart: float = 0.5
    rate: float = 0.0  # calls a second for each account and region; 0 = no limit
    calendars: dict[str, str] = field(default_factory=lambda: {"rdsca-changes": "OPEN"})


@dataclass(eq=False)
class Resource:
    """A DB instance or cluster: what changes has a field, the rest is *facts* in AWS's spelling."""

    account: str
    region: str
    id: str
    version: versions.Version
    window: str
    status: str = "available"
    ca: str | None = versions.RSA2048
    expires: datetime | None = None
    pending: Facts = field(default_factory=dict)
    staged: bool = False  # a CA that waits for the next restart, whatever else is applied before
    scheduled: bool = False
    actions: dict[str, Facts] = field(default_factory=dict)
    facts: Facts = field(default_factory=dict)
    xml: str | None = None
    shown: tuple[Facts, int] | None = None  # what the next so many describes still show

    kind = "db"

    @property
    def arn(self) -> str:
        """Give the ARN."""
        return f"arn:aws:rds:{self.region}:{self.account}:{self.kind}:{self.id}"

    def answer(self) -> Facts:
        """Give what a describe answers, in AWS's shape."""
        raise NotImplementedError

    @property
    def details(self) -> Facts:
        """Give the members that both shapes have for the server certificate."""
        if self.ca is None or self.expires is None:
            return {}
        return {"CertificateDetails": {"CAIdentifier": self.ca, "ValidTill": self.expires}}


@dataclass(eq=False)
class Instance(Resource):
    """A DB instance."""

    def answer(self) -> Facts:
        """Give the DBInstance shape."""
        ca = {"CACertificateIdentifier": self.ca} if self.ca else {}
        return {
            **self.facts,
            "DBInstanceIdentifier": self.id,
            "DBInstanceArn": self.arn,
            "DBInstanceStatus": self.status,
            "Engine": self.version.engine,
            "EngineVersion": self.version.number,
            "PreferredMaintenanceWindow": self.window,
            "PendingModifiedValues": self.pending,
            **ca,
            **self.details,
        }


@dataclass(eq=False)
class Cluster(Resource):
    """A DB cluster: Aurora, DocumentDB, Neptune, or a Multi-AZ DB cluster, which alone has a certificate."""

    kind = "cluster"

    @property
    def multi_az(self) -> bool:
        """Say whether this is a Multi-AZ DB cluster: only those have an instance class of their own."""
        return "DBClusterInstanceClass" in self.facts

    @property
    def members(self) -> list[str]:
        """Name the member instances."""
        return [m["DBInstanceIdentifier"] for m in self.facts.get("DBClusterMembers", [])]

    def answer(self) -> Facts:
        """Give the DBCluster shape; a cluster tells its pending CA only as CertificateDetails."""
        pending = {k: v for k, v in self.pending.items() if k != "CACertificateIdentifier"}
        if ca := self.pending.get("CACertificateIdentifier"):
            pending["CertificateDetails"] = {"CAIdentifier": ca}
        return {
            **self.facts,
            "DBClusterIdentifier": self.id,
            "DBClusterArn": self.arn,
            "Status": self.status,
            "Engine": self.version.engine,
            "EngineVersion": self.version.number,
            "PreferredMaintenanceWindow": self.window,
            **({"PendingModifiedValues": pending} if pending else {}),
            **self.details,
        }


@dataclass
class Region:
    """All that one account has in one region."""

    account: str
    name: str
    instances: dict[str, Instance] = field(default_factory=dict)
    clusters: dict[str, Cluster] = field(default_factory=dict)
    proxies: dict[str, Facts] = field(default_factory=dict)
    proxy_targets: dict[str, list[Facts]] = field(default_factory=dict)
    global_clusters: dict[str, Facts] = field(default_factory=dict)
    parameter_groups: dict[str, Facts] = field(default_factory=dict)  # {"family", "cluster", "values"}
    option_groups: dict[str, Facts] = field(default_factory=dict)  # {"engine", "major", "options"}
    override: tuple[str, datetime] | None = None
    events: deque[Facts] = field(default_factory=lambda: deque(maxlen=10_000))

    def resources(self) -> Iterator[Resource]:
        """Go over everything that has a maintenance window."""
        yield from self.instances.values()
        yield from self.clusters.values()


@dataclass(frozen=True)
class Account:
    """An AWS account of the practice organization."""

    id: str
    name: str
    denied: tuple[str, ...] = ()  # regions in which it may do nothing with rds


class World:
    """Every account and region, one clock, and the rules by which RDS changes a database.

    Where a rule is AWS's own it stands in the RDS user guide ("Modifying an Amazon RDS DB instance",
    "Rotating your SSL/TLS certificate", "Maintaining a DB instance") or in botocore's RDS model;
    durations and event texts are ours.
    """

    def __init__(self, pki: Pki, accounts: list[Account], clock: Clock | None = None) -> None:
        self.pki = pki
        self.accounts = {a.id: a for a in accounts}
        self.clock = clock or Clock()
        self.settings = Settings()
        self.wire: Wire = NoWire()
        self.lock = threading.RLock()
        self._regions: dict[tuple[str, str], Region] = {}

    def region(self, account: str, name: str) -> Region:
        """Give what *account* has in region *name*."""
        with self.lock:
            return self._regions.setdefault((account, name), Region(account, name))

    def regions(self) -> list[Region]:
        """Give everything."""
        with self.lock:
            return list(self._regions.values())

    def instance(self, account: str, region: str, name: str) -> Instance:
        """Find an instance, or answer as AWS does when there is none."""
        found = self.region(account, region).instances.get(name.lower())
        if found is None:
            raise AwsError("DBInstanceNotFound", f"DBInstance {name} not found.", 404)
        return found

    def cluster(self, account: str, region: str, name: str) -> Cluster:
        """Find a cluster, or answer as AWS does when there is none."""
        found = self.region(account, region).clusters.get(name.lower())
        if found is None:
            raise AwsError("DBClusterNotFoundFault", f"DBCluster {name} not found.", 404)
        return found

    def add(self, resource: Instance | Cluster) -> None:
        """Put *resource* into its region."""
        place = self.region(resource.account, resource.region)
        with self.lock:
            if isinstance(resource, Instance):
                place.instances[resource.id] = resource
            else:
                place.clusters[resource.id] = resource

    def event(self, resource: Resource, message: str, category: str, now: datetime) -> None:
        """Record what DescribeEvents will tell."""
        self.region(resource.account, resource.region).events.append(
            {
                "SourceIdentifier": resource.id,
                "SourceType": f"{resource.kind}-instance" if resource.kind == "db" else "db-cluster",
                "SourceArn": resource.arn,
                "Message": message,
                "EventCategories": [category],
                "Date": now,
            }
        )

    def default_ca(self, account: str, region: str) -> str:
        """Say which CA a new instance gets there."""
        override = self.region(account, region).override
        return override[0] if override else versions.RSA2048

    # --- changes that a user asks for

    def modify(self, resource: Resource, changes: Facts, *, at_once: bool, restart: bool = True) -> None:
        """Take over *changes*, now or in the maintenance window.

        ApplyImmediately applies "the modifications in this request and any pending modifications";
        CertificateRotationRestart=false leaves the CA pending until the instance restarts.
        """
        now = self.clock.now()
        with self.lock:
            self._check_modifiable(resource)
            if ca := changes.get("CACertificateIdentifier"):
                self._check_ca(resource, ca)
            if number := changes.get("EngineVersion"):
                self._check_version(resource, number)
            for name in _AT_ONCE:
                if name in changes:
                    self._set(resource, name, changes[name])
            waits = {k: changes[k] for k in (*_WAITS, "CACertificateIdentifier") if k in changes}
            resource.pending = {**resource.pending, **waits}
            if "CACertificateIdentifier" in waits:
                resource.staged = not restart
            resource.xml = None
            if at_once:
                self.clock.at(now + timedelta(seconds=self.settings.lag), lambda t: self._begin(resource, t))
            elif resource.pending:
                self._schedule(resource, now)

    def reboot(self, resource: Instance) -> None:
        """Restart an instance; a CA that waits for a restart is then in force."""
        with self.lock:
            self._check_available(resource)
            self._status(resource, "rebooting")
            self._after(self.settings.restart, resource, self._rebooted)

    def stop(self, resource: Instance) -> None:
        """Stop an instance; AWS starts it again after seven days."""
        with self.lock:
            self._check_available(resource)
            self._status(resource, "stopping")
            self._after(self.settings.restart, resource, self._stopped)

    def start(self, resource: Instance) -> None:
        """Start a stopped instance."""
        with self.lock:
            if resource.status != "stopped":
                raise AwsError("InvalidDBInstanceState", f"Instance {resource.id} is not stopped.")
            self._status(resource, "starting")
            self._after(self.settings.restart, resource, self._rebooted)

    def opt_in(self, resource: Resource, action: str, choice: str) -> None:
        """Answer a pending maintenance action: now, in the next window, or not yet.

        "An opt-in request of type immediate can't be undone" (botocore's RDS model).
        """
        now = self.clock.now()
        with self.lock:
            found = resource.actions.get(action)
            if found is None:
                raise AwsError("ResourceNotFoundFault", f"No pending action {action} for {resource.arn}.", 404)
            if found.get("OptInStatus") == "immediate":
                raise AwsError("InvalidParameterCombination", "An immediate opt-in can't be changed.")
            self._check_modifiable(resource)
            if choice == "undo-opt-in":
                resource.actions[action] = {
                    k: v for k, v in found.items() if k not in ("OptInStatus", "CurrentApplyDate")
                }
                return
            at_once = choice == "immediate"
            when = now + timedelta(seconds=self.settings.lag) if at_once else next_start(resource.window, now)
            resource.actions[action] = {**found, "OptInStatus": choice, "CurrentApplyDate": when}
            self.clock.at(when, lambda t: self._begin_action(resource, action, choice, t))

    def resume(self, resource: Resource) -> None:
        """Have a change that waits already happen in the next window."""
        with self.lock:
            self._schedule(resource, self.clock.now())

    # --- what then happens

    def _schedule(self, resource: Resource, now: datetime) -> None:
        if not resource.scheduled:
            resource.scheduled = True
            self.clock.at(next_start(resource.window, now), lambda t: self._window(resource, t))

    def _window(self, resource: Resource, now: datetime) -> None:
        with self.lock:
            resource.scheduled = False
            if resource.pending and resource.status in _MODIFIABLE:
                self._begin(resource, now)
            elif resource.pending:  # windows pass a stopped instance by
                self._schedule(resource, now)

    def _begin_action(self, resource: Resource, action: str, choice: str, now: datetime) -> None:
        with self.lock:
            found = resource.actions.get(action)
            if found is None or found.get("OptInStatus") != choice:
                return  # undone meanwhile
            if resource.status not in _MODIFIABLE:
                self.clock.at(
                    next_start(resource.window, now),
                    lambda t: self._begin_action(resource, action, choice, t),
                )
                return
            del resource.actions[action]
            change = {"CACertificateIdentifier": resource.ca} if action in ROTATIONS else {}
            self._change(resource, change, now)

    def _begin(self, resource: Resource, now: datetime) -> None:
        with self.lock:
            if resource.status not in _MODIFIABLE:
                if resource.pending:
                    self._schedule(resource, now)
                return
            change = dict(resource.pending)
            if resource.staged and not any(k in change for k in _RESTARTS):
                change.pop("CACertificateIdentifier", None)
            if change:
                self._change(resource, change, now)

    def _change(self, resource: Resource, change: Facts, now: datetime) -> None:
        rotates = "CACertificateIdentifier" in change and resource.version.rotation == "restart"
        restart = rotates or any(k in change for k in _RESTARTS)
        self._status(resource, "modifying")
        if restart:
            self._after(self.settings.modify, resource, lambda r, t: self._restart(r, change, t), now)
        else:
            self._after(self.settings.modify, resource, lambda r, t: self._finish(r, change, t), now)

    def _restart(self, resource: Resource, change: Facts, now: datetime) -> None:
        self._status(resource, "rebooting")
        self.event(resource, "DB instance shutdown", "availability", now)
        self._after(self.settings.restart, resource, lambda r, t: self._finish(r, change, t, restart=True), now)

    def _finish(self, resource: Resource, change: Facts, now: datetime, *, restart: bool = False) -> None:
        """Bring *change* into force: first what a client sees on the wire, then what the API says."""
        ca = change.get("CACertificateIdentifier")
        if ca or restart:
            self._show(resource, ca or resource.ca, now, renew=ca is not None, restart=restart)
        with self.lock:
            for name, value in change.items():
                if name != "CACertificateIdentifier":
                    self._set(resource, name, value)
            resource.pending = {k: v for k, v in resource.pending.items() if change.get(k) != v}
            if restart:
                self.event(resource, "DB instance restarted", "availability", now)
            if ca:
                resource.staged = False
                self.event(resource, f"Server certificate now signed by {ca}", "configuration change", now)
            self.event(resource, "Finished applying modification", "configuration change", now)
            self._status(resource, "available")

    def _rebooted(self, resource: Resource, now: datetime) -> None:
        ca = resource.pending.get("CACertificateIdentifier")
        self._show(resource, ca or resource.ca, now, renew=ca is not None, restart=True)
        with self.lock:
            if ca:
                resource.pending = {k: v for k, v in resource.pending.items() if k != "CACertificateIdentifier"}
                resource.staged = False
                self.event(resource, f"Server certificate now signed by {ca}", "configuration change", now)
            resource.facts.pop("AutomaticRestartTime", None)
            self.event(resource, "DB instance restarted", "availability", now)
            self._status(resource, "available")

    def _stopped(self, resource: Resource, now: datetime) -> None:
        if isinstance(resource, Instance):
            self.wire.halt(resource)
        again = now + timedelta(days=7)

        def start(t: datetime) -> None:
            with self.lock:
                if resource.status == "stopped" and resource.facts.get("AutomaticRestartTime") == again:
                    self._status(resource, "starting")
                    self._after(self.settings.restart, resource, self._rebooted, t)

        with self.lock:
            resource.facts["AutomaticRestartTime"] = again
            self.event(resource, "DB instance stopped", "notification", now)
            self._status(resource, "stopped")
            self.clock.at(again, start)

    def _show(self, resource: Resource, ca: str | None, now: datetime, *, renew: bool, restart: bool) -> None:
        """Have the certificate of *resource* seen by clients, and then told by the API.

        A Multi-AZ DB cluster takes its members along.
        """
        if ca is None:
            return
        members = [resource]
        if isinstance(resource, Cluster):
            place = self.region(resource.account, resource.region)
            members += [place.instances[m] for m in resource.members]
        until = _months_later(now, resource.version.months) if renew else resource.expires
        for member in members:
            if isinstance(member, Instance) and until:
                self.wire.show(member, ca, until, restart=restart)
            with self.lock:
                member.ca, member.expires, member.xml = ca, until, None
                if restart:
                    for group in member.facts.get("DBParameterGroups", ()):
                        group["ParameterApplyStatus"] = "in-sync"
                if renew:
                    for action in ROTATIONS:
                        member.actions.pop(action, None)

    def _after(
        self,
        seconds: float,
        resource: Resource,
        then: Callable[[Resource, datetime], None],
        now: datetime | None = None,
    ) -> None:
        when = (now or self.clock.now()) + timedelta(seconds=seconds)
        slow = isinstance(resource, Instance) and self.wire.serves(resource)
        self.clock.at(when, lambda t: then(resource, t), slow=slow)

    def _status(self, resource: Resource, status: str) -> None:
        with self.lock:
            resource.status, resource.xml = status, None

    def _set(self, resource: Resource, name: str, value: Any) -> None:
        if name == "EngineVersion":
            resource.version = self._check_version(resource, value)
        elif name == "PreferredMaintenanceWindow":
            resource.window = value
        else:
            resource.facts[name] = value
        resource.xml = None

    # --- what RDS refuses

    def _check_modifiable(self, resource: Resource) -> None:
        if resource.status in ("stopped", "stopping"):
            raise AwsError(
                f"InvalidDB{'Instance' if resource.kind == 'db' else 'Cluster'}State",
                "You can't modify a stopped DB instance. Start the DB instance, and then modify it.",
            )
        if resource.status not in _MODIFIABLE:
            raise self._not_available(resource)

    def _check_available(self, resource: Resource) -> None:
        if resource.status != "available":
            raise self._not_available(resource)

    def _not_available(self, resource: Resource) -> AwsError:
        if isinstance(resource, Cluster):
            return AwsError(
                "InvalidDBClusterStateFault",
                f"DbCluster {resource.id} is in {resource.status} state but expected available.",
            )
        return AwsError("InvalidDBInstanceState", "Database instance is not in available state.")

    def _check_ca(self, resource: Resource, ca: str) -> None:
        if ca not in CURRENT:
            raise AwsError("CertificateNotFound", f"Certificate not found: {ca}", 404)
        if isinstance(resource, Cluster) and not resource.multi_az:
            raise AwsError(
                "InvalidParameterCombination",
                "CACertificateIdentifier is only valid for Multi-AZ DB clusters; modify the DB instances.",
            )
        name = resource.facts.get("DBClusterIdentifier")
        if name and self.cluster(resource.account, resource.region, name).multi_az:
            raise AwsError(
                "InvalidParameterCombination",
                f"{resource.id} is a member of the Multi-AZ DB cluster {name}; modify the cluster.",
            )
        if ca not in resource.version.cas:
            raise AwsError(
                "InvalidParameterCombination",
                f"The certificate authority {ca} isn't supported for {resource.version.engine}"
                f" {resource.version.number}.",
            )

    def _check_version(self, resource: Resource, number: str) -> versions.Version:
        found = versions.find(resource.version.engine, number)
        if found is None:
            raise AwsError(
                "InvalidParameterCombination",
                f"Cannot find version {number} for {resource.version.engine}",
            )
        return found


def next_start(window: str, now: datetime) -> datetime:
    """Say when *window* (`ddd:hh24:mi-ddd:hh24:mi`, UTC) starts next after *now*."""
    day, hour, minute = window.split("-", 1)[0].split(":")
    start = now.astimezone(UTC).replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
    start += timedelta(days=(_DAYS.index(day) - start.weekday()) % 7)
    return start if start > now else start + timedelta(days=7)


def _months_later(now: datetime, months: int) -> datetime:
    return (now + timedelta(days=365 * months // 12)).replace(microsecond=0)
