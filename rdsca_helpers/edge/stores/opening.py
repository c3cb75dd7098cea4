"""Open a trust store: find out what it is by its content, and read it as its clients would."""

from __future__ import annotations

import errno
import getpass
import hashlib
import os
import re
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ...certs import read_der
from ...errors import Refused, UsageError
from ...model import Secret
from ...trust import Contents
from . import directory
from .kinds import Kind, recognise

LARGEST = 64 * 1024 * 1024


@dataclass(frozen=True)
class Store:
    """A trust store as it was when it was read; *sha256* tells later whether it has changed since.

    *data* is what the file holds, and empty for a directory.
    """

    path: Path
    kind: Kind
    data: bytes = field(repr=False)
    contents: Contents
    sha256: str


def open_store(path: str, password: Secret | None = None) -> Store:
    """Open the store at *path*, a file or a directory.

    Raises ``UsageError`` when it is not there or cannot be read, ``Refused`` when it is none that rdsca knows, when
    the *password* is wrong, or when it is damaged; each says what it is and what to do.
    """
    file = Path(path).expanduser()
    try:
        info = file.stat()
        if stat.S_ISDIR(info.st_mode):
            return Store(file, directory.KIND, b"", directory.read(file), directory.digest(file))
        if not stat.S_ISREG(info.st_mode):
            raise Refused(f"{path} is no file but a device, a pipe or a socket", "name the trust store itself")
        data = _read(file)
    except OSError as e:
        raise UsageError(f"the trust store {path} cannot be read ({_why(file, e)})") from None
    if len(data) > LARGEST:
        raise Refused(f"{path} is larger than {LARGEST // 2**20} MiB, which no trust store is", "name the right file")
    return read_store(file, data, password)


def read_store(path: Path, data: bytes, password: Secret | None = None) -> Store:
    """Read *data* as the store that stands, or is to stand, at *path*; raises as :func:`open_store` does."""
    kind = recognise(data)
    if kind is None:
        looks, remedy = _looks(data)
        raise Refused(f"{path} is no trust store: {looks}", remedy.format(path=path))
    try:
        contents = kind.read(data, password) if kind.read else Contents(kind.name, ())
    except Refused as e:
        raise Refused(f"{path}: {e.what}", e.remedy) from None
    return Store(path, kind, data, contents, hashlib.sha256(data).hexdigest())


def password_from(source: str) -> Secret | None:
    """Get the password of a store from ``env:NAME``, ``file:PATH`` or ``prompt``; ``auto`` and nothing give ``None``.

    Never from the words of a command, which every process on the machine can read. Raises ``UsageError`` when the
    source is not there, ``Refused`` for a file that others may read and for a prompt without a terminal.
    """
    way, _, name = source.partition(":")
    if source in ("", "auto"):
        return None
    if way == "env" and name:
        if name not in os.environ:
            raise UsageError(f"the environment variable {name} is not set", "set it to the store's password")
        return Secret(os.environ[name])
    if way == "file" and name:
        return _password_in(Path(name).expanduser())
    if source == "prompt":
        if not sys.stdin.isatty():
            raise Refused("there is no terminal to ask for the password at", "use env:NAME or file:PATH")
        return Secret(getpass.getpass("password of the trust store: "))
    raise UsageError("a password comes from auto, env:NAME, file:PATH or prompt", "never give the password itself")


def _password_in(file: Path) -> Secret:
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as opened:
            info = os.fstat(handle)
            if not stat.S_ISREG(info.st_mode) or info.st_mode & 0o077 or info.st_uid not in (os.geteuid(), 0):
                raise Refused(f"others may read or write the password file {file}", f"chmod 600 {file}, and own it")
            text = opened.read(4096).decode()
    except OSError as e:
        why = "it is a link" if e.errno == errno.ELOOP else e.strerror
        raise UsageError(f"the password file {file} cannot be read ({why})") from None
    except UnicodeDecodeError:
        raise UsageError(f"the password file {file} is no UTF-8", "write the password into it as text") from None
    return Secret(text.removesuffix("\n").removesuffix("\r"))


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(LARGEST + 1)


def _why(file: Path, error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "its links lead round in a circle"
    if error.errno == errno.ENOENT and file.is_symlink():
        return f"it is a link to {file.readlink()}, which is not there"
    return error.strerror or str(error)


def _is_certificate(data: bytes) -> bool:
    try:
        read_der(data)
    except ValueError:
        return False
    return True


def _begins(*magics: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(magics)


def _holds(pattern: bytes) -> Callable[[bytes], bool]:
    found = re.compile(pattern, re.I)
    return lambda data: bool(found.search(data[:65536]))


_AGAIN = "fetch it again, and look at what answered"
_LOOKS: tuple[tuple[Callable[[bytes], bool], str, str], ...] = (
    (lambda data: not data.strip(), "it is empty", "make it with rdsca trust build"),
    (_begins(b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"), "it is compressed", "unpack it"),
    (_begins(b"\xff\xfe", b"\xfe\xff"), "it is UTF-16 text", "save it as ASCII or UTF-8"),
    (_holds(rb"\A(?:\xef\xbb\xbf)?\s*<(?:!doctype|!--|html|\?xml)"), "it is an HTML or XML page", _AGAIN),
    (_begins(b"SQLite format 3"), "it is a SQLite database, and not one of NSS", "name the right file"),
    (
        _is_certificate,
        "it is one certificate in DER",
        "write it as PEM: openssl x509 -inform der -in {path} -out {path}.pem",
    ),
    (_holds(rb"-----BEGIN CERTIFICATE REQUEST"), "it is a certificate request", "name the certificate"),
    (_holds(rb"-----BEGIN [A-Z ]*PRIVATE KEY"), "it holds a private key and no certificate", "name the trust store"),
    (
        _holds(rb"\A[^\0]*\Z"),
        "it is text without a certificate",
        "name the trust store, or make one: rdsca trust build",
    ),
)


def _looks(data: bytes) -> tuple[str, str]:
    for test, what, remedy in _LOOKS:
        if test(data):
            return what, remedy
    return "it is of a kind that rdsca does not know", "name a PEM file, a keystore, a directory or a manifest"
