"""JKS, Java's older keystore (magic FEEDFEED): read as Java sees it; entries are added and dropped, keys never touched.

Layout: sun.security.provider.JavaKeyStore of OpenJDK. A key entry stays opaque bytes, so no key's password is needed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from ...certs import Certificate
from ...der import Broken
from ...model import Secret
from ...trust import Contents, Entry, Root
from . import java
from .kinds import Kind

_MAGIC = bytes.fromhex("feedfeed")
_WHITENER = b"Mighty Aphrodite"
_KEY, _TRUSTED = 1, 2
_DIGEST = 20


def recognise(data: bytes) -> bool:
    """Tell a JKS by its magic number."""
    return data.startswith(_MAGIC)


def read(data: bytes, password: Secret | None = None) -> Contents:
    """Read the trusted certificates and the chains of key entries; a key itself is only counted.

    Anchors are what Java's TrustManagerFactory takes: trusted entries and the first certificate of a key's chain
    (measured, JDK 17 and 25). Without a *password* the store is read as Java reads it then, unchecked when neither
    "changeit" nor the empty one fits; a wrong one is refused.
    """
    store = _open(data, password)
    seen = _seen_by_java(store.entries)
    complaints: list[str] = []
    found = []
    for e in store.entries:
        if e.alias != e.alias.lower():
            complaints.append(f"the entry {e.alias!r} is not in lower case, and Java does not find it")
        elif e not in seen:
            complaints.append(f"a second entry is called {e.alias!r}, and Java keeps only the last")
        found += [java.entry(c, e.alias, anchor=e in seen and not number) for number, c in enumerate(e.certificates)]
    return Contents(
        "jks",
        tuple(e for e in found if isinstance(e, Entry)),
        tuple(complaints + [e for e in found if isinstance(e, str)]),
        keys=sum(e.tag == _KEY for e in store.entries),
        doubt="" if store.checked else java.UNCHECKED,
    )


def add(data: bytes, roots: Sequence[Root], password: Secret | None = None) -> bytes:
    """Append the *roots* that are no anchors yet as trusted entries, dated as they begin; the rest stays as it is.

    Raises ``Refused`` where the integrity of *data* cannot be checked: the new digest would vouch for what is there.
    """
    store = _checked(data, password)
    there = {hashlib.sha256(c).hexdigest() for e in _seen_by_java(store.entries) for c in e.certificates[:1]}
    new = java.new_entries(roots, there, {e.alias for e in store.entries})
    if not new:
        return data
    raws = [e.raw for e in store.entries]
    return _write(store, raws + [_trusted(alias, c, store.version) for alias, c in new])


def remove(data: bytes, sha256s: frozenset[str], password: Secret | None = None) -> bytes:
    """Drop the trusted entries with these SHA-256; keys and their chains stay. Raises ``Refused`` as :func:`add`."""
    store = _checked(data, password)
    kept = [e for e in store.entries if e.tag == _KEY or hashlib.sha256(e.certificates[0]).hexdigest() not in sha256s]
    return data if len(kept) == len(store.entries) else _write(store, [e.raw for e in kept])


def build(roots: Sequence[Root], password: Secret | None = None) -> bytes:
    """Write a store of *roots*, sorted by alias; the same roots give the same bytes.

    Its password is Java's own default, "changeit", unless one is given.
    """
    return add(_write(_Store(2, (), java.passwords(password)[0], True), []), roots, password)


@dataclass(frozen=True, eq=False)
class _Entry:
    """One entry; *raw* is the whole of it, *certificates* the trusted one, or the chain of a key."""

    tag: int
    alias: str
    certificates: tuple[bytes, ...]
    raw: bytes


@dataclass(frozen=True)
class _Store:
    version: int
    entries: tuple[_Entry, ...]
    password: str
    checked: bool


def _open(data: bytes, password: Secret | None) -> _Store:
    """Take a store apart and check its digest; raises ``Refused`` when it is damaged or the given password wrong."""
    try:
        version, entries = _parse(_Cursor(data[:-_DIGEST]))
    except ValueError as e:
        raise java.damaged(e) from None
    body, digest = data[:-_DIGEST], data[-_DIGEST:]
    for candidate in java.passwords(password):
        if hmac.compare_digest(_digest(body, candidate), digest):
            return _Store(version, entries, candidate, checked=True)
    if password is not None:
        raise java.wrong_password(password)
    return _Store(version, entries, "", checked=False)


def _checked(data: bytes, password: Secret | None) -> _Store:
    store = _open(data, password)
    if not store.checked:
        raise java.wrong_password(password)
    return store


def _seen_by_java(entries: Sequence[_Entry]) -> set[_Entry]:
    """Give the entries that Java finds: it looks for lower case, and of two with one alias it keeps the last."""
    return {e for e in {e.alias: e for e in entries}.values() if e.alias == e.alias.lower()}


class _Cursor:
    """A place in the bytes of a store; what it gives out is never longer than what is there."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.left = data, 0, java.MOST

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise Broken("it ends in the middle of an entry")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int = 4) -> int:
        return int.from_bytes(self.take(size), "big")

    def count(self) -> int:
        """Take a number of entries, or of certificates in a chain."""
        self.left -= (count := self.number())
        if self.left < 0:
            raise Broken(f"it claims more than {java.MOST} entries")
        return count

    def text(self) -> str:
        """Take a string in Java's modified UTF-8: NUL in two bytes, and surrogates each on its own."""
        written = self.take(self.number(2)).replace(b"\xc0\x80", b"\0")
        return written.decode("utf-8", "surrogatepass").encode("utf-16-be", "surrogatepass").decode("utf-16-be")


