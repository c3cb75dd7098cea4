"""Verification: what AWS says, what the wire shows, and what the change did to the clients of all that was changed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from .. import proof, rejections, sentences, served
from ..edge.run import Run
from ..engines import Census, Engine, Wire, all_engines
from ..errors import RdscaError
from ..model import (
    Instance,
    Inventory,
    Plan,
    PlanRow,
    Problem,
    Proof,
    ProofReport,
    ProofVerdict,
    Rejection,
    Restart,
    Rotation,
    SessionReport,
    Sessions,
    StepStatus,
    now,
    stamp,
    utc,
)
from ..rejections import LogReading
from ..sampling import Sample, merge
from .rotation import journal_of, journaled, read_instance
from .sessions import Databases, counted

_BACK_PATIENCE = 20.0  # seconds that clients get to come back after a change
_RECHECK = 8.0  # seconds at least to look for clients that were named the last time
_OVERLAP = timedelta(minutes=1)  # a proof is dated when its slowest instance has been seen
_TOUCHED = (StepStatus.ROTATED, StepStatus.SCHEDULED, StepStatus.STAGED, StepStatus.FAILED, StepStatus.UNKNOWN)


def verify(run: Run, plan: Plan, rotation: Rotation, inventory: Inventory, sessions: SessionReport) -> ProofReport:
    """Look at every instance that was changed: AWS, the wire, and its clients, ``samples`` times.

    What was changed stands in the journal, too: *rotation* lacks earlier waves, and a run that crashed. A client
    that rejects the certificate, or that goes on in clear text, fails the proof and is named as far as the server
    knows it. Run again, it fails until each host that was named has been seen over TLS (`proof.not_back`), or a new
    plan moves the instance. What could not be seen is unknown, never verified.
    """
    journal = journal_of(run.folder.path)
    touched = {f"{s.region}/{s.instance}" for s in rotation.rows if s.status in _TOUCHED}
    last = journaled(plan, journal)
    touched |= {step for step, entry in last.items() if entry["event"] != StepStatus.REFUSED}
    rows = [r for r in plan.rows if f"{r.region}/{r.instance}" in touched]
    before = {(s.region, s.instance): s for s in sessions.rows}
    earlier = _earlier(run)
    prover = _Prover(Databases.of(run, inventory), inventory)

    def prove(row: PlanRow) -> tuple[Proof, Problem | None]:
        key = (row.region, row.instance)
        entry = last.get(f"{row.region}/{row.instance}", {})
        rotated = utc(entry["at"]) if entry.get("event") == StepStatus.ROTATED else None
        span = _span(run, row, _changed_at(row, plan, journal, rotation), rotated, earlier)
        return prover.prove(row, before.get(key), span)

    with ThreadPoolExecutor(8) as pool:
        proofs = tuple(pool.map(prove, rows))
    report = ProofReport(
        account=run.account,
        regions=plan.regions,
        made_at=now(),
        rows=tuple(row for row, _ in proofs),
        problems=tuple(problem for _, problem in proofs if problem),
    )
    return replace(report, meaning=sentences.proof(report))


@dataclass(frozen=True)
class _Span:
    """The time that a verification answers for: since the change, or since the *last* one, which answered before.

    Clients that the last one named may have been mended in the meantime: of those counts what is seen since this run
    *started*. The counters of the server must reach back to *counted*, where that is known.
    """

    since: datetime
    started: datetime
    counted: datetime | None
    last: Proof | None = None

    @property
    def suspects(self) -> tuple[Rejection, ...]:
        """Give the clients that were seen to reject the certificate and not seen to come back."""
        return tuple(r for r in self.last.rejected if r.reason != proof.CLEAR_TEXT) if self.last else ()

    @property
    def words(self) -> str:
        """Say from when on the counters answer."""
        if self.suspects:
            return f"since {stamp(self.started)}"
        return "since the last verification" if self.last else "since the certificate was loaded"

    def broken_off(self, censuses: Sequence[Census]) -> int | None:
        """Count the handshakes that were broken off, where there are suspects only those of this run."""
        return (
            self._grown(censuses, rejections.broken_off(censuses[:1])) if self.suspects else self.broken_since(censuses)
        )

    def broken_since(self, censuses: Sequence[Census]) -> int | None:
        """Count the handshakes that were broken off since the last verification."""
        return self._grown(censuses, self.last.broken_off if self.last else 0)

    def _grown(self, censuses: Sequence[Census], before: int | None) -> int | None:
        """Compare with *before*; the server counts from 0 when it loads another certificate."""
        total = rejections.broken_off(censuses)
        return total - (before or 0) if total is not None and (before or 0) <= total else total

    def fresh(self, found: Iterable[Rejection]) -> tuple[Rejection, ...]:
        """Leave out what suspects did before this run: the last verification has counted it."""
        hosts, start = {r.host for r in self.suspects}, self.started.replace(microsecond=0)
        return tuple(r for r in found if r.host not in hosts or (r.last and r.last >= start))


def _earlier(run: Run) -> ProofReport | None:
    """Give the proof that this folder holds already; a damaged one is about to be replaced."""
    with contextlib.suppress(RdscaError):
        return run.folder.find(ProofReport)
    return None


def _span(run: Run, row: PlanRow, changed: datetime, rotated: datetime | None, earlier: ProofReport | None) -> _Span:
    """Go on from the *earlier* proof, if it was made after the change and could tell, or named clients.

    Where the change restarts the server, its counters begin when that is over.
    """
    counted = rotated or (changed if row.restart is Restart.NONE else None)
    if earlier is not None and earlier.made_at >= changed:
        for last in earlier.rows:
            if (last.region, last.instance) != (row.region, row.instance):
                continue
            if last.rejections_read:
                return _Span(max(changed, earlier.made_at - _OVERLAP), run.started, earlier.made_at, last)
            if last.rejected:
                return _Span(changed, run.started, counted, last)
    return _Span(changed, run.started, counted)


def _changed_at(row: PlanRow, plan: Plan, journal: Iterable[Mapping[str, Any]], rotation: Rotation) -> datetime:
    """Say from when on a rejection is the change's doing: when it was sent, or when its window began."""
    if row.when == "window" and "/" in row.window_utc and (start := utc(row.window_utc.partition("/")[0])) < now():
        return start
    step = f"{row.region}/{row.instance}"
    sent = [e["at"] for e in journal if e.get("plan") == plan.digest and e.get("step") == step]
    return utc(sent[0]) if sent else rotation.made_at


