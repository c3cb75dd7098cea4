"""Walks: the notebooks of one account in order, and the same for many accounts, each with an honest result."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from . import kernels, outcome, parameters
from .edge import folder as run_folder
from .errors import Damaged, NotVerified, OutcomeUnknown, RdscaError, Refused, Stopped, UsageError, code_of
from .kernels import KERNELS, Ran
from .model import REPORTS, ProofReport, Report, Rotation, StepStatus, now, stamp
from .runbook import fleet_page
from .runbook.rotation import journal_of

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
WALK = [name for name in parameters.NOTEBOOKS if "01" <= name[:2] <= "07"]
_KEEPS = {
    "01-discover": "inventory",
    "02-sessions": "sessions",
    "03-trust-stores": "trust",
    "04-plan": "plan",
    "05-rotate": "rotation",
    "06-verify": "proof",
}
_INTERRUPTIONS = ("DeadKernelError", "CellTimeoutError", "KeyboardInterrupt", "RuntimeError", "TimeoutError")


@dataclass(frozen=True)
class Job:
    """One account's walk: which notebooks, with which parameters, into which folder."""

    account: str
    name: str
    base: Path
    notebooks: tuple[str, ...]
    values: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """The account's folder of evidence."""
        return self.base / self.account


@dataclass(frozen=True)
class Result:
    """How a walk ended: its exit code, and a line for each notebook."""

    job: Job
    code: int
    lines: tuple[dict[str, Any], ...] = field(default=())

    @property
    def reports(self) -> dict[str, Report[Any]]:
        """The reports in the account's folder; none when one of them is damaged."""
        try:
            return run_folder.reports(self.job.folder)
        except RdscaError:
            return {}

    @property
    def state(self) -> str:
        """Say in words how the account stands: this walk and the reports of earlier ones in its folder."""
        code = outcome.worst([self.code, *map(outcome.code, self.reports.values())])
        return outcome.in_words(code)


def job(account: str, *, base: Path, first: str, last: str, values: Mapping[str, Any], name: str = "") -> Job:
    """Make a job and check all its parameters, before any kernel starts.

    Raises ``UsageError`` for an unknown notebook number or parameter, or a value that a parameter does not take.
    """
    numbers = [n[:2] for n in WALK]
    for word in (first, last):
        if word not in numbers:
            raise UsageError(f"there is no notebook {word!r} in the walk", f"it has {numbers[0]} to {numbers[-1]}")
    chosen = tuple(n for n in WALK if first <= n[:2] <= last)
    if not chosen:
        raise UsageError(f"--from {first} comes after --to {last}")
    made = Job(account, name, base, chosen, {})
    values = {**values, "account": account, "run_dir": str(made.folder)}
    for word in values:
        if word not in parameters.PARAMETERS:
            parameters.refuse_unknown(word, parameters.PARAMETERS)
    resolved: dict[str, Any] = {}
    for notebook in chosen:
        taken = {k: v for k, v in values.items() if k in parameters.NOTEBOOKS[notebook]}
        resolved |= parameters.check(notebook, taken)
    clean = str(resolved.get("account", account))
    return Job(clean, name, base, chosen, {**resolved, "run_dir": str(base / clean)})


def walk(one: Job, *, say: Callable[[str], None]) -> Result:
    """Walk the notebooks of one account and give the honest result.

    A notebook that could not do its work ends the walk, but what was changed is still verified and the evidence is
    still written. The result comes from the reports and the journal, not from papermill's word.
    """
    began = now()
    lines: list[dict[str, Any]] = []
    codes: list[int] = []
    skip_to = ""
    for notebook in one.notebooks:
        if notebook < skip_to:
            continue
        if KERNELS.stopping.is_set():
            codes.append(Stopped.code)
            break
        line = _step(one, notebook, say)
        lines.append(line)
        codes.append(line["code"])
        if line["error"]:
            skip_to = _next_after(notebook, line["code"])
    if (
        "06-verify" in one.notebooks
        and any(line["notebook"] == "05-rotate" for line in lines)
        and _unverified(one.folder)
    ):
        codes.append(NotVerified.code)
    result = Result(one, outcome.worst(codes), tuple(lines))
    _record(result, began)
    return result


