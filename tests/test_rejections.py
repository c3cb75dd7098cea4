"""Who rejects the certificate: read off logs as the real servers write them, the host cache and the counters."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rdsca_helpers import rejections
from rdsca_helpers.engines import Census, Counters
from rdsca_helpers.model import Confidence, utc
from rdsca_helpers.rejections import BROKE_OFF, LogReading

SINCE = utc("2026-11-24T11:00:00Z")
ALERT = "could not accept SSL connection: tlsv1 alert unknown ca"


def line(message: str, *, at: str = "11:09:32", host: str = "10.0.0.5(60124)", pid: int = 7, level: str = "LOG") -> str:
    """A line with RDS's default log_line_prefix, as PostgreSQL 15 writes it before a login."""
    return f"2026-11-24 {at} UTC:{host}:[unknown]@[unknown]:[{pid}]:{level}:  {message}\n"


def hosts(text: str) -> list[tuple[str, int]]:
    return [(r.host, r.count) for r in rejections.of_postgres_log(text, SINCE).rejections]


def test_a_client_that_does_not_know_the_ca_is_named_by_its_address_with_count_and_last_time() -> None:
    text = line(ALERT) + line(ALERT, at="11:20:00", host="10.0.0.5(60199)") + line(ALERT, host="::1(5)")
    first, second = rejections.of_postgres_log(text, SINCE).rejections
    assert (first.host, first.count, first.last) == ("10.0.0.5", 2, utc("2026-11-24T11:20:00Z"))
    assert (second.host, second.reason, second.source) == ("::1", "does not know the CA", "postgresql.log")


def test_what_came_before_the_change_does_not_count() -> None:
    assert hosts(line(ALERT, at="10:59:59") + line(ALERT, at="11:00:00")) == [("10.0.0.5", 1)]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("tlsv1 alert unknown ca", "does not know the CA"),
        ("ssl/tls alert unknown ca", "does not know the CA"),  # OpenSSL 3.2 and later
        ("sslv3 alert certificate unknown", "Java"),
        ("sslv3 alert bad certificate", "or its name"),
        ("sslv3 alert certificate expired", "expired"),
        ("EOF detected", BROKE_OFF),  # Node.js
        ("Connection reset by peer", BROKE_OFF),
    ],
)
def test_each_way_to_reject_has_its_reason(said: str, meant: str) -> None:
    (found,) = rejections.of_postgres_log(line(f"could not accept SSL connection: {said}"), SINCE).rejections
    assert meant in found.reason


@pytest.mark.parametrize(
    "text",
    [
        line("could not accept SSL connection: tlsv1 alert protocol version"),
        line("could not accept SSL connection: no shared cipher"),
        line(f"select '{ALERT}'", level="STATEMENT"),
        line(f"-- {ALERT}", level="STATEMENT"),
        line(f"statement: select 'LOG:  {ALERT}'"),
        f"\tand so on {ALERT}\n",
    ],
)
def test_what_is_no_rejection_of_a_certificate_is_none(text: str) -> None:
    reading = rejections.of_postgres_log(text, SINCE)
    assert (reading.rejections, reading.undated, reading.silent) == ((), 0, 0)


@pytest.mark.parametrize(
    "prefix",
    ["2026-11-24 11:09:32.123 UTC [7] ", "2026-11-24 11:09:32 UTC pid[7] ", "2026-11-24 11:09:32.123 GMT:[7]:"],
)
def test_with_another_prefix_the_address_is_that_of_the_connection_received(prefix: str) -> None:
    text = f"{prefix}LOG:  connection received: host=10.0.0.9 port=5\n{prefix}LOG:  {ALERT}\n"
    assert hosts(text) == [("10.0.0.9", 1)]


def test_an_address_that_nobody_wrote_down_is_unknown() -> None:
    assert hosts(f"2026-11-24 11:09:32 UTC [7] LOG:  {ALERT}\n") == [("unknown", 1)]


@pytest.mark.parametrize("prefix", ["2026-11-24 11:09:32 CET:", "[7] ", "2026-13-99 11:09:32 UTC:"])
def test_a_rejection_without_a_time_in_utc_may_be_old_and_is_only_counted(prefix: str) -> None:
    reading = rejections.of_postgres_log(f"{prefix}10.0.0.5(1):LOG:  {ALERT}\n", SINCE)
    assert (reading.rejections, reading.undated) == ((), 1)


def test_connections_that_ended_without_a_word_are_counted_apart() -> None:
    received = "connection received: host=10.0.0.5 port=60124"
    text = line(received, pid=1) + line(received, pid=2, at="10:00:00") + line(received, pid=3)
    text += line("connection authorized: user=app database=app", pid=3) + line(received, pid=4) + line(ALERT, pid=4)
    reading = rejections.of_postgres_log(text, SINCE)
    assert reading.silent == 1
    assert [r.count for r in reading.rejections] == [1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        line("password authentication failed", level="FATAL"),  # log_min_messages = fatal
        f'2026-11-24 11:09:32.1 UTC,,,7,"10.0.0.5:60124",6a.7,1,"",,,0,LOG,00000,"{ALERT}",,,,,,,,,""',
        "2026-11-24 11:09:32 CET:10.0.0.5(1):LOG:  checkpoint starting: time\n",
    ],
    ids=["empty", "fatal", "csvlog", "no time in UTC"],
)
def test_a_log_that_cannot_tell_of_rejections_has_no_line_that_is_understood(text: str) -> None:
    reading = rejections.of_postgres_log(text, SINCE)
    assert (reading.understood, reading.first) == (0, None)


