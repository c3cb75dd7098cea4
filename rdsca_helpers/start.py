"""Opens a run: checks the parameters of a notebook, finds its account and regions, and says what it will do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from . import parameters
from .edge.aws import Aws
from .edge.folder import RunFolder
from .edge.run import Run
from .errors import Unreachable
from .model import Problem, stamp

_LISTS = {"stores", "instances"}  # given as text with commas


def start(notebook: str, namespace: Mapping[str, Any]) -> Run:
    """Open the run of *notebook* with the parameters in *namespace*, which is the notebook's ``globals()``.

    Checks every name, type and value, that the credentials are of the account that was named, and prints what
    holds for this run. Raises ``UsageError`` or ``Refused`` before anything is read or changed.
    """
    values = parameters.check(notebook, parameters.of_cell(notebook, namespace))
    aws = None
    if "regions" in values:
        aws = Aws(profile=str(values["profile"]), account=str(values["account"]), role=str(values["role"]))
        for name in ("reach", "stores", "clients"):
            if values.get(name) == "":
                values[name] = aws.settings.get(name, "")
    kept: dict[str, Any] = {k: v for k, v in values.items() if k not in ("profile", "role", "regions", "run_dir")}
    for name in _LISTS & kept.keys():
        kept[name] = tuple(part.strip() for part in kept[name].split(",") if part.strip())
    run = Run(
        notebook=notebook,
        folder=RunFolder(str(values.get("run_dir", "."))),
        started=datetime.now(UTC),
        **kept,
    )
    lines = [f"{name} = {value}" for name, value in values.items()]
    if aws:
        lines.append(f"acting as {aws.check_account()}")
        run = _connected(run, aws, str(values["regions"]))
    print(f"{notebook}, {stamp(run.started)}", *lines, sep="\n  ")
    if values.get("action") == "apply":
        print('action is "apply": this notebook changes things')
    return run


def _connected(run: Run, aws: Aws, regions: str) -> Run:
    """Connect to the account, and resolve "all" to the regions that it has switched on."""
    problems: list[Problem] = []
    names = regions.split(",")
    if regions == "all":
        names, problems = aws.enabled_regions()
        if not names:
            raise Unreachable(f"account {run.account} lists no region that is switched on")
    return replace(run, connection=aws, regions=tuple(names), problems=tuple(problems))
