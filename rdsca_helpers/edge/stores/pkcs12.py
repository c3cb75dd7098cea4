"""PKCS#12, Java's keystore since 9: read as Java sees it; entries are added and dropped, keys never touched. RFC 7292.

What Java takes as a trusted certificate carries an attribute that openssl does not write; without it Java lists
nothing. A change keeps every part of the file that it is not about byte for byte, and renews the MAC.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from Crypto.Cipher import ARC2
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from ... import der
from ...errors import Refused
from ...model import Secret
from ...trust import JAVA_REFUSED, Contents, Entry, Root
from . import java
from .kinds import Kind

MOST_ITERATIONS = 5_000_000  # in all of a file; Java refuses more too
_DATA, _SIGNED, _ENCRYPTED = (f"1.2.840.113549.1.7.{n}" for n in (1, 2, 6))
_KEY, _SHROUDED_KEY, _CERTIFICATE, _, _SECRET = (f"1.2.840.113549.1.12.10.1.{n}" for n in range(1, 6))
_X509 = "1.2.840.113549.1.9.22.1"
_FRIENDLY_NAME, _LOCAL_KEY_ID = "1.2.840.113549.1.9.20", "1.2.840.113549.1.9.21"
_TRUSTED = "2.16.840.1.113894.746875.1.1"  # Oracle's; its value names usages, which Java does not look at
_ANY_USAGE = "2.5.29.37.0"
_PBMAC1, _PBES2, _PBKDF2 = (f"1.2.840.113549.1.5.{n}" for n in (14, 13, 12))
_SHA256 = "2.16.840.1.101.3.4.2.1"
_DIGESTS = {
    "1.3.14.3.2.26": "sha1",
    "2.16.840.1.101.3.4.2.4": "sha224",
    _SHA256: "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
_PRFS = {f"1.2.840.113549.2.{n}": f"sha{bits}" for n, bits in ((7, 1), (8, 224), (9, 256), (10, 384), (11, 512))}
_AES = {f"2.16.840.1.101.3.4.1.{n}": bits // 8 for n, bits in ((2, 128), (22, 192), (42, 256))}
_PBE = {  # PKCS#12's own: the cipher, and the bytes of its key
    f"1.2.840.113549.1.12.1.{n}": cipher
    for n, cipher in ((3, ("3des", 24)), (4, ("3des", 16)), (5, ("rc2", 16)), (6, ("rc2", 5)))
}
_PAYLOAD = 0x80  # [0] in place of an OCTET STRING
_FOR_KEY, _FOR_IV, _FOR_MAC = b"\1", b"\2", b"\3"
_LENGTH = rb"(?:[\x00-\x80]|\x81.|\x82..|\x83...|\x84....)"
_HEAD = re.compile(
    rb"\x30" + _LENGTH + rb"\x02\x01\x03\x30" + _LENGTH + re.escape(bytes.fromhex("06092a864886f70d0107")) + rb"[\1\2]",
    re.S,
)
_LOOK = "look at it with keytool -list -v -storetype PKCS12 -keystore FILE"


def recognise(data: bytes) -> bool:
    """Tell a PKCS#12 by its head: version 3, then data or signed data."""
    return bool(_HEAD.match(data[:32]))


def read(data: bytes, password: Secret | None = None) -> Contents:
    """Read every certificate; anchors are those that Java's TrustManagerFactory takes; keys and secrets are counted.

    The MAC is checked before anything is decrypted. Without a *password*, "changeit", the empty one and none are
    tried; where they do not fit, a file without encryption is read unchecked, as Java does. Raises ``Refused`` for a
    wrong password, a damaged file, and methods that are not spoken (PBMAC1, public keys, RC4).
    """
    file = _open(data, password)
    seen, complaints = _seen_by_java(file.safes)
    if not _fits_java(file.password):
        complaints.append(f"its password is not printable ASCII, and {JAVA_REFUSED}")
    found = [java.entry(b.certificate, b.alias or "", anchor=b in seen) for b in file.bags if b.certificate is not None]
    return Contents(
        "pkcs12",
        tuple(e for e in found if isinstance(e, Entry)),
        (*complaints, *(e for e in found if isinstance(e, str))),
        keys=sum(b.kind in (_KEY, _SHROUDED_KEY, _SECRET) for b in file.bags),
        doubt="" if file.checked else java.UNCHECKED,
    )


