"""The demonstration: starts the practice world, walks the whole runbook over its accounts, and says what came of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from . import batch, outcome
from .edge.folder import RunFolder
from .errors import Stopped
from .kernels import KERNELS
from .lab import control
from .model import ProofReport, ProofVerdict, now
from .runbook import approve

_TARGET = "rds-ca-rsa4096-g1"


def demo(base: Path, *, say: Callable[[str], None]) -> tuple[int, list[batch.Result], Path]:
    """Walk 01-07 for every account of the practice world with ``action="apply"``, into *base*.

    An earlier demonstration is kept under another name. The plans are approved in the name of the demonstration.
    Gives exit code, results and the fleet's page; 4 counts as good, since one account denies a region on purpose.
    """
    if base.exists():
        kept = base.with_name(f"{base.name}-until-{now():%Y%m%dT%H%M%SZ}")
        base.rename(kept)
        say(f"the earlier {base} is kept as {kept}")
    world = Path(".lab") / "demo"
    say("starting the practice world: AWS, databases and their clients, all on this machine")
    try:
        control.start(world, say=lambda line: say(f"  {line}"))
        os.environ.update(control.environment(world))
        return _walks(base, str(world.resolve() / "accounts.yml"), say)
    finally:
        control.stop(world)
        say("the practice world is stopped")


def _walks(base: Path, accounts: str, say: Callable[[str], None]) -> tuple[int, list[batch.Result], Path]:
    entries = batch.accounts(accounts)
    values = {"profile": "lab", "target_ca": _TARGET, "action": "apply", "when": "now", "wave": "all"}
    before = batch.fleet_jobs(entries, base=base, first="01", last="04", values=values)
    code, results, page = batch.fleet(before, workers=3, say=say)
    if code not in (0, Stopped.code) or KERNELS.stopping.is_set():
        return code, results, page
    for job in before:
        plan = approve(job.folder, by="the demonstration", note="practice world only")
        say(f"{job.account} plan {plan.digest[:8]} approved: {plan.meaning}")
    after = batch.fleet_jobs(entries, base=base, first="05", last="07", values=values)
    second, late, page = batch.fleet(after, workers=3, say=say)
    results = [
        batch.Result(one.job, outcome.worst([early.code, one.code]), early.lines + one.lines)
        for early, one in zip(results, late, strict=True)
    ]
    code = outcome.worst([code, second])
    proofs = [RunFolder(job.folder).find(ProofReport) for job in after]
    seen = any(p.verdict is ProofVerdict.VERIFIED for report in proofs if report for p in report.rows)
    return (0 if code == Stopped.code and seen else code), results, page
