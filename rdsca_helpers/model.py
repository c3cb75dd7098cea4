"""The nouns: instances, sessions, stores, plans, and the reports that carry them from notebook to notebook."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar, Generic, TypeVar

UNKNOWN = "unknown"  # how a value that could not be read is written down; never empty, never "fine"


class Urgency(StrEnum):
    """How near the day is on which an instance's TLS connections fail."""

    EXPIRED = "expired"
    RETIRED_CA = "retired-ca"
    DAYS_30 = "30d"
    DAYS_90 = "90d"
    DAYS_180 = "180d"
    OK = "ok"
    UNKNOWN = "unknown"


class Restart(StrEnum):
    """What a certificate change does to the sessions of an instance."""

    NONE = "none"
    LISTENER = "listener"
    RESTART = "restart"
    UNKNOWN = "unknown"


class Verdict(StrEnum):
    """What the plan says of an instance."""

    READY = "ready"
    HELD = "held"
    DONE = "done"
    SKIPPED = "skipped"


class Confidence(StrEnum):
    """How much of the truth a session count holds."""

    FULL = "full"
    PARTIAL = "partial"
    NONE = "none"


class StepStatus(StrEnum):
    """What became of one step of a rotation."""

    WOULD_ROTATE = "would rotate"
    ROTATED = "rotated"
    SCHEDULED = "scheduled"
    STAGED = "staged"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"


class ParameterStatus(StrEnum):
    """What became of the change of a parameter for one instance."""

    WOULD_CHANGE = "would change"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class ProofVerdict(StrEnum):
    """What verification saw."""

    VERIFIED = "verified"
    DRIFT = "drift"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SCHEDULED = "scheduled"


