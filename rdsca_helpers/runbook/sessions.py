"""Sessions: who is connected to each database, and how; a database that cannot be asked is a row of unknowns."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from .. import sentences
from ..edge import bundle as bundles
from ..edge import credentials, databases, reach, roots, wire
from ..edge.bundle import Bundle
from ..edge.run import Run
from ..engines import Census, Engine, Wire, all_engines
from ..errors import RdscaError, Unreachable, UsageError
from ..model import Confidence, Instance, Inventory, Problem, SessionReport, Sessions, now
from ..sampling import Sample, evidence, merge
from . import progress

_MANY = 50  # databases with which one sample takes long enough for a progress bar
_LOG_BYTES = 16 << 20  # of each instance's logs; the newest files come first
_LOG_SPAN = timedelta(days=1)
_TRIES = 3  # failures in a row after which a database is left alone: more may lock an account or raise an alarm


def check_sessions(run: Run, inventory: Inventory) -> SessionReport:
    """Ask each database who is connected and how, ``samples`` times; one that cannot be asked is a row of unknowns.

    Each look is a login of its own. Ctrl-C ends the looking and keeps what was seen, and the report says so.
    """
    sampling = _Sampling(Databases.of(run, inventory), [(i, []) for i in inventory.rows if not i.skip_reason])
    rounds, stopped = sampling.carry_out(run.samples, run.sample_seconds)
    rows = [
        replace(counted(i, merge(samples)), evidence=evidence(samples, run.samples)) for i, samples in sampling.taken
    ]
    problems = [
        Problem(i.where, "its client sessions could not be read", s.remedy)
        for (i, _), s in zip(sampling.taken, rows, strict=True)
        if not s.counted
    ]
    if stopped:
        what = f"the sampling was stopped by hand after {rounds} of {run.samples} sample(s)"
        problems.append(Problem(run.account, what, "run this notebook again for the whole time"))
    report = SessionReport(
        account=run.account, regions=inventory.regions, made_at=now(), rows=tuple(rows), problems=tuple(problems)
    )
    return replace(report, meaning=sentences.sessions(report, samples=run.samples, rounds=rounds))


@dataclass(frozen=True)
class _Sampling:
    """Looks at many databases over and over; each sample is *taken* down when it is there, so that none is lost."""

    databases: Databases
    taken: list[tuple[Instance, list[Sample]]]

    def carry_out(self, samples: int, pause: float) -> tuple[int, bool]:
        """Look *samples* times, *pause* seconds apart; give how many rounds were finished, and whether Ctrl-C came.

        Raises what ends all looking alike: a wrong parameter, and Ctrl-C before there is anything to keep.
        """
        began, rounds = time.monotonic(), 0
        shown = samples > 1 or len(self.taken) > _MANY
        with progress.bar(samples * len(self.taken), "look", shown=shown) as bar, ThreadPoolExecutor(16) as pool:
            try:
                while rounds < samples:
                    _wait(began + rounds * pause, bar)
                    bar.set_postfix_str(f"sample {rounds + 1} of {samples}")
                    looks = [pool.submit(self._look, *one) for one in self.taken]
                    for look in as_completed(looks):
                        look.result()
                        bar.update()
                    rounds += 1
            except KeyboardInterrupt:
                pool.shutdown(cancel_futures=True)
                if not any(found for _, found in self.taken):
                    raise
                return rounds, True
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return rounds, False

    def _look(self, instance: Instance, found: list[Sample]) -> None:
        if len(found) >= _TRIES and not any(s.census for s in found[-_TRIES:]):
            return
        try:
            told, _ = self.databases.ask(instance)
            found.append(Sample(now(), told, told.counters))
        except UsageError:
            raise  # the credentials parameter itself is wrong, for all instances alike
        except RdscaError as e:
            census = None if any(s.census for s in found) else self.databases.by_log(instance, str(e))
            found.append(Sample(now(), census, failure="" if census else str(e)))


def _wait(until: float, bar: progress.Bar) -> None:
    """Wait for the next sample in small steps, each of which Ctrl-C can end and the bar shows."""
    while (left := until - time.monotonic()) > 0:
        bar.set_postfix_str(f"next sample in {left:.0f} s")
        time.sleep(min(left, 1))


@dataclass(frozen=True)
class Databases:
    """The way to the databases of a run: the CA bundle that they are checked with, and the reach file."""

    run: Run
    bundle: Bundle
    roots_file: str
    reach: reach.Reach
    budget: wire.Budget = field(default_factory=wire.Budget)

    @classmethod
    def of(cls, run: Run, inventory: Inventory) -> Databases:
        """Get the bundle, keep it in the run folder, and read the reach file."""
        bundle = fetch_bundle(run, inventory)
        return cls(run, bundle, str(run.folder.path / "bundle.pem"), reach.read(run.reach))

    def way(self, instance: Instance) -> tuple[Engine, tuple[str, int]]:
        """Give the engine and the address of *instance*; raises ``Unreachable`` with the reason when there is none."""
        engine = all_engines().get(instance.engine)
        if engine is None:
            raise Unreachable(f"rdsca does not talk to {instance.engine}")
        if not instance.endpoint or not instance.port:
            raise Unreachable("it has no endpoint yet")
        port = engine.tls_port(self.settings(engine, instance)) if engine.tls_port else instance.port
        return engine, self.reach.address(instance.endpoint, port)

    def settings(self, engine: Engine, instance: Instance) -> Mapping[str, str]:
        """Give the settings of *instance* by which *engine* decides, as RDS has them."""
        return self.run.aws.settings_of(instance, engine.settings_in, engine.settings) if engine.settings else {}

    def told(self, instance: Instance) -> Census | None:
        """Give what the settings of *instance* say of all its clients; ``None`` where they leave it to a login."""
        engine = all_engines().get(instance.engine)
        return engine.by_settings(self.settings(engine, instance)) if engine and engine.by_settings else None

    def ask(self, instance: Instance) -> tuple[Census, Wire | None]:
        """Take the census: from the settings where they decide, else by a login.

        The second part is what the login's handshake showed, where the driver tells.
        """
        if told := self.told(instance):
            return told, None
        if instance.status != "available":
            raise Unreachable(f"its status is {instance.status}")
        engine, address = self.way(instance)
        user, password = credentials.find(
            self.run.aws, instance, credentials=self.run.credentials, db_user=self.run.db_user
        )
        return databases.ask(
            engine,
            host=instance.endpoint,
            address=address,
            user=user,
            password=password,
            roots_file=self.roots_file,
            database=instance.database,
        )

    def log(self, instance: Instance, name: str, since: datetime) -> tuple[str | None, bool]:
        """Give the text of all log files with *name* in theirs since *since*, oldest first, and whether it is whole.

        ``None`` when there is no such file.
        """
        where = (instance.region, instance.instance)
        files = self.run.aws.log_files(*where, since, name)
        texts: list[str] = []
        left, whole = _LOG_BYTES, True
        for file in reversed(files):
            if left <= 0:
                whole = False
                break
            text, complete = self.run.aws.log_text(*where, file, left)
            texts.append(text)
            left -= len(text)
            whole = whole and complete
        return "".join(reversed(texts)) if files else None, whole

    def by_log(self, instance: Instance, why: str) -> Census | None:
        """Say who has connected in the last day by the server's log, where a login was not possible: *why*.

        Sessions older than a day are not in it, so it is never the whole truth. ``None`` where no log tells.
        """
        engine = all_engines().get(instance.engine)
        if engine is None or engine.log_clients is None:
            return None
        try:
            text, _ = self.log(instance, engine.log, now() - _LOG_SPAN)
        except RdscaError:
            return None
        if text is None:
            return None
        remedy = f"{why}; the log tells only who has connected in the last day"
        return Census(f"{engine.log} log", Confidence.PARTIAL, engine.log_clients(text), remedy)

    def look(self, instance: Instance) -> Wire:
        """Fetch the served chain without a password, a few times in a run at most."""
        engine, address = self.way(instance)
        if engine.starttls is None and self.run.aws.settings.get("probe") == "off":
            raise Unreachable(
                "it shows its certificate to a login only, and the one of an unknown user is switched off "
                "(rdsca_probe = off)",
                "set credentials",
            )
        self.budget.spend(address)
        return databases.look(engine, host=instance.endpoint, address=address)


def counted(instance: Instance, census: Census) -> Sessions:
    """Turn a census into the row of *instance*; a census without a source counts nothing, not zero."""
    if census.source == "none":
        return Sessions(
            region=instance.region,
            instance=instance.instance,
            source="none",
            confidence=Confidence.NONE,
            remedy=census.remedy,
        )
    return Sessions.of(instance, census.source, census.confidence, census.clients, census.remedy)


def fetch_bundle(run: Run, inventory: Inventory) -> Bundle:
    """Get the CA bundle and keep it in the run folder, where libpq can read it and an auditor finds it.

    It has to hold the roots of every region that has instances; raises ``UnknownRoot`` when it does not.
    """
    settings = run.aws.settings
    bundle = bundles.get(
        run.bundle,
        region=run.regions[0],
        mirror=settings.get("truststore_url", ""),
        known=roots.catalogue(settings),
        regions={i.region for i in inventory.rows if not i.skip_reason},
    )
    run.folder.keep_text("bundle.pem", bundle.text)
    return bundle
