"""PEM trust stores (libpq, MySQL clients, Node, curl, Python): read as the client would, add and lose nothing."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path

from ...certs import Certificate, read_pem
from ...errors import Refused, UsageError
from ..files import write_whole

FORMAT = "pem"


@dataclass(frozen=True)
class PemStore:
    """A PEM file: what is in it for OpenSSL, and what OpenSSL would not load."""

    path: Path
    text: str
    certificates: tuple[Certificate, ...]
    complaints: tuple[str, ...]


def read(path: str) -> PemStore:
    """Read a PEM trust store; raises ``UsageError`` when there is no such file or it cannot be read."""
    file = Path(path).expanduser()
    try:
        text = file.read_bytes().decode("ascii", errors="surrogateescape")
    except OSError as e:
        raise UsageError(f"the trust store {path} cannot be read ({e.strerror})") from None
    certificates, complaints = read_pem(text)
    return PemStore(file, text, tuple(certificates), tuple(complaints))


def add(store: PemStore, roots: Sequence[Certificate], *, comment: str) -> Path | None:
    """Append the *roots* that are not there yet, and give the backup's path; ``None`` when there was nothing to add.

    What is in the file stays byte for byte. Links are followed, owner and mode kept; a file with other names (hard
    links), a read-only one, and one that changed since it was read are refused.
    """
    there = {c.sha256 for c in store.certificates}
    new = list({root.sha256: root for root in roots if root.sha256 not in there}.values())
    if not new:
        return None
    if store.complaints:
        raise Refused(f"{store.path} is not clean PEM: {'; '.join(store.complaints)}", "mend it by hand first")
    try:
        path = store.path.resolve(strict=True)
    except OSError as e:
        raise Refused(f"{store.path} is gone ({e.strerror})", "run this step again") from None
    if path.stat().st_nlink > 1:
        raise Refused(
            f"{path} has other names (hard links), which would keep the old content", "make it a file of its own"
        )
    if not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK):
        raise Refused(f"{path} is read-only here", "run this where the store may be changed")
    gap = "" if not store.text or store.text.endswith("\n") else "\n"
    added = "".join(f"# {comment}: {_in_a_line(root.subject)}\n{root.pem}" for root in new)
    old = store.text.encode("ascii", errors="surrogateescape")
    data = old + (gap + added).encode()
    if len(read_pem(data.decode("ascii", errors="surrogateescape"))[0]) != len(store.certificates) + len(new):
        raise Refused(f"{path} would not read back as it should", "mend it by hand first")
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if file.read() != old:
            raise Refused(f"{path} was changed by somebody else just now", "run this step again")
        backup = _free_name(path, datetime.now(UTC))
        write_whole(backup, old, like=path)
        write_whole(path, data, like=path)
    return backup


def _in_a_line(subject: str) -> str:
    """Let a subject stand in a comment: it may hold line feeds and dashes, which would begin a block."""
    return re.sub(r"\s+|--+", " ", subject)


def _free_name(path: Path, now: datetime) -> Path:
    """Name a backup that is not there yet, for a second change within the same second."""
    stem = f"{path.name}.rdsca-{now:%Y%m%dT%H%M%SZ}"
    names = chain((f"{stem}.bak",), (f"{stem}.{n}.bak" for n in count(2)))
    return next(free for name in names if not (free := path.with_name(name)).exists())
