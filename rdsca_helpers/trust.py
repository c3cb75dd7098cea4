"""Trust stores as facts: what lies in one, what a client would load of it, and what that means for a new CA. Pure."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import crypto

from .certs import REFUSED, Certificate, issued_by, key_name, matches
from .errors import UsageError

JAVA_REFUSED = "Java refuses the whole keystore"  # how a complaint ends after which Java finds no entry at all


@dataclass(frozen=True)
class Entry:
    """One certificate as it lies in a store; *anchor* is False where its consumers do not take it as one.

    *alias* is the entry's name in a keystore, the file's in a directory, the key's in a manifest.
    """

    certificate: Certificate
    alias: str = ""
    anchor: bool = True


@dataclass(frozen=True)
class Contents:
    """What lies in a trust store of one *format*: certificates, the number of key entries, and *complaints*.

    A complaint says what a consumer passes over; one that ends with ``certs.REFUSED`` or ``JAVA_REFUSED`` says that
    it loads nothing. *refused_by* says why clients of one engine load nothing where others read on. *doubt* says what
    could not be checked without the store's password.
    """

    format: str
    entries: tuple[Entry, ...]
    complaints: tuple[str, ...] = ()
    keys: int = 0
    doubt: str = ""
    refused_by: Mapping[str, str] = field(default_factory=dict)

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """The certificates that a consumer takes as trust anchors."""
        return tuple(e.certificate for e in self.entries if e.anchor)


@dataclass(frozen=True)
class Root:
    """A root to be added to stores: the certificate, and the CA id and region that it is the root of."""

    certificate: Certificate
    ca: str
    region: str

    @property
    def alias(self) -> str:
        """Name it as keystores and directories do: ``rdsca-us-east-1-rsa2048-g1-376e82dd``.

        Lower case, because Java loses entries whose names differ in case only (measured, JDK 17).
        """
        return f"rdsca-{self.region}-{self.ca.removeprefix('rds-ca-')}-{self.certificate.sha256[:8]}".lower()


# Families of clients


@dataclass(frozen=True)
class Family:
    """How a kind of client verifies: what it takes as an anchor, and what it refuses.

    *any_certificate*: a subordinate or a leaf in the store ends the path as a root does. *anchor_dates*: an anchor
    is judged as the rest of the path is, and refused once it has ended. *strict*: OpenSSL's X509_STRICT.
    *level*: OpenSSL's security level, 0 for none. *rsa*: fewest bits of an RSA key. *ec*: keys on elliptic curves
    are understood. *formats*: what it reads.
    """

    name: str
    engine: str
    formats: frozenset[str]
    any_certificate: bool = True
    anchor_dates: bool = True
    strict: bool = False
    level: int = 0
    rsa: int = 0
    ec: bool = True


_PEM_LIKE = frozenset({"pem", "directory", "kubernetes"})
_KEYSTORES = frozenset({"jks", "pkcs12"})
# Measured: facts of OpenSSL 3.0 and 3.5, Python 3.9 to 3.13, Node 20, GnuTLS 3.7, Java 17 and 25.
FAMILIES: Mapping[str, Family] = {
    f.name: f
    for f in (
        # Python to 3.12, psql and psycopg, the mysql and mariadb programs, Node.
        Family("openssl", "openssl", _PEM_LIKE, any_certificate=False, level=2),
        # Python from 3.13 (create_default_context); curl, which does without X509_STRICT.
        Family("openssl-partial", "openssl", _PEM_LIKE, strict=True, level=2),
        # Its default priority, NORMAL, has the same limits as OpenSSL's level 2.
        Family("gnutls", "gnutls", _PEM_LIKE, level=2),
        # A p7b is what Windows imports; its own rules were not measured, so nothing is replayed for it.
        Family("windows", "windows", frozenset({"p7b"})),
        Family("java", "java", _KEYSTORES, anchor_dates=False, rsa=1024),
    )
}
_MEASURED = ("openssl", "gnutls", "java")  # engines whose own rules are known
_LIMITS = "openssl:seclevel=3, java:no-ec and java:rsa>=3072"


def family(text: str) -> Family:
    """Read a family as users write it: ``openssl``, or with limits ``openssl:seclevel=3``, ``java:no-ec``.

    Raises ``UsageError`` for a family or a limit that nobody knows here.
    """
    name, *limits = text.strip().split(":")
    if name not in FAMILIES:
        raise UsageError(f"there is no client family {name!r}", f"known are {', '.join(FAMILIES)}")
    found = FAMILIES[name]
    for limit in limits:
        if (level := re.fullmatch(r"seclevel=([0-5])", limit)) and found.engine == "openssl":
            found = replace(found, level=int(level[1]))
        elif (bits := re.fullmatch(r"rsa>=(\d{1,5})", limit)) and found.engine == "java":
            found = replace(found, rsa=int(bits[1]))
        elif limit == "no-ec" and found.engine == "java":
            found = replace(found, ec=False)
        else:
            raise UsageError(f"{name} has no limit {limit!r}", f"limits are written {_LIMITS}")
    return replace(found, name=text.strip())


# https://docs.openssl.org/3.0/man3/SSL_CTX_get_security_level/, by level: bits of RSA, of a curve, of security
_LEVELS = ((0, 0, 0), (1024, 160, 80), (2048, 224, 112), (3072, 256, 128), (7680, 384, 192), (15360, 512, 256))


def _refuses_key(family: Family, key: str) -> str:
    """Say why *family* refuses a key such as RSA2048 or EC secp384r1; empty when it takes it."""
    rsa, curve, _ = _LEVELS[family.level]
    bits = int(found[0]) if (found := re.search(r"\d+", key)) else 0
    if key.startswith("EC "):
        if not family.ec:
            return f"a Java without the module jdk.crypto.ec does not understand {key}"
        return f"OpenSSL's security level {family.level} refuses {key}" if bits < curve else ""
    if key.startswith("RSA"):
        if bits < rsa:
            return f"security level {family.level} refuses {key}"
        return f"jdk.certpath.disabledAlgorithms refuses {key}" if bits < family.rsa else ""
    return ""


def _refuses_digest(family: Family, certificate: x509.Certificate) -> str:
    digest, least = certificate.signature_hash_algorithm, _LEVELS[family.level][2]
    if digest is None:  # Ed25519 and its like name no digest
        return ""
    strength = 63 if digest.name == "sha1" else digest.digest_size * 4  # SHA-1 by what attacks have left of it
    return f"security level {family.level} refuses a signature with {digest.name}" if strength < least else ""


# Verdicts

ACCEPTING = ("ready", "both")  # with these a client accepts servers on the target


class RootFacts(Protocol):
    """What is known of a root, by its certificate or by a catalogue."""

    @property
    def subject(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def not_before(self) -> datetime: ...
    @property
    def not_after(self) -> datetime: ...
    @property
    def sha256(self) -> str: ...
    @property
    def sha1(self) -> str: ...


def judge(
    contents: Contents,
    *,
    root: RootFacts | None,
    region: str,
    target_ca: str,
    offered: Mapping[str, str],
    family: Family,
    now: datetime,
    formats: Collection[str] = (),
) -> tuple[str, str]:
    """Say whether clients of *family* with this store accept servers of *region* on *target_ca*, and why.

    *root* is the target's root, ``None`` when no catalogue knows it. *offered* maps the region's CA ids to the SHA-1
    thumbprints that RDS names. *formats* replaces what the family reads, for a driver that reads more or less.
    Verdicts: ready, both, old-only, pin-only, public-only, empty-for-java, unreadable-by-client, unknown-ca,
    wrong-region; only with the first two is the server accepted. An identity is always a fingerprint; names
    only tell apart what else lies in a store.
    """
    named = offered.get(target_ca, "").lower()
    if root is None or (named and named != root.sha1):
        known = f", and not {root.sha1}, which is known here" if root else ", which nobody here knows"
        what = f"RDS names SHA-1 {named} as its root{known}" if named else "its root is not known here"
        return "unknown-ca", f"{what}; see rdsca roots approve"
    if unread := _unread(contents, family, formats):
        return unread
    store = _Sorted.of(contents.certificates, root, region, offered, target_ca)
    notes = [*filter(None, [contents.doubt]), *contents.complaints, *_endings(contents.certificates, now)]
    if invisible := [e for e in contents.entries if not e.anchor and e.certificate.sha256 == root.sha256]:
        notes.append(f"{invisible[0].alias or root.subject} lies in it, but not as a trusted entry")
    tail = "".join(f"; {note}" for note in notes)
    label = f"{root.subject}, SHA-256 {root.sha256[:16]}"
    if store.target:
        if limit := _refuses_key(family, root.key):
            return "unreadable-by-client", f"it holds {label}, but {limit}{tail}"
        if family.anchor_dates and not root.not_before <= now <= root.not_after:
            dates = f"{root.not_before:%Y-%m-%d} to {root.not_after:%Y-%m-%d}"
            return "old-only", f"it holds {label}, which is valid from {dates}, and {family.name} refuses it now{tail}"
        beside = f", beside {', '.join(store.beside)}" if store.beside else ""
        return ("both" if store.older else "ready"), f"it holds {label}{beside}{tail}"
    lacks = f"it lacks {label}"
    if store.pins:
        return "pin-only", f"{lacks}; {_pinned(store.pins, family, now)}{tail}"
    if store.beside:
        return "old-only", f"{lacks}; it holds {', '.join(store.beside)} of this region{tail}"
    if contents.complaints:
        return "unreadable-by-client", f"{lacks}{tail}"
    if store.elsewhere:
        return "wrong-region", f"{lacks}; it holds roots of RDS, of other regions{tail}"
    return "public-only", f"{lacks}; it holds other CAs{tail}"


def _unread(contents: Contents, family: Family, formats: Collection[str]) -> tuple[str, str] | None:
    """Say why a client gets no anchor at all out of the store; ``None`` when it gets some."""
    reads = formats or family.formats
    if contents.format not in reads:
        return "unreadable-by-client", f"{family.name} does not read {contents.format}; it reads {_listed(reads)}"
    if broken := [c for c in contents.complaints if c.endswith((REFUSED, JAVA_REFUSED))]:
        return "unreadable-by-client", "; ".join(broken)
    if why := contents.refused_by.get(family.engine):
        return "unreadable-by-client", why
    if contents.certificates:
        return None
    verdict = "empty-for-java" if family.engine == "java" else "unreadable-by-client"
    if contents.entries:
        lost = f"its {len(contents.entries)} certificate(s) are not marked as trusted, and Java sees none of them"
        if family.engine != "java":
            lost = f"a client takes none of its {len(contents.entries)} certificate(s) as an anchor"
        return verdict, "; ".join([lost, *contents.complaints])
    return verdict, "; ".join(["it holds no certificate", *contents.complaints])


def _listed(words: Collection[str]) -> str:
    return ", ".join(sorted(words))


@dataclass(frozen=True)
class _Name:
    """A CA certificate's common name, as RDS makes them: whose, for which region ("" for all), which CA."""

    owner: str
    region: str
    label: str
    generation: str


