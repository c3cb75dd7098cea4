"""Maintenance windows, at the hours that go wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from rdsca_helpers.windows import describe, next_window

WRAP = "sun:23:45-mon:00:15"
TUESDAY = datetime(2026, 11, 24, 7, 30, tzinfo=UTC)


def shown(spec: str, now: datetime) -> str:
    return describe(next_window(spec, now))


def test_a_window_wraps_over_midnight_and_over_the_end_of_the_week() -> None:
    assert shown(WRAP, TUESDAY) == "2026-11-29T23:45:00Z/2026-11-30T00:15:00Z"


def test_a_window_wraps_over_the_end_of_the_month_and_of_the_year() -> None:
    assert shown("thu:23:30-fri:00:30", datetime(2026, 12, 29, tzinfo=UTC)) == (
        "2026-12-31T23:30:00Z/2027-01-01T00:30:00Z"
    )


@pytest.mark.parametrize(
    ("spec", "now", "start"),
    [
        ("tue:07:00-tue:08:00", TUESDAY, "2026-12-01T07:00:00Z"),  # open now: the next one counts
        ("tue:07:30-tue:08:00", TUESDAY, "2026-12-01T07:30:00Z"),  # opens this very second
        ("tue:07:31-tue:08:00", TUESDAY, "2026-11-24T07:31:00Z"),
        ("tue:06:00-tue:07:30", TUESDAY, "2026-12-01T06:00:00Z"),
        (WRAP, datetime(2026, 11, 30, 0, 5, tzinfo=UTC), "2026-12-06T23:45:00Z"),  # open, begun last week
        ("mon:00:00-mon:00:30", datetime(2026, 11, 29, 23, 59, 59, tzinfo=UTC), "2026-11-30T00:00:00Z"),
    ],
)
def test_the_next_window_begins_after_now(spec: str, now: datetime, start: str) -> None:
    assert shown(spec, now).startswith(start + "/")


def test_a_window_is_in_utc_whatever_the_zone_of_the_clock_that_asks() -> None:
    for hours in (-11, -5, 0, 5.5, 14):
        there = TUESDAY.astimezone(timezone(timedelta(hours=hours)))
        assert shown(WRAP, there) == shown(WRAP, TUESDAY)


def test_every_minute_of_a_week_has_its_next_window_within_a_week() -> None:
    for minute in range(0, 7 * 24 * 60, 7):
        now = TUESDAY + timedelta(minutes=minute)
        window = next_window(WRAP, now)
        assert window
        start, end = window
        assert now < start <= now + timedelta(days=7)
        assert end - start == timedelta(minutes=30)
        assert (start.weekday(), start.hour, start.minute) == (6, 23, 45)


@pytest.mark.parametrize("spec", ["Sun:23:45-Mon:00:15", "SUN:23:45-MON:00:15", "Sun:23:45\u2013Mon:00:15"])
def test_the_spelling_of_documents_is_read_as_well(spec: str) -> None:
    assert shown(spec, TUESDAY) == shown(WRAP, TUESDAY)


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "unknown",
        "sun:23:45",
        "sun:24:00-mon:00:15",
        "sun:23:60-mon:00:15",
        "sun:5:08-sun:5:38",
        "xyz:23:45-mon:00:15",
        "sun:11:45 PM-mon:12:15 AM",
        "sun:23:45-mon:00:15-tue:01:00",
        "sun:23:450-mon:00:155",
        "unsun:23:45-mon:00:15",
    ],
)
def test_what_is_no_window_is_unknown_and_never_a_guess(spec: str) -> None:
    assert shown(spec, TUESDAY) == "unknown"