def _step(one: Job, notebook: str, say: Callable[[str], None]) -> dict[str, Any]:
    began, clock = now(), time.monotonic()
    say(f"{one.account} {notebook} …")
    values = {k: v for k, v in one.values.items() if k in parameters.NOTEBOOKS[notebook]}
    try:
        ran = kernels.run(NOTEBOOKS / f"{notebook}.ipynb", one.folder, values, say=lambda _: None)
        code = _code(one, notebook, ran, began)
        file = ran.file.name
    except Damaged as e:
        ran, code, file = Ran(one.folder, type(e).__name__, str(e)), e.code, ""
    took = time.monotonic() - clock
    ended = f"stopped: {ran.error}: {ran.text}" if ran.error else {0: "done"}.get(code, "done, with something unread")
    say(f"{one.account} {notebook} {ended} ({took:.1f} s)")
    return {
        "notebook": notebook,
        "file": file,
        "began": stamp(began),
        "code": code,
        "error": ran.error,
        "text": ran.text,
    }


def _code(one: Job, notebook: str, ran: Ran, began: datetime) -> int:
    """Give the exit code of one notebook, from the error that stopped it or the report that it kept."""
    if ran.error:
        code = Stopped.code if ran.error in _INTERRUPTIONS else code_of(ran.error)
        sent_nothing = code in (UsageError.code, Refused.code)  # the journal then tells of another run
        if notebook == "05-rotate" and not sent_nothing and _under_way(one.folder):
            return OutcomeUnknown.code
        return code
    kind = _KEEPS.get(notebook)
    if kind is None:
        return 0
    try:
        report = run_folder.RunFolder(one.folder).load(REPORTS[kind])
    except RdscaError as e:
        return e.code
    # reports hold whole seconds
    return outcome.code(report) if report.made_at >= began.replace(microsecond=0) else Stopped.code


def _under_way(folder: Path) -> bool:
    """Tell whether the journal announces a request whose end it does not hold."""
    last = {(e.get("plan"), e.get("step")): e["event"] for e in journal_of(folder)}
    return any(event in ("intent", "sent", "unknown") for event in last.values())


def _unverified(folder: Path) -> bool:
    """Tell whether a rotation changed something that no later proof has looked at."""
    try:
        rotation, proof = run_folder.RunFolder(folder).find(Rotation), run_folder.RunFolder(folder).find(ProofReport)
    except RdscaError:
        return False  # a damaged report has its own exit code
    changed = rotation is not None and any(s.status is StepStatus.ROTATED for s in rotation.rows)
    return changed and (proof is None or rotation is None or proof.made_at < rotation.made_at)


def _next_after(notebook: str, code: int) -> str:
    """Give the notebook with which the walk goes on after *notebook* stopped."""
    if notebook == "05-rotate" and code not in (Refused.code, UsageError.code):
        return "06-verify"
    return "07-evidence"


def _record(result: Result, began: datetime) -> None:
    """Write how the walk ended beside its notebooks, and seal the folder anew: its last notebook was still running."""
    folder = result.job.folder
    if not folder.is_dir():
        return
    record = {
        "kind": "run",
        "schema": 1,
        "account": result.job.account,
        "began": stamp(began),
        "ended": stamp(now()),
        "code": result.code,
        "notebooks": result.lines,
    }
    run_folder.RunFolder(folder).keep_text("run.json", json.dumps(record, indent=1) + "\n")
    if (folder / run_folder.MANIFEST).exists():
        run_folder.seal(folder, now=now())


_ENTRY = ("account_id", "name", "role", "regions", "tags", "vars", "email", "display_name", "external_id")


