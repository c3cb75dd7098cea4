"""Change a trust store so that its clients see the old one or the new one, whole, and both can be had again."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import os
import re
import ssl
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path

from ...errors import Damaged, Locked, RdscaError, Refused, UsageError
from ...model import Secret
from ...trust import Contents, Root
from ..files import replace_whole
from . import directory
from .opening import Store, open_store, read_store

PATIENCE = 10.0  # seconds to wait for another rdsca at the same store
UNCONFIRMED = "written; the disk did not confirm that it lasts"
ALREADY = "what stands there is this backup already"
IN_PLACE = (
    "written in place; a crash during the write would have left a mix of old and new, and then the backup is the store"
)
_BACKUP = re.compile(r"\.rdsca-(?P<time>\d{8}T\d{6}Z)(?:\.(?P<number>\d+))?(?:\.undone)?\.bak")
_OWN_STORE = "build a store of your own with rdsca trust build, and name it in the client's settings"
_MANAGED = tuple(
    (re.compile(pattern), who, remedy)
    for pattern, who, remedy in (
        (
            r"^/(etc/ssl/certs|usr/share/ca-certificates)(/|$)",
            "the next update-ca-certificates",
            "put each root as a .crt of its own into /usr/local/share/ca-certificates and run update-ca-certificates",
        ),
        (
            r"^/etc/pki/(ca-trust/extracted|tls/certs|java)(/|$)",
            "the next update-ca-trust",
            "put the roots into /etc/pki/ca-trust/source/anchors and run update-ca-trust",
        ),
        (r"/lib/security/(jsse)?cacerts$", "the next upgrade of Java", _OWN_STORE),
        (r"/(certifi|botocore)/cacert\.pem$", "the next upgrade of the Python package", _OWN_STORE),
        (
            r"/(ewallet\.p12|cwallet\.sso)$",
            "Oracle's tools, which keep ewallet.p12 and cwallet.sso alike,",
            "orapki wallet add -wallet FOLDER -trusted_cert -cert ROOT.pem",
        ),
    )
)


@dataclass(frozen=True)
class Change:
    """What became of a store: the SHA-256 of what was added or removed, and the backup of what stood there before."""

    path: str
    added: tuple[str, ...] = ()
    backup: Path | None = None
    note: str = ""
    removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Restoration:
    """A backup put back, or about to be: what it holds more and less than the present store, by SHA-256.

    *saved* is the backup of what stood there before: naming it undoes the restoration.
    """

    path: str
    backup: Path
    sha256: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    applied: bool = False
    saved: Path | None = None
    note: str = ""


def add(
    store: Store,
    roots: Sequence[Root],
    password: Secret | None = None,
    *,
    in_place: bool = False,
    managed: bool = False,
    dry: bool = False,
) -> Change:
    """Add the *roots* that clients of *store* do not take as anchors yet; with nothing to add, nothing is touched.

    Raises ``Refused`` with the store as it was: where it has changed since it was read, cannot be written, belongs to
    a package (unless *managed*), or has other names or is mounted by itself (unless *in_place*). A *dry* run refuses
    the same and writes nothing; only a full disk, a mount, and names that are taken in a directory show later.
    """
    there = {c.sha256 for c in store.contents.certificates}
    new = {r.certificate.sha256: r for r in roots if r.certificate.sha256 not in there}
    if not new:
        return Change(str(store.path), note="nothing to add")
    if not managed:
        _refuse_managed(store.path)
    if store.kind is directory.KIND:
        if dry:
            _rehearse_directory(store)
            return Change(str(store.path), tuple(sorted(new)))
        with _changing(store.path, store.sha256) as folder:
            made = directory.add(folder, list(new.values()))
        return Change(str(store.path), tuple(sorted(new)), note=f"new: {', '.join(file.name for file in made)}")
    if store.kind.add is None:
        raise by_hand(store, list(new.values()))
    with _naming(store.path):
        data = store.kind.add(store.data, list(new.values()), password)
        after = read_store(store.path, data, password).contents
    if not new.keys() <= {c.sha256 for c in after.certificates}:
        raise Refused(f"{store.path} would not read back as it should", "mend it by hand, or build a new one")
    backup, note = _write(store, data, password, in_place=in_place, dry=dry)
    return Change(str(store.path), tuple(sorted(new)), backup, note)


def remove(
    store: Store,
    sha256s: Iterable[str],
    password: Secret | None = None,
    *,
    in_place: bool = False,
    managed: bool = False,
    dry: bool = False,
) -> Change:
    """Take the certificates with these SHA-256 out of *store*; raises as :func:`add` does, and never empties it."""
    entries = [e.certificate.sha256 for e in store.contents.entries]
    going = frozenset(sha256s) & set(entries)
    if not going:
        return Change(str(store.path), note="nothing to remove")
    if going == set(entries):
        raise Refused(f"nothing would be left in {store.path}", "delete it yourself, if that is what you want")
    if not managed:
        _refuse_managed(store.path)
    gone = tuple(sorted(going))
    if store.kind is directory.KIND:
        if dry:
            _rehearse_directory(store)
            return Change(str(store.path), removed=gone)
        with _changing(store.path, store.sha256) as folder:
            backups = directory.remove(folder, going, datetime.now(UTC))
        return Change(str(store.path), note=f"kept as {', '.join(b.name for b in backups)}", removed=gone)
    if store.kind.remove is None:
        raise Refused(
            f"{store.path} is a store of the kind {store.kind.name}, which rdsca does not write",
            "use the tool that made it",
        )
    with _naming(store.path):
        data = store.kind.remove(store.data, going, password)
    backup, note = _write(store, data, password, gone=going, in_place=in_place, dry=dry)
    return Change(str(store.path), backup=backup, note=note, removed=gone)


def backups(path: str) -> tuple[Path, ...]:
    """List the backups beside the store at *path*, the newest first."""
    store = _real(Path(path).expanduser(), strict=False)
    found = [
        (match["time"], int(match["number"] or 1), file)
        for file in (store.parent.iterdir() if store.parent.is_dir() else ())
        if file.name.startswith(store.name) and (match := _BACKUP.fullmatch(file.name.removeprefix(store.name)))
    ]
    return tuple(file for _, _, file in sorted(found, reverse=True))


def restore(
    path: str, backup: str = "", password: Secret | None = None, *, apply: bool, in_place: bool = False
) -> Restoration:
    """Put a backup back, the newest unless one is named; without *apply*, only say what that would change.

    What stands there now is backed up first as ``.undone.bak``. Only by name is that one put back: to restore twice
    is the same as once. Raises ``UsageError`` when there is no such backup, ``Refused`` when it is no trust store, or
    of another kind than the one that stands there.
    """
    beside = (b for b in backups(path) if not b.name.endswith(".undone.bak"))
    target = _real(Path(path).expanduser(), strict=False)
    chosen = Path(backup).expanduser() if backup else next(beside, None)
    if chosen is None:
        raise UsageError(f"there is no backup beside {target}", "name one")
    if backup and not chosen.exists():
        chosen = target.with_name(backup)
    old = open_store(str(chosen), password)
    if old.kind is directory.KIND or target.is_dir():
        raise UsageError("a directory of certificates has no backup as a whole", "give its files their names back")
    present, data = _present(target, password)
    if present and present.kind.name != old.kind.name:
        raise Refused(
            f"{chosen} is a store of the kind {old.kind.name}, and {target} is one of the kind {present.kind.name}",
            "name another backup, or move the store away first",
        )
    mine, there = _shas(old.contents), _shas(present.contents) if present else set()
    shown = Restoration(str(path), chosen, old.sha256, tuple(sorted(mine - there)), tuple(sorted(there - mine)))
    if data == old.data:
        return replace(shown, note=ALREADY)
    if not apply:
        return shown
    if data is None:
        with _refusing(target):
            lasts = replace_whole(target, old.data, like=chosen, check=_loads(old))
        return replace(shown, applied=True, note="" if lasts else UNCONFIRMED)
    with _changing(target, hashlib.sha256(data).hexdigest()):
        saved, note = _replace(target, data, old.data, _loads(old), in_place=in_place, undone=True)
    return replace(shown, applied=True, saved=saved, note=note)


def _present(target: Path, password: Secret | None) -> tuple[Store | None, bytes | None]:
    """Read what stands there now; what is no store may be the reason to restore."""
    try:
        data = target.read_bytes()
    except FileNotFoundError:
        return None, None
    except OSError as e:
        raise UsageError(f"{target} cannot be read ({e.strerror})") from None
    try:
        return read_store(target, data, password), data
    except RdscaError:
        return None, data


def _write(
    store: Store, data: bytes, password: Secret | None, *, gone: frozenset[str] = frozenset(), in_place: bool, dry: bool
) -> tuple[Path | None, str]:
    """Put *data* in the place of *store*, once it has been read and holds what it should and nothing else."""
    new = read_store(store.path, data, password)
    before, after = Counter(_entries(store.contents)), Counter(_entries(new.contents))
    lost = {sha for sha, _ in before - after}
    if (new.kind.name, new.contents.keys) != (store.kind.name, store.contents.keys) or lost != gone:
        raise Refused(f"{store.path} would not read back as it should", "mend it by hand, or build a new one")
    if dry:
        with _holding(store.path, store.sha256) as target:
            _refuse_links(target, in_place=in_place)
            _require_rights(target)
            _try_out(data, _loads(new))
        return None, ""
    with _changing(store.path, store.sha256) as target:
        return _replace(target, store.data, data, _loads(new), in_place=in_place)


def _rehearse_directory(store: Store) -> None:
    with _holding(store.path, store.sha256) as folder:
        _require_writable(folder)


def _require_rights(target: Path) -> None:
    """Fail as the change itself would: new files stand beside the store, and they have its owner."""
    _require_writable(target.parent)
    if os.geteuid() not in (0, target.stat().st_uid):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def _require_writable(folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _refuse_links(target: Path, *, in_place: bool) -> None:
    if target.stat().st_nlink > 1 and not in_place:
        raise Refused(
            f"{target} has other names (hard links), which would keep the old content",
            "make it a file of its own, or ask for a change in place (--in-place)",
        )


def _try_out(new: bytes, loads: Callable[[Path], None]) -> None:
    with tempfile.NamedTemporaryFile() as trial:
        trial.write(new)
        trial.flush()
        loads(Path(trial.name))


def _replace(
    target: Path,
    old: bytes,
    new: bytes,
    loads: Callable[[Path], None],
    *,
    in_place: bool,
    undone: bool = False,
) -> tuple[Path, str]:
    """Back *old* up, write *new* in its place, and give the backup and a note; on any error the store is as it was."""
    _refuse_links(target, in_place=in_place)
    backup = _free_name(target, datetime.now(UTC), ".undone.bak" if undone else ".bak")

    def check(temporary: Path) -> None:
        if temporary.read_bytes() != new:
            raise Refused(f"{target}: the disk gave back something else than was written", "look at the disk")
        loads(temporary)
        if _attributes(temporary) != _attributes(target):
            raise Refused(f"{target}: its extended attributes cannot be kept", "run this as its owner or as root")
        if target.read_bytes() != old:
            raise _changed(target)

    try:
        if not replace_whole(backup, old, like=target):
            raise Refused(f"{target}: the disk did not confirm the backup", "look at the disk")
        if target.stat().st_nlink > 1:
            return backup, _rewrite(target, old, new, loads, backup)
        try:
            lasts = replace_whole(target, new, like=target, check=check)
        except OSError as e:
            if e.errno != errno.EBUSY or not in_place:
                raise
            return backup, _rewrite(target, old, new, loads, backup)
        if not _holds(target, new):
            raise Damaged(f"{target} does not read as it was just written", f"look at it; the backup is {backup}")
    except BaseException:
        if _holds(target, old):
            with contextlib.suppress(OSError):
                backup.unlink(missing_ok=True)
        raise
    return backup, "" if lasts else UNCONFIRMED


def _holds(file: Path, data: bytes) -> bool:
    try:
        return file.read_bytes() == data
    except OSError:
        return False


def _rewrite(target: Path, old: bytes, new: bytes, loads: Callable[[Path], None], backup: Path) -> str:
    """Write *new* over *old* in the same file; where that fails, write *old* back."""
    _try_out(new, loads)
    with target.open("r+b", buffering=0) as file:
        try:
            if len(new) > len(old):
                os.posix_fallocate(file.fileno(), 0, len(new))  # a full disk shows before the first byte is changed
            _overwrite(file, new)
        except OSError:
            try:
                _overwrite(file, old)
            except OSError as e:
                raise Damaged(f"{target} is half written ({e.strerror})", f"copy {backup} over it") from None
            raise
    return IN_PLACE


def _overwrite(file: io.FileIO, data: bytes) -> None:
    file.seek(0)
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
    file.truncate(len(data))
    os.fsync(file.fileno())


@contextlib.contextmanager
def _changing(path: Path, sha256: str) -> Iterator[Path]:
    """Hold the store at *path* for a change, rid of what a kill left."""
    with _holding(path, sha256) as target:
        _sweep(target)
        yield target


@contextlib.contextmanager
def _holding(path: Path, sha256: str) -> Iterator[Path]:
    """Hold the store at *path*: resolved, locked, and still as it was read."""
    with _refusing(path):
        target = _real(path)
        with _locked(target):
            now = directory.digest(target) if target.is_dir() else hashlib.sha256(target.read_bytes()).hexdigest()
            if now != sha256:
                raise _changed(path)
            yield target


def _real(path: Path, *, strict: bool = True) -> Path:
    """Follow links to the file itself; raises ``Refused`` for a circle of links, and when it is *strict* a lost one."""
    try:
        return Path(os.path.realpath(path, strict=strict))
    except OSError as e:
        raise Refused(f"{path} is gone ({e.strerror})", "run this step again") from None


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Lock the file itself, which leaves no lock file behind; one that was replaced meanwhile is locked anew.

    NFS gives an exclusive lock only on a file that is open for writing. Raises ``Locked`` after a while.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        handle = os.open(target, os.O_RDONLY if target.is_dir() else os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), target.stat()):
                yield
                return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Locked(f"another rdsca is changing {target}", "wait until it has ended") from None
            time.sleep(0.05)
        finally:
            os.close(handle)


def _sweep(target: Path) -> None:
    """Clear away what a killed run left: its temporary files, which no other run can be using under this lock."""
    name = rf"\.(?:{re.escape(target.name)}(?:{_BACKUP.pattern})?)\.\w{{8}}\.part"
    if target.is_dir():
        name = r"\.rdsca-.*\.(?:crt|pem)\.\w{8}\.part"
    left = re.compile(name)
    for file in (target if target.is_dir() else target.parent).iterdir():
        if left.fullmatch(file.name) and file.is_file() and not file.is_symlink():
            file.unlink(missing_ok=True)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say which store it is, where a kind, which knows bytes only, refuses."""
    try:
        yield
    except Refused as e:
        raise Refused(f"{path}: {e.what}", e.remedy) from None


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn the system's errors into ours: the store is then as it was."""
    try:
        yield
    except OSError as e:
        what, remedy = _ERRORS.get(e.errno or 0, (f"cannot be written ({e.strerror or e})", "look at the disk"))
        raise Refused(f"{path} {what}", f"{remedy}; the store is as it was") from None


