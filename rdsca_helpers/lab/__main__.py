"""The lab's own process: one port on loopback, the databases behind it, and their clients."""

from __future__ import annotations

import argparse
import json
import logging
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import boto3
from botocore.config import Config

from . import folder as files
from . import processes, seed, stores
from .applications import Clients
from .front import Front
from .http import Application, Server
from .pages import Pages
from .pki import CURRENT, Pki
from .wire import Databases, Wish
from .world import World

log = logging.getLogger("rdsca.lab")


class Lab:
    """Everything that runs, and the order in which it starts and stops."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        cache = files.cache()
        self.pki = Pki(cache / "pki", files.REGIONS)
        self.world = World(self.pki, seed.ACCOUNTS)
        self.pages = Pages(self.world)
        self.databases = Databases(self.world, self.pki, cache / "servers", self._moved)
        self.world.wire = self.databases
        self.front = Front(self.world, self.pages, _moto)
        self.pages.front, self.pages.databases = self.front, self.databases
        self.server = Server(files.HOST, port, self.front)
        self.port = self.server.server_port
        self._passwords = {user: secrets.token_urlsafe(16) for user in ("rdsca_ro", "app")}
        self._writing = threading.Lock()
        self.clients = Clients(
            self.world, self.databases, lambda name: files.store(folder, name), self._passwords["app"]
        )
        self.pages.clients = self.clients
        self.temporary = Path(tempfile.mkdtemp(prefix="rdsca-"))
        self.temporary.chmod(0o711)
        tempfile.tempdir = str(self.temporary)  # servers make theirs in here; one name to clear after a kill

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; then leave nothing behind."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._quit)
        self._write()
        threading.Thread(target=self._start, name="lab-start", daemon=True).start()
        try:
            self.server.serve_forever()
        finally:
            self.world.clock.stop()
            self.clients.stop()
            self.databases.stop()
            shutil.rmtree(self.temporary, ignore_errors=True)
            (self.folder / "lab.json").unlink(missing_ok=True)

    def _quit(self, _: int, __: FrameType | None) -> None:
        # shutdown() waits for serve_forever(), which this very thread is in.
        threading.Thread(target=self.server.shutdown).start()

    def _start(self) -> None:
        try:
            self._fill()
            self.pages.ready = True
            self._say("the lab is ready")
        except Exception as e:
            log.exception("the lab did not start")
            self.pages.failed = f"{type(e).__name__}: {e}"
            self.server.shutdown()

    def _fill(self) -> None:
        files.write_aws_files(self.folder, self.port)
        files.write_accounts(self.folder)
        stores.write_clients(self.folder)
        wishes = sorted(seed.seed(self.world), key=lambda w: w.kind)  # MariaDB and MySQL take longest
        self.world.clock.start()
        self._say("practice CA keys …")
        jobs = [(r, ca) for r in files.REGIONS for ca in CURRENT]
        with ThreadPoolExecutor(os.cpu_count() or 2) as pool:
            moto = pool.submit(self.front.wake)
            list(pool.map(lambda job: self.pki.validity(*job), jobs))
            files.write_roots(self.folder, self.pki)
            stores.write_stores(self.folder, self.pki)
            list(pool.map(self._start_server, wishes))
            moto.result()
        self._keep_secrets(wishes)
        self._say("applications that use the databases")
        self._write()
        self.clients.follow()
        self.clients.wait()

    def _start_server(self, wish: Wish) -> None:
        server = self.databases.start(
            wish, readonly_password=self._passwords["rdsca_ro"], app_password=self._passwords["app"]
        )
        if server:
            self._say(f"{server.kind} {server.version} behind {wish.instance.id}")
        elif why := self.databases.missing.get(wish.instance.arn):
            self._say(why)

    def _keep_secrets(self, wishes: list[Wish]) -> None:
        """Put each server's read-only account into Secrets Manager and let the instance name the secret."""
        for wish in wishes:
            instance = wish.instance
            if not self.databases.serves(instance):
                continue
            client = _secrets_client(self.port, instance.account, instance.region)
            endpoint = instance.facts["Endpoint"]
            text = json.dumps(
                {
                    "engine": instance.version.engine,
                    "host": endpoint["Address"],
                    "port": endpoint["Port"],
                    "username": "rdsca_ro",
                    "password": self._passwords["rdsca_ro"],
                }
            )
            made = client.create_secret(Name=f"rds!{instance.facts['DbiResourceId'].lower()}", SecretString=text)
            with self.world.lock:
                instance.facts["MasterUserSecret"] = {
                    "SecretArn": made["ARN"],
                    "SecretStatus": "active",
                    "KmsKeyId": instance.facts["KmsKeyId"],
                }
                instance.xml = None
        self.front.calls.clear()

    def _moved(self) -> None:
        self._write()
        if self.pages.ready:
            self.clients.follow()

    def _write(self) -> None:
        """Write what changes while the lab runs: lab.json and reach.yml."""
        with self._writing:
            files.write_reach(self.folder, self.databases.endpoints())
            files.write_state(
                self.folder,
                {
                    "pid": os.getpid(),
                    "started": processes.started(os.getpid()),
                    "port": self.port,
                    "url": files.url(self.port),
                    "temporary": str(self.temporary),
                    "children": self.databases.rows(),
                },
            )

    def _say(self, line: str) -> None:
        log.info("%s", line)
        self.pages.progress.append(line)


def _moto() -> Application:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app  # noqa: PLC0415 - slow to load

    application: Application = DomainDispatcherApplication(create_backend_app)
    return application


def _secrets_client(port: int, account: str, region: str) -> Any:
    return boto3.client(
        "secretsmanager",
        region_name=region,
        endpoint_url=files.url(port),
        aws_access_key_id=account,
        aws_secret_access_key="worthless",  # noqa: S106 - no secret at all
        config=Config(ignore_configured_endpoint_urls=True, proxies={}),
    )


def main() -> None:
    """Run a lab in a folder until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m rdsca_helpers.lab", description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="the lab's folder")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("botocore").setLevel(logging.WARNING)
    folder = options.dir.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    Lab(folder, options.port).run()


if __name__ == "__main__":
    main()