def add(data: bytes, roots: Sequence[Root], password: Secret | None = None) -> bytes:
    """Append the *roots* that are no anchors yet, in a part of their own that is not encrypted; the rest stays.

    A root that is there without Java's attribute is added with it. Raises ``Refused`` where the integrity of *data*
    cannot be checked: the new MAC would vouch for what is there.
    """
    file = _checked(data, password)
    _require_ascii(file.password)
    there = {_sha256(b) for b in _seen_by_java(file.safes)[0]}
    new = java.new_entries(roots, there, {b.alias for b in file.bags if b.alias})
    if not new:
        return data
    added = _plain(_trusted_bag(alias, c.der) for alias, c in new)
    return _write([*(safe.part.raw for safe in file.safes), added], file.mac, file.password)


def remove(data: bytes, sha256s: frozenset[str], password: Secret | None = None) -> bytes:
    """Drop the trusted certificates with these SHA-256; keys and their chains stay. Raises ``Refused`` as ``add``.

    What must stay of an encrypted part is encrypted again with the same key and start value: it holds certificates,
    and a key in it is encrypted once more by itself.
    """
    file = _checked(data, password)
    parts = []
    for safe in file.safes:
        kept = [b for b in safe.bags if not (b.trusted and _sha256(b) in sha256s)]
        if len(kept) == len(safe.bags):
            parts.append(safe.part.raw)
        elif kept and safe.part.scheme:
            parts.append(_encrypted((b.raw for b in kept), safe.part.scheme, file.password))
        elif kept:
            parts.append(_plain(b.raw for b in kept))
    unchanged = parts == [safe.part.raw for safe in file.safes]
    return data if unchanged else _write(parts, file.mac, file.password)


def build(roots: Sequence[Root], password: Secret | None = None) -> bytes:
    """Write a store of *roots*, sorted by alias and not encrypted, with a MAC by HMAC-SHA256.

    Its password is Java's own default, "changeit", unless one is given. The same roots give the same bytes: the
    salt is made of them, which does no harm where nothing is encrypted. Raises ``Refused`` for a password that Java
    would not take.
    """
    _require_ascii(java.passwords(password)[0])
    parts = [_plain(_trusted_bag(alias, c.der) for alias, c in java.new_entries(roots, (), ()))]
    algorithm = der.write(der.SEQUENCE, der.write_oid(_SHA256), der.write(der.NULL))
    mac = _Mac("sha256", algorithm, hashlib.sha256(parts[0]).digest()[:20], 10_000)
    return _write(parts, mac, java.passwords(password)[0])


_Password = str | None  # None is no password at all, which OpenSSL tells from the empty one


def _fits_java(password: _Password) -> bool:
    """Tell a password that Java takes for a PKCS#12: com.sun.crypto.provider.PBEKey of OpenJDK."""
    return all(" " <= c <= "~" for c in password or "")


def _require_ascii(password: _Password) -> None:
    if not _fits_java(password):
        raise Refused("the password is not printable ASCII, and Java refuses such a PKCS#12", "choose another password")


@dataclass(frozen=True)
class _Scheme:
    """How a part is encrypted, always in CBC mode; *raw* is its AlgorithmIdentifier.

    *prf* is the digest of PBKDF2; where it is empty, PKCS#12's own derivation makes key and *iv* of the password.
    """

    raw: bytes
    cipher: str
    size: int
    salt: bytes
    iterations: int
    prf: str = ""
    iv: bytes = b""

    def encrypt(self, data: bytes, password: _Password) -> bytes:
        padder = PKCS7(8 * self._block).padder()
        return self._run(padder.update(data) + padder.finalize(), password, encrypt=True)

    def decrypt(self, data: bytes, password: _Password) -> bytes:
        unpadder = PKCS7(8 * self._block).unpadder()
        return unpadder.update(self._run(data, password, encrypt=False)) + unpadder.finalize()

    @property
    def _block(self) -> int:
        return 16 if self.cipher == "aes" else 8

    def _run(self, data: bytes, password: _Password, *, encrypt: bool) -> bytes:
        if self.prf:
            secret = (password or "").encode("utf-8", "surrogatepass")
            key, iv = hashlib.pbkdf2_hmac(self.prf, secret, self.salt, self.iterations, self.size), self.iv
        else:
            key, iv = (
                _derive("sha1", password, self.salt, self.iterations, purpose=purpose, size=size)
                for purpose, size in ((_FOR_KEY, self.size), (_FOR_IV, self._block))
            )
        if self.cipher == "rc2":
            # Java to 8 and openssl's -legacy wrote it, so there are files to be read.
            rc2 = ARC2.new(key, ARC2.MODE_CBC, iv=iv, effective_keylen=8 * self.size)  # noqa: S304
            return rc2.encrypt(data) if encrypt else rc2.decrypt(data)
        cipher = Cipher(AES(key) if self.cipher == "aes" else TripleDES((key + key)[:24]), CBC(iv))
        way = cipher.encryptor() if encrypt else cipher.decryptor()
        return way.update(data) + way.finalize()