def test_a_log_says_from_when_on_it_tells() -> None:
    text = line("parameter changed", at="11:30:00") + line("checkpoint starting: time", at="11:35:00")
    reading = rejections.of_postgres_log(text, SINCE)
    assert (reading.understood, reading.first) == (2, utc("2026-11-24T11:30:00Z"))


def test_a_log_in_whole_seconds_loses_nothing_of_the_second_in_which_the_change_was_made() -> None:
    late = SINCE.replace(microsecond=900_000)
    assert len(rejections.of_postgres_log(line(ALERT, at="11:00:00"), late).rejections) == 1
    assert len(rejections.of_mysql_log(MARIADB.replace("11:13:33", "11:00:00"), late).rejections) == 1


def test_a_restart_after_the_change_has_wiped_the_counters() -> None:
    read = [census(3, 3)]  # it has been up for 100 s
    now = SINCE + timedelta(seconds=1000)
    assert rejections.counters_began(read, SINCE, now) == now - timedelta(seconds=100)
    assert rejections.counters_began(read, now - timedelta(seconds=99), now) is None
    assert rejections.counters_began(read, now - timedelta(seconds=102), now) is None
    assert rejections.counters_began([Census("s", Confidence.FULL, ())], SINCE, now) is None


def test_hostile_and_broken_text_does_no_harm() -> None:
    flood = "".join(line(ALERT, host=f"h{n}(1)") for n in range(5000))
    odd = "\0\x1b[31m\u202e" * 1000 + "\n" + line(ALERT, host="x" * 5000 + "(1)") + line(ALERT)[40:] + line(ALERT)[:-9]
    found = rejections.of_postgres_log(odd + flood, SINCE).rejections
    assert len(found) <= 201
    assert sum(r.count for r in found) >= 5000
    assert all(len(r.host) <= 255 for r in found)


MARIADB = (
    "2026-11-24 11:13:33 8 [Warning] Aborted connection 8 to db: 'unconnected' user: 'unauthenticated' host: "
    "'10.0.0.2' (This connection closed normally without authentication)\n"
)


def test_the_error_log_of_mariadb_and_mysql_names_who_left_before_a_login() -> None:
    mysql = MARIADB.replace("2026-11-24 11:13:33 8 [Warning]", "2026-11-24T11:13:34.5Z 8 [Note] [MY-010914] [Server]")
    old = MARIADB.replace("11:13:33", "10:13:33")
    logged_in = MARIADB.replace("'unconnected' user: 'unauthenticated'", "'app' user: 'app'")
    (found,) = rejections.of_mysql_log(MARIADB + mysql + old + logged_in, SINCE).rejections
    assert (found.host, found.count, found.last) == ("10.0.0.2", 2, utc("2026-11-24T11:13:34Z"))


def census(begun: int | None, finished: int | None, cache: dict[str, int] | None = None) -> Census:
    counted = Counters(100, 50, begun, finished)
    return Census("s", Confidence.FULL, (), counters=counted, handshake_errors=cache)


def test_the_host_cache_names_those_whose_errors_grew() -> None:
    grown = census(9, 4, {"10.0.0.2": 3, "10.0.0.3": 7}), census(12, 4, {"10.0.0.2": 6, "10.0.0.3": 7, "10.0.0.4": 1})
    found = rejections.of_handshakes(8, grown, LogReading())
    assert [(r.host, r.count) for r in found] == [("10.0.0.2", 3), ("10.0.0.4", 1)]


def test_health_checks_that_begin_no_tls_are_not_taken_for_clients() -> None:
    logged = rejections.of_mysql_log(MARIADB, SINCE)
    calm = census(9, 9, {"10.0.0.3": 1}), census(12, 12, {"10.0.0.3": 9})
    assert rejections.broken_off(calm) == 0
    assert rejections.of_handshakes(0, calm, logged) == ()
    assert rejections.of_handshakes(2, [census(9, 7)], logged) == logged.rejections


@pytest.mark.parametrize("cache", [None, {}, {"10.0.0.2": 3}])
def test_without_names_the_count_stands_for_clients_whom_nobody_knows(cache: dict[str, int] | None) -> None:
    (found,) = rejections.of_handshakes(5, [census(9, 4, cache), census(14, 4, cache)], LogReading())
    assert (found.host, found.count) == ("unknown", 5)


def test_a_handshake_just_under_way_is_no_rejection() -> None:
    assert rejections.broken_off([census(9, 9), census(12, 11)]) == 0
    assert rejections.broken_off([census(9, 5), census(12, 7)]) == 4


def test_where_nothing_is_counted_nothing_is_known() -> None:
    assert rejections.broken_off([census(None, None), Census("s", Confidence.FULL, ())]) is None
    assert rejections.broken_off([]) is None
