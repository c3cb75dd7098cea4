"""Reports written as JSON and read back, and secrets that stay secret."""

from __future__ import annotations

import copy
import json
import pickle
import traceback
from dataclasses import fields, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from makers import NOW, empty_reports, every_report, instance, inventory, report, sessions, unread

from rdsca_helpers.model import REPORTS, Secret, SessionReport, report_from_json, stamp, to_json, utc


def there_and_back(found: Any) -> Any:
    return report_from_json(json.loads(json.dumps(to_json(found))))


@pytest.mark.parametrize("kind", REPORTS)
@pytest.mark.parametrize("reports", [every_report("né 'x' \U0001f600"), every_report("unknown"), empty_reports()])
def test_every_report_comes_back_from_json_as_it_was(reports: dict[str, Any], kind: str) -> None:
    assert there_and_back(reports[kind]) == reports[kind]


def test_what_aws_did_not_say_is_written_as_unknown_and_comes_back_as_nothing() -> None:
    blank = instance(ca=None, cert_expires=None, ca_expires=None, supported_cas=None, port=None)
    written = to_json(inventory(blank))["rows"][0]
    for name in ("ca", "cert_expires", "ca_expires", "supported_cas", "port"):
        assert written[name] == "unknown"
    assert there_and_back(inventory(blank)).rows == (blank,)


def test_a_database_that_could_not_be_asked_has_unknown_counts_and_never_zero() -> None:
    written = to_json(unread())
    assert (written["tls"], written["plain"], written["unknown"]) == ("unknown",) * 3
    assert there_and_back(report(SessionReport, unread())).rows[0].tls is None


def test_a_client_whose_tls_use_was_not_told_is_counted_as_unknown_and_not_as_plain() -> None:
    seen = sessions(tls=2, plain=3, unknown=4)
    assert (seen.tls, seen.plain, seen.unknown) == (2, 3, 4)


def test_no_cas_supported_is_not_the_same_as_not_told_which() -> None:
    none, untold = instance(supported_cas=()), instance(supported_cas=None)
    assert there_and_back(inventory(none, untold)).rows == (none, untold)


def test_times_are_written_in_utc_whatever_their_zone() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=-8)))
    assert stamp(there) == "2026-11-24T07:30:00Z"
    assert utc(stamp(there)) == NOW


@pytest.mark.parametrize("text", ["2026-11-24T07:30:00", "2026-11-24", "24/11/2026", ""])
def test_a_time_without_a_zone_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        utc(text)


@pytest.mark.parametrize("kind", REPORTS)
def test_a_report_that_lacks_any_of_its_columns_is_refused(kind: str) -> None:
    whole = to_json(every_report()[kind])
    for name in whole:
        broken = {k: v for k, v in whole.items() if k != name}
        with pytest.raises((KeyError, TypeError, ValueError)):
            report_from_json(broken)
    for name in whole["rows"][0]:
        broken = copy.deepcopy(whole)
        del broken["rows"][0][name]
        with pytest.raises((KeyError, TypeError, ValueError)):
            report_from_json(broken)


@pytest.mark.parametrize(
    ("name", "value"),
    [("region", 7), ("port", "5432"), ("port", True), ("urgency", "fine"), ("iam", "false"), ("supported_cas", "all")],
)
def test_a_row_with_a_value_of_another_kind_is_refused(name: str, value: Any) -> None:
    whole = to_json(inventory(instance()))
    whole["rows"][0][name] = value
    with pytest.raises((TypeError, ValueError)):
        report_from_json(whole)


@pytest.mark.parametrize("data", [{}, {"kind": "recipe"}, {"kind": ["plan"]}, {"kind": "plan", "schema": 2}])
def test_what_is_no_report_of_ours_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        report_from_json(data)


def test_the_promised_columns_of_the_contract_are_there() -> None:
    promised = {
        "inventory": "account region instance arn resource_id engine engine_version kind status endpoint port cluster "
        "member_role ca cert_expires ca_expires supported_cas restart pending_ca pending_other pending_action "
        "maintenance_window tags skip_reason urgency",
        "sessions": "region instance source confidence tls plain unknown clients remedy",
        "trust": "store format region ca verdict reason added_sha256 backup",
        "plan": "region instance resource_id verdict reason wave from_ca to_ca when window_utc restart rollback cli",
        "rotation": "region instance status detail request_id",
        "proof": "region instance verdict api_ca wire_ca wire_expires chain_ok name_ok tls_version cipher "
        "sessions_before sessions_after",
    }
    for kind, columns in promised.items():
        written = to_json(every_report()[kind])
        assert set(columns.split()) <= set(written["rows"][0])
        assert {"kind", "schema", "account", "regions", "made_at", "rows", "problems", "meaning"} <= set(written)
    assert {"digest", "expires_at", "limits"} <= set(to_json(every_report()["plan"]))


def test_a_secret_is_not_shown_however_it_is_printed_copied_or_written_down() -> None:
    value = "correct horse"
    secret = Secret(value)
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>10}",
        f"{secret}",
        repr([secret]),
        repr({1: secret}),
    ]
    assert not any(value in text for text in shown)
    assert not hasattr(secret, "__dict__")
    for write in (pickle.dumps, copy.copy, copy.deepcopy, lambda s: json.dumps(to_json(s))):
        with pytest.raises(TypeError) as refused:
            write(secret)
        assert value not in "".join(traceback.format_exception(refused.value))
    assert secret.reveal() == value


def test_a_secret_is_taken_out_of_a_drivers_text_and_an_empty_one_changes_nothing() -> None:
    assert Secret("s3cr.t*").redact("login with s3cr.t* failed, s3cr.t*") == "login with *** failed, ***"
    assert Secret("").redact("login failed") == "login failed"


def test_no_field_of_a_report_may_hold_a_secret() -> None:
    for kind in REPORTS.values():
        assert not any("Secret" in str(f.type) for cls in (kind, kind.row) for f in fields(cls))


def test_a_record_cannot_be_changed_after_it_was_made() -> None:
    with pytest.raises(AttributeError):
        instance().ca = "rds-ca-2030"  # type: ignore[misc]
    assert replace(instance(), ca="rds-ca-2030").ca == "rds-ca-2030"


def test_a_time_comes_back_to_the_second() -> None:
    moment = datetime.fromisoformat("2026-11-24T07:30:59.999999+00:00")
    assert utc(stamp(moment)) == moment.replace(microsecond=0)
