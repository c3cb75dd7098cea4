"""Rejections: which clients do not accept the certificate, read off a server's log, host cache and counters. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from .engines import Census
from .model import UNKNOWN, Rejection

MORE_HOSTS = "(more hosts)"
BROKE_OFF = "broke off the TLS handshake and did not say why"
# TLS alerts that are about the certificate (RFC 8446, 6.2), in OpenSSL's words; others are about protocol and ciphers.
# Measured on PostgreSQL 15: libpq and Python say "unknown ca", Java "certificate unknown" of the same thing, Python
# "bad certificate" of a wrong name. Node.js closes in the handshake and says nothing.
_REASONS = {
    "unknown ca": "does not know the CA",
    "certificate unknown": "does not accept the certificate (Java says so of an unknown CA)",
    "bad certificate": "does not accept the certificate or its name",
    "certificate expired": "finds the certificate expired",
    "certificate revoked": "finds the certificate revoked",
    "unsupported certificate": "cannot use this kind of certificate",
}
_CLOSED = ("EOF detected", "Connection reset by peer")
_UPTIME_SLACK = timedelta(seconds=3)
_LINE_CHARACTERS = 2000
_HOSTS = 200  # so many are named; a flood of made-up ones stays readable

_TIME = re.compile(r"(?P<time>\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(?:\.\d{1,9})? ?(?P<zone>Z|[A-Z]{2,5}|[+-]\d\d)?(?!\d)")
_REMOTE = re.compile(r"[:\s=](?P<host>[^\s()]{1,255})\(\d{1,5}\)")  # %r of log_line_prefix
_PID = re.compile(r"\[(\d{1,10})\]")
_RECEIVED = re.compile(r"connection received: host=(?P<host>\S{1,255})")
_REFUSED = re.compile(r"[^:]{0,100}SSL[^:]{0,100}: (?:.*\balert (?P<alert>.+)|(?P<why>.+))")
_ABORTED = re.compile(
    r".{0,100}Aborted connection \d+ to db: 'unconnected' user: 'unauthenticated' host: '(?P<host>[^']{1,255})'"
)


@dataclass(frozen=True)
class LogReading:
    """What a log tells. *undated* rejections bear no time in UTC and may be old: they are counted, not named.

    *silent* connections ended before a login without a word: a health check's, or a client's that rejects the name
    after the handshake (libpq). *understood* lines are those of the kind that tells of rejections, with a time in UTC,
    and *first* is the time of the first: without one the log says nothing, and that it names nobody is no proof.
    """

    rejections: tuple[Rejection, ...] = ()
    undated: int = 0
    silent: int = 0
    understood: int = 0
    first: datetime | None = None


def of_postgres_log(text: str, since: datetime) -> LogReading:
    """Read the rejected handshakes since *since* off a PostgreSQL log.

    The client's address stands in RDS's log_line_prefix (``%t:%r:%u@%d:[%p]:``), else in the "connection received"
    of the same process (log_connections). Who the client is it has not said by then. Other prefixes, cut lines and
    hostile ones do no harm: what is not understood is left out, or counted as undated. A server tells of rejections
    in lines of level LOG, which log_min_messages=fatal leaves out as a whole.
    """
    found = _Found("postgresql.log", since)
    waiting: dict[str, str] = {}  # process id -> host of a connection that nothing has been heard of yet
    for line in _lines(text):
        head, mark, message = line.partition(":  ")
        if not mark:
            continue
        if head.endswith("LOG"):
            found.understand(_time(head))
        process = _PID.search(head)
        pid = process[1] if process else ""
        if received := _RECEIVED.match(message):
            if (_time(head) or found.since) >= found.since:
                waiting[pid] = received["host"]
            continue
        host = waiting.pop(pid, UNKNOWN)
        refused = _REFUSED.match(message) if head.endswith("LOG") else None
        if refused is None:
            continue
        reason = BROKE_OFF if refused["why"] in _CLOSED else _REASONS.get(refused["alert"] or "")
        if reason:
            time = _TIME.search(head)
            remote = _REMOTE.search(head, time.end() if time else 0)
            found.add(_time(head), remote["host"] if remote else host, reason)
    return found.reading(silent=len(waiting))


def of_mysql_log(text: str, since: datetime) -> LogReading:
    """Read the connections that ended before a login since *since* off the error log of MariaDB or MySQL.

    MariaDB writes them as it comes (log_warnings=2). MySQL 9.7 writes "Bad handshake" without an address, also with
    log_error_verbosity=3 (measured): there only the host cache names them. A TCP health check looks the same, so the
    TLS counters must say that handshakes were broken off. RDS writes the log in UTC.
    """
    found = _Found("mysql-error.log", since)
    for line in _lines(text):
        found.understand(_time(line))
        if aborted := _ABORTED.match(line):
            found.add(_time(line), aborted["host"], BROKE_OFF)
    return found.reading()


def of_host_cache(before: Mapping[str, int], after: Mapping[str, int]) -> tuple[Rejection, ...]:
    """Name the addresses whose handshake errors grew between two readings of performance_schema.host_cache."""
    grown = {host: count - before.get(host, 0) for host, count in after.items()}
    return tuple(
        Rejection(host=host, reason=BROKE_OFF, source="host_cache", count=count)
        for host, count in sorted(grown.items())
        if count > 0
    )


def broken_off(censuses: Sequence[Census]) -> int | None:
    """Count the TLS handshakes that clients broke off since the certificate was loaded; ``None`` if nothing counts.

    MySQL and MariaDB keep these counters for the certificate in use and begin anew with the next (measured). A
    handshake that is just under way counts as begun: the lower of the last two readings leaves it out.
    """
    readings = [c.counters for c in censuses if c.counters]
    counts = [c.tls_begun - c.tls_finished for c in readings if c.tls_begun is not None and c.tls_finished is not None]
    return min(counts[-2:], default=None)


def counters_began(censuses: Sequence[Census], since: datetime, now: datetime) -> datetime | None:
    """Say when the counters began anew after *since*; ``None`` when they reach back to it, or nothing is counted.

    A restart wipes them. Uptime is in whole seconds, and a login takes a moment.
    """
    readings = [c.counters for c in censuses if c.counters]
    if not readings:
        return None
    began = now - timedelta(seconds=readings[-1].uptime)
    return began if began > since + _UPTIME_SLACK else None


def of_handshakes(broken: int, censuses: Sequence[Census], logged: LogReading) -> tuple[Rejection, ...]:
    """Name the clients behind *broken* handshakes: by the error log, else by the host cache, else as unknown.

    Log and host cache know of health checks too, which begin no TLS: where no handshake was broken off there is no
    rejection.
    """
    if not broken:
        return ()
    caches = [c.handshake_errors for c in censuses if c.handshake_errors is not None]
    return (
        logged.rejections
        or (of_host_cache(caches[0], caches[-1]) if caches else ())
        or (Rejection(host=UNKNOWN, reason=BROKE_OFF, source="TLS counters", count=broken),)
    )


class _Found:
    """Rejections while they are counted, by host and reason."""

    def __init__(self, source: str, since: datetime) -> None:
        self.source = source
        self.since = since.replace(microsecond=0)  # %t tells whole seconds
        self.undated = 0
        self.understood = 0
        self.first: datetime | None = None
        self._count: dict[tuple[str, str], tuple[int, datetime]] = {}

    def understand(self, at: datetime | None) -> None:
        if at is not None:
            self.understood += 1
            self.first = self.first or at

    def add(self, at: datetime | None, host: str, reason: str) -> None:
        if at is None:
            self.undated += 1
        elif at >= self.since:
            key = (host, reason)
            if key not in self._count and len(self._count) >= _HOSTS:
                key = (MORE_HOSTS, reason)
            count, last = self._count.get(key, (0, at))
            self._count[key] = (count + 1, max(last, at))

    def reading(self, silent: int = 0) -> LogReading:
        rows = tuple(
            Rejection(host=host, reason=reason, source=self.source, count=count, last=last)
            for (host, reason), (count, last) in sorted(self._count.items())
        )
        return LogReading(rows, self.undated, silent, self.understood, self.first)


def _lines(text: str) -> Iterator[str]:
    return (line[:_LINE_CHARACTERS].rstrip("\r") for line in text.split("\n"))


def _time(text: str) -> datetime | None:
    """Read the first time in *text*; ``None`` when there is none, or it is not UTC."""
    found = _TIME.search(text)
    if found is None or found["zone"] not in (None, "Z", "UTC", "GMT"):
        return None
    try:
        return datetime.fromisoformat(found["time"]).replace(tzinfo=UTC)
    except ValueError:
        return None
