"""What the tests share: a whole lab for the session, and a lab's AWS side alone for each test that wants one."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from rdsca_helpers.__main__ import main
from rdsca_helpers.lab import control, folder, seed
from rdsca_helpers.lab.front import Call, Front
from rdsca_helpers.lab.http import Server
from rdsca_helpers.lab.pages import Pages
from rdsca_helpers.lab.pki import Pki
from rdsca_helpers.lab.world import World


@cache
def _session(_config: str, _profile: str) -> boto3.Session:
    return boto3.Session()


def boto() -> boto3.Session:
    """Give a session of the AWS files that the environment names now; boto3's own keeps those that it read first."""
    return _session(os.environ.get("AWS_CONFIG_FILE", ""), os.environ.get("AWS_PROFILE", ""))


@dataclass(frozen=True)
class RunningLab:
    """A lab that runs: its folder, its URL, and the variables that point AWS tools at it."""

    folder: Path
    url: str
    env: dict[str, str]

    def get(self, path: str) -> Any:
        """GET a page below /_lab/."""
        return self._ask("GET", path)

    def post(self, path: str, **wish: Any) -> Any:
        """POST to a page below /_lab/."""
        return self._ask("POST", path, json.dumps(wish).encode())

    def delete(self, path: str) -> Any:
        """DELETE a page below /_lab/."""
        return self._ask("DELETE", path)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        request = urllib.request.Request(f"{self.url}/_lab/{path}", body, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)


@dataclass(frozen=True)
class AwsSide(RunningLab):
    """The AWS side of a lab with no database behind it, in this process."""

    world: World = field(kw_only=True)
    front: Front = field(kw_only=True)

    def world_calls(self) -> list[Call]:
        """Give every request that was received, in order."""
        return list(self.front.calls)

    def client(self, service: str = "rds", account: str = seed.SHOP, region: str = "eu-west-1", **config: Any) -> Any:
        """Make a real boto3 client for it."""
        return boto().client(
            service,
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id=account,
            aws_secret_access_key="worthless",
            config=Config(
                ignore_configured_endpoint_urls=True,
                **{"retries": {"total_max_attempts": 1}, **config},
            ),
        )


def start_lab(where: Path) -> RunningLab:
    """Start a lab, as `rdsca lab start` does."""
    found = control.start(where)
    return RunningLab(where.resolve(), found["url"], control.environment(where))


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """One lab for the session; its variables stand in os.environ, so that kernels and tools inherit them."""
    where = tmp_path_factory.mktemp("lab")
    running = start_lab(where)
    before = dict(os.environ)
    os.environ.update(running.env)
    try:
        yield running
    finally:
        os.environ.clear()
        os.environ.update(before)
        control.stop(where)


@pytest.fixture
def aws() -> Iterator[AwsSide]:
    """A fresh AWS side with the seed fleet; its clock stands still unless it is put forward."""
    world = World(Pki(folder.cache() / "pki", folder.REGIONS), seed.ACCOUNTS)
    seed.seed(world)
    pages = Pages(world)
    pages.front = Front(world, pages, lambda: DomainDispatcherApplication(create_backend_app))
    server = Server(folder.HOST, 0, pages.front)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield AwsSide(Path(), folder.url(server.server_port), {}, world=world, front=pages.front)
    server.shutdown()
    server.server_close()
    world.clock.stop()
    assert world.clock.errors == []


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Practice authorities made for this session, for tests that need no whole lab."""
    return Pki(tmp_path_factory.mktemp("pki"), folder.REGIONS)


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder where practice servers keep their packed first data."""
    return tmp_path_factory.mktemp("templates")


@dataclass(frozen=True)
class Command:
    """How one `rdsca` command ended."""

    code: int
    out: str
    err: str


def rdsca(*words: str, **env: str) -> Command:
    """Run one `rdsca` command in a process of its own."""
    command = [sys.executable, "-m", "rdsca_helpers", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, env={**os.environ, **env})
    return Command(done.returncode, done.stdout, done.stderr)


def typed(*words: str) -> Command:
    """Run one `rdsca` command in this process, which is quicker."""
    out, err = io.StringIO(), io.StringIO()
    before = signal.getsignal(signal.SIGTERM)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(words))
    signal.signal(signal.SIGTERM, before)
    return Command(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Walk:
    """One account of the lab, walked by the commands that the README names; *steps* are these commands."""

    base: Path
    folder: Path
    steps: dict[str, Command]


@pytest.fixture(scope="session")
def walked(lab: RunningLab, tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """The shop account in eu-west-1, moved to rds-ca-rsa4096-g1: 01-04, an approval, 05-07, with action=apply."""
    base = tmp_path_factory.mktemp("runs")
    common = ["--account", seed.SHOP, "--profile", "lab", "--regions", "eu-west-1", "--run-dir", str(base)]
    common += [
        "-p",
        "target_ca",
        "rds-ca-rsa4096-g1",
        "-p",
        "action",
        "apply",
        "-p",
        "when",
        "now",
        "-p",
        "wave",
        "all",
    ]
    steps = {
        "plan": rdsca("run", *common, "--to", "04"),
        "approve": rdsca("approve", str(base / seed.SHOP), "--by", "the tests", "--note", "CHG-1"),
        "rotate": rdsca("run", *common, "--from", "05"),
    }
    return Walk(base, base / seed.SHOP, steps)


@pytest.fixture
def profile(aws: AwsSide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AwsSide:
    """The AWS side alone, with profile "lab" leading to it, its time flowing and its changes quick."""
    folder.write_aws_files(tmp_path / "profile", int(aws.url.rpartition(":")[2]))
    folder.write_roots(tmp_path / "profile", aws.world.pki)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "profile/aws/config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "profile/aws/credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    aws.world.settings.lag = aws.world.settings.modify = aws.world.settings.restart = 0.05
    aws.world.clock.start()
    return aws
