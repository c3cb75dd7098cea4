"""Rotation: an approved plan carried out, one request for each instance, its intent on disk before it is sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import inventory as facts_to_rows
from .. import plan as planning
from .. import sentences
from ..edge.folder import JOURNAL, Journal, read_journal
from ..edge.run import Run
from ..errors import OutcomeUnknown, RdscaError, Refused, Unreachable, UsageError
from ..model import (
    Instance,
    Plan,
    PlanRow,
    ProofReport,
    ProofVerdict,
    Rotation,
    Step,
    StepStatus,
    Verdict,
    now,
    utc,
)
from .planning import refuse_unfit

_CHANGE_PATIENCE = 45 * 60.0  # seconds until a change that was sent is called unknown
_STAGE_PATIENCE = 120.0  # seconds until RDS must show a change that waits for the window
_PAUSES = (0.3, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)  # between looks at a change under way; the last one goes on


def rotate(run: Run, plan: Plan, *, say: Callable[[str], None] = print) -> Rotation:
    """Carry out *plan*, or with ``action="show"`` only say what would be done.

    Refuses a plan that was edited, expired, is another account's, is not approved, or names more instances than
    ``max_targets``. Each instance is read again right before its one request; a state that differs from the plan's
    is refused. The first failure stops this wave and all later ones. Run again after a crash, it reads the journal
    and the instances first, and sends nothing a second time.
    """
    refuse_unfit(plan, run.account)
    ready = [row for row in plan.rows if row.verdict is Verdict.READY]
    if run.action == "show":
        last = journaled(plan, journal_of(run.folder.path))
        rows = [r for r in _of_wave(ready, run.wave, _moved(last)) if _key(r) not in _settled(last)]
        _refuse_many(len(rows), run, plan)
        steps = [_step(r, StepStatus.WOULD_ROTATE, r.cli) for r in rows]
        return _rotation(run, plan, steps)
    approval = run.folder.approval()
    if approval is None:
        raise Refused("the plan is not approved", f"rdsca approve {run.folder.path} --by WHO")
    if approval.get("plan") != plan.digest:
        raise Refused("the approval is for another plan", f"rdsca approve {run.folder.path} --by WHO")
    with run.folder.journal() as journal:
        steps = _Rotator(run, plan, journal, say).carry_out(ready)
    return _rotation(run, plan, steps)


def _rotation(run: Run, plan: Plan, steps: Iterable[Step]) -> Rotation:
    report = Rotation(
        account=run.account,
        regions=plan.regions,
        made_at=now(),
        rows=tuple(steps),
        action=run.action,
        plan_digest=plan.digest,
    )
    return replace(report, meaning=sentences.rotation(report))


def _step(row: PlanRow, status: StepStatus, detail: str, request_id: str = "") -> Step:
    return Step(
        region=row.region,
        instance=row.instance,
        status=status,
        detail=detail,
        request_id=request_id,
        wave=row.wave,
    )


def _of_wave(ready: Sequence[PlanRow], wave: str, moved: set[str]) -> list[PlanRow]:
    """Give the rows of the wave that was asked for, in order; "next" is the first that has not all moved."""
    rows = sorted(ready, key=lambda r: (r.wave or 0, r.region, r.instance))
    if wave == "all":
        return rows
    numbers = sorted({r.wave for r in rows if r.wave})
    if wave != "next":
        if int(wave) not in numbers:
            raise UsageError(f"the plan has no wave {wave}", f"it has {', '.join(map(str, numbers)) or 'none'}")
        return [r for r in rows if r.wave == int(wave)]
    number = next((n for n in numbers if any(_key(r) not in moved for r in rows if r.wave == n)), None)
    return [r for r in rows if r.wave == number]


def _refuse_many(count: int, run: Run, plan: Plan) -> None:
    """Refuse more instances than this run allows, or than the plan that was approved allows."""
    most = min(run.max_targets, plan.limits["max_targets"])
    if count > most:
        raise Refused(f"{count} instances would be changed, and max_targets is {most}", "go by wave, or plan with more")


def _key(row: PlanRow) -> str:
    return f"{row.region}/{row.instance}"


def journal_of(folder: Path) -> list[dict[str, Any]]:
    """Read the journal in *folder* beside its writer: a last line that is not whole is left out."""
    path = folder / JOURNAL
    text = path.read_bytes() if path.exists() else b""
    return read_journal(text[: text.rfind(b"\n") + 1], path)


def journaled(plan: Plan, entries: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Give the last journal entry of each instance ("region/name") of *plan*: the record of what was done."""
    return {e["step"]: e for e in entries if e.get("plan") == plan.digest and "step" in e}


