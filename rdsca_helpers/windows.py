"""Maintenance windows: AWS's spelling (``sun:23:45-mon:00:15``, UTC) and the next time one opens."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from .model import stamp

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPEC = re.compile(r"(mon|tue|wed|thu|fri|sat|sun):([01]\d|2[0-3]):([0-5]\d)", re.I)
_WEEK = timedelta(days=7)


def next_window(spec: str, now: datetime) -> tuple[datetime, datetime] | None:
    """Give start and end (UTC) of the next window of *spec* that begins after *now*; ``None`` if *spec* is none.

    A window that is open at *now* has begun already: RDS may have passed this instance, so the next one counts.
    A window may wrap over midnight and over the end of the week.
    """
    marks = [_offset(m) for m in _SPEC.finditer(spec)]
    if len(marks) != 2:
        return None
    begin, end = marks
    now = now.astimezone(UTC)
    monday = (now - timedelta(days=now.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
    start = monday + begin
    if start <= now:
        start += _WEEK
    return start, start + (end - begin) % _WEEK


def describe(window: tuple[datetime, datetime] | None) -> str:
    """Write a window as the plan shows it: ``start/end`` in UTC, or ``unknown``."""
    return "/".join(stamp(t) for t in window) if window else "unknown"


def _offset(mark: re.Match[str]) -> timedelta:
    return timedelta(days=_DAYS.index(mark[1].lower()), hours=int(mark[2]), minutes=int(mark[3]))
