"""Parameter change: performance_schema switched on in the groups of servers that said it is OFF; never a reboot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from .. import performance_schema, sentences, windows
from ..edge.folder import Journal
from ..edge.run import Run
from ..engines.mysql import PERFORMANCE_SCHEMA_OFF
from ..errors import OutcomeUnknown, RdscaError, UsageError
from ..model import (
    Instance,
    Inventory,
    ParameterChange,
    ParameterReport,
    ParameterStatus,
    Problem,
    SessionReport,
    now,
)

_INTENT = "parameter intent"  # the journal is rotation's as well, which knows its own events by other names


def enable_performance_schema(
    run: Run, inventory: Inventory, sessions: SessionReport, *, say: Callable[[str], None] = print
) -> ParameterReport:
    """Set performance_schema=1 in the groups of the servers that said it is OFF, or with ``action="show"`` say so.

    One request for each group, its intent on disk before it is sent; one whose fate is not known is never sent
    again. The change is in force after a reboot, which rdsca never does. Raises ``UsageError`` when ``instances``
    names one whose server did not say that it is OFF.
    """
    look = _Look(run)
    rows = [look.at(instance) for instance in _targets(run, inventory, sessions)]
    if run.action == "apply" and rows:
        with run.folder.journal() as journal:
            rows = _Changer(run, journal, say).carry_out(rows)
    report = ParameterReport(
        account=run.account,
        regions=inventory.regions,
        made_at=now(),
        rows=tuple(rows),
        problems=tuple(look.problems),
        action=run.action,
    )
    silent = sum(1 for s in sessions.rows if not s.counted)
    return replace(report, meaning=sentences.parameters(report, silent=silent))


def _targets(run: Run, inventory: Inventory, sessions: SessionReport) -> list[Instance]:
    """Give the instances whose server said that performance_schema is OFF, or those of them that the run names."""
    off = {(s.region, s.instance) for s in sessions.rows if PERFORMANCE_SCHEMA_OFF in s.remedy}
    found = [i for i in inventory.rows if (i.region, i.instance) in off]
    if strange := sorted(set(run.instances) - {i.instance for i in found}):
        raise UsageError(
            f"parameter instances names {', '.join(strange)}, whose server did not say that performance_schema is OFF",
            "run 02-sessions first; leave instances empty to take all that said so",
        )
    return [i for i in found if i.instance in run.instances or not run.instances]


class _Look:
    """Looks at parameter groups as they are now, at each once."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.problems: list[Problem] = []
        self._groups_in, self._parameter = cache(run.aws.parameter_groups), cache(run.aws.parameter)

    def at(self, instance: Instance) -> ParameterChange:
        """Say what would be done to the group of *instance*; one that cannot be read is refused, and a problem."""
        row = ParameterChange(
            region=instance.region,
            instance=instance.instance,
            group="",
            status=ParameterStatus.REFUSED,
            detail="",
            window_utc=windows.describe(windows.next_window(instance.maintenance_window, now())),
        )
        try:
            everyone = self._groups_in(instance.region)
            groups = everyone.get(instance.instance, [])
            group = groups[0] if groups else ""
            parameter = self._parameter(instance.region, group, performance_schema.NAME) if group else None
        except RdscaError as e:
            self.problems.append(Problem(instance.where, e.what, e.remedy))
            return replace(row, detail=f"its parameter group could not be read: {e.what}")
        status, detail = performance_schema.judge(instance, groups, parameter)
        others = sorted(n for n, theirs in everyone.items() if group in theirs and n != instance.instance)
        aws = self.run.aws
        return replace(
            row,
            group=group,
            status=status,
            detail=detail,
            present=performance_schema.present(parameter),
            shared_with=tuple(others) if status is ParameterStatus.WOULD_CHANGE else (),
            cli=performance_schema.commands(
                instance, group, endpoint=aws.endpoint(instance.region), profile=aws.profile
            ),
        )


class _Changer:
    """Changes groups against one journal: intent on disk, one request, what came of it on disk."""

    def __init__(self, run: Run, journal: Journal, say: Callable[[str], None]) -> None:
        self.run, self.journal, self.say = run, journal, say
        self.last: dict[str, str] = {e["group"]: e["event"] for e in journal.entries if "group" in e}

    def carry_out(self, rows: Sequence[ParameterChange]) -> list[ParameterChange]:
        """Change the groups of the *rows* that would be changed; instances of one group share its one request."""
        made: dict[tuple[str, str], dict[str, Any]] = {}
        for row in rows:
            key = (row.region, row.group)
            if row.status is ParameterStatus.WOULD_CHANGE and key not in made:
                made[key] = self._change(*key)
                self.say(f"{row.region}/{row.group}: {made[key]['status']}: {made[key]['detail']}")
        return [
            replace(row, **made[row.region, row.group]) if row.status is ParameterStatus.WOULD_CHANGE else row
            for row in rows
        ]

    def _change(self, region: str, group: str) -> dict[str, Any]:
        """Send the one request for *group*, unless the journal holds one whose fate is not known."""
        place = f"{region}/{group}"
        if self.last.get(place) in (_INTENT, f"parameter {ParameterStatus.UNKNOWN}"):
            detail = (
                "an earlier run may have sent the request, and the group does not show it; it is not sent again: "
                "look at the group, then use the AWS CLI line or another run_dir"
            )
            return self._end(place, ParameterStatus.UNKNOWN, detail)
        name, value = performance_schema.NAME, performance_schema.ON
        self.journal.write(_INTENT, group=place, parameter=name, to=value)
        try:
            request_id = self.run.aws.change_parameter(region, group, name, value)
        except OutcomeUnknown as e:
            return self._end(place, ParameterStatus.UNKNOWN, str(e))
        except RdscaError as e:
            return self._end(place, ParameterStatus.REFUSED, str(e))
        return self._end(place, ParameterStatus.CHANGED, f"{name}={value} is set, in force after a reboot", request_id)

    def _end(self, place: str, status: ParameterStatus, detail: str, request_id: str = "") -> dict[str, Any]:
        self.journal.write(f"parameter {status}", group=place, detail=detail, request_id=request_id)
        return {"status": status, "detail": detail, "request_id": request_id}
