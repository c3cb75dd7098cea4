"""What counts as proven after a change, and what the clients may not lose."""

from __future__ import annotations

import pytest
from makers import NEW, OLD, client, sessions, unread

from rdsca_helpers import proof
from rdsca_helpers.certs import ChainVerdict
from rdsca_helpers.engines import EVERYBODY
from rdsca_helpers.model import ProofVerdict, Rejection, Sessions, utc

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


def plain(before: Sessions | None, after: Sessions | None) -> list[tuple[str, str, int]]:
    return [(r.user, r.host, r.count) for r in proof.lost_encryption(before, after)]


def test_clients_that_are_all_back_lost_nothing() -> None:
    before = seen(("app", True, 5), ("batch", False, 1))
    for after in (before, seen(("app", True, 1), ("batch", False, 9), ("new", False, 3))):
        assert plain(before, after) == []
        assert proof.missing(before, after) == ""
        verdict, why = proof.judge_clients(before, after, ())
        assert (verdict, why) == (ProofVerdict.VERIFIED, "every client that was seen before the change is back")


def test_a_client_that_moved_to_another_host_is_back() -> None:
    before, after = (sessions(clients=(client("app", host=h),)) for h in ("10.0.0.1", "10.0.0.2"))
    assert proof.missing(before, after) == ""


def test_a_client_that_is_not_back_is_named() -> None:
    before, after = seen(("app", True, 5), ("batch", True, 1)), seen(("app", True, 5))
    why = proof.missing(before, after)
    assert "batch" in why
    assert "app " not in why
    assert proof.judge_clients(before, after, ()) == (ProofVerdict.FAILED, why)


@pytest.mark.parametrize("left", [0, 3, 5, 9])
def test_a_client_that_went_on_in_clear_text_with_some_sessions_or_all_is_named(left: int) -> None:
    after = seen(("app", True, left), ("app", False, 2))
    assert plain(seen(("app", True, 5)), after) == [("app", "10.0.0.7", 2)]


def test_a_client_that_went_on_in_clear_text_is_not_hidden_by_another_that_came_over_tls() -> None:
    after = seen(("app", False, 5), ("newcomer", True, 9))
    assert plain(seen(("app", True, 5)), after) == [("app", "10.0.0.7", 5)]


def test_a_host_that_went_on_in_clear_text_is_not_hidden_by_a_new_host_of_the_same_program() -> None:
    before = sessions(clients=(client(host="10.0.0.1"), client(host="10.0.0.2", tls=False)))
    after = sessions(
        clients=(client(host="10.0.0.1", tls=False), client(host="10.0.0.2", tls=False), client(host="10.0.0.3"))
    )
    assert plain(before, after) == [("app", "10.0.0.1", 1)]


def test_a_client_that_moved_and_went_on_in_clear_text_is_named_at_its_new_host() -> None:
    before, after = sessions(clients=(client(host="10.0.0.1"),)), sessions(clients=(client(host="h2", tls=False),))
    assert plain(before, after) == [("app", "h2", 1)]


def test_more_plain_sessions_of_a_client_that_had_them_before_are_no_loss() -> None:
    before = seen(("app", True, 5), ("batch", False, 1), ("both", True, 2), ("both", False, 2))
    after = seen(("app", True, 4), ("batch", False, 7), ("both", True, 2), ("both", False, 3))
    assert plain(before, after) == []


def test_sessions_that_cannot_be_read_any_more_are_a_loss_and_never_read_ones_prove_nothing() -> None:
    assert proof.missing(seen(("app", True, 1)), unread())
    assert proof.missing(seen(("app", True, 1)), None)
    for before in (unread(), None):
        after = seen(("app", False, 1))
        assert proof.missing(before, after) == ""
        assert plain(before, after) == []
        assert proof.judge_clients(before, after, ())[1] == "who was connected before the change is not known"


def test_nobody_before_is_not_said_to_be_back() -> None:
    assert proof.judge_clients(sessions(), sessions(), ())[1] == "no client was seen before the change"


