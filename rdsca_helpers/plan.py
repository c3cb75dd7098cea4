"""The plan: which instance moves, why or why not, in which wave, and when. Facts in, facts out."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from . import windows
from .engines import EVERYBODY
from .model import (
    Confidence,
    Instance,
    Inventory,
    Plan,
    PlanRow,
    Problem,
    Restart,
    SessionReport,
    Sessions,
    StoreVerdict,
    Trust,
    Urgency,
    Verdict,
    to_json,
)
from .trust import ACCEPTING

LIFETIME = timedelta(hours=24)  # facts grow old: after a day a plan must be made anew


def accepts(store: StoreVerdict) -> bool:
    """Tell whether the client behind *store* will accept the new CA, whatever its settings turn out to be.

    A client that does not verify counts only when the root is there: libpq's ``prefer`` would go on in clear text.
    """
    return store.verdict in ACCEPTING or (store.verdict == "not-verifying" and not store.missing_sha256)


@dataclass(frozen=True)
class Trusted:
    """What the trust stores say for one region and target: *ok* is ``None`` when no store was shown."""

    ok: bool | None
    reason: str


def judge(instance: Instance, sessions: Sessions | None, *, target_ca: str, trusted: Trusted) -> tuple[Verdict, str]:
    """Say whether *instance* may move to *target_ca* now, and why.

    A client session that the engine could not classify counts as TLS: the safe reading. That nobody was connected
    says nothing of the clients that connect later, so then the trust stores decide alone.
    """
    if instance.skip_reason:
        return Verdict.SKIPPED, instance.skip_reason
    if instance.pending_ca:
        return Verdict.HELD, f"a change to {instance.pending_ca} is pending already; let it finish or take it back"
    if instance.ca == target_ca:
        return _on_target(instance, target_ca)
    if obstacle := _obstacle(instance, target_ca):
        return Verdict.HELD, obstacle
    if sessions is None or not sessions.counted:
        why = f": {sessions.remedy}" if sessions and sessions.remedy else ""
        return Verdict.HELD, f"its client sessions could not be read{why}"
    if trusted.ok:
        return Verdict.READY, f"{trusted.reason} ({_tls_use(sessions)})"
    if sessions.exposed:
        return Verdict.HELD, f"{_tls_use(sessions)}, and {trusted.reason}"
    if sessions.confidence is not Confidence.FULL:
        return Verdict.HELD, f"its sessions are known in part only, and {trusted.reason}: {sessions.remedy}"
    if not sessions.plain:
        return Verdict.HELD, (
            f"nobody was connected when rdsca looked, which is not nobody, and {trusted.reason}: "
            "look longer (samples) or show the trust stores of its clients"
        )
    return Verdict.READY, _tls_use(sessions)


def _tls_use(sessions: Sessions) -> str:
    """Say who may use TLS; the row that stands for every client, where a setting decides, is no count of sessions."""
    if any(client.user == EVERYBODY for client in sessions.clients):
        return f"{'every' if sessions.exposed else 'no'} client may use TLS (a setting decides)"
    if sessions.plain and not sessions.exposed:
        return f"none of the {sessions.plain} session(s) seen uses TLS"
    return f"{sessions.exposed} session(s) may use TLS"


_ENDING = {Urgency.EXPIRED: "has expired", Urgency.DAYS_30: "ends within 30 days"}


def _on_target(instance: Instance, target_ca: str) -> tuple[Verdict, str]:
    """Judge an instance that needs no other CA: it is done, unless its own certificate is about to end."""
    reason = f"already on {target_ca}"
    if instance.pending_action not in ("", "unknown"):
        reason += f"; RDS waits for you to apply {instance.pending_action}, which renews the certificate"
    if ending := _ENDING.get(instance.urgency):
        return Verdict.HELD, f"{reason}, but its certificate {ending}: find out why it was not renewed"
    return Verdict.DONE, reason


def _obstacle(instance: Instance, target_ca: str) -> str:
    """Say what in the instance itself stands in the way; empty when nothing does."""
    if instance.ca is None:
        return "AWS does not say which CA it is on"
    if instance.status != "available":
        return f"its status is {instance.status}; RDS changes the CA only of an available instance"
    if instance.supported_cas is None:
        return "AWS did not say which CAs its engine version supports"
    if target_ca not in instance.supported_cas:
        return f"{instance.engine} {instance.engine_version} does not support {target_ca} here"
    if instance.pending_other:
        return f"other changes are pending and would be applied too: {', '.join(instance.pending_other)}"
    return ""


def trusted_in(region: str, target_ca: str, stores: Iterable[StoreVerdict]) -> Trusted:
    """Sum up what the stores mean for *region*: every one must accept *target_ca*, in every family of clients."""
    here = [s for s in stores if s.region == region]
    mine = [s for s in here if s.ca == target_ca]
    if here and not mine:
        others = ", ".join(sorted({s.ca for s in here}))
        return Trusted(None, f"the trust stores were shown for {others} only: show them for {target_ca} too")
    if not mine:
        return Trusted(None, "no trust store was shown (parameter stores)")
    if bad := sorted({s.store for s in mine if not accepts(s)}):
        return Trusted(False, f"{len(bad)} trust store(s) lack {target_ca}: {', '.join(bad)}")
    count = len({s.store for s in mine})
    return Trusted(True, f"every trust store shown ({count}) holds {target_ca}")


def order(ready: Sequence[Instance]) -> dict[tuple[str, str], int]:
    """Give each ready instance its wave, counted from 1.

    Wave 1 is a single canary, the one with least to lose; each later wave may be twice as large. Readers and
    replicas go before writers and primaries, other environments before production, and no two members of one
    cluster share a wave.
    """
    waves: dict[tuple[str, str], int] = {}
    waiting = sorted(ready, key=_risk)
    number, size = 1, 1
    while waiting:
        clusters: set[tuple[str, str]] = set()
        readers = {(one.region, one.cluster) for one in waiting if not _leads(one)}
        wave: set[tuple[str, str]] = set()
        for one in waiting:
            cluster = (one.region, one.cluster)
            if len(wave) < size and not (one.cluster and (cluster in clusters or (_leads(one) and cluster in readers))):
                wave.add((one.region, one.instance))
                clusters.add(cluster)
        waves |= dict.fromkeys(wave, number)
        waiting = [one for one in waiting if (one.region, one.instance) not in wave]
        number, size = number + 1, size * 2
    return waves


def _leads(one: Instance) -> bool:
    return one.member_role not in ("reader", "replica")


_PRODUCTION = ("prod", "production", "live")


def _risk(one: Instance) -> tuple[bool, bool, bool, str, str]:
    tags = {k.lower(): v.lower() for k, v in one.tags.items()}
    stage = tags.get("env") or tags.get("environment") or tags.get("stage") or "prod"
    return stage in _PRODUCTION, _leads(one), one.restart != Restart.NONE, one.region, one.instance


def make(
    inventory: Inventory,
    sessions: SessionReport,
    trust: Trust,
    *,
    target_ca: str,
    when: str,
    max_targets: int,
    endpoints: Mapping[str, str],
    profile: str,
    now: datetime,
) -> Plan:
    """Make the plan for one account: one row for each row of the inventory, with the digest that is approved.

    *endpoints* maps each region to the URL that the printed AWS CLI line names.
    """
    seen = {(s.region, s.instance): s for s in sessions.rows}
    trusted = {r: trusted_in(r, target_ca, trust.rows) for r in {i.region for i in inventory.rows}}
    verdicts = {
        (i.region, i.instance): judge(
            i, seen.get((i.region, i.instance)), target_ca=target_ca, trusted=trusted[i.region]
        )
        for i in inventory.rows
    }
    waves = order([i for i in inventory.rows if verdicts[i.region, i.instance][0] is Verdict.READY])
    rows = tuple(
        PlanRow(
            region=i.region,
            instance=i.instance,
            resource_id=i.resource_id,
            verdict=verdicts[i.region, i.instance][0],
            reason=verdicts[i.region, i.instance][1],
            wave=waves.get((i.region, i.instance)),
            from_ca=i.ca,
            to_ca=target_ca,
            when=when,
            window_utc=windows.describe(windows.next_window(i.maintenance_window, now)),
            restart=i.restart,
            rollback=rollback(i, inventory.cas.get(i.region, {}), now),
            cli=cli(i, target_ca, when=when, endpoint=endpoints.get(i.region, ""), profile=profile)
            if verdicts[i.region, i.instance][0] is Verdict.READY
            else "",
            kind=i.kind,
            seen=observed(i),
        )
        for i in inventory.rows
    )
    problems = tuple(
        Problem(f"{inventory.account}/{where}", f"{count} rows for one instance", "make the inventory anew")
        for where, count in Counter(f"{r.region}/{r.instance}" for r in rows).items()
        if count > 1
    )
    plan = Plan(
        account=inventory.account,
        regions=inventory.regions,
        made_at=now,
        rows=rows,
        problems=problems,
        target_ca=target_ca,
        digest="",
        expires_at=now + LIFETIME,
        limits={"max_targets": max_targets},
    )
    plan = replace(plan, meaning=meaning(plan))
    return replace(plan, digest=digest(plan))


def observed(instance: Instance) -> dict[str, str]:
    """Give the state that must still hold right before the change; rotation compares it word for word."""
    return {
        "ca": instance.ca or "unknown",
        "status": instance.status,
        "engine_version": instance.engine_version,
        "resource_id": instance.resource_id,
        "member_role": instance.member_role,
        "pending": ",".join(filter(None, (instance.pending_ca, *instance.pending_other))),
    }


def rollback(instance: Instance, cas: Mapping[str, Any], now: datetime) -> str:
    """Say whether the old CA can be taken again: only while RDS offers it for another 90 days and more."""
    offer = cas.get(instance.ca or "")
    if not offer or instance.ca not in (instance.supported_cas or ()):
        return "none"
    return "possible" if datetime.fromisoformat(offer["valid_till"]) > now + timedelta(days=90) else "none"


def cli(instance: Instance, target_ca: str, *, when: str, endpoint: str, profile: str) -> str:
    """Write the same change as an AWS CLI line for the change ticket.

    It names the endpoint, since AWS CLI v1 ignores a configured one for rds in us-east-1.
    """
    thing = ("cluster", "cluster") if instance.kind == "multi-az-cluster" else ("instance", "instance")
    words = ["aws", "rds", f"modify-db-{thing[0]}", f"--db-{thing[1]}-identifier", instance.instance]
    words += ["--ca-certificate-identifier", target_ca, "--region", instance.region]
    words += ["--apply-immediately" if when == "now" else "--no-apply-immediately"]
    words += ["--endpoint-url", endpoint] if endpoint else []
    words += ["--profile", profile] if profile else []
    return shlex.join(words)


def digest(plan: Plan) -> str:
    """Hash the canonical JSON of everything in *plan* that decides what is changed."""
    data = to_json(plan)
    del data["digest"]
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def meaning(plan: Plan) -> str:
    """Say in a sentence what the plan amounts to."""
    count = Counter(row.verdict for row in plan.rows)
    waves = len({row.wave for row in plan.rows if row.wave})
    ready = count[Verdict.READY]
    restarts = sum(
        1 for r in plan.rows if r.verdict is Verdict.READY and r.restart in (Restart.RESTART, Restart.UNKNOWN)
    )
    text = (
        f"{ready} instance(s) are ready for {plan.target_ca} in {waves} wave(s), {restarts} of them with a restart. "
        if ready
        else f"No instance is ready for {plan.target_ca}. "
    )
    return text + (
        f"{count[Verdict.HELD]} are held, each with its reason; {count[Verdict.DONE]} are on it already; "
        f"{count[Verdict.SKIPPED]} are not a job for an RDS CA. Nothing was changed."
    )
