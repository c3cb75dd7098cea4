"""The pages that people open: an account's report and the fleet's index, each one file that loads nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, cast

import jinja2
from markupsafe import Markup

from . import charts, tables
from .charts import Picture
from .model import (
    Inventory,
    Plan,
    ProofReport,
    ProofVerdict,
    Report,
    SessionReport,
    StepStatus,
    Trust,
    Verdict,
    stamp,
)

TITLES = {
    "inventory": "1 Discovery: what there is, and how urgent",
    "sessions": "2 Sessions: who is connected, and how",
    "trust": "3 Trust stores: which clients accept the target CA",
    "plan": "4 Plan: what moves, in which wave, and what is held",
    "rotation": "5 Rotation: what was done",
    "proof": "6 Verification: what was seen afterwards",
    "parameters": "Parameter groups: what was changed so that servers tell more",
}
_OPTIONAL = ("parameters",)  # a step that most runs do not need


@dataclass(frozen=True)
class Grid:
    """A table on a page: column names, rows as text, and which column is a link to which."""

    columns: Sequence[str]
    rows: Sequence[Mapping[str, str]]
    title: str = ""
    links: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """A headed part of a page."""

    title: str
    meaning: str
    grids: Sequence[Grid] = ()
    pictures: Sequence[Picture] = ()


def account_page(reports: Mapping[str, Report[Any]], approval: Mapping[str, str] | None, *, now: datetime) -> str:
    """Write the report of one account; steps that have not run are named as missing."""
    any_report = next(iter(reports.values()))
    plan = cast(Plan | None, reports.get("plan"))
    facts = [("regions", ", ".join(any_report.regions))]
    if plan:
        facts += [("target CA", plan.target_ca), ("plan digest", plan.digest)]
    if approval:
        words = f"{approval.get('by', '?')} at {approval.get('at', '?')}  {approval.get('note', '')}"
        facts.append(("approved by", tables.plain(words)))
    sections = [_section(reports[kind], reports) for kind in TITLES if kind in reports]
    if missing := [TITLES[kind] for kind in TITLES if kind not in reports and kind not in _OPTIONAL]:
        sections.append(Section("Not run", f"These steps left no report: {'; '.join(missing)}."))
    return _render(
        title=f"CA rotation, account {any_report.account}",
        subtitle=f"Evidence of {stamp(now)}, all times UTC",
        cards=list(summary(reports).items()),
        facts=facts,
        sections=sections,
    )


def summary(reports: Mapping[str, Report[Any]]) -> dict[str, int | str]:
    """Count what people ask first: instances, pressing ones, rotated, scheduled, verified, held.

    Of a step that did not run nothing is counted, not zero.
    """
    inventory = cast(Inventory | None, reports.get("inventory"))
    rows = [r for r in inventory.rows if not r.skip_reason] if inventory else []

    def count(kind: str, column: str, word: str) -> int | str:
        return sum(getattr(r, column) == word for r in reports[kind].rows) if kind in reports else "unknown"

    return {
        "instances": len(rows) if inventory else "unknown",
        "deadline": deadline(inventory),
        "ready": count("plan", "verdict", Verdict.READY),
        "rotated": count("rotation", "status", StepStatus.ROTATED),
        "scheduled": count("rotation", "status", StepStatus.SCHEDULED),
        "verified": count("proof", "verdict", ProofVerdict.VERIFIED),
        "held": count("plan", "verdict", Verdict.HELD),
        "not read": sum(len(r.problems) for r in reports.values()),
    }


def deadline(inventory: Inventory | None) -> str:
    """Give the next day on which a server certificate ends, and how many have ended already."""
    if inventory is None:
        return "unknown"
    ends = [r.cert_expires for r in inventory.rows if r.cert_expires and not r.skip_reason]
    ahead = min((f"{end:%Y-%m-%d}" for end in ends if end > inventory.made_at), default="unknown")
    past = sum(1 for end in ends if end <= inventory.made_at)
    return f"{ahead} ({past} past)" if past else ahead


def held_reasons(plan: Plan | None) -> str:
    """Sum up why instances are held, most frequent reason first, in few words."""
    if plan is None:
        return "no plan"
    count = Counter(_short(r.reason) for r in plan.rows if r.verdict is Verdict.HELD)
    return "; ".join(f"{n}: {why}" for why, n in count.most_common())


def _short(reason: str) -> str:
    """Cut a reason to its first clause, so that alike ones count together."""
    for stop in (":", ";", " ("):
        reason = reason.partition(stop)[0]
    return reason


def fleet_page(
    accounts: Sequence[tuple[str, str, Mapping[str, Report[Any]], str]], *, links: Mapping[str, str], now: datetime
) -> str:
    """Write the page of all accounts: (account id, name, reports, state) each, those without a report included.

    *links* says where each account's own page lies.
    """
    rows = []
    for account, name, reports, state in accounts:
        counts = {k: str(v) for k, v in summary(reports).items()}
        counts["held and why"] = held_reasons(cast(Plan | None, reports.get("plan")))
        facts = {"account": account, "name": name, "state": state, **counts, "page": links.get(account, "")}
        rows.append({k: tables.plain(v) for k, v in facts.items()})
    columns = ["account", "name", "state", "instances", "deadline", "ready", "rotated", "scheduled", "verified", "held"]
    grid = Grid([*columns, "not read", "held and why"], rows, links={"account": "page"})
    troubles = [
        {"where": tables.plain(p.where), "what": tables.plain(p.what), "remedy": tables.plain(p.remedy)}
        for _, _, reports, _ in accounts
        for report in reports.values()
        for p in report.problems
    ]
    sections = [
        Section("Accounts", _fleet_meaning(rows), [grid]),
        Section("Could not be read or done", "", [Grid(["where", "what", "remedy"], troubles)]),
    ]
    return _render(
        title="CA rotation, all accounts",
        subtitle=f"As of {stamp(now)}, all times UTC",
        cards=_fleet_cards(accounts),
        facts=[],
        sections=sections if troubles else sections[:1],
    )


def _fleet_cards(accounts: Sequence[tuple[str, str, Mapping[str, Report[Any]], str]]) -> list[tuple[str, int | str]]:
    totals: Counter[str] = Counter()
    for _, _, reports, _ in accounts:
        totals.update({k: v for k, v in summary(reports).items() if isinstance(v, int)})
    return [("accounts", len(accounts)), *totals.items()]


def _fleet_meaning(rows: Sequence[Mapping[str, str]]) -> str:
    bad = [r["account"] for r in rows if r["state"] != "done"]
    text = f"{len(rows)} account(s) in scope."
    return text + (
        f" Not simply done: {', '.join(bad)}; the reasons stand in their pages." if bad else " All are done."
    )


def _section(report: Report[Any], reports: Mapping[str, Report[Any]]) -> Section:
    columns, rows = tables.cells(report)
    grids = [Grid(columns, rows)]
    if isinstance(report, SessionReport):
        grids.append(Grid(*tables.client_cells(report), title="Clients"))
    if isinstance(report, Trust):
        grids.append(Grid(*tables.addition_cells(report), title="Roots added, or to be added"))
    if isinstance(report, ProofReport) and any(row.rejected for row in report.rows):
        grids.append(Grid(*tables.rejected_cells(report), title="Clients that reject the certificate or lost TLS"))
    if report.problems:
        grids.append(Grid(*tables.problem_cells(report), title="Could not be read or done"))
    meaning = tables.plain(report.meaning, most=tables.SENTENCE)
    return Section(TITLES[report.kind], meaning, grids, _pictures(report, reports))


def _pictures(report: Report[Any], reports: Mapping[str, Report[Any]]) -> list[Picture]:
    if isinstance(report, Inventory):
        return [charts.deadlines(report), charts.ca_mix(report)]
    if isinstance(report, SessionReport):
        return [charts.sessions(report)]
    if isinstance(report, Trust) and report.rows:
        return [charts.trust(report)]
    if isinstance(report, ProofReport) and isinstance(plan := reports.get("plan"), Plan):
        return [charts.before_after(plan, report)]
    return []


@cache
def _templates() -> jinja2.Environment:
    loader = jinja2.PackageLoader("rdsca_helpers", "templates")
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)


def _render(**facts: Any) -> str:
    env = _templates()
    source, _, _ = cast(jinja2.BaseLoader, env.loader).get_source(env, "page.css")
    footer = "Made by rdsca. A row that says unknown was not read; it does not mean that all is well."
    css = Markup(source)  # noqa: S704  our own style sheet
    return env.get_template("page.html.j2").render(css=css, tone=tables.tone, footer=footer, **facts)
