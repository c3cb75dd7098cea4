"""Sampling: what is put together from several looks, and what the counters add."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from rdsca_helpers.engines import Census, Counters
from rdsca_helpers.model import Client, Confidence
from rdsca_helpers.sampling import Sample, evidence, merge

START = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
WEB = Client(user="app", host="10.0.0.5", program="web", tls=True, count=3)
JOB = Client(user="night", host="10.0.0.9", program="job", tls=False)
COUNT = Counters(uptime=100, connections=50, tls_begun=20, tls_finished=20, aborted=0)


def sample(
    second: int, *clients: Client, counters: Counters | None = None, sure: Confidence = Confidence.FULL
) -> Sample:
    return Sample(START + timedelta(seconds=second), Census("pg_stat_ssl", sure, clients), counters)


def failed(second: int, why: str = "no answer within 8 s") -> Sample:
    return Sample(START + timedelta(seconds=second), None, failure=why)


def test_a_client_that_was_there_in_one_sample_only_is_in_the_result() -> None:
    assert set(merge([sample(0, WEB), sample(10, WEB, JOB), sample(20, WEB)]).clients) == {WEB, JOB}


def test_a_client_counts_as_often_as_it_was_seen_at_once() -> None:
    (web,) = merge([sample(0, WEB), sample(10, replace(WEB, count=5)), sample(20, replace(WEB, count=1))]).clients
    assert web.count == 5


def test_sessions_of_one_client_with_and_without_tls_stay_apart() -> None:
    bare = replace(WEB, tls=False, count=1)
    assert set(merge([sample(0, WEB), sample(10, bare)]).clients) == {WEB, bare}


def test_one_sample_that_told_less_makes_the_whole_less_sure() -> None:
    assert merge([sample(0, WEB), sample(10, sure=Confidence.PARTIAL)]).confidence is Confidence.PARTIAL


def test_a_sample_that_failed_loses_nothing_of_the_others() -> None:
    samples = [sample(0, WEB), failed(10), sample(20, JOB)]
    assert set(merge(samples).clients) == {WEB, JOB}
    assert evidence(samples, 3) == "2 of 3 sample(s) in 20 s; 1 failed, the last one because no answer within 8 s"


def test_when_every_sample_failed_nothing_was_read_and_the_reason_stays() -> None:
    census = merge([failed(0), failed(10, "connection refused")])
    assert (census.source, census.confidence, census.remedy) == ("none", Confidence.NONE, "connection refused")
    assert evidence([failed(0)], 1) == ""


def test_counters_tell_of_connections_that_came_and_went_between_two_samples() -> None:
    later = replace(COUNT, uptime=130, connections=62, tls_begun=27, tls_finished=25)
    text = evidence([sample(0, counters=COUNT), sample(30, counters=later)], 2)
    assert text.endswith(  # 12 and 7 were counted, with the login of the second look itself
        "11 connection(s) were made in between, 6 of them over TLS, 2 of these broke the handshake off"
    )


def test_connections_that_nobody_saw_make_the_whole_less_sure_and_say_how_many_were_over_tls() -> None:
    later = replace(COUNT, uptime=130, connections=62, tls_begun=27, tls_finished=25)
    census = merge([sample(0, counters=COUNT), sample(30, counters=later)])
    assert census.confidence is Confidence.PARTIAL
    assert "11 connection(s) between the looks, 6 of them over TLS" in census.remedy
    assert "samples" in census.remedy


def test_the_logins_of_rdsca_itself_are_nobody_that_came_and_went() -> None:
    counts = [
        replace(COUNT, uptime=100 + n, connections=50 + n, tls_begun=20 + n, tls_finished=20 + n) for n in (0, 1, 2)
    ]
    samples = [sample(n, counters=c) for n, c in enumerate(counts)]
    assert merge(samples).confidence is Confidence.FULL
    assert evidence(samples, 3).endswith("; 0 connection(s) were made in between, 0 of them over TLS")
    late = [sample(0, counters=COUNT), sample(1, counters=replace(COUNT, uptime=101))]  # counts its sessions late
    assert merge(late).confidence is Confidence.FULL
    assert "; 0 connection(s) were made in between, 0 of them" in evidence(late, 2)


def test_a_look_that_failed_or_told_nothing_makes_the_whole_less_sure_and_says_why() -> None:
    blind = Sample(START, Census("none", Confidence.NONE, (), "GRANT PROCESS"))
    for other, why in ((failed(10), "no answer within 8 s"), (blind, "GRANT PROCESS")):
        for samples in ([sample(0, WEB), other], [other, sample(20, WEB)]):
            census = merge(samples)
            assert census.confidence is Confidence.PARTIAL
            assert "1 of 2 look(s)" in census.remedy
            assert why in census.remedy


def test_a_restart_that_no_counter_shows_is_known_from_the_time_the_server_is_up() -> None:
    fresh = Counters(uptime=1, connections=5, tls_begun=2, tls_finished=2)
    anew = Counters(uptime=20, connections=9, tls_begun=6, tls_finished=6)
    text = evidence([sample(0, counters=fresh), sample(60, counters=anew)], 2)
    assert "began anew in between" in text
    assert "0 connection(s)" not in text
    census = merge([sample(0, counters=fresh), sample(60, counters=anew)])
    assert census.confidence is Confidence.PARTIAL
    assert "began anew" in census.remedy
    near = [sample(0, counters=fresh), sample(21, counters=replace(anew, connections=6, tls_begun=3, tls_finished=3))]
    assert merge(near).confidence is Confidence.FULL


def test_counters_that_began_anew_are_named_and_not_subtracted() -> None:
    anew = Counters(uptime=5, connections=4, tls_begun=2, tls_finished=2, aborted=0)
    later = replace(anew, uptime=35, connections=9, tls_begun=3, tls_finished=3)
    text = evidence([sample(0, counters=COUNT), sample(30, counters=anew), sample(60, counters=later)], 3)
    assert "began anew in between" in text
    assert "4 connection(s) were made in between, 0 of them over TLS" in text


def test_a_server_that_does_not_count_tls_says_only_how_many_connected() -> None:
    bare = Counters(uptime=1, connections=5)
    text = evidence([sample(0, counters=bare), sample(9, counters=replace(bare, uptime=10, connections=8))], 2)
    assert text.endswith("2 connection(s) were made in between")
    census = merge([sample(0, counters=bare), sample(9, counters=replace(bare, uptime=10, connections=8))])
    assert "2 connection(s) between the looks" in census.remedy
    assert "TLS" not in census.remedy
