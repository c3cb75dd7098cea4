"""Directories of certificates: for OpenSSL with its hash links (-CApath), or one .crt each for update-ca-certificates.

Without hash links no client of OpenSSL finds anything in one; GnuTLS loads every file.

The only kind besides :mod:`writing` that touches files: a directory is not bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path

from OpenSSL import crypto

from ...certs import REFUSED, Certificate
from ...errors import Refused, Stopped, UsageError
from ...trust import Contents, Entry, Root
from ..files import replace_whole, sync_folder
from . import pem
from .kinds import Kind

_LINK = re.compile(r"(?P<hash>[0-9a-f]{8})\.(?P<number>0|[1-9]\d{0,4})")
_SUFFIXES = (".pem", ".crt", ".cer")
_MOST = 10_000  # names in one directory
_NO_LINKS = (
    "it has no hash links, and OpenSSL finds nothing in it; run openssl rehash on the directory (as it is, it is good "
    "as the input of update-ca-certificates, and GnuTLS loads every file)"
)
_LARGEST = 8 * 1024 * 1024  # bytes of one file; a bundle of every public CA has a quarter of one MiB


@dataclass(frozen=True)
class _Listing:
    """The files of a directory that are or may be certificates: their contents by name, and what could not be read."""

    files: Mapping[str, Contents]
    links: Mapping[str, Contents]
    complaints: tuple[str, ...]

    @property
    def reachable(self) -> Iterator[tuple[str, Certificate]]:
        """Give what OpenSSL finds: it looks up ``HASH.0``, ``HASH.1`` and on, up to the first that is missing."""
        for subject in sorted({name[:8] for name in self.links}):
            for number in count():
                contents = self.links.get(name := f"{subject}.{number}")
                if contents is None or _is_refused(contents):  # a file that it cannot load ends the search too
                    break
                yield from ((name, c) for c in contents.certificates if subject_hash(c) == subject)


def read(path: Path) -> Contents:
    """Read what a client finds in the directory: through hash links where there are some, else one ``.crt`` each.

    Raises ``UsageError`` when the directory cannot be read.
    """
    listing = _list(path)
    complaints = list(listing.complaints)
    found = {c.sha256: name for name, c in listing.reachable}
    entries = []
    for name, contents in listing.files.items():
        single = (
            name.endswith(".crt") and len(contents.entries) == 1 and not listing.links and not _is_refused(contents)
        )
        anchors = [e.anchor and (single or e.certificate.sha256 in found) for e in contents.entries]
        entries += [Entry(e.certificate, name, a) for e, a in zip(contents.entries, anchors, strict=True)]
        if not all(anchors):
            complaints.append(_why_not(name, contents, linked=bool(listing.links)))
    named = {e.certificate.sha256 for e in entries}
    entries += [Entry(c, name) for name, c in listing.reachable if c.sha256 not in named]
    reached = {name for name, _ in listing.reachable}
    complaints += [
        f"{name}: no client of OpenSSL finds it under this name" for name in sorted(listing.links.keys() - reached)
    ]
    keys = sum(c.keys for c in listing.files.values())
    refused_by = {
        engine: f"{name}: {why}"
        for name, contents in {**listing.files, **listing.links}.items()
        for engine, why in contents.refused_by.items()
    }
    if not listing.links:
        refused_by["openssl"] = _NO_LINKS
    return Contents("directory", tuple(entries), tuple(complaints), keys, refused_by=refused_by)


def digest(path: Path) -> str:
    """Give a SHA-256 over names, link targets and contents, which tells whether the directory has changed."""
    seen = hashlib.sha256()
    for file in _names(path):
        content = os.fsencode(file.readlink()) if file.is_symlink() else b""
        with contextlib.suppress(OSError):
            content += hashlib.sha256(file.read_bytes()).digest() if _is_small_file(file) else b""
        seen.update(b"%d:%s%d:%s" % (len(file.name), os.fsencode(file.name), len(content), content))
    return seen.hexdigest()


def add(path: Path, roots: Sequence[Root]) -> tuple[Path, ...]:
    """Put a file for each of *roots* there, and its hash link where the directory has such links; give the new names.

    Each appears whole and under its final name, the link after the file. On an error the new ones go again, and the
    system's ``OSError`` is raised.
    """
    listing = _list(path)
    suffix = ".crt" if not listing.files or any(name.endswith(".crt") for name in listing.files) else ".pem"
    like = next((file for name in listing.files if not (file := path / name).is_symlink()), None)
    made: list[Path] = []
    try:
        for root in sorted(roots, key=lambda root: root.alias):
            file = path / f"{root.alias}{suffix}"
            if file.name not in listing.files:
                if os.path.lexists(file):
                    raise Refused(f"{file} is there and is not a certificate", "move it away")
                made.append(file)
                replace_whole(file, root.certificate.pem.encode(), like=like)
            elif [e.certificate for e in listing.files[file.name].entries] != [root.certificate]:
                raise Refused(f"{file} is there and holds something else", "move it away")
            if listing.links:
                made.append(_link(path, file.name, root.certificate))
        sync_folder(path)
    except BaseException:
        for file in reversed(made):
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
        raise
    return tuple(made)


def remove(path: Path, sha256s: frozenset[str], now: datetime) -> tuple[Path, ...]:
    """Take the certificates named by their SHA-256 out: links go, files move to a backup's name; give these names.

    Raises ``Refused`` before any change where a file holds others too.
    """
    listing = _list(path)
    going = [name for name, c in {**listing.links, **listing.files}.items() if _shas(c) & sha256s]
    for name in going:
        if _shas(listing.links.get(name) or listing.files[name]) - sha256s:
            raise Refused(f"{path / name} holds other certificates too", "take it out of that file by itself")
    end = f".rdsca-{now:%Y%m%dT%H%M%SZ}.bak"
    backups = [path / f"{name}{end}" for name in going if name in listing.files or not (path / name).is_symlink()]
    try:
        for name in sorted((n for n in going if n in listing.links), key=_number, reverse=True):
            _unlink(path, name, end)
        for name in (n for n in going if n in listing.files):
            (path / name).rename(path / f"{name}{end}")
        sync_folder(path)
    except OSError as e:
        raise Stopped(f"{path} cannot be changed any further ({e.strerror})", "mend that, and run this again") from None
    return tuple(backups)


def build(path: Path, roots: Sequence[Root]) -> None:
    """Make a new directory with one ``.crt`` for each root and its hash link: for OpenSSL and update-ca-certificates.

    It appears whole or not at all. Raises ``UsageError`` where *path* is there and not an empty directory.
    """
    if os.path.lexists(path) and not (path.is_dir() and not path.is_symlink() and not any(path.iterdir())):
        raise UsageError(f"{path} is already there", "name a new directory")
    temporary = Path(tempfile.mkdtemp(dir=path.absolute().parent, prefix=f".{path.name}.", suffix=".part"))
    try:
        distinct = {root.certificate.sha256: root for root in sorted(roots, key=lambda root: root.alias, reverse=True)}
        for root in sorted(distinct.values(), key=lambda root: root.alias):
            replace_whole(temporary / f"{root.alias}.crt", root.certificate.pem.encode())
            _link(temporary, f"{root.alias}.crt", root.certificate)
        temporary.chmod(0o755)
        sync_folder(temporary)
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(path.absolute().parent)


def subject_hash(certificate: Certificate) -> str:
    """Give the hash of the subject's name under which OpenSSL looks the certificate up (``openssl x509 -hash``)."""
    return f"{crypto.load_certificate(crypto.FILETYPE_ASN1, certificate.der).subject_name_hash():08x}"


