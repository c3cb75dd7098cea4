"""Which of our processes still runs: told by pid and start time, so that a pid used again is left alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path


def started(pid: int) -> str:
    """Say when the process *pid* started, in the words of this machine; empty when there is none."""
    with suppress(OSError, IndexError):  # after the name in brackets, the 20th field: ticks since boot
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    if Path("/proc/self/stat").exists():
        return ""
    asked = ["ps", "-o", "lstart=", "-p", str(pid)]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def runs(pid: int, since: str) -> bool:
    """Say whether the process *pid* that started at *since* still runs."""
    return bool(since) and started(pid) == since


def end(pid: int, since: str, seconds: float = 20) -> None:
    """End that very process: politely, and after *seconds* by force."""
    deadline = time.monotonic() + seconds
    sent = signal.SIGTERM
    while runs(pid, since):
        with suppress(ProcessLookupError):
            os.kill(pid, sent)
        while runs(pid, since) and time.monotonic() < deadline:
            time.sleep(0.02)
        sent, deadline = signal.SIGKILL, time.monotonic() + seconds


def clear(folder: Path) -> None:
    """Kill what still works in *folder* (its command line names it), and remove the folder."""
    for pid in _naming(str(folder)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def _naming(text: str) -> list[int]:
    found = []
    if Path("/proc/self/cmdline").exists():
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and text in (entry / "cmdline").read_text(errors="replace"):
                    found.append(int(entry.name))
    else:
        listed = subprocess.run(["ps", "-axww", "-o", "pid=,command="], capture_output=True, text=True, check=True)
        found = [int(line.split()[0]) for line in listed.stdout.splitlines() if text in line]
    return [pid for pid in found if pid != os.getpid()]
