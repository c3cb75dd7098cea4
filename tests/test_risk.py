"""How urgent: every trap that a careless look at the dates falls into."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from makers import NEW, NOW, OLD, days

from rdsca_helpers.model import Urgency
from rdsca_helpers.risk import urgency


def judged(**facts: Any) -> Urgency:
    usual: dict[str, Any] = {
        "ca": NEW,
        "cert_expires": NOW + days(300),
        "ca_expires": datetime.fromisoformat("2061-05-21T00:00:00+00:00"),
        "offered": True,
        "now": NOW,
    }
    return urgency(**(usual | facts))


def test_a_certificate_that_ends_tomorrow_alarms_although_its_ca_lives_until_2061() -> None:
    assert judged(cert_expires=NOW + days(1)) is Urgency.DAYS_30


def test_a_ca_that_ends_before_the_certificate_counts() -> None:
    assert judged(ca_expires=NOW + days(10)) is Urgency.DAYS_30
    assert judged(ca_expires=NOW - days(1)) is Urgency.EXPIRED


@pytest.mark.parametrize(
    ("left", "word"),
    [(-1, "expired"), (0, "expired"), (1e-5, "30d"), (30, "30d"), (30.01, "90d"), (90, "90d"), (90.01, "180d")],
)
def test_the_rungs_stand_at_0_30_90_and_180_days(left: float, word: str) -> None:
    assert judged(cert_expires=NOW + days(left)) == word


def test_180_days_is_the_last_rung() -> None:
    assert judged(cert_expires=NOW + days(180)) == "180d"
    assert judged(cert_expires=NOW + days(180.01)) is Urgency.OK


def test_a_ca_that_rds_no_longer_lists_is_retired_whatever_its_date() -> None:
    assert judged(ca=OLD, offered=False, ca_expires=None) is Urgency.RETIRED_CA
    assert judged(ca=OLD, offered=False, ca_expires=None, cert_expires=None) is Urgency.RETIRED_CA


def test_an_expired_certificate_of_a_retired_ca_is_expired() -> None:
    assert judged(ca=OLD, offered=False, ca_expires=None, cert_expires=NOW - days(1)) is Urgency.EXPIRED


@pytest.mark.parametrize("gap", [{"cert_expires": None}, {"ca": None}, {"offered": None, "ca_expires": None}])
def test_what_aws_did_not_say_makes_it_unknown_and_never_ok(gap: dict[str, Any]) -> None:
    assert judged(**gap) is Urgency.UNKNOWN


def test_nothing_known_at_all_is_unknown() -> None:
    assert judged(ca=None, cert_expires=None, ca_expires=None, offered=None) is Urgency.UNKNOWN


@pytest.mark.parametrize("gap", [{"offered": None, "ca_expires": None}, {"ca": None}])
def test_a_certificate_known_to_end_in_ten_days_alarms_also_when_the_rest_is_unknown(gap: dict[str, Any]) -> None:
    assert judged(cert_expires=NOW + days(10), **gap) is Urgency.DAYS_30
    assert judged(cert_expires=NOW - days(10), **gap) is Urgency.EXPIRED


def test_a_ca_known_to_end_in_ten_days_alarms_also_without_the_certificates_date() -> None:
    assert judged(cert_expires=None, ca_expires=NOW + days(10)) is Urgency.DAYS_30
