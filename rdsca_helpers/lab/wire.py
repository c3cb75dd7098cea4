"""The real databases behind the practice endpoints: which stands where, and what certificate it shows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from . import servers
from .pki import Pki, Served
from .world import Cluster, Instance, World


@dataclass(frozen=True)
class Wish:
    """A seed instance that wants a real server behind it."""

    instance: Instance
    kind: str
    performance_schema: bool = True


class Databases:
    """The servers by the ARN of their instance; the world's `Wire`.

    *changed* is called whenever a server came, went or moved to another port.
    """

    def __init__(self, world: World, pki: Pki, cache: Path, changed: Callable[[], None]) -> None:
        self.servers: dict[str, servers.Server] = {}
        self.missing: dict[str, str] = {}
        self._world = world
        self._pki = pki
        self._cache = cache
        self._changed = changed
        self._lock = threading.Lock()
        self._closed = False

    def start(self, wish: Wish, *, readonly_password: str, app_password: str) -> servers.Server | None:
        """Start the server of *wish*; without a server program the endpoint leads nowhere, and status says so."""
        found = servers.find(wish.kind)
        if found is None:
            self.missing[wish.instance.arn] = servers.why_missing(wish.kind)
            return None
        server = servers.make(
            found,
            self._cache,
            readonly_password=readonly_password,
            app_password=app_password,
            performance_schema=wish.performance_schema,
        )
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

    def endpoints(self) -> dict[str, str]:
        """Say which local port each endpoint's name and port lead to, a cluster's names to its writer's."""
        routes: dict[str, str] = {}
        for arn, server in self.servers.items():
            instance = self._instance(arn)
            if server.pid and instance:
                port = instance.facts["Endpoint"]["Port"]
                routes |= {f"{name}:{port}": f"127.0.0.1:{server.port}" for name in self._names(instance)}
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