def test_a_client_that_rejects_the_certificate_fails_the_proof_and_is_named_with_what_is_known() -> None:
    rejected = [
        Rejection(host="10.0.0.5", reason="does not know the CA", source="postgresql.log", count=7),
        Rejection(host="10.0.0.6", reason=proof.CLEAR_TEXT, source="pg_stat_ssl", user="app", program="shop"),
    ]
    verdict, why = proof.judge_clients(None, None, rejected)
    assert verdict is ProofVerdict.FAILED
    assert "10.0.0.5 does not know the CA (7)" in why
    assert "clients went on in clear text: app shop 10.0.0.6" in why


def test_a_flood_of_clients_is_cut_in_the_sentence() -> None:
    many = [Rejection(host=f"10.0.0.{n:03}", reason="r", source="s") for n in range(99)]
    assert proof.named(many).endswith("10.0.0.009 r (1) and 89 more")


def test_a_change_that_rds_still_holds_after_its_window_is_failed() -> None:
    window = "2026-11-29T03:00:00Z/2026-11-29T03:30:00Z"
    assert proof.judge_pending(window, utc("2026-11-29T03:10:00Z"))[0] is ProofVerdict.SCHEDULED
    assert proof.judge_pending(window, utc("2026-11-29T03:31:00Z"))[0] is ProofVerdict.FAILED
    assert proof.judge_pending("unknown", utc("2026-11-29T03:31:00Z"))[0] is ProofVerdict.SCHEDULED


def test_an_instance_without_tls_is_judged_by_aws_alone_and_says_so() -> None:
    verdict, detail = proof.judge_without_tls(NEW, NEW, "option group without the SSL option")
    assert verdict is ProofVerdict.VERIFIED
    assert "offers no TLS" in detail
    assert "option group without the SSL option" in detail
    assert proof.judge_without_tls(OLD, NEW, "x")[0] is ProofVerdict.FAILED
    assert proof.judge_without_tls(None, NEW, "x")[0] is ProofVerdict.FAILED


def test_a_client_that_rejected_stays_rejected_until_its_host_is_seen_over_tls() -> None:
    named = Rejection(host="10.0.0.5", reason="does not know the CA", source="postgresql.log", count=7)
    somebody = Rejection(host="unknown", reason="broke off", source="TLS counters")
    plain = Rejection(host="10.0.0.6", reason=proof.CLEAR_TEXT, source="pg_stat_ssl", user="app")
    earlier = (named, somebody, plain)
    for after in (None, unread(), sessions(), sessions(clients=(client(host="10.0.0.5", tls=False),))):
        left = proof.not_back(earlier, after)
        assert [r.host for r in left] == ["10.0.0.5", "unknown"]
        assert proof.not_back(left, after) == left
        verdict, why = proof.judge_clients(None, after, left)
        assert verdict is ProofVerdict.FAILED
        assert "10.0.0.5 does not know the CA, and was not seen to come back since (7)" in why
        assert "mend their trust stores, let them connect, and run 06-verify again" in why
    assert [r.host for r in proof.not_back(earlier, sessions(clients=(client(host="10.0.0.9"),)))] == ["10.0.0.5"]
    assert proof.not_back(earlier, sessions(clients=(client(host="10.0.0.5"),))) == ()


def test_a_setting_that_speaks_for_every_client_counts_nobody_and_nobody_is_said_to_be_back() -> None:
    told = sessions(clients=(client(EVERYBODY, host="", program=""),), source="the parameter tls")
    assert proof.missing(told, sessions()) == ""
    verdict, why = proof.judge_clients(told, told, ())
    assert verdict is ProofVerdict.VERIFIED
    assert "nobody was counted" in why
    assert "the parameter tls" in why
    assert "back" not in why


@pytest.mark.parametrize(("then", "today"), [(None, True), (True, None)])
def test_that_clients_are_back_does_not_say_that_they_use_tls_where_that_is_not_told(
    then: bool | None, today: bool | None
) -> None:
    _, why = proof.judge_clients(seen(("app", then, 1)), seen(("app", today, 1)), ())
    assert why.endswith("is back; whether they still use TLS is not known")