@lru_cache(1000)  # a store is judged for each region and family, and names stay what they are
def _named(subject: str) -> _Name | None:
    """Take a name such as ``Amazon RDS us-east-1 Root CA RSA2048 G1`` apart; ``None`` when RDS is not in it."""
    owner, rds, rest = subject.partition(" RDS ")
    if not rds:
        return None
    place = re.search(r"\b(?:Beta|Preview|GovCloud|CN)\b|\b[a-z]{2,4}(?:-[a-z]+)+-\d\b", rest)
    label = re.search(r"\b(?:(?:RSA|ECC)\d+ )?(?:G\d+|20\d\d)\b", rest)
    region = {"CN": "cn-", "GovCloud": "us-gov-"}.get(place[0], place[0]) if place else ""
    found = label[0] if label else ""
    return _Name(owner, region, found, _generation(found))


def same_ca(subject: str, root: str) -> bool:
    """Tell by the names that RDS gives whether *subject* is of the CA and region that the name *root* stands for."""
    return _named(subject) is not None and _named(subject) == _named(root)


def _generation(name: str) -> str:
    """Give the generation in a CA id or a label, ``1`` for ``rds-ca-rsa2048-g1``; years are all of one, the oldest."""
    found = re.search(r"g(\d+)$", name.lower())
    return found[1] if found else ""