@dataclass(frozen=True)
class _Mac:
    """How the MAC is made: the *digest*, as an AlgorithmIdentifier too, salt and iterations."""

    digest: str
    algorithm: bytes
    salt: bytes
    iterations: int

    def over(self, content: bytes, password: _Password) -> bytes:
        size = hashlib.new(self.digest).digest_size
        key = _derive(self.digest, password, self.salt, self.iterations, purpose=_FOR_MAC, size=size)
        return hmac.digest(key, content, self.digest)


@dataclass(frozen=True, eq=False)
class _Bag:
    """One SafeBag with its *raw* bytes; *certificate* is DER, and ``None`` where the bag holds something else."""

    kind: str
    raw: bytes
    certificate: bytes | None
    alias: str | None
    key_id: bytes | None
    trusted: bool


@dataclass(frozen=True)
class _Part:
    """One ContentInfo of the file, with what lies in it, encrypted or not."""

    raw: bytes
    payload: bytes
    scheme: _Scheme | None = None


@dataclass(frozen=True)
class _Safe:
    part: _Part
    bags: tuple[_Bag, ...]


@dataclass(frozen=True)
class _File:
    safes: tuple[_Safe, ...]
    mac: _Mac | None
    password: _Password
    checked: bool

    @property
    def bags(self) -> list[_Bag]:
        return list(chain.from_iterable(safe.bags for safe in self.safes))


def _open(data: bytes, password: Secret | None) -> _File:
    """Take a file apart; raises ``Refused`` when it is damaged, the password wrong, or a method not spoken."""
    try:
        content, mac, digest = _parse(data)
        parts = [_part(element) for element in der.read(content).parts()]
        if sum(p.scheme.iterations for p in parts if p.scheme) + (mac.iterations if mac else 0) > MOST_ITERATIONS:
            raise Refused(f"it asks for more than {MOST_ITERATIONS} rounds of hashing", "make it again with fewer")
        encrypted = any(p.scheme for p in parts)
        candidates: list[_Password] = [*java.passwords(password)]
        for candidate in [*candidates, *([None] if "" in candidates else [])]:
            if mac and not hmac.compare_digest(mac.over(content, candidate), digest):
                continue
            try:
                return _File(_safes(parts, candidate), mac, candidate, checked=True)
            except ValueError:
                if mac or not encrypted:
                    raise
        if password is None and not encrypted:
            return _File(_safes(parts, None), mac, None, checked=False)
    except ValueError as e:
        raise java.damaged(e) from None
    raise java.wrong_password(password)


def _checked(data: bytes, password: Secret | None) -> _File:
    file = _open(data, password)
    if not file.checked:
        raise java.wrong_password(password)
    return file


def _parse(data: bytes) -> tuple[bytes, _Mac | None, bytes]:
    """Give the content under the MAC, how the MAC is made, and the MAC itself, which need not be there."""
    version, info, *rest = der.read(data).parts()
    if version.integer() != 3:
        raise der.Broken("it is no PKCS#12 of version 3")
    kind, content = _content(info)
    if kind != _DATA:
        raise Refused("it is protected by a public key, which Java does not read either", _LOOK)
    if not rest:
        return content.octets(), None, b""
    (mac,) = rest
    made, salt, *counts = mac.parts()
    algorithm, digest = made.parts()
    oid = _named(algorithm)
    if oid not in _DIGESTS:
        name = "PBMAC1" if oid == _PBMAC1 else oid
        raise Refused(f"its MAC is made by {name}, which rdsca does not speak", _LOOK)
    iterations = [_iterations(count) for count in counts] or [1]
    return content.octets(), _Mac(_DIGESTS[oid], algorithm.raw, salt.octets(), iterations[0]), digest.octets()


def _named(algorithm: der.Element) -> str:
    """Give the OID of an AlgorithmIdentifier."""
    oid, *_ = algorithm.parts()
    return oid.oid()


def _content(info: der.Element) -> tuple[str, der.Element]:
    kind, content = info.parts()
    return kind.oid(), content.only(der.context(0))