def _parse(cursor: _Cursor) -> tuple[int, tuple[_Entry, ...]]:
    if cursor.take(4) != _MAGIC or (version := cursor.number()) not in (1, 2):
        raise Broken("it is no JKS of version 1 or 2")
    entries = tuple(_entry(cursor, version) for _ in range(cursor.count()))
    if cursor.at != len(cursor.data):
        raise Broken("it goes on behind its last entry")
    return version, entries


def _entry(cursor: _Cursor, version: int) -> _Entry:
    begin = cursor.at
    tag, alias = cursor.number(), cursor.text()
    cursor.take(8)  # the date of creation
    if tag == _KEY:
        cursor.take(cursor.number())
        count = cursor.count()
    elif tag == _TRUSTED:
        count = 1
    else:
        raise Broken(f"an entry of kind {tag}")
    certificates = tuple(_certificate(cursor, version) for _ in range(count))
    return _Entry(tag, alias, certificates, cursor.data[begin : cursor.at])


def _certificate(cursor: _Cursor, version: int) -> bytes:
    if version == 2 and (kind := cursor.text()) != "X.509":
        raise Broken(f"a certificate of kind {kind!r}")
    return cursor.take(cursor.number())


def _trusted(alias: str, certificate: Certificate, version: int) -> bytes:
    """Write a trusted entry, dated as its certificate begins: the same roots give the same bytes."""
    since = round(certificate.not_before.timestamp() * 1000).to_bytes(8, "big", signed=True)
    kind = _text("X.509") if version == 2 else b""
    return _number(_TRUSTED) + _text(alias) + since + kind + _number(len(certificate.der)) + certificate.der


def _write(store: _Store, entries: Sequence[bytes]) -> bytes:
    body = b"".join([_MAGIC, _number(store.version), _number(len(entries)), *entries])
    return body + _digest(body, store.password)


def _digest(body: bytes, password: str) -> bytes:
    return hashlib.sha1(_utf16(password) + _WHITENER + body, usedforsecurity=False).digest()


def _utf16(password: str) -> bytes:
    return password.encode("utf-16-be", "surrogatepass")


def _number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def _text(text: str) -> bytes:
    written = text.encode()
    return len(written).to_bytes(2, "big") + written


KINDS = (Kind("jks", ("java",), recognise, read, add, remove, build, has_password=True, rank=10),)