@dataclass(frozen=True)
class _Prover:
    databases: Databases
    inventory: Inventory

    def prove(self, row: PlanRow, before: Sessions | None, span: _Span) -> tuple[Proof, Problem | None]:
        """Give the proof for *row*, and the problem where its log could not be read."""
        found = Proof(
            region=row.region,
            instance=row.instance,
            verdict=ProofVerdict.UNKNOWN,
            detail="",
            sessions_before=_total(before),
            rejected=proof.not_back(span.suspects, None),
        )
        try:
            seen = read_instance(self.databases.run, row.region, row.instance, row.kind)
        except RdscaError as e:
            return replace(found, detail=str(e)), None
        found = replace(found, api_ca=seen.ca)
        if seen.pending_ca == row.to_ca:
            verdict, detail = proof.judge_pending(row.window_utc, now())
            return replace(found, verdict=verdict, detail=detail), None
        try:
            if (told := self.databases.told(seen)) and told.clients and all(c.tls is False for c in told.clients):
                verdict, detail = proof.judge_without_tls(seen.ca, row.to_ca, told.source)
                return replace(found, verdict=verdict, detail=detail, rejected=(), rejections_read=told.source), None
            wire, samples = self._watch(seen, before, span)
            shown = served.judge(
                wire,
                self.databases.bundle.certificates,
                name=seen.endpoint,
                cas={facts["thumbprint"]: ca for ca, facts in self.inventory.cas.get(row.region, {}).items()},
                now=now(),
            )
        except RdscaError as e:
            return replace(found, detail=f"AWS says {seen.ca}; the wire could not be seen: {e}"), None
        self.databases.run.folder.keep_chain(row.region, row.instance, seen.endpoint, wire.chain)
        verdict, detail = proof.judge(seen.ca, shown.ca, row.to_ca, shown.verdict)
        after = counted(seen, merge(samples)) if samples else None
        found = replace(
            found,
            verdict=verdict,
            detail=detail,
            wire_ca=shown.ca,
            wire_expires=shown.expires,
            chain_ok=shown.verdict.trusted and shown.verdict.dates_ok,
            name_ok=shown.verdict.name_ok,
            tls_version=shown.protocol,
            cipher=shown.cipher,
            wire_subject=shown.subject,
            wire_issuer=shown.issuer,
            wire_names=shown.names,
            wire_key=shown.key,
            wire_notes=shown.notes,
            dates_ok=shown.verdict.dates_ok,
            partial_chain_ok=shown.verdict.trusted_by_any,
            sessions_after=_total(after),
        )
        if (
            verdict is not ProofVerdict.VERIFIED
        ):  # it is the server that is wrong, and our own login may be rejecting it
            return found, None
        censuses = [s.census for s in samples if s.census]
        rejected, read, problem = _Rejections(self.databases, seen, span).look(censuses)
        again = {r.host for r in rejected}
        rejected += tuple(r for r in proof.not_back(span.suspects, after) if r.host not in again)
        rejected += proof.lost_encryption(before, after)
        verdict, clients = proof.judge_clients(before, after, rejected)
        good = f"{detail}; {clients}; {_none_seen(read, problem, span)}"
        return replace(
            found,
            verdict=verdict,
            detail=good if verdict is ProofVerdict.VERIFIED else clients,
            rejected=rejected,
            rejections_read=read,
            broken_off=rejections.broken_off(censuses),
        ), problem

    def _watch(self, instance: Instance, before: Sessions | None, span: _Span) -> tuple[Wire, list[Sample]]:
        """Log in over and over, and give the served chain with what each login saw.

        Clients that are not back get a little more time, so do those that were named the last time, and those that
        break handshakes off, since the host cache names them when they do it again. Without a login the chain comes
        from a probe; there are no samples.
        """
        run = self.databases.run
        samples: list[Sample] = []
        wire: Wire | None = None
        began = time.monotonic()
        while True:
            try:
                census, wire = self.databases.ask(instance)
            except RdscaError as e:
                if not samples:
                    break
                samples.append(Sample(now(), None, failure=str(e)))
            else:
                samples.append(Sample(now(), census, census.counters))
            after = counted(instance, merge(samples))
            waiting = proof.missing(before, after) or proof.not_back(span.suspects, after) or _unnamed(samples, span)
            passed = time.monotonic() - began
            enough = len(samples) >= run.samples and (passed > _RECHECK or not span.suspects)
            if enough and (not waiting or passed > _BACK_PATIENCE):
                break
            time.sleep(run.sample_seconds if len(samples) < run.samples else 2)
        return wire or self.databases.look(instance), samples


