"""Discovery: every DB instance and Multi-AZ DB cluster of an account, all regions, all pages."""

from __future__ import annotations

from dataclasses import replace

from .. import inventory as facts_to_rows
from .. import sentences
from ..edge.run import Run
from ..errors import RdscaError
from ..model import Instance, Inventory, Problem, now


def discover(run: Run) -> Inventory:
    """Find every DB instance and Multi-AZ DB cluster of the account in the run's regions.

    A region that cannot be read becomes a problem, "not scanned"; raises the error when that holds for all.
    """
    found: list[Instance] = []
    problems = list(run.problems)
    cas = {}
    refused: list[RdscaError] = []
    for region in run.regions:
        try:
            facts, troubles = run.aws.region_facts(region)
        except RdscaError as e:
            refused.append(e)
            problems.append(Problem(f"{run.account}/{region}", f"not scanned: {e.what}", e.remedy))
            continue
        problems += troubles
        cas[region] = facts.cas()
        found += facts_to_rows.rows(facts, now=now())
    if refused and len(refused) == len(run.regions):
        raise refused[0]
    report = Inventory(
        account=run.account,
        regions=run.regions,
        made_at=now(),
        rows=tuple(found),
        problems=tuple(problems),
        cas=cas,
    )
    return replace(report, meaning=sentences.inventory(report))