def _list(path: Path) -> _Listing:
    files: dict[str, Contents] = {}
    links: dict[str, Contents] = {}
    complaints = []
    for file in _names(path):
        linked = _LINK.fullmatch(file.name)
        if not linked and file.suffix not in _SUFFIXES:
            continue
        try:
            data = file.read_bytes() if _is_small_file(file) else b""
        except OSError as e:
            complaints.append(f"{file.name} cannot be read ({e.strerror})")
            continue
        contents = pem.read(data)
        if linked and pem.recognise(data):
            links[file.name] = contents
        elif not linked and pem.recognise(data):
            files[file.name] = contents
            complaints += [f"{file.name}: {c.removesuffix(f', and {REFUSED}')}" for c in contents.complaints]
        elif not linked:
            complaints.append(f"{file.name} holds no certificate")
    return _Listing(files, links, tuple(complaints))


def _is_refused(contents: Contents) -> bool:
    return any(c.endswith(REFUSED) for c in contents.complaints)


def _names(path: Path) -> list[Path]:
    try:
        names = sorted(path.iterdir())
    except OSError as e:
        raise UsageError(f"the directory {path} cannot be read ({e.strerror})") from None
    if len(names) > _MOST:
        raise Refused(f"{path} holds {len(names)} files, which no trust store does", "name the right directory")
    return names


def _is_small_file(file: Path) -> bool:
    info = file.stat()
    return stat.S_ISREG(info.st_mode) and info.st_size <= _LARGEST


def _why_not(name: str, contents: Contents, *, linked: bool) -> str:
    if linked:
        return f"{name}: no hash link leads to it, so OpenSSL does not find it; run openssl rehash on the directory"
    if name.endswith(".crt"):
        return f"{name} holds {len(contents.entries)} certificates: of such a file Java gets the first, -CApath none"
    return f"{name}: without hash links OpenSSL does not find it; run openssl rehash on the directory"


def _link(path: Path, name: str, certificate: Certificate) -> Path:
    """Make the first hash link that is free; a wrong one of the same name is somebody else's and stays."""
    subject = subject_hash(certificate)
    for number in count():
        link = path / f"{subject}.{number}"
        if link.is_symlink() and not link.exists():
            raise Refused(f"{link} leads nowhere, and OpenSSL stops there", "run openssl rehash on the directory")
        try:
            link.symlink_to(name)
        except FileExistsError:
            continue
        return link
    raise AssertionError


def _unlink(path: Path, name: str, end: str) -> None:
    """Take a hash link out, and let the last of its row fill the gap: OpenSSL stops at the first missing number.

    A file that stands under the name itself, as a copy, is kept as a backup.
    """
    if not (path / name).is_symlink():
        (path / f"{name}{end}").hardlink_to(path / name)
    subject = name[:8]
    last = next(n for n in count(_number(name)) if not os.path.lexists(path / f"{subject}.{n + 1}"))
    if last > _number(name):
        (path / f"{subject}.{last}").replace(path / name)
    else:
        (path / name).unlink()


def _number(name: str) -> int:
    return int(name.rpartition(".")[2])


def _shas(contents: Contents) -> set[str]:
    return {e.certificate.sha256 for e in contents.entries}


KIND = Kind("directory", ("openssl", "openssl-partial", "gnutls"), lambda _: False)
KINDS = (KIND,)
