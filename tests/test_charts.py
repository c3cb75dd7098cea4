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
    REGION,
    days,
    empty_reports,
    every_report,
    instance,
    inventory,
    plan_for,
    proof,
    report,
    sessions,
    store,
    unread,
)

from rdsca_helpers import charts
from rdsca_helpers.charts import Picture
from rdsca_helpers.model import Confidence, ProofReport, ProofVerdict, SessionReport, Trust, Urgency


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
        charts.trust(reports["trust"]),
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


def test_a_database_that_told_nothing_is_drawn_as_such_and_another_as_one_where_nobody_was_seen() -> None:
    part = sessions("d", plain=1, confidence=Confidence.PARTIAL)
    found = report(SessionReport, unread("b"), sessions("c"), sessions("a", tls=3), part)
    picture = charts.sessions(found)
    assert "on 3 of 4 instance(s); 1 unknown" in picture.alt
    assert (
        f"TLS: a · {REGION} 3, d · {REGION} 0, c · {REGION} 0, b · {REGION} not told;" in picture.alt
    )  # what presses is on top
    said = {"d": "not all could be seen", "c": "nobody seen", "b": "unknown: not asked, or not told"}
    assert picture.alt.endswith("".join(f"; {name} · {REGION}: {words}" for name, words in said.items()))
    assert size(picture)[1] > size(charts.sessions(report(SessionReport, *found.rows[1:])))[1]


def test_what_was_not_verified_counts_with_its_old_ca() -> None:
    plan = plan_for(instance("a"), instance("b"), stores=(store(),))
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


def test_the_trust_matrix_says_each_reader_and_region_and_shows_before_and_after_only_when_something_changed() -> None:
    rows = [
        store("ready", store="/etc/app/a.pem", client="orders"),
        store("old-only", store="/etc/app/a.pem", client="orders", region="us-east-1"),
    ]
    alt = charts.trust(report(Trust, *rows)).alt
    assert "a.pem · orders: eu-west-1 ready, us-east-1 old-only" in alt
    assert "before" not in alt
    rows[1] = replace(rows[1], verdict="ready", before="old-only")
    alt = charts.trust(report(Trust, *rows)).alt
    assert "before: app/a.pem · orders: eu-west-1 ready, us-east-1 old-only" in alt
    assert "after: app/a.pem · orders: eu-west-1 ready, us-east-1 ready" in alt


def test_stores_of_one_name_in_two_folders_are_two_rows_of_the_matrix() -> None:
    alt = charts.trust(report(Trust, store("ready", store="/a/x.pem"), store("old-only", store="/b/x.pem"))).alt
    assert "a/x.pem · openssl: eu-west-1 ready" in alt
    assert "b/x.pem · openssl: eu-west-1 old-only" in alt


def test_a_store_with_dollar_signs_in_its_name_is_drawn_as_it_is() -> None:
    assert "$\\frac$ · openssl" in charts.trust(report(Trust, store("$x^$", store="/etc/app/certs/of-$\\frac$"))).alt
