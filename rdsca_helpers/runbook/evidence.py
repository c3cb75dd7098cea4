"""Evidence: reports kept and read back, the page for people, the seal, and the page of the fleet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from .. import outcome, pages
from ..edge import folder
from ..edge.run import Run
from ..errors import RdscaError, Refused
from ..model import Report, now

R = TypeVar("R", bound=Report[Any])


def load(run: Run, kind: type[R]) -> R:
    """Read the report of an earlier notebook from the run folder; raises when it is missing or another account's."""
    report = run.folder.load(kind)
    if run.account and report.account != run.account:
        raise Refused(
            f"{run.folder.path} holds account {report.account}, not {run.account}", "name this account's run_dir"
        )
    return report


def keep(run: Run, report: Report[Any]) -> None:
    """Keep *report* in the run folder; then end the notebook with an error when the report is not a good one."""
    path = run.folder.keep(report)
    print(f"kept {path}")
    if error := outcome.failure(report):
        raise error


def write_report(run: Run) -> Path:
    """Write ``report.html`` from the reports in the run folder: one file, nothing loaded from outside."""
    reports = folder.reports(run.folder.path)
    if not reports:
        raise Refused(f"{run.folder.path} holds no report", "run 01-discover with the same run_dir first")
    for report in reports.values():
        if report.account != run.account:
            raise Refused(
                f"{run.folder.path} holds account {report.account}, not {run.account}", "name its own run_dir"
            )
    return run.folder.keep_text("report.html", pages.account_page(reports, run.folder.approval(), now=now()))


def seal(run: Run) -> Path:
    """Seal the run folder: list every file with its SHA-256 in ``manifest.json``."""
    return folder.seal(run.folder.path, now=now())


def fleet_page(base: Path, accounts: dict[str, tuple[str, str]] | None = None) -> Path:
    """Write ``index.html`` over the account folders below *base*.

    *accounts* maps the ids of those in scope to name and state; without it the folders that are there are taken.
    A *base* that is one account's folder itself gets its page beside it, for a page inside would break its seal.
    """
    folders = {p.name: p for p in _folders_in(base) if p.name.isdigit() and len(p.name) == 12}
    if not folders and not accounts and (own := folder.reports(base)):
        folders, base = {next(iter(own.values())).account: base}, base.parent
    scope = {name: ("", _state(path)) for name, path in folders.items()} | (accounts or {})
    if not scope:
        raise Refused(f"{base} holds no account's folder", "name the folder above the accounts as run_dir")
    rows: list[tuple[str, str, dict[str, Report[Any]], str]] = []
    for account, (name, state) in sorted(scope.items()):
        try:
            rows.append((account, name, folder.reports(folders.get(account, base / account)), state))
        except RdscaError as e:  # one account's damage is its own row, not the end of the page
            rows.append((account, name, {}, str(e)))
    links = {account: f"{path.name}/report.html" for account, path in folders.items()}
    folder.RunFolder(base).keep_text("index.html", pages.fleet_page(rows, links=links, now=now()))
    return base / "index.html"


def _folders_in(base: Path) -> list[Path]:
    return sorted(p for p in base.iterdir() if p.is_dir()) if base.is_dir() else []


def _state(path: Path) -> str:
    """Say how an account stands by the record of its last walk and the reports in its folder."""
    try:
        code = int(json.loads((path / "run.json").read_text(encoding="utf-8"))["code"])
        return outcome.in_words(outcome.worst([code, *map(outcome.code, folder.reports(path).values())]))
    except RdscaError as e:
        return outcome.in_words(e.code)
    except (OSError, ValueError, KeyError, TypeError):
        return "stepped through by hand, or not ended"
