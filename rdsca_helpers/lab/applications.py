"""The applications of the practice world: which client goes where, how, and with which trust store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .clients import Client, Endpoint
from .seed import BILLING, LEGACY, SHOP, WEST
from .wire import Databases
from .world import World

SECONDS_TO_CONNECT = 5.0


@dataclass(frozen=True)
class Application:
    """One application: *tls* as its driver does it, *store* the trust store it verifies with, if it does."""

    name: str
    account: str
    instance: str
    tls: str
    store: str = ""
    by_cluster: bool = False  # goes by the cluster's name instead of the instance's


APPLICATIONS = [
    Application("orders-api", SHOP, "orders-db", "verify-full", "shop-orders"),
    Application("orders-export", SHOP, "orders-db", "disable"),
    Application("reports", SHOP, "orders-db", "verify-full", "reports"),
    Application("catalog-web", SHOP, "catalog-db", "verify-full", "shop-catalog"),
    Application("ledger-batch", BILLING, "ledger-1", "require", by_cluster=True),
    Application("payments-api", BILLING, "payments-db", "verify-full", "billing"),
    Application("payments-cron", BILLING, "payments-db", "disable"),
    Application("crm-web", LEGACY, "crm-db", "verify-full", "legacy"),
    Application("crm-cron", LEGACY, "crm-db", "disable"),
    Application("hr-portal", LEGACY, "hr-db", "verify-full", "legacy"),
]


class Clients:
    """The clients that run; `follow` moves them along when a database comes, goes or changes its port."""

    def __init__(self, world: World, databases: Databases, store: Callable[[str], Path], password: str) -> None:
        self._world = world
        self._databases = databases
        self._store = store
        self._password = password
        self._running: dict[str, Client] = {}
        self._lock = threading.Lock()
        self._closed = False

    def follow(self) -> None:
        """Have each application's client go where its database is now, or wait while there is none."""
        with self._lock:
            for application in APPLICATIONS:
                endpoint = None if self._closed else self._endpoint(application)
                client = self._running.get(application.name)
                if client and client.endpoint != endpoint:
                    self._running.pop(application.name).stop()
                if endpoint and application.name not in self._running:
                    store = self._store(application.store) if application.store else None
                    client = Client(application.name, endpoint, application.tls, store)
                    self._running[application.name] = client
                    client.start()

    def wait(self) -> None:
        """Wait a few seconds for all to be connected."""
        deadline = time.monotonic() + SECONDS_TO_CONNECT
        while time.monotonic() < deadline and not all(c.state.connected for c in self._running.values()):
            time.sleep(0.05)

    def stop(self) -> None:
        """End all of them."""
        self._closed = True
        self.follow()

    def rows(self) -> list[dict[str, Any]]:
        """Give a row for each client."""
        return [
            {
                **client.status(),
                "account": application.account,
                "region": WEST,
                "instance": application.instance,
                "mode": application.tls,
                "store": str(self._store(application.store)) if application.store else "",
            }
            for application in APPLICATIONS
            if (client := self._running.get(application.name))
        ]

    def _endpoint(self, application: Application) -> Endpoint | None:
        place = self._world.region(application.account, WEST)
        instance = place.instances[application.instance]
        server = self._databases.servers.get(instance.arn)
        if server is None or not server.pid:
            return None
        host = instance.facts["Endpoint"]["Address"]
        if application.by_cluster:
            host = place.clusters[instance.facts["DBClusterIdentifier"]].facts["Endpoint"]
        engine = "postgres" if server.kind == "postgres" else "mysql"
        return Endpoint(engine, host, server.port, "app", self._password)
