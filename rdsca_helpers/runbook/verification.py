"""Verification: what AWS says, what the wire shows, and whether the clients are back, for all that was changed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from .. import certs, proof, sentences
from ..edge.run import Run
from ..engines import Wire
from ..errors import RdscaError
from ..model import (
    Instance,
    Inventory,
    Plan,
    PlanRow,
    Proof,
    ProofReport,
    ProofVerdict,
    Rotation,
    SessionReport,
    Sessions,
    StepStatus,
    now,
)
from .rotation import journal_of, journaled, read_instance
from .sessions import Databases, counted

_BACK_PATIENCE = 20.0  # seconds that clients get to come back after a change
_TOUCHED = (StepStatus.ROTATED, StepStatus.SCHEDULED, StepStatus.STAGED, StepStatus.FAILED, StepStatus.UNKNOWN)


def verify(run: Run, plan: Plan, rotation: Rotation, inventory: Inventory, sessions: SessionReport) -> ProofReport:
    """Look at every instance that was changed: what AWS says, what the wire shows, and whether its clients are back.

    What was changed stands in the journal, too: *rotation* lacks earlier waves, and a run that crashed.
    """
    touched = {f"{s.region}/{s.instance}" for s in rotation.rows if s.status in _TOUCHED}
    last = journaled(plan, journal_of(run.folder.path))
    touched |= {step for step, entry in last.items() if entry["event"] != StepStatus.REFUSED}
    rows = [r for r in plan.rows if f"{r.region}/{r.instance}" in touched]
    before = {(s.region, s.instance): s for s in sessions.rows}
    prover = _Prover(Databases.of(run), inventory)
    with ThreadPoolExecutor(8) as pool:
        proofs = tuple(pool.map(prover.prove, rows, [before.get((r.region, r.instance)) for r in rows]))
    report = ProofReport(account=run.account, regions=plan.regions, made_at=now(), rows=proofs)
    return replace(report, meaning=sentences.proof(report))


@dataclass(frozen=True)
class _Prover:
    databases: Databases
    inventory: Inventory

    def prove(self, row: PlanRow, before: Sessions | None) -> Proof:
        """Give the proof for *row*; what cannot be seen is unknown, never verified."""
        found = Proof(
            region=row.region,
            instance=row.instance,
            verdict=ProofVerdict.UNKNOWN,
            detail="",
            sessions_before=_total(before),
        )
        try:
            seen = read_instance(self.databases.run, row.region, row.instance, row.kind)
        except RdscaError as e:
            return replace(found, detail=str(e))
        found = replace(found, api_ca=seen.ca)
        if seen.pending_ca == row.to_ca:
            verdict, detail = proof.judge_pending(row.window_utc, now())
            return replace(found, verdict=verdict, detail=detail)
        try:
            wire, after = self._look_and_count(seen, before)
        except RdscaError as e:
            return replace(found, detail=f"AWS says {seen.ca}; the wire could not be seen: {e}")
        chain = [certs.read_der(der) for der in wire.chain]
        shown = certs.judge_chain(chain, self.databases.bundle.certificates, name=seen.endpoint, now=now())
        ca_of = {facts["thumbprint"]: ca for ca, facts in self.inventory.cas.get(row.region, {}).items()}
        wire_ca = ca_of.get(shown.root.sha1) if shown.root else None
        verdict, detail = proof.judge(seen.ca, wire_ca, row.to_ca, shown)
        if verdict is ProofVerdict.VERIFIED and (lost := proof.loss(before, after)):
            verdict, detail = ProofVerdict.FAILED, lost
        return replace(
            found,
            verdict=verdict,
            detail=detail,
            wire_ca=wire_ca,
            wire_expires=chain[0].not_after if chain else None,
            chain_ok=shown.trusted and shown.dates_ok,
            name_ok=shown.name_ok,
            tls_version=wire.version,
            cipher=wire.cipher,
            sessions_after=_total(after),
        )

    def _look_and_count(self, instance: Instance, before: Sessions | None) -> tuple[Wire, Sessions | None]:
        """Fetch the served chain, from a login where there is one, and give clients a little time to come back."""
        wire: Wire | None = None
        after: Sessions | None = None
        deadline = time.monotonic() + _BACK_PATIENCE
        while True:
            try:
                census, wire = self.databases.ask(instance)
            except RdscaError:
                break
            after = counted(instance, census)
            if not proof.loss(before, after) or time.monotonic() > deadline:
                break
            time.sleep(2)
        return wire or self.databases.look(instance), after


def _total(sessions: Sessions | None) -> int | None:
    if sessions is None or sessions.tls is None or sessions.plain is None or sessions.unknown is None:
        return None
    return sessions.tls + sessions.plain + sessions.unknown
