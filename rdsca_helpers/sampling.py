"""Samples of who is connected, put together over time: short-lived clients show, counters tell the rest. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

from .engines import Census, Counters, delta
from .model import Client, Confidence

_ORDER = (Confidence.NONE, Confidence.PARTIAL, Confidence.FULL)


@dataclass(frozen=True)
class Sample:
    """One look at one instance: when, who was connected, and what the server had counted by then.

    *census* is ``None`` when the instance could not be asked that time; *failure* says why.
    """

    at: datetime
    census: Census | None
    counters: Counters | None = None
    failure: str = ""


def merge(samples: Sequence[Sample]) -> Census:
    """Put the *samples* of one instance together: every client that was seen in any, at its highest count.

    The confidence is that of the least sure sample: a look that told less leaves a gap that others do not close. So
    does one that failed or told nothing, and so do connections between the looks that only the server's counters saw.
    When every look failed, the census has no source.
    """
    read = [s.census for s in samples if s.census and s.census.source != "none"]
    if not read:
        told = next((s.census for s in reversed(samples) if s.census), None)
        return told or Census("none", Confidence.NONE, (), samples[-1].failure if samples else "it was not asked")
    most: dict[Client, int] = {}
    for census in read:
        for client in census.clients:
            key = replace(client, count=0)
            most[key] = max(most.get(key, 0), client.count)
    gaps = _gaps(samples)
    sure = [c.confidence for c in read] + [Confidence.PARTIAL for _ in gaps]
    told_last = next((c.remedy for c in reversed(read) if c.remedy), "")
    return Census(
        source=", ".join(dict.fromkeys(c.source for c in read)),
        confidence=min(sure, key=_ORDER.index),
        clients=tuple(replace(client, count=count) for client, count in most.items()),
        remedy="; ".join(filter(None, (told_last, *gaps))),
    )


def _gaps(samples: Sequence[Sample]) -> list[str]:
    """Say what the looks left out though each of them may have seen all, with the remedy."""
    gaps = []
    if blind := [s.census.remedy if s.census else s.failure for s in samples if not _told(s)]:
        gaps.append(
            f"{len(blind)} of {len(samples)} look(s) failed or told nothing, the last one because {blind[-1]}: "
            "look again when the database answers"
        )
    between = _Between.of(samples)
    if between.anew:
        gaps.append(
            "the server's counters began anew between the looks, so who came and went cannot be told: look again"
        )
    if between.connections:
        gaps.append(
            f"{between.connections} connection(s) between the looks{between.over_tls}: their clients may have come and "
            "gone unseen, so look more often (samples, sample_seconds)"
        )
    return gaps


def _told(sample: Sample) -> bool:
    return sample.census is not None and sample.census.source != "none"


@dataclass(frozen=True)
class _Between:
    """What others than rdsca did between the looks, as far as the server counted it; its own logins are taken off.

    RDS's own logins are among them. *known* is how many spans between two looks could be read, and *anew* whether in
    another one the counters began anew; *tls* is ``None`` where the server does not count it.
    """

    known: int
    anew: bool
    connections: int
    tls: int | None
    broken_off: int

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> _Between:
        """Sum up the spans; each ends with a login of rdsca, which the server may count late: never below 0."""
        counted = [(s.at, s.counters) for s in samples if s.counters]
        spans = [delta(a, b, elapsed=(end - at).total_seconds()) for (at, a), (end, b) in pairwise(counted)]
        known = [span for span in spans if span]
        begun = [span.tls_begun for span in known if span.tls_begun is not None]
        finished = [span.tls_finished for span in known if span.tls_finished is not None]
        return cls(
            known=len(known),
            anew=len(known) < len(spans),
            connections=max(0, sum(span.connections for span in known) - len(known)),
            tls=max(0, sum(begun) - len(known)) if begun else None,
            broken_off=max(0, sum(begun) - sum(finished)) if finished else 0,
        )

    @property
    def over_tls(self) -> str:
        """How many connections were over TLS, as the end of a clause; empty where nobody counts."""
        return "" if self.tls is None else f", {self.tls} of them over TLS"


def evidence(samples: Sequence[Sample], wanted: int) -> str:
    """Say what the samples rest on: how many, over which time, and what the server's counters say of the time between.

    Counters see connections that came and went between two looks; rdsca's own logins are taken off.
    """
    read = [s for s in samples if _told(s)]
    if not read:
        return ""
    span = (read[-1].at - read[0].at).total_seconds()
    text = f"{len(read)} of {wanted} sample(s)" + (f" in {span:.0f} s" if len(read) > 1 else "")
    if failures := [s.failure for s in samples if s.failure]:
        text += f"; {len(failures)} failed, the last one because {failures[-1]}"
    between = _Between.of(samples)
    if between.anew:
        text += "; the server's counters began anew in between (a restart or a new certificate)"
    if between.known:
        text += f"; {between.connections} connection(s) were made in between{between.over_tls}"
        text += f", {between.broken_off} of these broke the handshake off" if between.broken_off else ""
    return text