def _part(info: der.Element) -> _Part:
    kind, content = _content(info)
    if kind == _DATA:
        return _Part(info.raw, content.octets())
    if kind != _ENCRYPTED:
        raise Refused("a part of it is encrypted to a public key, which Java does not read either", _LOOK)
    _, encrypted = content.parts()
    _, algorithm, payload = encrypted.parts()
    return _Part(info.raw, payload.octets(_PAYLOAD), _scheme(algorithm))


def _scheme(algorithm: der.Element) -> _Scheme:
    oid, parameters = algorithm.parts()
    if oid.oid() in _PBE:
        salt, count = parameters.parts()
        return _Scheme(algorithm.raw, *_PBE[oid.oid()], salt.octets(), _iterations(count))
    if oid.oid() != _PBES2:
        raise _not_spoken(oid.oid())
    derivation, encryption = parameters.parts()
    method, how = derivation.parts()
    cipher, iv = encryption.parts()
    if method.oid() != _PBKDF2 or cipher.oid() not in _AES:
        raise _not_spoken(f"{method.oid()} with {cipher.oid()}")
    salt, count, *more = how.parts()
    named = [_named(m) for m in more if m.tag == der.SEQUENCE]  # the key's length may stand there too
    prf = _PRFS.get(named[0]) if named else "sha1"
    if prf is None:
        raise _not_spoken(named[0])
    return _Scheme(algorithm.raw, "aes", _AES[cipher.oid()], salt.octets(), _iterations(count), prf=prf, iv=iv.octets())


def _not_spoken(what: str) -> Refused:
    return Refused(f"a part of it is encrypted by {what}, which rdsca does not speak", _LOOK)


def _iterations(count: der.Element) -> int:
    if (value := count.integer()) < 1:
        raise der.Broken(f"{value} rounds of hashing")
    return value


def _safes(parts: Sequence[_Part], password: _Password) -> tuple[_Safe, ...]:
    safes, left = [], java.MOST
    for part in parts:
        content = part.scheme.decrypt(part.payload, password) if part.scheme else part.payload
        bags = der.read(content).parts()
        left -= len(bags)
        if left < 0:
            raise der.Broken(f"more than {java.MOST} entries")
        safes.append(_Safe(part, tuple(map(_bag, bags))))
    return tuple(safes)


def _bag(element: der.Element) -> _Bag:
    kind, wrapped, *rest = element.parts()
    value, attributes = wrapped.only(der.context(0)), {}
    for attribute in rest[0].parts(der.SET) if rest else ():
        oid, values = attribute.parts()
        attributes[oid.oid()] = values.parts(der.SET)[:1]
    certificate = None
    if kind.oid() == _CERTIFICATE:
        _, inner = value.parts()
        certificate = inner.only(der.context(0)).octets()
    alias = [a.content.decode("utf-16-be", "replace") for a in attributes.get(_FRIENDLY_NAME, ())]
    key_id = [a.octets() for a in attributes.get(_LOCAL_KEY_ID, ())]
    return _Bag(
        kind=kind.oid(),
        raw=element.raw,
        certificate=certificate,
        alias=alias[0] if alias else None,
        key_id=key_id[0] if key_id else None,
        trusted=certificate is not None and _TRUSTED in attributes,
    )


def _sha256(bag: _Bag) -> str:
    return hashlib.sha256(bag.certificate or b"").hexdigest()


def _seen_by_java(safes: Sequence[_Safe]) -> tuple[set[_Bag], list[str]]:
    """Give the bags whose certificates Java's TrustManagerFactory takes as anchors, and what Java passes over.

    These are the trusted ones, and for each key the first certificate of its chain. Written after PKCS12KeyStore of
    OpenJDK 25: entries are kept by alias, the last wins; a key and its certificate are matched by localKeyID, then
    by alias; a lone key without that ID goes with the certificate that stands first in a later part.
    """
    entries: dict[str, _Bag] = {}
    ids: dict[_Bag, bytes | None] = {}
    complaints, keys, unnamed = [], 0, 0
    for safe in safes:
        for place, bag in enumerate(safe.bags):
            is_key = bag.kind == _SHROUDED_KEY
            keys += is_key
            lone = keys == 1 and (is_key or place == 0)
            ids[bag] = bag.key_id if bag.key_id is not None or not lone else b"01"
            if bag.trusted or bag.kind == _SECRET or (is_key and ids[bag] is not None):
                unnamed += bag.alias is None
                alias = str(unnamed) if bag.alias is None else bag.alias.lower()
                if alias in entries:
                    complaints.append(f"a second entry is called {alias!r}, and Java keeps only the last")
                entries[alias] = bag
    by_both: dict[tuple[bytes | None, str | None], _Bag] = {}
    by_id: dict[bytes | None, _Bag] = {}
    by_alias: dict[str | None, _Bag] = {}
    for bag, key_id in ids.items():
        if bag.certificate is not None and not bag.trusted:
            name = None if bag.alias is None else bag.alias.lower()
            by_both.setdefault((key_id, name), bag)
            by_id[key_id] = by_alias[name] = bag
    seen = {bag for bag in entries.values() if bag.trusted}
    for alias, bag in entries.items():
        if bag.kind == _SHROUDED_KEY:
            first = by_both.get((ids[bag], alias)) or by_id.get(ids[bag]) or by_alias.get(alias)
            seen |= {first} if first else set()
    return seen, complaints


