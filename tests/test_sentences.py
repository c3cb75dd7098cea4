"""The sentences that end the notebooks: true for every report, and never "none" for "not seen"."""

from __future__ import annotations

import pytest
from makers import NEW, NOW, client, days, instance, inventory, proof, report, sessions, step, store, unread

from rdsca_helpers import sentences
from rdsca_helpers.model import (
    Confidence,
    Problem,
    ProofReport,
    ProofVerdict,
    Rotation,
    SessionReport,
    StepStatus,
    Trust,
    Urgency,
)

UNSCANNED = (Problem("111111111111/us-east-1", "not scanned: rds:DescribeDBInstances was refused"),)
FAR = {"cert_expires": NOW + days(300), "urgency": Urgency.OK}


def test_the_inventory_counts_what_presses_and_names_the_next_end() -> None:
    said = sentences.inventory(
        inventory(
            instance("a"),
            instance("b", cert_expires=NOW - days(1), urgency=Urgency.EXPIRED),
            instance("c", cert_expires=None, urgency=Urgency.UNKNOWN),
            instance("d", skip_reason="RDS Proxy"),
        )
    )
    assert "3 instance(s)" in said
    assert "1 expired" in said
    assert "1 30d" in said
    assert "1 unknown" in said
    assert "2026-12-14" in said


def test_a_region_that_was_not_scanned_is_named_and_not_taken_for_empty() -> None:
    said = sentences.inventory(inventory(problems=UNSCANNED))
    assert "us-east-1" in said
    assert "NOT SCANNED" in said


@pytest.mark.parametrize(
    "found",
    [
        inventory(problems=UNSCANNED),
        inventory(instance(**FAR), problems=UNSCANNED),
        inventory(instance(cert_expires=None, urgency=Urgency.UNKNOWN)),
    ],
)
def test_none_within_90_days_is_not_said_while_something_is_unknown(found: object) -> None:
    said = sentences.inventory(found)  # type: ignore[arg-type]
    assert "none within 90 days" not in said
    assert "No end date lies ahead" not in said


def test_none_within_90_days_is_said_when_all_is_known() -> None:
    assert "none within 90 days" in sentences.inventory(inventory(instance(**FAR)))


def test_a_database_that_could_not_be_asked_is_not_counted_as_calm() -> None:
    said = sentences.sessions(report(SessionReport, unread("a"), sessions("b", plain=3), sessions("c", unknown=1)))
    assert "Of 3 instance(s), 2 could be asked. 1 of these" in said
    assert "on 1 no TLS session was seen" in said
    assert "1 could not be asked, and nobody knows" in said


def test_no_database_asked_is_not_no_tls() -> None:
    said = sentences.sessions(report(SessionReport, unread("a"), unread("b")))
    assert "2 could not be asked" in said
    assert "on 0 no TLS session" in said


def test_an_instance_seen_only_in_part_is_not_counted_as_calm_without_a_word() -> None:
    part = sessions("a", plain=1, confidence=Confidence.PARTIAL, remedy="GRANT PROCESS")
    said = sentences.sessions(report(SessionReport, part))
    assert "not all" in said


def test_no_trust_store_shown_is_not_a_trusting_one() -> None:
    said = sentences.trust(report(Trust), NEW, action="show")
    assert "nobody knows" in said
    assert NEW in said


def test_a_store_that_lacks_one_region_lacks_the_ca() -> None:
    rows = (store("ready"), store("old-only", region="us-east-1"), store("both", store="/b"))
    said = sentences.trust(report(Trust, *rows), NEW, action="show")
    assert "1 of 2" in said
    assert 'action="apply"' in said
    applied = sentences.trust(report(Trust, *rows), NEW, action="apply")
    assert "These lack it still: /etc/ssl/rds.pem" in applied


def test_changed_stores_are_counted_and_their_processes_remembered() -> None:
    said = sentences.trust(report(Trust, store("ready", backup="/etc/ssl/rds.pem.bak")), NEW, action="apply")
    assert "1 store(s) were changed" in said
    assert "load them anew" in said


def test_a_rotation_that_only_showed_says_that_nothing_was_changed() -> None:
    said = sentences.rotation(report(Rotation, step(StepStatus.WOULD_ROTATE)))
    assert said == "1 instance(s) would be rotated. Nothing was changed."


def test_a_rotation_says_each_outcome_and_never_only_the_good_ones() -> None:
    rows = [step(s, f"db-{s}") for s in (StepStatus.ROTATED, StepStatus.FAILED, StepStatus.UNKNOWN)]
    said = sentences.rotation(report(Rotation, *rows, action="apply"))
    assert all(word in said for word in ("1 rotated", "1 failed", "1 unknown"))
    assert "Nothing was changed" in sentences.rotation(report(Rotation, action="apply"))


def test_a_proof_names_what_is_not_verified_with_the_reason() -> None:
    rows = [proof(), proof(ProofVerdict.DRIFT, "billing", detail="AWS says x"), proof(ProofVerdict.SCHEDULED, "later")]
    said = sentences.proof(report(ProofReport, *rows))
    assert "1 of 3" in said
    assert "billing (drift: AWS says x)" in said
    assert "1 wait(s)" in said
    assert "nothing to verify" in sentences.proof(report(ProofReport))


def test_a_client_of_unknown_tls_use_counts_as_one_that_may_use_it() -> None:
    who = sessions("a", clients=(client(tls=None),))
    assert "1 of these have sessions that use TLS or may use it" in sentences.sessions(report(SessionReport, who))
