"""Plain records for the tests: each maker gives one that is unremarkable, and the test names the fact it is about."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from rdsca_helpers import plan as plans
from rdsca_helpers.model import (
    Client,
    Confidence,
    Instance,
    Inventory,
    ParameterChange,
    ParameterReport,
    ParameterStatus,
    Plan,
    Problem,
    Proof,
    ProofReport,
    ProofVerdict,
    Rejection,
    Restart,
    Rotation,
    SessionReport,
    Sessions,
    Step,
    StepStatus,
    StoreVerdict,
    Trust,
    Urgency,
)

NOW = datetime(2026, 11, 24, 7, 30, tzinfo=UTC)
ACCOUNT, REGION = "111111111111", "eu-west-1"
OLD, NEW = "rds-ca-2019", "rds-ca-rsa2048-g1"


def days(number: float) -> timedelta:
    return timedelta(days=number)


def instance(name: str = "orders", **facts: Any) -> Instance:
    """A healthy PostgreSQL instance on the old CA."""
    usual: dict[str, Any] = {
        "account": ACCOUNT,
        "region": REGION,
        "arn": f"arn:aws:rds:{facts.get('region', REGION)}:{ACCOUNT}:db:{name}",
        "resource_id": f"db-{name.upper()}",
        "engine": "postgres",
        "engine_version": "16.4",
        "status": "available",
        "endpoint": f"{name}.abcdefghijkl.eu-west-1.rds.amazonaws.com",
        "port": 5432,
        "ca": OLD,
        "cert_expires": NOW + days(20),
        "ca_expires": NOW + days(400),
        "supported_cas": (OLD, NEW),
        "restart": Restart.NONE,
        "maintenance_window": "sun:23:45-mon:00:15",
        "urgency": Urgency.DAYS_30,
    }
    return Instance(instance=name, **(usual | facts))


def client(user: str = "app", **facts: Any) -> Client:
    return Client(user=user, **({"host": "10.0.0.7", "program": "shop", "tls": True} | facts))


def sessions(
    name: str = "orders",
    *,
    tls: int = 0,
    plain: int = 0,
    unknown: int = 0,
    clients: tuple[Client, ...] = (),
    **more: Any,
) -> Sessions:
    """Sessions that were all seen; *more* may say otherwise."""
    found = clients or tuple(
        client(f"app{i}", tls=kind, count=count)
        for i, (kind, count) in enumerate(((True, tls), (False, plain), (None, unknown)))
        if count
    )
    facts: dict[str, Any] = {"source": "pg_stat_ssl", "confidence": Confidence.FULL} | more
    return Sessions.of(instance(name), clients=found, **facts)


def unread(name: str = "orders", remedy: str = "no answer within 8 s") -> Sessions:
    """Sessions of a database that could not be asked."""
    return Sessions(region=REGION, instance=name, source="none", confidence=Confidence.NONE, remedy=remedy)


def store(verdict: str = "ready", **facts: Any) -> StoreVerdict:
    usual: dict[str, Any] = {
        "store": "/etc/ssl/rds.pem",
        "format": "pem",
        "region": REGION,
        "ca": NEW,
        "family": "openssl",
        "reason": "it was read",
    }
    return StoreVerdict(verdict=verdict, **(usual | facts))


def step(status: StepStatus = StepStatus.ROTATED, name: str = "orders", **facts: Any) -> Step:
    return Step(region=REGION, instance=name, status=status, **({"detail": "a detail"} | facts))


def proof(verdict: ProofVerdict = ProofVerdict.VERIFIED, name: str = "orders", **facts: Any) -> Proof:
    return Proof(region=REGION, instance=name, verdict=verdict, **({"detail": "a detail"} | facts))


def parameter_change(
    status: ParameterStatus = ParameterStatus.WOULD_CHANGE, name: str = "orders", **facts: Any
) -> ParameterChange:
    usual: dict[str, Any] = {"group": "own-mysql8", "detail": "a detail", "present": "0 (static)"}
    return ParameterChange(region=REGION, instance=name, status=status, **(usual | facts))


def report(kind: Any, *rows: Any, **facts: Any) -> Any:
    usual: dict[str, Any] = {"account": ACCOUNT, "regions": (REGION,), "made_at": NOW, "rows": rows}
    return kind(**(usual | facts))


def inventory(*rows: Instance, **facts: Any) -> Inventory:
    cas = {
        REGION: {
            NEW: {"thumbprint": "ab" * 20, "valid_till": "2061-05-21T00:00:00Z"},
            OLD: {"thumbprint": "cd" * 20, "valid_till": "2028-08-22T00:00:00Z"},
        }
    }
    found: Inventory = report(Inventory, *rows, **({"cas": cas} | facts))
    return found


def plan_for(
    *rows: Instance,
    seen: dict[str, Sessions] | None = None,
    stores: tuple[StoreVerdict, ...] = (),
    **facts: Any,
) -> Plan:
    """Make the plan for *rows*; instances that *seen* does not name have no sessions at all."""
    known = seen or {}
    asked = [
        replace(known.get(r.instance, sessions(r.instance)), region=r.region, instance=r.instance)
        for r in rows
        if not r.skip_reason
    ]
    usual: dict[str, Any] = {
        "target_ca": NEW,
        "when": "window",
        "max_targets": 10,
        "endpoints": {r.region: f"https://rds.{r.region}.amazonaws.com" for r in rows},
        "profile": "lab",
        "now": NOW,
    }
    return plans.make(inventory(*rows), report(SessionReport, *asked), report(Trust, *stores), **(usual | facts))


def every_report(text: str = "plain") -> dict[str, Any]:
    """A report of every kind with *text* wherever the world outside can put a text of its own."""
    one = instance(tags={"env": text}, status=text, skip_reason="", pending_other=(text,))
    problems = (Problem(text, text, text),)
    who = client(text, host=text, program=text, tls=None, version=text, cipher=text)
    seen = sessions(clients=(who,), remedy=text, source=text)
    plan = plan_for(one, instance("billing"), seen={"orders": seen}, stores=(store("old-only", store=text),))
    return {
        "inventory": inventory(one, problems=problems, meaning=text),
        "sessions": report(SessionReport, seen, unread("billing", text), problems=problems, meaning=text),
        "trust": report(Trust, store(text, store=text, reason=text), problems=problems, meaning=text),
        "plan": replace(plan, problems=problems, meaning=text),
        "rotation": report(Rotation, step(detail=text, request_id=text), problems=problems, meaning=text),
        "proof": report(
            ProofReport,
            proof(
                detail=text,
                cipher=text,
                rejected=(Rejection(host=text, reason=text, source=text, user=text, program=text),),
                rejections_read=text,
            ),
            problems=problems,
            meaning=text,
        ),
        "parameters": report(
            ParameterReport,
            parameter_change(group=text, detail=text, present=text, shared_with=(text,), cli=(text,)),
            problems=problems,
            meaning=text,
        ),
    }


def empty_reports() -> dict[str, Any]:
    return {
        "inventory": inventory(),
        "sessions": report(SessionReport),
        "trust": report(Trust),
        "plan": plan_for(),
        "rotation": report(Rotation),
        "proof": report(ProofReport),
        "parameters": report(ParameterReport),
    }
