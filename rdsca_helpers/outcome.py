"""What a report's rows mean for the exit code: a rotation or a proof that is not good is never a success."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .errors import NotVerified, OutcomeUnknown, RdscaError, Refused, Stopped, UnknownRoot
from .model import ParameterReport, ParameterStatus, ProofReport, ProofVerdict, Report, Rotation, StepStatus, Trust

# From the worst to the best: what may cost an outage first, what changed nothing last.
WORST_FIRST = (6, 5, 9, 1, 4, 10, 7, 8, 3, 2, 0)
_STATES = {
    0: "done",
    2: "bad parameters",
    3: "refused",
    4: "done, with something unread or stopped",
    5: "changed, not verified",
    6: "outcome unknown",
    7: "another run works in its folder",
    9: "evidence damaged, or its folder not writable",
    10: "a CA root needs approval",
}
_CHANGED = (StepStatus.ROTATED, StepStatus.SCHEDULED, StepStatus.STAGED)
_GOOD = (ProofVerdict.VERIFIED, ProofVerdict.SCHEDULED)


def worst(codes: Iterable[int]) -> int:
    """Give the worst of some exit codes; 0 when there is none."""
    return min(codes, key=WORST_FIRST.index, default=0)


def in_words(code: int) -> str:
    """Say what an exit code means for an account."""
    return _STATES.get(code, f"ended with exit code {code}")


def failure(report: Report[Any]) -> RdscaError | None:
    """Give the error that *report* amounts to: one that must end its notebook; ``None`` when it is good."""
    if isinstance(report, Rotation):
        return _rotation(report)
    if isinstance(report, ProofReport):
        bad = [p for p in report.rows if p.verdict not in _GOOD]
        return NotVerified(_list("not verified", [(p.instance, p.detail) for p in bad])) if bad else None
    if isinstance(report, Trust):
        unknown = sorted({(r.region, r.reason) for r in report.rows if r.verdict == "unknown-ca"})
        return UnknownRoot(_list("unknown CA root", unknown)) if unknown else None
    if isinstance(report, ParameterReport):
        return _parameters(report)
    return None


def code(report: Report[Any]) -> int:
    """Give the exit code of *report*: that of its failure, else 4 when something in it could not be read."""
    if found := failure(report):
        return found.code
    return Stopped.code if report.problems else 0


def _rotation(report: Rotation) -> RdscaError | None:
    def rows(*statuses: StepStatus) -> list[tuple[str, str]]:
        return [(step.instance, step.detail) for step in report.rows if step.status in statuses]

    if unknown := rows(StepStatus.UNKNOWN):
        return OutcomeUnknown(
            _list("outcome unknown", unknown), "look at them in the console, then run 05-rotate again"
        )
    if stopped := rows(StepStatus.FAILED, StepStatus.REFUSED):
        kind = Stopped if rows(*_CHANGED, StepStatus.FAILED) else Refused
        return kind(_list("stopped", stopped))
    return None


def _parameters(report: ParameterReport) -> RdscaError | None:
    def rows(*statuses: ParameterStatus) -> list[tuple[str, str]]:
        return [(row.instance, row.detail) for row in report.rows if row.status in statuses]

    if unknown := rows(ParameterStatus.UNKNOWN):
        return OutcomeUnknown(_list("outcome unknown", unknown), "look at the parameter group in the console")
    if report.action == "apply" and (refused := rows(ParameterStatus.REFUSED)):
        kind = Stopped if rows(ParameterStatus.CHANGED) else Refused
        return kind(_list("not changed", refused))
    return None


def _list(what: str, rows: list[tuple[str, str]]) -> str:
    more = f"; and {len(rows) - 3} more" if len(rows) > 3 else ""
    return f"{what}: " + "; ".join(f"{name} ({why})" for name, why in rows[:3]) + more
