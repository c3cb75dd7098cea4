"""Starting, stopping and looking at a lab from outside; the lab itself is a process of its own."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rdsca_helpers.errors import Stopped

from . import processes
from .folder import read_state, url
from .seed import WEST

START_SECONDS = 300  # a first start makes keys and data folders; a second one takes a few seconds


def start(folder: Path, port: int = 0, *, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Start a lab in *folder* and return its status once everything answers; *say* gets progress lines.

    A lab that already runs there is returned as it is; what a killed one left behind is cleared first.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        if (found := status(folder)) and found["ready"]:
            return found
        stop(folder)
        with (folder / "log.txt").open("ab") as log:
            daemon = subprocess.Popen(
                [sys.executable, "-m", "rdsca_helpers.lab", "--dir", str(folder), "--port", str(port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            return _wait(folder, daemon, say)
        except BaseException:  # Ctrl-C while it starts: the daemon has a session of its own and would live on
            processes.end(daemon.pid, processes.started(daemon.pid))
            stop(folder)
            raise


def stop(folder: Path) -> bool:
    """Stop the lab in *folder* with all its servers; say whether there was one."""
    folder = folder.resolve()
    state = read_state(folder)
    if state is None:
        return False
    was = processes.runs(state["pid"], state["started"])
    processes.end(state["pid"], state["started"])
    processes.clear(Path(state["temporary"]))
    (folder / "lab.json").unlink(missing_ok=True)
    return was


def status(folder: Path) -> dict[str, Any] | None:
    """Say how the lab in *folder* is: its state file and what it answers; None when none runs."""
    folder = folder.resolve()
    state = read_state(folder)
    if state is None or not processes.runs(state["pid"], state["started"]):
        return None
    try:
        with urllib.request.urlopen(f"{state['url']}/_lab/status", timeout=10) as answer:  # noqa: S310
            return {**state, **json.load(answer)}
    except (urllib.error.URLError, OSError, ValueError):
        return {**state, "ready": False, "failed": "", "progress": []}


def environment(folder: Path) -> dict[str, str]:
    """Give the variables that point any AWS tool at the lab in *folder*."""
    folder = folder.resolve()
    state = read_state(folder)
    if state is None:
        raise Stopped(f"no lab runs in {folder}", "start it with `rdsca lab start`")
    return {
        "AWS_CONFIG_FILE": str(folder / "aws/config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "aws/credentials"),
        "AWS_PROFILE": "lab",
        "AWS_ENDPOINT_URL": url(state["port"]),
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_REGION": WEST,
        "AWS_DEFAULT_REGION": WEST,
        "RDSCA_LAB": str(folder),
    }


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one start at a time work in *folder*."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _wait(folder: Path, daemon: subprocess.Popen[bytes], say: Callable[[str], None]) -> dict[str, Any]:
    told = 0
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        found = status(folder)
        if found and found["pid"] == daemon.pid:
            for line in found["progress"][told:]:
                say(line)
            told = len(found["progress"])
            if found["ready"]:
                return found
        if daemon.poll() is not None:
            break
        time.sleep(0.05)
    processes.end(daemon.pid, processes.started(daemon.pid))
    stop(folder)
    tail = (folder / "log.txt").read_text(errors="replace").strip().splitlines()[-1:]
    raise Stopped(f"the lab in {folder} did not start: {' '.join(tail)}", f"see {folder / 'log.txt'}")