def _write(parts: Sequence[bytes], mac: _Mac | None, password: _Password) -> bytes:
    content = der.write(der.SEQUENCE, *parts)
    return der.write(
        der.SEQUENCE,
        der.write_integer(3),
        _info(_DATA, der.write(der.OCTET_STRING, content)),
        _mac_data(mac, mac.over(content, password)) if mac else b"",
    )


def _mac_data(mac: _Mac, digest: bytes) -> bytes:
    return der.write(
        der.SEQUENCE,
        der.write(der.SEQUENCE, mac.algorithm, der.write(der.OCTET_STRING, digest)),
        der.write(der.OCTET_STRING, mac.salt),
        der.write_integer(mac.iterations) if mac.iterations > 1 else b"",  # 1 is the default, which DER leaves out
    )


def _info(kind: str, content: bytes) -> bytes:
    return der.write(der.SEQUENCE, der.write_oid(kind), der.write(der.context(0), content))


def _plain(bags: Iterable[bytes]) -> bytes:
    return _info(_DATA, der.write(der.OCTET_STRING, der.write(der.SEQUENCE, *bags)))


def _encrypted(bags: Iterable[bytes], scheme: _Scheme, password: _Password) -> bytes:
    payload = scheme.encrypt(der.write(der.SEQUENCE, *bags), password)
    content = der.write(der.SEQUENCE, der.write_oid(_DATA), scheme.raw, der.write(_PAYLOAD, payload))
    return _info(_ENCRYPTED, der.write(der.SEQUENCE, der.write_integer(0), content))


def _trusted_bag(alias: str, certificate: bytes) -> bytes:
    value = der.write(der.context(0), der.write(der.OCTET_STRING, certificate))
    name = der.write(der.BMP_STRING, alias.encode("utf-16-be"))
    attributes = sorted((_attribute(_FRIENDLY_NAME, name), _attribute(_TRUSTED, der.write_oid(_ANY_USAGE))))
    return der.write(
        der.SEQUENCE,
        der.write_oid(_CERTIFICATE),
        der.write(der.context(0), der.write(der.SEQUENCE, der.write_oid(_X509), value)),
        der.write(der.SET, *attributes),
    )


def _attribute(oid: str, value: bytes) -> bytes:
    return der.write(der.SEQUENCE, der.write_oid(oid), der.write(der.SET, value))


def _derive(digest: str, password: _Password, salt: bytes, iterations: int, *, purpose: bytes, size: int) -> bytes:
    """Derive a key, a start value or a MAC's key from a password: RFC 7292, appendix B.2."""
    make = getattr(hashlib, digest)
    block = make().block_size
    secret = b"" if password is None else (password + "\0").encode("utf-16-be", "surrogatepass")
    diversifier, source, derived = purpose * block, _fill(salt, block) + _fill(secret, block), b""
    while True:
        made: bytes = make(diversifier + source).digest()
        for _ in range(iterations - 1):
            made = make(made).digest()
        derived += made
        if len(derived) >= size:
            return derived[:size]
        more = int.from_bytes(_fill(made, block)[:block], "big") + 1
        pieces = (int.from_bytes(source[at : at + block], "big") + more for at in range(0, len(source), block))
        source = b"".join((piece % (1 << 8 * block)).to_bytes(block, "big") for piece in pieces)


def _fill(data: bytes, block: int) -> bytes:
    """Repeat *data* until it fills whole blocks."""
    size = -(-len(data) // block) * block
    return (data * (size // len(data) + 1))[:size] if data else b""


KINDS = (Kind("pkcs12", ("java",), recognise, read, add, remove, build, has_password=True, rank=20),)
