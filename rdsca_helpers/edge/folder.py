"""The run folder: reports, the journal, the manifest that seals them, and the check that finds any changed byte."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from ..errors import Damaged, Locked, Refused, UsageError
from ..model import REPORTS, Report, report_from_json, stamp, to_json, utc
from .files import write_whole

R = TypeVar("R", bound=Report[Any])
MANIFEST = "manifest.json"
JOURNAL = "journal.jsonl"
APPROVAL = "approval.json"
_MADE_BY = {
    "inventory": "01-discover",
    "sessions": "02-sessions",
    "trust": "03-trust-stores",
    "plan": "04-plan",
    "rotation": "05-rotate",
    "proof": "06-verify",
    "parameters": "92-performance-schema",
}
_AT_ANY_TIME = ("parameters",)


class RunFolder:
    """One account's folder of evidence."""

    def __init__(self, path: str | Path) -> None:
        """Name the folder; it is made when the first thing is kept."""
        self.path = Path(path)

    def keep(self, report: Report[Any]) -> Path:
        """Write *report*, whole or not at all; one that was there before moves to ``earlier/``."""
        return self._keep(f"{report.kind}.json", _pretty(to_json(report)))

    def keep_text(self, name: str, text: str) -> Path:
        """Write a page or bundle under *name* in the same way."""
        return self._keep(name, text.encode(errors="backslashreplace"))

    def _keep(self, name: str, data: bytes) -> Path:
        path = self.path / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                if path.read_bytes() == data:
                    return path
                free_name(self.path / "earlier", path.name).write_bytes(path.read_bytes())
        except OSError as e:
            raise Damaged(
                f"{path} cannot be written ({e.strerror})", "nothing was lost; make room and run again"
            ) from None
        write_whole(path, data)
        return path

    def load(self, kind: type[R]) -> R:
        """Read the report that an earlier notebook kept; raises ``Refused`` when it is not there."""
        path = self.path / f"{kind.kind}.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            report = report_from_json(data)
        except FileNotFoundError:
            raise Refused(f"{path} is missing", f"run {_MADE_BY[kind.kind]} with the same run_dir first") from None
        except OSError as e:
            raise UsageError(f"{path} cannot be read ({e.strerror})") from None
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise Damaged(f"{path} is damaged ({type(e).__name__})", f"run {_MADE_BY[kind.kind]} again") from None
        if not isinstance(report, kind):
            raise Damaged(f"{path} holds another report", f"run {_MADE_BY[kind.kind]} again")
        return report

    def find(self, kind: type[R]) -> R | None:
        """Read a report if there is one."""
        return self.load(kind) if (self.path / f"{kind.kind}.json").exists() else None

    def approve(self, digest: str, *, by: str, note: str, now: datetime) -> None:
        """Bind a plan's *digest* to a name and a time."""
        self._keep(APPROVAL, _pretty({"plan": digest, "by": by, "note": note, "at": stamp(now)}))

    def approval(self) -> dict[str, str] | None:
        """Give the approval that was filed: plan, by, note, at."""
        path = self.path / APPROVAL
        try:
            return {k: str(v) for k, v in json.loads(path.read_text(encoding="utf-8")).items()}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, AttributeError):
            raise Damaged(f"{path} is damaged", "approve the plan again") from None

    def keep_chain(self, region: str, instance: str, host: str, chain: Sequence[bytes]) -> Path:
        """Keep the chain (DER, leaf first) that *instance* has shown for *host*, as PEM below ``chains/``.

        Trust stores are tried against it later, without a server.
        """
        blocks = "".join(ssl.DER_cert_to_PEM_cert(der) for der in chain)
        return self._keep(f"chains/{region}-{instance}.pem", f"# {host}\n{blocks}".encode())

    def chains(self) -> dict[str, tuple[str, str]]:
        """Give the kept chains: by region and instance (``eu-west-1-orders``), the host name and the PEM text."""
        found = {}
        for path in sorted((self.path / "chains").glob("*.pem")):
            try:
                text = path.read_text(encoding="ascii")
            except (OSError, UnicodeError):
                raise Damaged(f"{path} cannot be read", "remove it, and run 06-verify again") from None
            found[path.stem] = (text.partition("\n")[0].removeprefix("# "), text)
        return found

    def journal(self) -> Journal:
        """Open the journal for one writer."""
        return Journal(self.path / JOURNAL)


class Journal:
    """What was about to be done and what became of it, a line each, each bound to the line before by its hash.

    A line is on the disk before the effect that it announces. A torn last line, from a crash in mid-write, is cut;
    damage further up raises ``Damaged``. One process writes at a time.
    """

    def __init__(self, path: Path) -> None:
        """Open *path*, take the writer's lock and read what is there."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Without a buffer: what a full disk refused must not be written by a later flush.
            self._file = path.open("a+b", buffering=0)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Locked(f"{path} is in use by another run", "let that run end first") from None
        except OSError as e:
            raise Damaged(f"{path} cannot be written ({e.strerror})") from None
        self._file.seek(0)
        text = self._file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self.entries = read_journal(whole, path)
        self._last = _digest(_lines(whole)[-1]) if self.entries else ""
        self._end = len(whole)
        if len(whole) < len(text):
            self._file.truncate(self._end)

    def write(self, event: str, **facts: Any) -> None:
        """Add a line and wait until it is on the disk; raises ``Damaged`` when it cannot be."""
        entry = {
            "n": len(self.entries) + 1,
            "at": stamp(datetime.now(UTC)),
            "event": event,
            **facts,
            "before": self._last,
        }
        line = json.dumps(to_json(entry), sort_keys=True).encode()
        left = line + b"\n"
        try:
            while left:  # an unbuffered write may take a part, and say only at the next one that the disk is full
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as e:
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)
            raise Damaged(f"the journal cannot be written ({e.strerror})", "nothing more was sent") from None
        self._end += len(line) + 1
        self.entries.append(entry)
        self._last = _digest(line)

    def close(self) -> None:
        """Let the next writer in."""
        self._file.close()

    def __enter__(self) -> Journal:
        """Give the journal itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