_ROOM = ("cannot be written, because the disk is full", "make room")
_ERRORS = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: _ROOM,
    errno.EROFS: ("is read-only here: its file system is", "run this where the store may be changed"),
    errno.EACCES: ("is read-only here", "run this as a user who may change the file and its folder"),
    errno.EPERM: (
        "may not be changed, or its owner not be kept",
        "run this as its owner; lsattr shows an immutable one",
    ),
    errno.ENAMETOOLONG: ("has too long a name for a backup beside it", "give it a shorter one"),
    errno.EBUSY: (
        "is mounted by itself, as containers do, and cannot be replaced",
        "change what it is mounted from, or ask for a change in place (--in-place)",
    ),
}


def _loads(new: Store) -> Callable[[Path], None]:
    """Make the check that clients load a written file as it should be: for PEM OpenSSL itself is asked."""

    def check(file: Path) -> None:
        if new.kind.name != "pem":
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(cafile=file)
        except ssl.SSLError as e:
            why = e.reason or "a block in it is damaged"  # OpenSSL gives no reason for text that is no base64
            raise Refused(f"OpenSSL does not load what {new.path} would be ({why})", "mend it by hand") from None
        if context.cert_store_stats()["x509"] != len(_shas(new.contents)):
            raise Refused(f"OpenSSL does not see all that {new.path} would hold", "mend it by hand")

    return check