@dataclass(frozen=True)
class _Sorted:
    """A store's certificates by what they are to one target: the words in *beside* name other CAs of its region."""

    target: bool
    beside: tuple[str, ...]
    older: bool
    pins: tuple[Certificate, ...]
    elsewhere: bool

    @classmethod
    def of(
        cls,
        certificates: Sequence[Certificate],
        root: RootFacts,
        region: str,
        offered: Mapping[str, str],
        target_ca: str,
    ) -> _Sorted:
        ids = {sha1.lower(): ca for ca, sha1 in offered.items() if ca != target_ca}
        goal = _named(root.subject) or _Name(root.subject, region, "", "")
        names = {c.sha256: _named(c.subject if c.is_ca else c.issuer) for c in certificates}
        regions = {(n.label, n.region) for n in names.values() if n and n.region}
        labels = {label for label, _ in regions}
        beside: dict[str, str] = {}  # in words, and the generation
        pins, elsewhere = [], False
        for c in certificates:
            name = names[c.sha256]
            if c.sha256 == root.sha256:
                continue
            if c.sha1 in ids:
                beside[ids[c.sha1]] = _generation(ids[c.sha1])
            elif c.issuer == root.subject and not c.is_root:
                pins.append(c)
            elif name and name.owner == goal.owner:
                # The one root of 2015 or 2019 stood for all regions that had a subordinate beside it in the bundle.
                everywhere = not name.region and (name.label not in labels or (name.label, region) in regions)
                here = region.startswith(name.region) if name.region else everywhere
                if here and name.label == goal.label and not c.is_root:
                    pins.append(c)
                elif here and name.label != goal.label:
                    beside[c.subject] = name.generation
                else:
                    elsewhere = True
        return cls(
            target=any(c.sha256 == root.sha256 for c in certificates),
            beside=tuple(sorted(beside)),
            older=any(generation != goal.generation for generation in beside.values()),
            pins=tuple(pins),
            elsewhere=elsewhere,
        )


