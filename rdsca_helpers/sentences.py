"""The sentence that each notebook ends with: what its report means. It never says "none" for "not seen"."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from .model import (
    Confidence,
    Inventory,
    ProofReport,
    ProofVerdict,
    Rotation,
    SessionReport,
    StepStatus,
    Trust,
    Urgency,
)
from .plan import TRUSTING

_PRESSING = (Urgency.EXPIRED, Urgency.RETIRED_CA, Urgency.DAYS_30, Urgency.DAYS_90)


def inventory(report: Inventory) -> str:
    """Say how many instances there are, how many press, and what was not scanned."""
    rows = [r for r in report.rows if not r.skip_reason]
    count = Counter(r.urgency for r in rows)
    missed = [p.where for p in report.problems if p.what.startswith("not scanned")]
    blind = bool(missed or count[Urgency.UNKNOWN])
    none = "none known to be within 90 days" if blind else "none within 90 days"
    pressing = ", ".join(f"{count[u]} {u}" for u in _PRESSING if count[u]) or none
    first = min((r.cert_expires for r in rows if r.cert_expires and r.cert_expires > report.made_at), default=None)
    text = (
        f"{len(rows)} instance(s) and Multi-AZ cluster(s) have a server certificate from an RDS CA; "
        f"{len(report.rows) - len(rows)} more row(s) are told apart and skipped. By urgency: {pressing}; "
        f"{count[Urgency.UNKNOWN]} unknown. {_next(first, blind=blind)}"
    )
    return text + (f" NOT SCANNED, so nothing is known there: {', '.join(missed)}." if missed else "")


def _next(first: datetime | None, *, blind: bool) -> str:
    if first:
        return f"The next certificate {'known of ' if blind else ''}ends on {first:%Y-%m-%d}."
    return "No end date is known." if blind else "No end date lies ahead."


def sessions(report: SessionReport) -> str:
    """Say how many instances have sessions that may use TLS, and how many could not be asked."""
    read = [r for r in report.rows if r.tls is not None and r.unknown is not None]
    exposed = [r for r in read if (r.tls or 0) + (r.unknown or 0)]
    blind = len(report.rows) - len(read)
    calm = [r for r in read if r not in exposed]
    partly = sum(1 for r in calm if r.confidence is not Confidence.FULL)
    text = (
        f"Of {len(report.rows)} instance(s), {len(read)} could be asked. {len(exposed)} of these have sessions that "
        f"use TLS or may use it, and may check the certificate; on {len(calm)} no TLS session was seen this time."
    )
    text += f" On {partly} of them not all sessions could be seen." if partly else ""
    return text + (f" {blind} could not be asked, and nobody knows who uses TLS there." if blind else "")


def trust(report: Trust, target_ca: str, *, action: str) -> str:
    """Say which stores accept the target CA, and what was or would be added."""
    stores = {r.store for r in report.rows}
    if not stores:
        return (
            f"No trust store was shown, so nobody knows whether the clients accept {target_ca}. "
            "Name the stores' files in the parameter stores."
        )
    lacking = {r.store for r in report.rows if r.verdict not in TRUSTING}
    text = f"{len(stores - lacking)} of {len(stores)} trust store(s) hold {target_ca} for all regions with instances. "
    changed = {r.store for r in report.rows if r.backup}
    if changed:
        text += f"{len(changed)} store(s) were changed, each with a backup beside it; processes must load them anew. "
    if lacking and action == "show":
        text += f'{len(lacking)} lack it; with action="apply" this step adds the roots and takes nothing out.'
    elif lacking:
        text += f"These lack it still: {', '.join(sorted(lacking))}."
    return text.strip()


def rotation(report: Rotation) -> str:
    """Say what was done, or would be."""
    count = Counter(step.status for step in report.rows)
    if report.action == "show":
        return f"{count[StepStatus.WOULD_ROTATE]} instance(s) would be rotated. Nothing was changed."
    if not report.rows:
        return "There was nothing to rotate. Nothing was changed."
    return "; ".join(f"{n} {status}" for status, n in count.items()) + "."


def proof(report: ProofReport) -> str:
    """Say how much of what was changed was seen to work."""
    if not report.rows:
        return "Nothing was changed, so there was nothing to verify."
    count = Counter(p.verdict for p in report.rows)
    good = count[ProofVerdict.VERIFIED]
    waiting = count[ProofVerdict.SCHEDULED]
    text = (
        f"{good} of {len(report.rows)} changed instance(s) verified: AWS and the wire agree, and the clients are back."
    )
    if good:
        text += (
            " Where nothing restarted, old sessions live on: a client that rejects the new CA fails when it reconnects."
        )
    text += f" {waiting} wait(s) for the maintenance window; verify again after it." if waiting else ""
    bad = [
        f"{p.instance} ({p.verdict}: {p.detail})"
        for p in report.rows
        if p.verdict not in (ProofVerdict.VERIFIED, ProofVerdict.SCHEDULED)
    ]
    return text + (f" NOT verified: {'; '.join(bad)}." if bad else "")