def _moved(last: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Give the instances that are on the new CA."""
    return {key for key, e in last.items() if e["event"] == StepStatus.ROTATED}


def _settled(last: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Give the instances for which nothing is left to send: on the new CA, or waiting for their window."""
    return {key for key, e in last.items() if e["event"] in (StepStatus.ROTATED, StepStatus.SCHEDULED)}


class _Rotator:
    """Carries one plan out against one journal: intent on disk, one request, what came of it on disk."""

    def __init__(self, run: Run, plan: Plan, journal: Journal, say: Callable[[str], None]) -> None:
        self.run, self.plan, self.journal, self.say = run, plan, journal, say
        self.last = journaled(plan, journal.entries)

    def carry_out(self, ready: Sequence[PlanRow]) -> list[Step]:
        moved = _moved(self.last)
        rows = _of_wave(ready, self.run.wave, moved)
        if self.run.wave.isdigit():
            self._refuse_early(ready, moved)
        _refuse_many(len([r for r in rows if _key(r) not in _settled(self.last)]), self.run, self.plan)
        self._refuse_after_failure([r for r in rows if _key(r) not in _settled(self.last)], moved)
        steps: list[Step] = []
        for number in sorted({r.wave or 0 for r in rows}):
            wave = self._wave([r for r in rows if r.wave == number])
            steps += wave
            if any(s.status in (StepStatus.REFUSED, StepStatus.FAILED, StepStatus.UNKNOWN) for s in wave):
                break
        return steps

    def _refuse_early(self, ready: Sequence[PlanRow], moved: set[str]) -> None:
        """Refuse a wave by number while an earlier one, the canary above all, has not moved."""
        waiting = [r for r in ready if (r.wave or 0) < int(self.run.wave) and _key(r) not in moved]
        if waiting:
            first = min(waiting, key=lambda r: r.wave or 0)
            raise Refused(
                f"wave {self.run.wave} comes after wave {first.wave}, where {first.instance} has not moved yet",
                f"rotate wave {first.wave} first, or let its window pass and run it again",
            )

    def _refuse_after_failure(self, rows: Sequence[PlanRow], moved: set[str]) -> None:
        """Refuse to go on while the proof of what this plan has moved names clients that the change broke.

        So it does while a log or counters that would name them could not be read: the proof has a problem then.
        """
        proof = self.run.folder.find(ProofReport) if rows else None
        if proof is None:
            return
        seen = [
            p
            for p in proof.rows
            if (key := f"{p.region}/{p.instance}") in moved and proof.made_at >= utc(self.last[key]["at"])
        ]
        failed = [p for p in seen if p.verdict is ProofVerdict.FAILED or p.rejected]
        if failed:
            raise Refused(
                f"06-verify found that {failed[0].instance}, which has moved, is not well: {failed[0].detail}",
                "mend the clients' trust stores and run 06-verify again, or plan anew without those rightly gone",
            )
        unread = {f"{self.run.account}/{p.region}/{p.instance}" for p in seen if not p.rejections_read}
        for problem in proof.problems:
            if problem.where in unread:
                raise Refused(
                    f"06-verify could not see how the clients of {problem.where} take the new CA: {problem.what}",
                    f"{problem.remedy or 'mend that'}; then run 06-verify again, or look at the clients and plan anew",
                )

    def _wave(self, rows: Sequence[PlanRow]) -> list[Step]:
        """Send the requests of one wave, then wait for all that were sent; stop sending at the first that fails."""
        ended: list[Step] = []
        under_way: list[PlanRow] = []
        for row in rows:
            step = self._send(row)
            if step is None:
                under_way.append(row)
                continue
            ended.append(step)
            if step.status in (StepStatus.REFUSED, StepStatus.FAILED, StepStatus.UNKNOWN):
                break
        return ended + [self._wait(row) for row in under_way]

    def _send(self, row: PlanRow) -> Step | None:
        """Send the one request for *row*, unless the journal holds one already; ``None`` means: wait for it."""
        before = self.last.get(_key(row))
        event = before["event"] if before else ""
        if before and event == StepStatus.ROTATED:
            return _step(row, StepStatus.ROTATED, "done by an earlier run", before.get("request_id", ""))
        if event in ("sent", StepStatus.SCHEDULED):
            self.say(f"{_key(row)}: a request was sent by an earlier run; waiting for it")
            return None
        if event in ("intent", StepStatus.UNKNOWN, StepStatus.FAILED):
            return self._reconcile(row)
        try:
            self._refuse_drift(row)
        except RdscaError as e:
            return self._end(row, StepStatus.REFUSED, str(e))
        self._note("intent", row, to=row.to_ca, when=row.when)
        self.say(f"{_key(row)}: {row.from_ca} -> {row.to_ca} ({row.when})")
        try:
            request_id = self.run.aws.change_ca(
                row.region, row.instance, row.kind, row.to_ca, now=row.when == "now", plan=self.plan.digest
            )
        except OutcomeUnknown as e:
            return self._end(row, StepStatus.UNKNOWN, str(e))
        except RdscaError as e:
            return self._end(row, StepStatus.REFUSED, str(e))
        self._note("sent", row, request_id=request_id)
        return None

    def _reconcile(self, row: PlanRow) -> Step | None:
        """An earlier run announced a request and its fate is not known: look, and send nothing."""
        try:
            seen = self._read(row)
        except RdscaError as e:
            return self._end(row, StepStatus.UNKNOWN, f"an earlier request may have been sent, and {e}")
        if row.to_ca in (seen.ca, seen.pending_ca) or seen.status != "available":
            self._note("sent", row, request_id="", found="by looking")
            return None
        detail = f"an earlier run was about to send the request; the instance is still on {seen.ca}"
        return self._end(row, StepStatus.UNKNOWN, f"{detail}. Make a new plan to try again")

    def _wait(self, row: PlanRow) -> Step:
        """Wait until RDS says twice in a row that the change is made (or staged for the window).

        The waiter ``db_instance_available`` is of no use: right after the request the status still is available.
        """
        request_id = str(self.last.get(_key(row), {}).get("request_id", ""))
        began = time.monotonic()
        pauses, hits, last = iter(_PAUSES), 0, "unknown"
        while time.monotonic() < began + _CHANGE_PATIENCE:
            try:
                seen = self._read(row)
            except Refused as e:  # credentials that AWS no longer takes do not mend by waiting
                return self._end(row, StepStatus.UNKNOWN, f"the request was sent, and {e}", request_id)
            except RdscaError as e:
                seen, last = None, e.what
            if seen:
                last = seen.status
                made = seen.ca == row.to_ca and not seen.pending_ca and seen.status == "available"
                staged = row.when == "window" and seen.pending_ca == row.to_ca and seen.status == "available"
                hits = hits + 1 if made or staged else 0
                if hits == 2 and made:
                    ends = f"{seen.cert_expires:%Y-%m-%d}" if seen.cert_expires else "an unknown day"
                    return self._end(row, StepStatus.ROTATED, f"on {row.to_ca}, until {ends}", request_id)
                if hits == 2:
                    return self._end(row, StepStatus.SCHEDULED, f"in the window {row.window_utc}", request_id)
                lost = row.when == "window" and not (made or staged) and seen.status == "available"
                if lost and time.monotonic() > began + _STAGE_PATIENCE:
                    detail = f"RDS neither holds the change for the window nor has made it; it is on {seen.ca}"
                    return self._end(row, StepStatus.UNKNOWN, detail, request_id)
                if seen.status in ("failed", "incompatible-parameters", "incompatible-network", "storage-full"):
                    return self._end(row, StepStatus.FAILED, f"its status is {seen.status}", request_id)
            time.sleep(next(pauses, _PAUSES[-1]))
        detail = f"the request was sent, and its end was not seen (status {last})"
        return self._end(row, StepStatus.UNKNOWN, detail, request_id)

    def _refuse_drift(self, row: PlanRow) -> None:
        seen = planning.observed(self._read(row))
        changed = [f"{k} was {v or 'none'}, is {seen[k] or 'none'}" for k, v in row.seen.items() if seen[k] != v]
        if changed:
            raise Refused(f"it is not as planned: {'; '.join(changed)}", "make the plan anew")

    def _read(self, row: PlanRow) -> Instance:
        return read_instance(self.run, row.region, row.instance, row.kind)

    def _end(self, row: PlanRow, status: StepStatus, detail: str, request_id: str = "") -> Step:
        self._note(status, row, detail=detail, request_id=request_id)
        self.say(f"{_key(row)}: {status}: {detail}")
        return _step(row, status, detail, request_id)

    def _note(self, event: str, row: PlanRow, **facts: str) -> None:
        self.journal.write(event, plan=self.plan.digest, step=_key(row), **facts)
        self.last[_key(row)] = self.journal.entries[-1]


def read_instance(run: Run, region: str, instance: str, kind: str) -> Instance:
    """Read one instance as it is now; raises when it is gone or AWS does not answer."""
    facts = run.aws.read_again(region, instance, kind)
    found = [i for i in facts_to_rows.rows(facts, now=now()) if i.instance == instance]
    if not found:
        raise Unreachable(f"{run.account}/{region}/{instance} is gone", "make the inventory anew")
    return found[0]