def _pinned(pins: Sequence[Certificate], family: Family, now: datetime) -> str:
    """Say what pinned subordinates and leaves are worth to a client of *family*."""
    what = ", ".join(f"{c.subject} (to {c.not_after:%Y-%m-%d})" for c in pins[:2])
    text = f"it holds certificates that are no roots: {what}"
    if family.engine not in _MEASURED:
        return f"{text}; what clients of {family.name} make of them was not measured"
    if not family.any_certificate:
        return f"{text}; {family.name} takes only roots as anchors, so it fails today"
    ended = family.anchor_dates and not any(c.not_before <= now <= c.not_after for c in pins)
    if limit := next((why for c in pins if (why := _refuses_key(family, c.key))), ""):
        return f"{text}; {limit}, so it fails today"
    return f"{text}; " + ("out of date, so it fails today" if ended else WORKS_TODAY)


WORKS_TODAY = "works today, breaks at the next automatic renewal"


def _endings(certificates: Sequence[Certificate], now: datetime) -> list[str]:
    """Say which roots have ended, which does no harm, and which end within a year."""
    ending = [c for c in certificates if c.not_after < now + timedelta(days=365)]  # dates first: signatures cost more
    roots = [c for c in ending if c.is_root]
    ended = [c for c in roots if c.not_after < now]
    soon = [c for c in roots if c.not_after >= now]
    notes = [f"{len(ended)} root(s) in it have expired, which does no harm: {_some(ended)}"] if ended else []
    return notes + ([f"{len(soon)} root(s) in it end within a year: {_some(soon)}"] if soon else [])


def _some(certificates: Sequence[Certificate]) -> str:
    shown = [f"{c.subject} ({c.not_after:%Y-%m-%d})" for c in sorted(certificates, key=lambda c: c.not_after)[:3]]
    return ", ".join(shown) + (", …" if len(certificates) > len(shown) else "")


# Replay


def replay(
    chain: Sequence[Certificate],
    contents: Contents,
    *,
    family: Family,
    name: str,
    at: datetime,
    formats: Collection[str] = (),
) -> tuple[bool, str]:
    """Say whether a client of *family* with this store accepts *chain*, leaf first, for host *name* at the time *at*.

    *at* has a time zone; it may lie in the future. *formats* as in ``judge``. OpenSSL's families are judged by OpenSSL
    itself, GnuTLS and Java by the rules that they were measured to follow. Revocation is not looked at: no RDS
    certificate names a list.
    """
    if not chain:
        return False, "no certificate was served"
    if unread := _unread(contents, family, formats):
        return False, unread[1]
    if family.engine not in _MEASURED:
        return False, f"how clients of {family.name} verify was not measured"
    if any(not family.ec and c.key.startswith("EC ") for c in chain):
        return False, f"handshake_failure: {_refuses_key(family, chain[0].key)}"
    verify = _by_openssl if family.engine == "openssl" else _by_rules
    try:
        why = verify(chain, contents.certificates, family, at)
        if not why and not _serves(chain[0], family):
            why = "the certificate is not meant for servers (extendedKeyUsage)"
    except (ValueError, UnsupportedAlgorithm, crypto.Error) as e:
        why = f"a certificate of the chain or the store cannot be read ({e})"
    if why:
        return False, why
    if not any(matches(pattern, name) for pattern in chain[0].names):
        return False, f"its certificate is for {', '.join(chain[0].names) or 'no name'}, not for {name}"
    return True, "chain, name and dates are good"


