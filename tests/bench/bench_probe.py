"""The probe over 1,000 endpoints of which 150 are bad, against openssl s_client that asks one after the other."""

from __future__ import annotations

import multiprocessing
import random
import resource
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

from rdsca_helpers.edge import wire
from rdsca_helpers.engines import Wire, all_engines
from rdsca_helpers.errors import Obstacle, Unreachable

ENDPOINTS, OF_EACH_KIND, THREADS, DEADLINE = 1000, 15, 64, 3.0
SAMPLE = 20  # endpoints that openssl is asked for
NAME = "orders.abcdefghijkl.eu-west-1.rds.amazonaws.com"


@dataclass(frozen=True)
class Endpoint:
    """An engine's port, and what a probe of it should say: an obstacle, or the chain (``None``)."""

    engine: str
    port: int
    obstacle: Obstacle | None = None


def run() -> None:
    """Measure and print."""
    with world() as (healthy, bad):
        endpoints = [*bad, *(healthy[i % len(healthy)] for i in range(ENDPOINTS - len(bad)))]
        random.Random(1).shuffle(endpoints)
        baseline = _mib()
        began, cpu = time.monotonic(), time.process_time()
        with ThreadPoolExecutor(THREADS) as pool:
            found = list(pool.map(_probe, endpoints))
        wall, cpu = time.monotonic() - began, time.process_time() - cpu
        right = sum(seen == e.obstacle for seen, e in zip(found, endpoints, strict=True))
        wrong = Counter(
            f"{e.obstacle or 'healthy'} {e.engine} taken for {seen or 'healthy'}"
            for seen, e in zip(found, endpoints, strict=True)
            if seen != e.obstacle
        )
        print(f"probe: {len(endpoints)} endpoints, {len(bad)} of them bad, {THREADS} threads, {DEADLINE:.0f} s each")
        print(f"  on {', '.join(sorted({e.engine for e in healthy}))}")
        print(f"  wall {wall:.1f} s (bar 10), CPU {1000 * cpu / len(endpoints):.1f} ms a probe")
        print(f"  largest {_mib():.0f} MiB (bar 100), of which {baseline:.0f} before the first probe")
        print(f"  told right: {right} of {len(endpoints)}", *(f"\n  {n} x {what}" for what, n in wrong.items()), sep="")
        _compare(healthy, wall, len(endpoints))


def _probe(endpoint: Endpoint) -> Obstacle | None:
    try:
        seen: Wire = wire.probe(
            all_engines()[endpoint.engine], host=NAME, address=("127.0.0.1", endpoint.port), deadline=DEADLINE
        )
    except Unreachable as e:
        return e.obstacle
    return None if len(seen.chain) == 3 else Obstacle.HANDSHAKE


def _compare(healthy: list[Endpoint], wall: float, number: int) -> None:
    """Ask openssl for the healthy ones only: on half of the bad ones it would wait for ever."""
    if not shutil.which("openssl"):
        print("  no openssl here to compare with; install it")
        return
    began = time.monotonic()
    for i in range(SAMPLE):
        endpoint = healthy[i % len(healthy)]
        protocol = "postgres" if endpoint.engine == "postgres" else "mysql"
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{endpoint.port}", "-starttls", protocol]
        subprocess.run([*command, "-showcerts"], input=b"", capture_output=True, check=False, timeout=30)
    scaled = (time.monotonic() - began) / SAMPLE * number
    print(f"  openssl s_client, one by one, all healthy: {scaled:.1f} s (scaled from {SAMPLE}), {scaled / wall:.1f}x")


def _mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def world() -> Iterator[tuple[list[Endpoint], list[Endpoint]]]:
    """Give healthy and bad endpoints; all servers live in a process of their own, so that it is not measured."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(theirs,))
    process.start()
    theirs.close()
    try:
        yield ours.recv()
    finally:
        ours.close()
        process.join(60)


def _serve(pipe: Connection) -> None:
    from bad_servers import TEN, bad_server, obstacle_of

    from rdsca_helpers.lab import servers
    from rdsca_helpers.lab.pki import Pki

    with ExitStack() as world:
        folder = Path(world.enter_context(tempfile.TemporaryDirectory()))
        now = datetime.now(UTC)
        served = Pki(folder, ("eu-west-1",)).issue(
            "eu-west-1", "rds-ca-rsa2048-g1", [NAME], now - timedelta(days=1), now + timedelta(days=300)
        )
        healthy = []
        for kind in servers.KINDS:
            installation = servers.find(kind)
            if installation is None:
                print(servers.why_missing(kind))
                continue
            for _ in range(2):
                server = servers.make(installation, folder, readonly_password="read only", app_password="app")
                server.start(served)
                world.callback(server.stop)
                healthy.append(Endpoint(kind, server.port))
        bad = []
        for name in TEN:
            for i in range(OF_EACH_KIND):
                engine = ("postgres", "mysql")[i % 2]
                bad.append(Endpoint(engine, world.enter_context(bad_server(name, engine)).port, obstacle_of(name)))
        pipe.send((healthy, bad))
        try:
            pipe.recv()
        except EOFError:
            return