@dataclass(frozen=True)
class _Rejections:
    """Who rejects the certificate of one instance, by the sources that its engine has."""

    databases: Databases
    instance: Instance
    span: _Span

    def look(self, censuses: Sequence[Census]) -> tuple[tuple[Rejection, ...], str, Problem | None]:
        """Give the rejections, where they were looked for (empty: nowhere), and what could not be read.

        A source that the engine has and that does not tell is a problem; an engine without one has none.
        """
        engine = all_engines()[self.instance.engine]
        if engine.handshake_errors is None:
            return self._log(engine) if engine.log_rejections and self.instance.kind == "instance" else ((), "", None)
        broken = self.span.broken_off(censuses)
        if broken is None:
            return (), "", self._problem("its TLS counters could not be read", "give credentials that can log in")
        began = self.span.counted and rejections.counters_began(censuses, self.span.counted, now())
        anew = (
            self._problem(
                f"its TLS counters began anew at {stamp(began)}, and what was before is unknown",
                "look at the clients themselves, and make a new plan without it",
            )
            if began
            else None
        )
        counters = f"TLS counters {self.span.words}"
        if not self.span.broken_since(censuses):
            return (), "" if anew else counters, anew
        logged, read, problem = self._read(engine)
        found = logged.rejections or rejections.of_handshakes(broken, censuses, logged)
        cache = "host_cache" if any(c.handshake_errors is not None for c in censuses) else ""
        told = read if logged.understood else ""
        return found, "" if anew else ", ".join(filter(None, (counters, cache, told))), anew or problem

    def _log(self, engine: Engine) -> tuple[tuple[Rejection, ...], str, Problem | None]:
        reading, read, problem = self._read(engine)
        if problem or not reading.understood:
            return (), "", problem or self._silent(engine)
        if reading.undated:
            read += f"; {reading.undated} more rejection(s) bear no time in UTC and may be older"
        if reading.silent:
            read += (
                f"; {reading.silent} connection(s) ended before a login without a word, as those of health checks do"
            )
        return reading.rejections, read, problem

    def _silent(self, engine: Engine) -> Problem:
        """Say that the log tells nothing, not even of health checks or the server's own work."""
        return self._problem(
            f"its {engine.log} log is missing, or has no line that would tell",
            "check log_min_messages, log_destination (stderr) and rds.log_retention_period in its parameter group",
        )

    def _problem(self, why: str, remedy: str) -> Problem:
        return Problem(self.instance.where, f"which clients reject it is not known: {why}", remedy)

    def _read(self, engine: Engine) -> tuple[LogReading, str, Problem | None]:
        """Read the log as RDS hands it out; what cannot be read is a problem, and no source."""
        if engine.log_rejections is None or self.instance.kind != "instance":
            return LogReading(), "", None
        try:
            text, whole = self.databases.log(self.instance, engine.log, self.span.since)
        except RdscaError as e:
            return LogReading(), "", self._problem(e.what, e.remedy)
        if text is None:
            return LogReading(), "", None
        seconds = (now() - self.span.since).total_seconds()
        read = f"{'' if whole else 'only the end of '}{engine.log} for {seconds:.0f} s since {stamp(self.span.since)}"
        reading = engine.log_rejections(text, self.span.since)
        if reading.first and reading.first > self.span.since:
            read += f", only from {stamp(reading.first)} on"
        return replace(reading, rejections=self.span.fresh(reading.rejections)), read, None


def _unnamed(samples: Sequence[Sample], span: _Span) -> bool:
    """Say whether handshakes were broken off by clients whom a later look at the host cache may name."""
    censuses = [s.census for s in samples if s.census]
    caches = [c.handshake_errors for c in censuses if c.handshake_errors is not None]
    return bool(span.broken_off(censuses) and caches and not rejections.of_host_cache(caches[0], caches[-1]))


def _none_seen(read: str, problem: Problem | None, span: _Span) -> str:
    if problem:
        return f"nobody knows which clients reject the new CA: {problem.what}"
    if not read:
        return "nobody knows which clients reject the new CA, since no log or counter of this engine tells"
    text = f"none was seen to reject the new CA ({read})"
    hosts = sorted({r.host for r in span.suspects})
    return text + (f"; back over TLS since the last verification: {', '.join(hosts)}" if hosts else "")


def _total(sessions: Sessions | None) -> int | None:
    if sessions is None or not sessions.counted or not proof.countable(sessions):
        return None
    return sessions.exposed + (sessions.plain or 0)