@dataclass(frozen=True)
class Problem:
    """Something that could not be read or done: where, what happened, and what to do about it."""

    where: str
    what: str
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A DB instance, a Multi-AZ DB cluster, or a relative that is told apart and skipped.

    *cert_expires* is the server certificate's end (CertificateDetails.ValidTill), *ca_expires* the CA's
    (DescribeCertificates); ``None`` means that AWS did not say. *database* is the name it was created with (DBName).
    *group_status* has, for each of the three fields of groups, what RDS says of it: only when it is in-sync are the
    group's values in force.
    """

    account: str
    region: str
    instance: str
    arn: str = ""
    resource_id: str = ""
    engine: str
    engine_version: str = ""
    kind: str = "instance"
    status: str = UNKNOWN
    endpoint: str = ""
    port: int | None = None
    cluster: str = ""
    member_role: str = ""
    ca: str | None = None
    cert_expires: datetime | None = None
    ca_expires: datetime | None = None
    supported_cas: tuple[str, ...] | None = None
    restart: Restart = Restart.UNKNOWN
    pending_ca: str = ""
    pending_other: tuple[str, ...] = ()
    pending_action: str = ""
    maintenance_window: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    skip_reason: str = ""
    urgency: Urgency = Urgency.UNKNOWN
    secret: str = ""
    iam: bool = False
    database: str = ""
    parameter_group: str | None = None
    cluster_parameter_group: str | None = None
    option_group: str | None = None
    group_status: dict[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """Name the instance as messages do: account/region/instance."""
        return f"{self.account}/{self.region}/{self.instance}"


@dataclass(frozen=True, kw_only=True)
class Client:
    """Sessions of one user from one host with one program: how many, and whether over TLS (``None``: not told)."""

    user: str
    host: str
    program: str = ""
    tls: bool | None = None
    version: str = ""
    cipher: str = ""
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Sessions:
    """The client sessions of one instance, own ones left out, and how sure the count is.

    *evidence* says what the row rests on: how many looks in which time, and what the server counted in between.
    """

    region: str
    instance: str
    source: str
    confidence: Confidence
    clients: tuple[Client, ...] = ()
    remedy: str = ""
    evidence: str = ""
    tls: int | None = None
    plain: int | None = None
    unknown: int | None = None

    @classmethod
    def of(
        cls, instance: Instance, source: str, confidence: Confidence, clients: tuple[Client, ...], remedy: str = ""
    ) -> Sessions:
        """Count *clients*; a session whose TLS use is not told counts as unknown, never as plain."""

        def count(tls: bool | None) -> int:
            return sum(c.count for c in clients if c.tls is tls)

        return cls(
            region=instance.region,
            instance=instance.instance,
            source=source,
            confidence=confidence,
            clients=clients,
            remedy=remedy,
            tls=count(True),
            plain=count(False),
            unknown=count(None),
        )

    @property
    def counted(self) -> bool:
        """True when the server told of every session what it is; else nothing may be concluded from the counts."""
        return self.tls is not None and self.plain is not None and self.unknown is not None

    @property
    def exposed(self) -> int:
        """How many sessions use TLS or may use it; this says something only when they were *counted*."""
        return (self.tls or 0) + (self.unknown or 0)


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """Connections that failed because a client did not accept the certificate, or that lost their encryption.

    *user* and *program* are empty where the server does not know them: a client that breaks off the handshake has
    not said who it is.
    """

    host: str
    reason: str
    source: str
    user: str = ""
    program: str = ""
    count: int = 1
    last: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class StoreVerdict:
    """What one trust store means for one region, target CA and family of clients.

    *client* and *driver* are there when the clients file names who reads the store. *before* is the verdict before
    this step added roots, empty when nothing was added; *missing_sha256* is what ``apply`` would still add. *root* and
    *root_sha256* name the target's root in the region, and *replay* says what became of the chains that were served.
    """

    store: str
    format: str
    region: str
    ca: str
    family: str
    verdict: str
    reason: str
    added_sha256: tuple[str, ...] = ()
    backup: str = ""
    client: str = ""
    driver: str = ""
    before: str = ""
    missing_sha256: tuple[str, ...] = ()
    root: str = ""
    root_sha256: str = ""
    replay: str = ""


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """What is to happen to one instance, and why; *seen* is the state that rotation must find again."""

    region: str
    instance: str
    resource_id: str
    verdict: Verdict
    reason: str
    wave: int | None
    from_ca: str | None
    to_ca: str
    when: str
    window_utc: str
    restart: Restart
    rollback: str
    cli: str
    kind: str
    seen: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Step:
    """What rotation did, or would do, for one instance."""

    region: str
    instance: str
    status: StepStatus
    detail: str
    request_id: str = ""
    wave: int | None = None


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What AWS says and what the wire shows of one instance after the change, and which clients reject it.

    *rejected* are those that were seen; *rejections_read* says where they were looked for, and is empty when nothing
    could be read. *broken_off* counts the TLS handshakes that clients broke off since the certificate was loaded.
    Of the chain on the wire, *chain_ok* is trust and dates together and *dates_ok* the dates alone;
    *partial_chain_ok* is the word of clients that take any certificate of their store as an anchor.
    """

    region: str
    instance: str
    verdict: ProofVerdict
    detail: str
    api_ca: str | None = None
    wire_ca: str | None = None
    wire_expires: datetime | None = None
    chain_ok: bool | None = None
    name_ok: bool | None = None
    tls_version: str = ""
    cipher: str = ""
    sessions_before: int | None = None
    sessions_after: int | None = None
    wire_subject: str = ""
    wire_issuer: str = ""
    wire_names: tuple[str, ...] = ()
    wire_key: str = ""
    wire_notes: tuple[str, ...] = ()
    dates_ok: bool | None = None
    partial_chain_ok: bool | None = None
    rejected: tuple[Rejection, ...] = ()
    rejections_read: str = ""
    broken_off: int | None = None


@dataclass(frozen=True, kw_only=True)
class ParameterChange:
    """What was done, or would be, to the parameter group of one instance.

    *present* is the parameter as the group had it, *shared_with* the other instances that use the group and get the
    change too, *cli* the AWS CLI lines that do the same.
    """

    region: str
    instance: str
    group: str
    status: ParameterStatus
    detail: str
    present: str = ""
    shared_with: tuple[str, ...] = ()
    window_utc: str = ""
    cli: tuple[str, ...] = ()
    request_id: str = ""


Row = TypeVar("Row")


@dataclass(frozen=True, kw_only=True)
class Report(Generic[Row]):
    """What one notebook found: rows, what could not be read, and the sentence that says what it means."""

    kind: ClassVar[str]
    row: ClassVar[type]

    account: str
    regions: tuple[str, ...]
    made_at: datetime
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...] = ()
    meaning: str = ""