def _by_openssl(chain: Sequence[Certificate], anchors: Sequence[Certificate], family: Family, at: datetime) -> str:
    """Ask OpenSSL; give its error in words, or nothing.

    pyOpenSSL cannot set the security level, so it is applied to the path afterwards: to every key, and to every
    signature but the anchor's own, as OpenSSL does.
    """
    flags = crypto.X509StoreFlags
    store = crypto.X509Store()
    for anchor in anchors:
        store.add_cert(crypto.load_certificate(crypto.FILETYPE_ASN1, anchor.der))
    store.set_flags(
        (flags.PARTIAL_CHAIN if family.any_certificate else 0) | (flags.X509_STRICT if family.strict else 0)
    )
    store.set_time(at.astimezone(UTC))
    leaf, *rest = (crypto.load_certificate(crypto.FILETYPE_ASN1, c.der) for c in chain)
    try:
        path = [c.to_cryptography() for c in crypto.X509StoreContext(store, leaf, rest).get_verified_chain()]
    except crypto.X509StoreContextError as e:
        number, depth, words = e.errors
        return f"OpenSSL error {number} at depth {depth}: {words}"
    keys = (_refuses_key(family, key_name(c)) for c in path)
    digests = (_refuses_digest(family, c) for c in path[:-1])
    return next((why for why in (*keys, *digests) if why), "")


def _by_rules(chain: Sequence[Certificate], anchors: Sequence[Certificate], family: Family, at: datetime) -> str:
    """Look for a path as GnuTLS and Java do; give the reason why there is none, or nothing.

    Any certificate in the store ends a path. Java takes a leaf that lies in the store as it is, without a look at
    its dates; GnuTLS takes it only from a server that sends nothing else (both measured).
    """
    held = {a.sha256 for a in anchors}
    leaf, *rest = chain
    if leaf.sha256 in held and (family.engine == "java" or not [c for c in rest if not c.is_root]):
        return "" if family.engine == "java" else _out_of_date([leaf], at)
    reasons = [_objection(path, family, at) for path in _paths([leaf], rest, anchors)]
    if not reasons:
        unknown = {
            "java": "PKIX path building failed: unable to find valid certification path to requested target",
            "gnutls": "the certificate issuer is unknown",
        }
        return f"{unknown[family.engine]} (issued by {leaf.issuer})"
    return "" if "" in reasons else reasons[0]


_LONGEST = 8  # certificates in a path; RDS's are three


def _paths(
    path: list[Certificate], served: Sequence[Certificate], anchors: Sequence[Certificate]
) -> Iterator[list[Certificate]]:
    """Give every path from the leaf to an anchor, the anchor last."""
    last = path[-1]
    yield from ([*path, a] for a in anchors if a.is_ca and issued_by(last, a))
    if len(path) < _LONGEST:
        for c in served:
            if c.is_ca and c not in path and issued_by(last, c):
                yield from _paths([*path, c], served, anchors)


def _objection(path: Sequence[Certificate], family: Family, at: datetime) -> str:
    """Say what a client has against *path*, or nothing. Of an anchor, Java looks at the name and the key only."""
    judged = path if family.anchor_dates else path[:-1]
    if why := _out_of_date(judged, at):
        return why
    for below, ca in enumerate(judged[1:]):
        longest = _load(ca).extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
        if longest is not None and longest < below:
            return f"{ca.subject} may stand over {longest} more CA(s), not over {below}"
    keys = (_refuses_key(family, c.key) for c in path)
    digests = (_refuses_digest(family, _load(c)) for c in path[:-1])
    return next((why for why in (*keys, *digests) if why), "")


def _out_of_date(path: Sequence[Certificate], at: datetime) -> str:
    for c in path:
        if not c.not_before <= at <= c.not_after:
            return f"{c.subject} is valid from {c.not_before:%Y-%m-%d} to {c.not_after:%Y-%m-%d} only"
    return ""


def _serves(leaf: Certificate, family: Family) -> bool:
    """Tell whether *leaf* may stand for a server; RDS's say nothing about it, which is a yes.

    OpenSSL does not take "any use" for that (measured).
    """
    try:
        usage = _load(leaf).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    any_use = family.engine != "openssl" and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage
    return any_use or ExtendedKeyUsageOID.SERVER_AUTH in usage


def _load(certificate: Certificate) -> x509.Certificate:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)  # Starfield G2 has serial number 0
        return x509.load_der_x509_certificate(certificate.der)
