"""Maintenance windows: AWS's spelling (``sun:23:45-mon:00:15``, UTC) and the next time one opens."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from .model import stamp

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MARK = r"(mon|tue|wed|thu|fri|sat|sun):([01][0-9]|2[0-3]):([0-5][0-9])"
_SPEC = re.compile(rf"{_MARK}[-\u2013]{_MARK}", re.I)  # the guide prints the dash of a typesetter
_WEEK = timedelta(days=7)


def next_window(spec: str, now: datetime) -> tuple[datetime, datetime] | None:
    """Give start and end (UTC) of the next window of *spec* that begins after *now*; ``None`` if *spec* is none.

    A window that is open at *now* has begun already: RDS may have passed this instance, so the next one counts.
    A window may wrap over midnight and over the end of the week.
    """
    match = _SPEC.fullmatch(spec.strip())
    if match is None:
        return None
    begin, end = _offset(*match.groups()[:3]), _offset(*match.groups()[3:])
    now = now.astimezone(UTC)
    monday = (now - timedelta(days=now.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
    start = monday + begin
    if start <= now:
        start += _WEEK
    return start, start + (end - begin) % _WEEK


def describe(window: tuple[datetime, datetime] | None) -> str:
    """Write a window as the plan shows it: ``start/end`` in UTC, or ``unknown``."""
    return "/".join(stamp(t) for t in window) if window else "unknown"


def _offset(day: str, hour: str, minute: str) -> timedelta:
    return timedelta(days=_DAYS.index(day.lower()), hours=int(hour), minutes=int(minute))