def accounts(path: str) -> list[dict[str, Any]]:
    """Read an accounts file as c7n-org has it: ``accounts: [{account_id, name, role, regions, tags, vars}]``.

    Raises ``UsageError`` that names the entry: a malformed file, a missing or doubled account id, a wrong shape.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        data = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506  all is text: 011111111111 is no octal number
    except OSError as e:
        raise UsageError(f"the accounts file {path} cannot be read ({e.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise UsageError(f"the accounts file {path} is no YAML") from None
    entries = data.get("accounts") if isinstance(data, dict) else None
    if not isinstance(entries, list) or not entries:
        raise UsageError(
            f"the accounts file {path} has no list of accounts", "accounts: [{account_id: '111111111111'}]"
        )
    found: dict[str, dict[str, Any]] = {}
    for number, entry in enumerate(entries, 1):
        where = f"entry {number} of {path}"
        if not isinstance(entry, dict) or "account_id" not in entry:
            raise UsageError(f"{where} has no account_id")
        if strange := [str(key) for key in entry if key not in _ENTRY]:
            raise UsageError(f"{where} has unknown keys: {', '.join(strange)}", f"known are {', '.join(_ENTRY)}")
        shapes = {"vars": dict, "regions": list, "role": str, "name": str}
        for key, shape in shapes.items():
            if not isinstance(entry.get(key, shape()), shape):
                raise UsageError(f"{where}: {key} takes a {shape.__name__}")
        if not all(isinstance(region, str) for region in entry.get("regions", ())):
            raise UsageError(f"{where}: regions takes a list of names")
        try:
            account = str(parameters.PARAMETERS["account"].check(entry["account_id"]))
        except ValueError as e:
            raise UsageError(f"{where}: account_id {e}") from None
        if account in found:
            raise UsageError(f"{where}: account {account} stands in the file twice")
        found[account] = {**entry, "account_id": account}
    return list(found.values())


def fleet_jobs(
    entries: Sequence[Mapping[str, Any]], *, base: Path, first: str, last: str, values: Mapping[str, Any]
) -> list[Job]:
    """Make the jobs of a fleet; what an account's own ``vars`` say goes before the *values* for all."""
    jobs = []
    for entry in entries:
        own = {**values, **entry.get("vars", {})}
        if {"account", "run_dir"} & own.keys():
            raise UsageError(f"account {entry['account_id']}: account and run_dir are no vars", "use account_id")
        if entry.get("role"):
            own["role"] = entry["role"]
        if entry.get("regions") and "regions" not in values:
            own["regions"] = ",".join(entry["regions"])
        made = job(entry["account_id"], base=base, first=first, last=last, values=own, name=entry.get("name", ""))
        jobs.append(made)
    return jobs


def walk_all(jobs: Sequence[Job], *, workers: int, say: Callable[[str], None]) -> list[Result]:
    """Walk many accounts at once, each in a thread with kernels of its own; one account's trouble stays its own.

    Ctrl-C (or SIGTERM) interrupts the kernels, lets every account write down how it ended, and starts no other.
    """
    lock = threading.Lock()

    def tell(line: str) -> None:
        with lock:
            say(line)

    with ThreadPoolExecutor(max(1, workers)) as pool:
        running: dict[Future[Result], Job] = {pool.submit(walk, one, say=tell): one for one in jobs}
        open_ones: set[Future[Result]] = set(running)
        while open_ones:
            try:
                _, open_ones = wait(open_ones, timeout=0.5)
            except KeyboardInterrupt:
                tell("interrupted: the kernels are told to stop, and what was done is written down")
                KERNELS.interrupt()
    results = []
    for future, one in running.items():
        error = future.exception()
        if error is None:
            results.append(future.result())
            continue
        tell(f"{one.account} stopped: {type(error).__name__}: {error}")
        results.append(Result(one, error.code if isinstance(error, RdscaError) else RdscaError.code))
    return results


def fleet(jobs: Sequence[Job], *, workers: int, say: Callable[[str], None]) -> tuple[int, list[Result], Path]:
    """Walk a fleet and write its page; gives the worst account's exit code, the results and the page's path."""
    results = walk_all(jobs, workers=workers, say=say)
    base = jobs[0].base
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise Damaged(f"{base} cannot be made ({e.strerror})") from None
    page = fleet_page(base, {r.job.account: (r.job.name, r.state) for r in results})
    return outcome.worst([r.code for r in results]), results, page