@dataclass(frozen=True, kw_only=True)
class Inventory(Report[Instance]):
    """Every instance found, with *cas*: per region the CAs that RDS offers, their SHA-1 thumbprint and end."""

    kind = "inventory"
    row = Instance
    cas: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SessionReport(Report[Sessions]):
    """Who is connected to each instance, and how."""

    kind = "sessions"
    row = Sessions


@dataclass(frozen=True, kw_only=True)
class Trust(Report[StoreVerdict]):
    """What the trust stores mean for the target CA; *bundle_sha256* names the CA bundle that was used."""

    kind = "trust"
    row = StoreVerdict
    bundle_sha256: str = ""
    bundle_source: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan(Report[PlanRow]):
    """What will be changed, in which order; *digest* is what an approval binds."""

    kind = "plan"
    row = PlanRow
    target_ca: str
    digest: str
    expires_at: datetime
    limits: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Rotation(Report[Step]):
    """What rotation did, or would do."""

    kind = "rotation"
    row = Step
    action: str = "show"
    plan_digest: str = ""


@dataclass(frozen=True, kw_only=True)
class ProofReport(Report[Proof]):
    """What was seen after the change."""

    kind = "proof"
    row = Proof


@dataclass(frozen=True, kw_only=True)
class ParameterReport(Report[ParameterChange]):
    """What was done to parameter groups, or would be."""

    kind = "parameters"
    row = ParameterChange
    action: str = "show"


REPORTS: dict[str, type[Report[Any]]] = {
    c.kind: c for c in (Inventory, SessionReport, Trust, Plan, Rotation, ProofReport, ParameterReport)
}
SCHEMA = 1


def utc(text: str) -> datetime:
    """Read a time as the reports write it (``2026-11-24T06:30:00Z``); one without a zone is refused."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone")
    return time


def stamp(time: datetime) -> str:
    """Write *time* in UTC with a ``Z``, to the second."""
    return time.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def to_json(value: Any) -> Any:
    """Turn a record into plain JSON values; ``None`` is written as the word ``unknown``."""
    if value is None:
        return UNKNOWN
    if isinstance(value, datetime):
        return stamp(value)
    if is_dataclass(value) and not isinstance(value, type):
        plain = {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
        return {"kind": value.kind, "schema": SCHEMA, **plain} if isinstance(value, Report) else plain
    if isinstance(value, Mapping):
        return {k: to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    return value


def report_from_json(data: Mapping[str, Any]) -> Report[Any]:
    """Read a report back; raises ``KeyError``, ``TypeError`` or ``ValueError`` when *data* is not one of ours."""
    cls = REPORTS[data["kind"]]
    if data["schema"] != SCHEMA:
        raise ValueError(f"schema {data['schema']} is not {SCHEMA}")
    rows = tuple(_read(cls.row, row) for row in data["rows"])
    hints = typing.get_type_hints(cls)
    rest = {f.name: _read(hints[f.name], data[f.name]) for f in fields(cls) if f.name != "rows"}
    return cls(rows=rows, **rest)


def _read(kind: Any, value: Any) -> Any:
    """Read one value back as the type *kind* that its field declares."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return None if value == UNKNOWN else _read(args[0], value)
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{value!r} is not a list")
        return tuple(_read(args[0], v) for v in value)
    if origin is dict:
        return {k: _read(args[1], v) for k, v in value.items()}
    if kind is datetime:
        return utc(value)
    if is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return kind(**{f.name: _read(hints[f.name], value[f.name]) for f in fields(kind)})
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{value!r} is not {kind.__name__}")
    return value


class Secret:
    """A password or token. It shows as ``***`` wherever it is printed; only :meth:`reveal` gives it out."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Hold *value*."""
        self._value = value

    def reveal(self) -> str:
        """Give the value, for the driver that logs in with it and for nothing else."""
        return self._value

    def redact(self, text: str) -> str:
        """Take the value out of *text*, for error texts of drivers."""
        return text.replace(self._value, "***") if self._value else text

    def __repr__(self) -> str:
        """Show that there is one, never which."""
        return "***"

    def __reduce__(self) -> typing.NoReturn:
        """Refuse to be pickled: a pickle would hold the value."""
        raise TypeError("a secret is not written down")


def now() -> datetime:
    """Give the time in UTC; decisions take it as an argument, the edge and the verbs ask here."""
    return datetime.now(UTC)
