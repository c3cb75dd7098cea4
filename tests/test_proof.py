"""What counts as proven after a change, and what the clients may not lose."""

from __future__ import annotations

import pytest
from makers import NEW, OLD, client, sessions, unread

from rdsca_helpers import proof
from rdsca_helpers.certs import ChainVerdict
from rdsca_helpers.model import ProofVerdict, Sessions, utc

GOOD = ChainVerdict(True, True, True, None, "chain, name and dates are good")


@pytest.mark.parametrize(
    ("api", "wire", "expected"),
    [
        (NEW, NEW, "verified"),
        (OLD, OLD, "failed"),
        (NEW, OLD, "drift"),
        (OLD, NEW, "drift"),
        (NEW, None, "drift"),
        (None, NEW, "drift"),
        (None, None, "failed"),
    ],
)
def test_only_aws_and_the_wire_together_on_the_target_are_verified(
    api: str | None, wire: str | None, expected: str
) -> None:
    verdict, why = proof.judge(api, wire, NEW, GOOD)
    assert verdict == expected
    assert why


def test_a_drift_names_what_each_side_shows() -> None:
    _, why = proof.judge(NEW, OLD, NEW, GOOD)
    assert NEW in why
    assert OLD in why


@pytest.mark.parametrize("bad", range(3))
def test_a_chain_a_name_or_a_date_that_does_not_hold_is_a_failure(bad: int) -> None:
    facts = [i != bad for i in range(3)]
    shown = ChainVerdict(*facts, None, "this is why")
    assert proof.judge(NEW, NEW, NEW, shown) == (ProofVerdict.FAILED, "this is why")


def seen(*clients: tuple[str, bool | None, int]) -> Sessions:
    return sessions(clients=tuple(client(user, tls=tls, count=count) for user, tls, count in clients))


def test_clients_that_are_all_back_lost_nothing() -> None:
    before = seen(("app", True, 5), ("batch", False, 1))
    assert proof.loss(before, before) == ""
    assert proof.loss(before, seen(("app", True, 1), ("batch", False, 9), ("new", False, 3))) == ""


def test_a_client_that_moved_to_another_host_is_back() -> None:
    before, after = (sessions(clients=(client("app", host=h),)) for h in ("10.0.0.1", "10.0.0.2"))
    assert proof.loss(before, after) == ""


def test_a_client_that_is_not_back_is_named() -> None:
    why = proof.loss(seen(("app", True, 5), ("batch", True, 1)), seen(("app", True, 5)))
    assert "batch" in why
    assert "app " not in why


def test_a_client_that_went_on_in_clear_text_is_a_loss() -> None:
    why = proof.loss(seen(("app", True, 5)), seen(("app", False, 5)))
    assert "clear text" in why
    assert "app" in why


def test_a_client_that_went_on_in_clear_text_is_not_hidden_by_another_that_came_over_tls() -> None:
    after = seen(("app", False, 5), ("newcomer", True, 9))
    assert "clear text" in proof.loss(seen(("app", True, 5)), after)


def test_more_plain_sessions_of_a_client_that_never_used_tls_are_no_loss() -> None:
    before = seen(("app", True, 5), ("batch", False, 1))
    assert proof.loss(before, seen(("app", True, 4), ("batch", False, 7))) == ""


def test_sessions_that_cannot_be_read_any_more_are_a_loss_and_never_read_ones_prove_nothing() -> None:
    assert proof.loss(seen(("app", True, 1)), unread())
    assert proof.loss(seen(("app", True, 1)), None)
    assert proof.loss(unread(), seen(("app", True, 1))) == ""
    assert proof.loss(None, None) == ""


def test_a_change_that_rds_still_holds_after_its_window_is_failed() -> None:
    window = "2026-11-29T03:00:00Z/2026-11-29T03:30:00Z"
    assert proof.judge_pending(window, utc("2026-11-29T03:10:00Z"))[0] is ProofVerdict.SCHEDULED
    assert proof.judge_pending(window, utc("2026-11-29T03:31:00Z"))[0] is ProofVerdict.FAILED
    assert proof.judge_pending("unknown", utc("2026-11-29T03:31:00Z"))[0] is ProofVerdict.SCHEDULED
