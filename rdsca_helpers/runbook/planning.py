"""Planning and approval: facts become a plan with a digest, and a person binds a name to it."""

from __future__ import annotations

from pathlib import Path

from .. import plan as planning
from ..edge.folder import RunFolder
from ..edge.run import Run
from ..errors import Refused, UsageError
from ..model import Inventory, Plan, SessionReport, Trust, now


def make_plan(run: Run, inventory: Inventory, sessions: SessionReport, trust: Trust) -> Plan:
    """Decide which instance moves, in which wave and when; AWS is not asked anything."""
    return planning.make(
        inventory,
        sessions,
        trust,
        target_ca=run.target_ca,
        when=run.when,
        max_targets=run.max_targets,
        endpoints={region: run.aws.endpoint(region) for region in inventory.regions},
        profile=run.aws.profile,
        now=now(),
    )


def approve(folder: str | Path, *, by: str, note: str = "") -> Plan:
    """Bind the digest of the plan in *folder* to a name and a time; raises when the plan is damaged or expired."""
    run_folder = RunFolder(folder)
    plan = run_folder.load(Plan)
    if not by.strip():
        raise UsageError("an approval needs a name", "rdsca approve RUN_DIR --by WHO")
    refuse_unfit(plan, plan.account)
    run_folder.approve(plan.digest, by=by.strip(), note=note, now=now())
    return plan


def refuse_unfit(plan: Plan, account: str) -> None:
    """Refuse a plan that was edited, is out of date, or is another account's."""
    if planning.digest(plan) != plan.digest:
        raise Refused("the plan was edited after it was made", "make it anew with 04-plan, and approve that")
    if plan.account != account:
        raise Refused(f"the plan is for account {plan.account}, not {account}", "name the run_dir of this account")
    if plan.expires_at <= now():
        raise Refused(f"the plan expired at {plan.expires_at:%Y-%m-%d %H:%M} UTC", "make it anew with 04-plan")