def read_journal(text: bytes, path: Path) -> list[dict[str, Any]]:
    """Read whole lines and check the chain; raises ``Damaged`` that names the line."""
    entries, last = [], ""
    for number, line in enumerate(_lines(text), 1):
        try:
            entry = json.loads(line)
            good = entry["n"] == number and entry["before"] == last
        except (ValueError, KeyError, TypeError):
            good = False
        if not good:
            raise Damaged(f"{path} is damaged at line {number}", "keep the folder as it is and ask who changed it")
        entries.append(entry)
        last = _digest(line)
    return entries


def _lines(text: bytes) -> list[bytes]:
    """Split at line feeds only: ``splitlines`` takes a carriage return for one, and would not see it changed."""
    return text.removesuffix(b"\n").split(b"\n") if text else []


def seal(folder: Path, *, now: datetime) -> Path:
    """List every file of *folder* with its SHA-256 in the manifest, which holds a digest of its own."""
    files = {name: _digest_of(folder / name) for name in _evidence(folder)}
    if unread := [name for name, digest in files.items() if not digest]:
        raise Damaged(f"{folder / unread[0]} cannot be read", "mend or remove it, and seal the folder again")
    body: dict[str, Any] = {"kind": "manifest", "schema": 1, "sealed_at": stamp(now), "files": files}
    body["digest"] = _digest(_pretty(body))
    write_whole(folder / MANIFEST, _pretty(body))
    return folder / MANIFEST


def check(folder: Path) -> list[str]:
    """Say what is missing, edited, added or out of order in a sealed folder; an empty list means nothing is."""
    try:
        raw = (folder / MANIFEST).read_bytes()
    except OSError:
        raise UsageError(f"{folder} has no {MANIFEST}", "run 07-evidence, which seals the folder") from None
    try:
        body = json.loads(raw)
        digest = body.pop("digest")
        files: Mapping[str, str] = body["files"]
        intact = digest == _digest(_pretty(body)) and raw == _pretty({**body, "digest": digest})
        names = set(files)
    except (ValueError, KeyError, TypeError, AttributeError):
        return [f"{MANIFEST} is damaged"]
    if not intact:
        return [f"{MANIFEST} was edited"]
    there = set(_evidence(folder))
    faults = [f"{name} is missing" for name in sorted(names - there)]
    faults += [f"{name} is not in the manifest" for name in sorted(there - names)]
    faults += [f"{name} was edited" for name in sorted(names & there) if _digest_of(folder / name) != files[name]]
    return faults + _out_of_order(folder, there)


def _out_of_order(folder: Path, names: set[str]) -> list[str]:
    """Check the journal's chain, and that each report was made after the one it reads."""
    faults = []
    if JOURNAL in names:
        try:
            read_journal((folder / JOURNAL).read_bytes(), folder / JOURNAL)
        except Damaged as e:
            faults.append(e.what)
        except OSError:
            faults.append(f"{JOURNAL} cannot be read")
    times = []
    for kind in _MADE_BY:
        if f"{kind}.json" in names and kind not in _AT_ANY_TIME:
            try:
                times.append((utc(json.loads((folder / f"{kind}.json").read_text("utf-8"))["made_at"]), kind))
            except (ValueError, KeyError, TypeError, OSError):
                faults.append(f"{kind}.json is damaged")
    faults += [
        f"{later}.json is older than {earlier}.json, which it reads"
        for (t1, earlier), (t2, later) in pairwise(times)
        if t2 < t1
    ]
    return faults


def free_name(folder: Path, name: str) -> Path:
    """Give a path in *folder* for *name* that is not taken: ``x.json``, ``x.2.json``, ``x.3.json`` …"""
    folder.mkdir(parents=True, exist_ok=True)
    stem, dot, ending = name.partition(".")
    path, number = folder / name, 2
    while path.exists():
        path = folder / f"{stem}.{number}{dot}{ending}"
        number += 1
    return path


def reports(folder: Path) -> dict[str, Report[Any]]:
    """Read every report that *folder* holds, by kind."""
    run = RunFolder(folder)
    found = {kind: run.find(cls) for kind, cls in REPORTS.items()}
    return {kind: report for kind, report in found.items() if report}


def _evidence(folder: Path) -> list[str]:
    """Give the names of all files below *folder* but the manifest, with forward slashes."""
    names = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() or p.is_symlink())
    return sorted(n for n in names if n != MANIFEST and not _is_litter(n))


def _is_litter(name: str) -> bool:
    """Tell what Jupyter keeps for itself and what a killed :func:`write_whole` left; no evidence has such a name."""
    *folders, last = name.split("/")
    return ".ipynb_checkpoints" in folders or (last.startswith(".") and last.endswith(".part"))


def _digest_of(path: Path) -> str:
    """Hash a file; empty when it cannot be read, as a link that leads nowhere."""
    try:
        return _digest(path.read_bytes())
    except OSError:
        return ""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _pretty(data: Any) -> bytes:
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    return text.encode(errors="backslashreplace")  # a path that is no UTF-8: its escape is JSON's own
