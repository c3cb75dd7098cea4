"""The sentences that end the notebooks: true for every report, and never "none" for "not seen"."""

from __future__ import annotations

import pytest
from makers import (
    NEW,
    NOW,
    client,
    days,
    instance,
    inventory,
    parameter_change,
    proof,
    report,
    sessions,
    step,
    store,
    unread,
)

from rdsca_helpers import sentences
from rdsca_helpers.model import (
    Confidence,
    ParameterReport,
    ParameterStatus,
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
    assert "Of 3 instance(s), 2 told who is connected. 1 of these" in said
    assert "On 1 of these no TLS session was seen" in said
    assert "1 could not be asked or did not tell, so nobody knows" in said


def test_no_database_asked_is_not_no_tls() -> None:
    said = sentences.sessions(report(SessionReport, unread("a"), unread("b")))
    assert "Of 2 instance(s), 0 told who is connected. 2 could not be asked or did not tell, so nobody knows" in said
    assert "no TLS" not in said


def test_what_was_not_seen_is_never_called_none() -> None:
    said = sentences.sessions(report(SessionReport, sessions("a"), sessions("b", tls=1)))
    assert "none" not in said.lower()
    assert said.endswith("This was one look: who was not connected then, is not counted.")


def test_sampling_over_time_says_how_many_looks_there_were_and_when_it_was_stopped() -> None:
    found = report(SessionReport, sessions("a", plain=1))
    whole = sentences.sessions(found, samples=20, rounds=20)
    assert "There were 20 look(s)" in whole
    assert "stopped" not in whole
    cut = sentences.sessions(found, samples=20, rounds=3)
    assert "stopped by hand after 3 of 20 sample(s). There were 3 look(s)" in cut


def test_a_parameter_change_names_who_else_gets_it_and_the_reboot_and_never_calls_a_wish_a_change() -> None:
    rows = (parameter_change(shared_with=("billing", "archive")), parameter_change(ParameterStatus.REFUSED, "b"))
    said = sentences.parameters(report(ParameterReport, *rows))
    assert "1 would change; 1 refused. Nothing was changed." in said
    assert "get the change too: archive, billing." in said
    assert "after the next reboot, which rdsca leaves to you" in said
    changed = sentences.parameters(report(ParameterReport, parameter_change(ParameterStatus.CHANGED)))
    assert "1 changed." in changed
    assert "Nothing was changed" not in changed
    assert "Nothing was changed" in sentences.parameters(report(ParameterReport))


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
    rows = [
        store("ready", added_sha256=("ab",), backup="/etc/ssl/rds.pem.bak"),
        store("ready", added_sha256=("ab",), store="/etc/ssl/folder", format="directory"),
        store("ready", store="/c"),
    ]
    said = sentences.trust(report(Trust, *rows), NEW, action="apply")
    assert "2 store(s) were changed (1 backup(s) beside them)" in said
    assert "load them anew" in said


def test_a_store_that_could_not_be_read_neither_holds_nor_lacks_the_ca() -> None:
    rows = (store("unknown"), store("ready", store="/b"))
    for action in ("show", "apply"):
        said = sentences.trust(report(Trust, *rows), NEW, action=action)
        assert "1 of 2" in said
        assert "Of 1 nobody knows: /etc/ssl/rds.pem" in said
        assert "lack" not in said


def test_clients_that_do_not_verify_are_named() -> None:
    rows = (store("not-verifying", client="cron"), store("ready", client="web"))
    said = sentences.trust(report(Trust, *rows), NEW, action="show")
    assert "1 of 1" in said
    assert "1 client(s) do not verify with their store (cron)" in said


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


def test_a_proof_says_that_clients_are_back_only_where_there_were_some_and_that_nobody_knows_where_nothing_tells() -> (
    None
):
    empty, full = (
        proof(name="empty", sessions_before=0),
        proof(name="full", sessions_before=3, rejections_read="its log"),
    )
    said = sentences.proof(report(ProofReport, empty, full))
    assert "On 1 of them every client that was connected before is back" in said
    assert "NOBODY KNOWS which clients reject the new CA on empty:" in said
    assert "On 1 no client was seen to reject the new CA so far" in said
    hidden = proof(name="unread", detail="x; whether they still use TLS is not known")
    problem = Problem("111111111111/eu-west-1/unread", "the log was refused")
    said = sentences.proof(report(ProofReport, empty, hidden, problems=(problem,)))
    assert "new CA on unread: what would tell could not be read" in said
    assert "new CA on empty: this engine has no log" in said
    assert "Who was connected before is not known on unread." in said
    assert "On unread whether they still use TLS is not known." in said
    assert "is back" not in said
    assert "was seen to reject" not in said
