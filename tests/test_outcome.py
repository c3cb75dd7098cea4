"""Exit codes: what was not good is never a success."""

from __future__ import annotations

from typing import Any

import pytest
from makers import empty_reports, every_report, proof, report, step, store

from rdsca_helpers import outcome
from rdsca_helpers.model import Problem, ProofReport, ProofVerdict, Rotation, StepStatus, Trust


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ("", 0),
        ("would rotate", 0),
        ("rotated,scheduled,staged", 0),
        ("refused", 3),
        ("would rotate,refused", 3),
        ("rotated,refused", 4),
        ("scheduled,refused", 4),
        ("staged,refused", 4),
        ("failed", 4),
        ("rotated,failed,refused", 4),
        ("unknown", 6),
        ("rotated,failed,unknown", 6),
    ],
)
def test_a_rotation_ends_with_the_code_of_its_worst_step(statuses: str, code: int) -> None:
    rows = [step(StepStatus(s), f"db-{s}") for s in statuses.split(",") if s]
    found = report(Rotation, *rows, action="apply")
    assert outcome.code(found) == code
    failure = outcome.failure(found)
    assert (failure is None) == (code == 0)
    for bad in ("failed", "unknown"):
        if failure and bad in statuses and code == {"failed": 4, "unknown": 6}[bad]:
            assert f"db-{bad} (a detail)" in str(failure)


@pytest.mark.parametrize("verdict", ProofVerdict)
def test_only_verified_and_scheduled_proofs_are_good(verdict: ProofVerdict) -> None:
    found = report(ProofReport, proof(), proof(verdict, "billing"))
    good = verdict in (ProofVerdict.VERIFIED, ProofVerdict.SCHEDULED)
    assert outcome.code(found) == (0 if good else 5)
    if not good:
        assert "billing (a detail)" in str(outcome.failure(found))


@pytest.mark.parametrize(
    ("verdict", "code"), [("ready", 0), ("old-only", 0), ("unknown", 0), ("not-verifying", 0), ("unknown-ca", 10)]
)
def test_only_an_unknown_root_makes_a_look_at_trust_stores_fail(verdict: str, code: int) -> None:
    found = report(Trust, store(), store(verdict, reason="nobody knows it"))
    assert outcome.code(found) == code
    if code:
        assert "eu-west-1 (nobody knows it)" in str(outcome.failure(found))


@pytest.mark.parametrize("kind", empty_reports())
def test_a_report_with_something_unread_is_not_a_success(kind: str) -> None:
    assert outcome.code(empty_reports()[kind]) == 0
    unread = every_report()[kind]
    assert unread.problems
    assert outcome.code(unread) == 4


def test_a_failure_outweighs_what_could_not_be_read() -> None:
    found = report(ProofReport, proof(ProofVerdict.DRIFT), problems=(Problem("x", "y"),))
    assert outcome.code(found) == 5


@pytest.mark.parametrize(
    ("codes", "worst"),
    [([], 0), ([0, 0], 0), ([0, 3], 3), ([3, 4], 4), ([4, 5, 3], 5), ([5, 6, 0], 6), ([9, 4], 9), ([8, 2], 8)],
)
def test_the_worst_code_is_the_one_that_may_cost_most(codes: list[int], worst: int) -> None:
    assert outcome.worst(codes) == worst
    assert outcome.worst(reversed(codes)) == worst


def test_every_code_of_the_contract_has_its_place_among_the_worst() -> None:
    for code in range(11):
        assert outcome.worst([code, 0]) == code


def test_many_failures_are_counted_and_the_first_are_named() -> None:
    rows: list[Any] = [proof(ProofVerdict.FAILED, f"db-{i}") for i in range(9)]
    said = str(outcome.failure(report(ProofReport, *rows)))
    assert "db-0" in said
    assert "6 more" in said
    assert "db-8" not in said
