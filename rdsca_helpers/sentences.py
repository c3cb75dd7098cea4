"""The sentence that each notebook ends with: what its report means. It never says "none" for "not seen"."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from .model import (
    Confidence,
    Inventory,
    ParameterReport,
    ParameterStatus,
    ProofReport,
    ProofVerdict,
    Rotation,
    SessionReport,
    StepStatus,
    Trust,
    Urgency,
)
from .plan import accepts
from .proof import TLS_UNKNOWN

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


def sessions(report: SessionReport, *, samples: int = 1, rounds: int = 1) -> str:
    """Say how many instances have sessions that may use TLS, and how many could not be asked.

    *rounds* of the *samples* that were asked for came to their end.
    """
    read = [r for r in report.rows if r.counted]
    exposed = sum(1 for r in read if r.exposed)
    calm = [r for r in read if not r.exposed]
    partly = sum(1 for r in calm if r.confidence is not Confidence.FULL)
    blind = len(report.rows) - len(read)
    text = f"Of {len(report.rows)} instance(s), {len(read)} told who is connected."
    if exposed:
        text += f" {exposed} of these have sessions that use TLS or may use it, and may check the certificate."
    if calm:
        text += f" On {len(calm)} of these no TLS session was seen."
    text += f" On {partly} of them not all sessions could be seen." if partly else ""
    text += f" {blind} could not be asked or did not tell, so nobody knows who uses TLS there." if blind else ""
    if rounds < samples:
        text += f" The sampling was stopped by hand after {rounds} of {samples} sample(s)."
    if not read:
        return text
    looks = "This was one look" if samples == 1 else f"There were {rounds} look(s)"
    return f"{text} {looks}: who was not connected then, is not counted."


def trust(report: Trust, target_ca: str, *, action: str) -> str:
    """Say which stores accept the target CA, and what was or would be added."""
    stores = {r.store for r in report.rows}
    if not stores:
        return (
            f"No trust store was shown, so nobody knows whether the clients accept {target_ca}. "
            "Name the stores' files in the parameter stores."
        )
    lacking = {r.store for r in report.rows if not accepts(r)}
    text = f"{len(stores - lacking)} of {len(stores)} trust store(s) hold {target_ca} for all regions with instances. "
    unread = {r.store for r in report.rows if r.verdict == "unknown"}
    lacking -= unread
    if unread:
        text += f"Of {len(unread)} nobody knows: {', '.join(sorted(unread))}. "
    if moot := sorted({r.client for r in report.rows if r.verdict == "not-verifying"}):
        text += f"{len(moot)} client(s) do not verify with their store ({', '.join(moot)}): nothing protects them. "
    if changed := {r.store for r in report.rows if r.added_sha256}:
        kept = len({r.store for r in report.rows if r.backup})
        text += f"{len(changed)} store(s) were changed ({kept} backup(s) beside them); processes must load them anew. "
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


def parameters(report: ParameterReport, *, silent: int = 0) -> str:
    """Say what was changed in parameter groups, who gets it too, and that it takes a reboot; *silent* told nothing."""
    if not report.rows:
        text = "No server said that its performance_schema is OFF. Nothing was changed."
        return text + (f" {silent} instance(s) could not be asked, and nothing is known of them." if silent else "")
    count = Counter(row.status for row in report.rows)
    text = "; ".join(f"{n} {status}" for status, n in count.items()) + "."
    if not count[ParameterStatus.CHANGED]:
        text += " Nothing was changed."
    if others := sorted({name for row in report.rows for name in row.shared_with}):
        text += f" These instances use the same groups and get the change too: {', '.join(others)}."
    return text + (
        " It is in force after the next reboot, which rdsca leaves to you (aws rds reboot-db-instance, or maintenance "
        "that restarts the instance). Performance Insights switches performance_schema on as well."
    )


def proof(report: ProofReport) -> str:
    """Say how much of what was changed was seen to work."""
    if not report.rows:
        return "Nothing was changed, so there was nothing to verify."
    count = Counter(p.verdict for p in report.rows)
    good = count[ProofVerdict.VERIFIED]
    waiting = count[ProofVerdict.SCHEDULED]
    text = f"{good} of {len(report.rows)} changed instance(s) verified: AWS and the wire agree."
    seen = [p for p in report.rows if p.verdict is ProofVerdict.VERIFIED]
    if back := sum(1 for p in seen if p.sessions_before):
        text += f" On {back} of them every client that was connected before is back."
    if unsure := [p.instance for p in seen if TLS_UNKNOWN in p.detail]:
        text += f" On {', '.join(unsure)} {TLS_UNKNOWN}."
    if uncounted := [p.instance for p in seen if p.sessions_before is None]:
        text += f" Who was connected before is not known on {', '.join(uncounted)}."
    blind = [p.instance for p in seen if not p.rejections_read]
    unread = {problem.where.rpartition("/")[2] for problem in report.problems}
    for names, why in (
        ([n for n in blind if n in unread], "what would tell could not be read, see the problems"),
        ([n for n in blind if n not in unread], "this engine has no log or counter that tells; look at the clients"),
    ):
        if names:
            text += f" NOBODY KNOWS which clients reject the new CA on {', '.join(names)}: {why}."
    if good > len(blind):
        text += (
            f" On {good - len(blind)} no client was seen to reject the new CA so far. Where nothing restarted, old "
            "sessions live on: a client that rejects it fails when it reconnects, so verify again later."
        )
    text += f" {waiting} wait(s) for the maintenance window; verify again after it." if waiting else ""
    bad = [
        f"{p.instance} ({p.verdict}: {p.detail})"
        for p in report.rows
        if p.verdict not in (ProofVerdict.VERIFIED, ProofVerdict.SCHEDULED)
    ]
    return text + (f" NOT verified: {'; '.join(bad)}." if bad else "")
