"""Sessions: who is connected to each database, and how; a database that cannot be asked is a row of unknowns."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from .. import sentences
from ..edge import bundle as bundles
from ..edge import credentials, databases, reach
from ..edge.bundle import Bundle
from ..edge.run import Run
from ..engines import Census, Engine, Wire, all_engines
from ..errors import RdscaError, Unreachable, UsageError
from ..model import Confidence, Instance, Inventory, Problem, SessionReport, Sessions, now


def check_sessions(run: Run, inventory: Inventory) -> SessionReport:
    """Ask each database who is connected and how; a database that cannot be asked is a row of unknowns."""
    databases_of_run = Databases.of(run)
    asked = [i for i in inventory.rows if not i.skip_reason]
    with ThreadPoolExecutor(16) as pool:
        rows = tuple(pool.map(databases_of_run.sessions, asked))
    problems = tuple(
        Problem(i.where, f"its client sessions could not be read: {s.remedy}")
        for i, s in zip(asked, rows, strict=True)
        if s.tls is None
    )
    report = SessionReport(account=run.account, regions=inventory.regions, made_at=now(), rows=rows, problems=problems)
    return replace(report, meaning=sentences.sessions(report))


@dataclass(frozen=True)
class Databases:
    """The way to the databases of a run: the CA bundle that they are checked with, and the reach file."""

    run: Run
    bundle: Bundle
    roots_file: str
    reach: reach.Reach

    @classmethod
    def of(cls, run: Run) -> Databases:
        """Get the bundle, keep it in the run folder, and read the reach file."""
        bundle = fetch_bundle(run)
        return cls(run, bundle, str(run.folder.path / "bundle.pem"), reach.read(run.reach))

    def way(self, instance: Instance) -> tuple[Engine, tuple[str, int]]:
        """Give the engine and the address of *instance*; raises ``Unreachable`` with the reason when there is none."""
        engine = all_engines().get(instance.engine)
        if engine is None:
            raise Unreachable(f"rdsca does not talk to {instance.engine}")
        if not instance.endpoint or not instance.port:
            raise Unreachable("it has no endpoint yet")
        return engine, self.reach.address(instance.endpoint, instance.port)

    def ask(self, instance: Instance) -> tuple[Census, Wire | None]:
        """Log in and take the census; the second part is what the login's handshake showed, where the driver tells."""
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
        )

    def look(self, instance: Instance) -> Wire:
        """Fetch the served chain without a password."""
        engine, address = self.way(instance)
        return databases.look(engine, host=instance.endpoint, address=address)

    def sessions(self, instance: Instance) -> Sessions:
        """Give the row of *instance*, of unknowns with the reason when it could not be asked."""
        try:
            census, _ = self.ask(instance)
        except UsageError:
            raise  # the credentials parameter itself is wrong, for all instances alike
        except RdscaError as e:
            census = Census("none", Confidence.NONE, (), str(e))
        return counted(instance, census)


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


def fetch_bundle(run: Run) -> Bundle:
    """Get the CA bundle and keep it in the run folder, where libpq can read it and an auditor finds it."""
    bundle = bundles.get(run.bundle, region=run.regions[0], mirror=run.aws.settings.get("truststore_url", ""))
    run.folder.keep_text("bundle.pem", bundle.text)
    return bundle
