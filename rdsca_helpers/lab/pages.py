"""The pages below /_lab/: the practice world seen and steered from outside, in JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from . import seed, versions
from .applications import Clients
from .front import Front, Reply, calls_page, send
from .http import Environ, StartResponse
from .pki import CURRENT, RETIRED
from .wire import Databases
from .world import ENABLED, Instance, Settings, World

Page = Callable[[Any], Any]


class Pages:
    """A WSGI application; the daemon fills in *front*, *databases* and the clients once they exist."""

    def __init__(self, world: World) -> None:
        self.front: Front | None = None
        self.databases: Databases | None = None
        self.clients: Clients | None = None
        self.progress: list[str] = []
        self.ready = False
        self.failed = ""
        self._world = world
        self._pages: dict[tuple[str, str], Page] = {
            ("GET", "status"): self._status,
            ("GET", "calls"): self._calls,
            ("DELETE", "calls"): self._forget_calls,
            ("GET", "stats"): self._stats,
            ("GET", "servers"): lambda _: self.databases.rows() if self.databases else [],
            ("GET", "clients"): lambda _: self.clients.rows() if self.clients else [],
            ("POST", "clients"): self._add_client,
            ("DELETE", "clients"): self._remove_client,
            ("GET", "settings"): lambda _: asdict(self._world.settings),
            ("POST", "settings"): self._settings,
            ("POST", "clock"): self._clock,
            ("GET", "fault"): lambda _: self._front.faults.rows(),
            ("POST", "fault"): lambda wish: asdict(self._front.faults.add(wish)),
            ("DELETE", "fault"): self._remove_fault,
            ("POST", "instance"): self._instance,
            ("POST", "grow"): self._grow,
        }

    @property
    def _clients(self) -> Clients:
        if self.clients is None or not self.ready:
            raise ValueError("the lab is still starting")
        return self.clients

    def _add_client(self, wish: dict[str, Any]) -> Any:
        return self._clients.add(wish)

    def _remove_client(self, wish: dict[str, str]) -> Any:
        self._clients.remove(wish["name"])
        return self._clients.rows()

    @property
    def _front(self) -> Front:
        if self.front is None:
            raise ValueError("the lab is still starting")
        return self.front

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request; a wrong wish is a 400 with the reason, an unknown page a 404."""
        path = environ["PATH_INFO"].removeprefix("/_lab/").strip("/")
        if path.startswith("truststore/"):
            return send(start_response, self._bundle(path))
        page = self._pages.get((environ["REQUEST_METHOD"], path))
        if page is None:
            return send(start_response, _json({"error": f"no page {path}", "pages": sorted(self._pages)}, 404))
        try:
            wish = dict(parse_qsl(environ["QUERY_STRING"]))
            if environ["REQUEST_METHOD"] == "POST":
                body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                wish = json.loads(body or b"{}")
            return send(start_response, _json(page(wish)))
        except (ValueError, TypeError, KeyError) as e:
            return send(start_response, _json({"error": f"{type(e).__name__}: {e}"}, 400))

    def _bundle(self, path: str) -> Reply:
        """Serve the CA bundle under the same names as truststore.pki.rds.amazonaws.com does."""
        for region in (None, *ENABLED):
            name = region or "global"
            if path == f"truststore/{name}/{name}-bundle.pem":
                return Reply(self._world.pki.bundle(region).encode(), "application/x-pem-file")
            if path == f"truststore/{name}/{name}-bundle.p7b":
                return Reply(self._world.pki.bundle_p7b(region), "application/x-pkcs7-certificates")
        return Reply(b"not found\n", "text/plain", 404)

    def _status(self, _: Any) -> Any:
        databases = self.databases
        return {
            "ready": self.ready,
            "failed": self.failed,
            "progress": self.progress,
            "now": self._world.clock.now(),
            "pending_events": self._world.clock.pending(),
            "errors": self._world.clock.errors,
            "accounts": [asdict(a) for a in self._world.accounts.values()],
            "instances": sum(len(p.instances) for p in self._world.regions()),
            "servers": len(databases.rows()) if databases else 0,
            "without_server": databases.missing if databases else {},
        }

    def _calls(self, wish: dict[str, str]) -> Any:
        return calls_page(self._front, wish)

    def _forget_calls(self, _: Any) -> Any:
        self._front.calls.clear()
        return {"total": 0}

    def _stats(self, _: Any) -> Any:
        counts: dict[str, int] = {}
        for call in list(self._front.calls):
            counts[call.action] = counts.get(call.action, 0) + 1
        return {"missing": dict(self._front.missing), "actions": counts}

    def _settings(self, wish: dict[str, Any]) -> Any:
        known = {f.name for f in fields(Settings)}
        if unknown := wish.keys() - known:
            raise ValueError(f"no setting {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
        for name, value in wish.items():
            setattr(self._world.settings, name, value)
        return asdict(self._world.settings)

    def _clock(self, wish: dict[str, Any]) -> Any:
        return {"now": self._world.clock.advance(timedelta(seconds=float(wish["advance"])))}

    def _remove_fault(self, wish: dict[str, str]) -> Any:
        self._front.faults.remove(int(wish["id"]) if "id" in wish else None)
        return self._front.faults.rows()

    def _instance(self, wish: dict[str, Any]) -> Any:
        """Change an instance behind RDS's back: `status`, `ca`, `expires`, `pending`, `engine_version`,
        `window`, `actions`, and any member of DBInstance by its own name."""
        world = self._world
        found = _find(world, wish.pop("account", seed.SHOP), wish.pop("region", ENABLED[0]), wish.pop("instance"))
        with world.lock:
            for name, value in wish.items():
                if name in ("status", "window", "actions"):
                    setattr(found, name, value)
                elif name == "pending":
                    found.pending = dict(value)
                    world.resume(found)
                elif name == "ca":
                    if value not in (None, *CURRENT, *RETIRED):
                        raise ValueError(f"no CA {value}")
                    found.ca = value
                elif name == "expires":
                    when = datetime.fromisoformat(value) if value else None
                    found.expires = when.replace(tzinfo=when.tzinfo or UTC) if when else None
                elif name == "engine_version":
                    version = versions.find(found.version.engine, value)
                    if version is None:
                        raise ValueError(f"no {found.version.engine} {value}")
                    found.version = version
                elif name[0].isupper():
                    found.facts[name] = value
                else:
                    raise ValueError(f"an instance has no {name}")
            found.xml = None
        return found.answer()

    def _grow(self, wish: dict[str, Any]) -> Any:
        seed.grow(self._world, **wish)
        return self._status(None)


def _find(world: World, account: str, region: str, name: str) -> Instance:
    place = world.region(account, region)
    if name not in place.instances:
        raise ValueError(f"no instance {name} in {account} {region}")
    return place.instances[name]


def _json(value: Any, status: int = 200) -> Reply:
    return Reply(json.dumps(value, default=_plain).encode(), "application/json", status)


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