def _attributes(file: Path) -> dict[str, bytes]:
    """Read the extended attributes, ACLs among them, that a copy must have too; the kernel makes its own anew."""
    names = os.listxattr(file) if hasattr(os, "listxattr") else []
    return {name: os.getxattr(file, name) for name in names if not name.startswith("security.")}


def _free_name(path: Path, now: datetime, end: str) -> Path:
    """Name a backup that is not there yet, for a second change within the same second."""
    stem = f"{path.name}.rdsca-{now:%Y%m%dT%H%M%SZ}"
    names = chain((f"{stem}{end}",), (f"{stem}.{n}{end}" for n in count(2)))
    return next(free for name in names if not os.path.lexists(free := path.with_name(name)))


def _refuse_managed(path: Path) -> None:
    """Refuse a store that a package owns: an upgrade writes it anew without the roots that were added."""
    for name in {str(path.absolute()), os.path.realpath(path)}:
        for pattern, who, remedy in _MANAGED:
            if pattern.search(name):
                raise Refused(f"{who} would overwrite {path}", remedy)


def _changed(path: Path) -> Refused:
    return Refused(f"{path} was changed by somebody else just now", "run this step again")


def by_hand(store: Store, roots: Sequence[Root]) -> Refused:
    """Make the refusal for a store of a kind that rdsca does not write, with the line that looks and adds instead."""
    remedy = "use the tool that made it"
    if store.kind.command:
        alias = roots[0].alias if roots else "rds-root"
        remedy = "run: " + " && ".join(store.kind.command(str(store.path), f"{alias}.pem", alias).split("\n"))
    return Refused(f"{store.path} is a store of the kind {store.kind.name}, which rdsca does not write", remedy)


def _entries(contents: Contents) -> Iterator[tuple[str, str]]:
    return ((e.certificate.sha256, e.alias) for e in contents.entries)


def _shas(contents: Contents) -> set[str]:
    return {e.certificate.sha256 for e in contents.entries}
