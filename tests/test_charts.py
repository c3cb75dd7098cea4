"""Pictures: a PNG and the words for it, whatever the report holds."""

from __future__ import annotations

import struct
import warnings
from dataclasses import replace
from typing import Any

import pytest
from makers import (
    NEW,
    NOW,
    days,
    empty_reports,
    every_report,
    instance,
    inventory,
    plan_for,
    proof,
    report,
    sessions,
    unread,
)

from rdsca_helpers import charts
from rdsca_helpers.charts import Picture
from rdsca_helpers.model import ProofReport, ProofVerdict, SessionReport, Urgency


def size(picture: Picture) -> tuple[int, int]:
    assert picture.png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", picture.png[16:24])
    return width, height


def drawn(reports: dict[str, Any]) -> list[Picture]:
    return [
        charts.deadlines(reports["inventory"]),
        charts.ca_mix(reports["inventory"]),
        charts.sessions(reports["sessions"]),
        charts.before_after(reports["plan"], reports["proof"]),
        charts.before_after(reports["plan"], None),
    ]


@pytest.mark.parametrize("reports", [every_report(), empty_reports()], ids=["full", "empty"])
def test_every_picture_is_a_png_with_words_that_stand_for_it(reports: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for picture in drawn(reports):
            width, height = size(picture)
            assert 300 < width < 2000
            assert 100 < height < 2000
            assert len(picture.alt) > 20


def test_the_words_for_the_deadlines_count_each_urgency() -> None:
    rows = [instance("a"), instance("b"), instance("c", cert_expires=None, urgency=Urgency.UNKNOWN)]
    alt = charts.deadlines(inventory(*rows)).alt
    assert "3 server certificates" in alt
    assert "2 30d" in alt
    assert "1 unknown" in alt


def test_databases_that_could_not_be_asked_are_named_and_not_drawn_as_zero() -> None:
    alt = charts.sessions(report(SessionReport, sessions("a", tls=3), unread("b"))).alt
    assert "1 could not be asked" in alt
    assert "TLS: a" in alt
    assert "3" in alt
    assert "b · " not in alt


def test_what_was_not_verified_counts_with_its_old_ca() -> None:
    plan = plan_for(instance("a"), instance("b"))
    seen = report(ProofReport, proof(name="a"), proof(ProofVerdict.DRIFT, "b"))
    alt = charts.before_after(plan, seen).alt
    assert f"{NEW}: before 0, planned 2, verified 1" in alt


def test_instances_of_one_name_in_two_regions_are_two_bars() -> None:
    pair = [replace(sessions("orders", tls=n), region=r) for n, r in ((3, "eu-west-1"), (4, "us-east-1"))]
    alt = charts.sessions(report(SessionReport, *pair)).alt
    assert "eu-west-1 3" in alt
    assert "us-east-1 4" in alt


def test_three_thousand_instances_are_a_picture_of_a_size_that_can_be_looked_at() -> None:
    rows = [instance(f"db-{i}", cert_expires=NOW + days(i % 400)) for i in range(3000)]
    assert size(charts.deadlines(inventory(*rows)))[1] < 20_000
    many = report(SessionReport, *(sessions(f"db-{i}", tls=i % 3) for i in range(3000)))
    assert size(charts.sessions(many))[1] < 20_000
