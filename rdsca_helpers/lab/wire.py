"""The real databases behind the practice endpoints: which stands where, and what certificate it shows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from . import mongo, servers, tds, tns
from .pki import Pki, Served
from .world import Cluster, Instance, World


class Database(Protocol):
    """What can stand behind an endpoint: a real server, or a stand-in in this process, which has no folder."""

    kind: str
    version: str
    port: int
    pid: int
    folder: Path

    def start(self, served: Served) -> None:
        """Start with the certificate *served*."""

    def serve(self, served: Served) -> None:
        """Show the certificate *served* from now on."""

    def restart(self) -> None:
        """Cut every session."""

    def stop(self) -> None:
        """End, and leave nothing behind."""


# For engines that cannot be had here: made from the passwords of their accounts.
STAND_INS: dict[str, Callable[[dict[str, str]], Database]] = {
    "oracle": tns.StandIn,
    "sqlserver": tds.StandIn,
    "docdb": mongo.StandIn,
}


@dataclass(frozen=True)
class Wish:
    """A seed instance that wants a real server, or a stand-in, behind it."""

    instance: Instance
    kind: str
    performance_schema: bool = True


class Databases:
    """The servers by the ARN of their instance; the world's `Wire`.

    *changed* is called whenever a server came, went or moved to another port.
    """

    def __init__(self, world: World, pki: Pki, cache: Path, changed: Callable[[], None]) -> None:
        self.servers: dict[str, Database] = {}
        self.missing: dict[str, str] = {}
        self._world = world
        self._pki = pki
        self._cache = cache
        self._changed = changed
        self._lock = threading.Lock()
        self._closed = False

    def start(self, wish: Wish, *, readonly_password: str, app_password: str) -> Database | None:
        """Start the server of *wish*; without a server program the endpoint leads nowhere, and status says so."""
        server: Database
        if wish.kind in STAND_INS:
            server = STAND_INS[wish.kind]({"rdsca_ro": readonly_password, "app": app_password})
        elif found := servers.find(wish.kind):
            server = servers.make(
                found,
                self._cache,
                readonly_password=readonly_password,
                app_password=app_password,
                performance_schema=wish.performance_schema,
            )
        else:
            self.missing[wish.instance.arn] = servers.why_missing(wish.kind)
            return None
        instance = wish.instance
        with self._lock:
            if self._closed:
                return None
            self.servers[instance.arn] = server
        server.start(self._served(instance, instance.ca or "", instance.expires or datetime.now(UTC)))
        if self._closed:  # meanwhile, when stop() could not see it run
            server.stop()
            return None
        self._changed()
        return server

    def stop(self) -> None:
        """Stop all servers, side by side, and let no other start."""
        with self._lock:
            self._closed = True
        threads = [threading.Thread(target=s.stop) for s in self.servers.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def serves(self, instance: Instance) -> bool:
        """Say whether a real database stands behind *instance*."""
        return instance.arn in self.servers

    def show(self, instance: Instance, ca: str, until: datetime, *, restart: bool) -> None:
        """Make the database show a certificate of *ca*; one that was halted starts with it."""
        server = self.servers.get(instance.arn)
        if server is None:
            return
        served = self._served(instance, ca, until)
        if isinstance(server, servers.MySQL):  # read when it starts, as RDS does with a static parameter
            server.performance_schema = self._performance_schema(instance, server.performance_schema)
        if server.pid:
            server.serve(served)
            if restart:
                server.restart()
        else:
            server.start(served)
        self._changed()

    def halt(self, instance: Instance) -> None:
        """Stop the database."""
        if server := self.servers.get(instance.arn):
            server.stop()
            self._changed()

    def logs(self, instance: Instance) -> dict[str, Path]:
        """Give the log files of the database; the stand-ins for SQL Server and DocumentDB keep none."""
        server = self.servers.get(instance.arn)
        return server.logs() if isinstance(server, servers.Server | tns.StandIn) else {}

    def endpoints(self) -> dict[str, str]:
        """Say which local port each endpoint's name and port lead to, a cluster's names to its writer's."""
        routes: dict[str, str] = {}
        for arn, server in self.servers.items():
            instance = self._instance(arn)
            if server.pid and instance:
                port = instance.facts["Endpoint"]["Port"]
                routes |= {f"{name}:{port}": f"127.0.0.1:{server.port}" for name in self._names(instance)}
                if isinstance(server, tns.StandIn) and (tls_port := self._ssl_option(instance)):
                    routes |= {f"{name}:{tls_port}": f"127.0.0.1:{server.tls_port}" for name in self._names(instance)}
        return routes

    def rows(self) -> list[dict[str, Any]]:
        """Give a row for each server."""
        rows = []
        for arn, server in self.servers.items():
            if instance := self._instance(arn):
                rows.append(
                    {
                        "account": instance.account,
                        "region": instance.region,
                        "instance": instance.id,
                        "kind": server.kind,
                        "version": server.version,
                        "port": server.port,
                        "pid": server.pid,
                        "folder": str(server.folder),
                        "ca": instance.ca,
                        "endpoint": instance.facts["Endpoint"]["Address"],
                        "endpoint_port": instance.facts["Endpoint"]["Port"],
                    }
                )
        return rows

    def _instance(self, arn: str) -> Instance | None:
        _, _, _, region, account, _, name = arn.split(":")
        return self._world.region(account, region).instances.get(name)

    def _performance_schema(self, instance: Instance, otherwise: bool) -> bool:
        """Say whether the instance's own parameter group has it on; a default group says nothing of it."""
        groups = self._world.region(instance.account, instance.region).parameter_groups
        mine = [groups.get(m["DBParameterGroupName"], {}) for m in instance.facts["DBParameterGroups"]]
        values = [g["values"]["performance_schema"] for g in mine if "performance_schema" in g.get("values", {})]
        return values[-1] == "1" if values else otherwise

    def _ssl_option(self, instance: Instance) -> int | None:
        """Give the port of Oracle's SSL option, where the instance's option group has it."""
        groups = self._world.region(instance.account, instance.region).option_groups
        mine = [groups.get(m["OptionGroupName"], {}) for m in instance.facts["OptionGroupMemberships"]]
        return next((o["Port"] for g in mine for o in g.get("options", ()) if o["OptionName"] == "SSL"), None)

    def _names(self, instance: Instance) -> list[str]:
        """Name what the certificate is good for: the endpoint, and in Aurora the cluster's endpoints."""
        names = [instance.facts["Endpoint"]["Address"]]
        place = self._world.region(instance.account, instance.region)
        cluster: Cluster | None = place.clusters.get(instance.facts.get("DBClusterIdentifier", ""))
        return [*names, cluster.facts["Endpoint"], cluster.facts["ReaderEndpoint"]] if cluster else names

    def _served(self, instance: Instance, ca: str, until: datetime) -> Served:
        lifetime = timedelta(days=365 * instance.version.months // 12)
        # The lab's clock may run ahead of the machine's, by which real clients judge.
        since = min(until - lifetime, datetime.now(UTC) - timedelta(hours=1))
        return self._pki.issue(instance.region, ca, self._names(instance), since, until)
