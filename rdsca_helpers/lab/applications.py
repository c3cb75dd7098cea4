"""The applications of the practice world: which client goes where, how, and with which trust store."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from .clients import Client, Endpoint, has_driver, has_mode, protocol
from .folder import write_whole
from .seed import BILLING, LEGACY, SHOP, WEST
from .wire import Databases
from .world import World

SECONDS_TO_CONNECT = 5.0
_LOOPBACK = ip_network("127.0.0.0/8")


@dataclass(frozen=True)
class Application:
    """One application: *tls* as its driver does it, *store* the trust store that it was given, if any."""

    name: str
    account: str
    instance: str
    engine: str  # the protocol of its client: "postgres", "sqlserver", or "mysql", which MariaDB speaks too
    tls: str
    store: str = ""
    by_cluster: bool = False  # goes by the cluster's name instead of the instance's
    stay: float = float("inf")  # seconds of each session
    source: str = Endpoint.source


APPLICATIONS = [
    Application("orders-api", SHOP, "orders-db", "postgres", "verify-full", "shop-orders.pem"),
    Application("orders-export", SHOP, "orders-db", "postgres", "disable", "shop-orders.pem"),
    Application("reports", SHOP, "orders-db", "postgres", "verify-full", "reports.pem"),
    Application("catalog-web", SHOP, "catalog-db", "mysql", "verify-full", "shop-catalog.pem"),
    Application("pricing-api", SHOP, "pricing-mssql", "sqlserver", "verify-full", "shop-orders.pem"),
    Application("ledger-batch", BILLING, "ledger-1", "postgres", "require", "billing.pem", by_cluster=True),
    Application("payments-api", BILLING, "payments-db", "mysql", "verify-full", "billing.pem"),
    Application("payments-cron", BILLING, "payments-db", "mysql", "disable", "billing.pem"),
    Application("crm-web", LEGACY, "crm-db", "mysql", "verify-full", "legacy.pem"),
    Application("crm-cron", LEGACY, "crm-db", "mysql", "disable", "legacy.pem"),
    Application("hr-portal", LEGACY, "hr-db", "postgres", "verify-full", "legacy.pem"),
]


class Clients:
    """The clients that run; `follow` moves them along when a database comes, goes or changes its port."""

    def __init__(self, world: World, databases: Databases, store: Callable[[str], Path], password: str) -> None:
        self._world = world
        self._databases = databases
        self._store = store
        self._password = password
        self._running: dict[str, Client] = {}
        self._applications = {a.name: a for a in APPLICATIONS}
        self._lock = threading.Lock()
        self._closed = False

    def follow(self) -> None:
        """Have each application's client go where its database is now, or wait while there is none."""
        with self._lock:
            for application in self._applications.values():
                endpoint = None if self._closed else self._endpoint(application)
                client = self._running.get(application.name)
                if client and client.endpoint != endpoint:
                    self._running.pop(application.name).stop()
                if endpoint and application.name not in self._running:
                    store = self._store(application.store) if application.store else None
                    client = Client(application.name, endpoint, application.tls, store, application.stay)
                    self._running[application.name] = client
                    client.start()

    def add(self, wish: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Let one more application come, for practice: *name*, *instance* and *tls*; *account*, *source* and *cas*.

        It has a trust store of its own, which notebook 03 is not shown, with the roots of *cas* (at first the CA that
        the instance is on), and opens a new session every second, so that it notices a new CA. One of the same name
        is replaced.
        """
        if unknown := wish.keys() - {"name", "instance", "tls", "account", "source", "cas"}:
            raise ValueError(f"an application has no {', '.join(sorted(unknown))}")
        name, account = wish["name"], wish.get("account", SHOP)
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", name) or any(name == a.name for a in APPLICATIONS):
            raise ValueError(f"{name!r} is no free name; take small letters, digits and -")
        source = str(wish.get("source", Endpoint.source))
        if ip_address(source) not in _LOOPBACK:
            raise ValueError(f"{source!r} is no address to come from; take one of 127.0.0.0/8")
        instance = self._world.region(account, WEST).instances.get(wish["instance"])
        if instance is None:
            raise ValueError(f"account {account} has no instance {wish['instance']} in {WEST}")
        server = self._databases.servers.get(instance.arn)
        if server is None or not has_mode(server.kind, wish["tls"]):
            raise ValueError(f"no client of {instance.id} connects with {wish['tls']!r}")
        store = f"practice-{name}.pem"
        roots = [self._world.pki.root_pem(WEST, ca) for ca in wish.get("cas") or [instance.ca]]
        write_whole(self._store(store), "".join(roots))
        with self._lock:
            self._applications[name] = Application(
                name,
                account,
                instance.id,
                protocol(server.kind),
                wish["tls"],
                store,
                stay=1.0,
                source=source,
            )
            if name in self._running:
                self._running.pop(name).stop()
        self.follow()
        return [row for row in self.rows() if row["name"] == name]

    def remove(self, name: str) -> None:
        """Let an application that was added go."""
        if name not in self._applications or any(name == a.name for a in APPLICATIONS):
            raise ValueError(f"no application {name} was added")
        with self._lock:
            del self._applications[name]
            if name in self._running:
                self._running.pop(name).stop()

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
            for application in list(self._applications.values())
            if (client := self._running.get(application.name))
        ]

    def _endpoint(self, application: Application) -> Endpoint | None:
        place = self._world.region(application.account, WEST)
        instance = place.instances[application.instance]
        server = self._databases.servers.get(instance.arn)
        if server is None or not server.pid or not has_driver(server.kind):
            return None
        host = instance.facts["Endpoint"]["Address"]
        if application.by_cluster:
            host = place.clusters[instance.facts["DBClusterIdentifier"]].facts["Endpoint"]
        return Endpoint(application.engine, host, server.port, "app", self._password, source=application.source)
