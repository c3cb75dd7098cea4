"""Certificates: read PEM strictly, and judge a served chain. No network, no file, no clock."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

_BLOCK = re.compile(
    r"^-----BEGIN (?P<label>[A-Z0-9 ]+)-----[ \t]*$(?P<body>.*?)^-----END (?P=label)-----[ \t]*$", re.S | re.M
)
_INDENTED = re.compile(r"^(?!-----).+-----BEGIN ", re.M)
_GAP = re.compile(r"(?:\S|\A\n)[ \t]*\n[ \t]*\n\s*\S")  # an empty line ends a PEM header: what is above it is none
_MARK_IN_BYTES = "\udcef\udcbb\udcbf"  # a byte order mark in a file that was read as ASCII with surrogateescape
REFUSED = "OpenSSL refuses the whole file"  # how a complaint ends after which no client of OpenSSL connects


@dataclass(frozen=True)
class Certificate:
    """One X.509 certificate; its identity is *sha256*, the hash of its DER bytes, never its name."""

    der: bytes
    sha256: str
    sha1: str
    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    key: str
    is_ca: bool
    names: tuple[str, ...]

    @property
    def pem(self) -> str:
        """The certificate as every reader takes it: LF, 64 columns, no text around."""
        body = base64.b64encode(self.der).decode("ascii")
        lines = [body[i : i + 64] for i in range(0, len(body), 64)]
        return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])

    @cached_property
    def self_signed(self) -> bool:
        """True when its own key signed it; found out when first asked, because that costs more than all else."""
        with _quiet():
            return _self_signed(x509.load_der_x509_certificate(self.der))

    @property
    def is_root(self) -> bool:
        """True for a self-signed CA certificate, the only kind that AWS advises to trust."""
        return self.is_ca and self.self_signed


def read_der(der: bytes) -> Certificate:
    """Read one DER certificate; raises ``ValueError`` when it is none."""
    try:
        with _quiet():
            return _certificate(x509.load_der_x509_certificate(der), der)
    except (x509.DuplicateExtension, x509.InvalidVersion) as e:
        raise ValueError(str(e)) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep cryptography's warnings back: Starfield G2, the root of RDS Proxy, has serial number 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _certificate(cert: x509.Certificate, der: bytes) -> Certificate:
    return Certificate(
        der=der,
        sha256=hashlib.sha256(der).hexdigest(),
        sha1=hashlib.sha1(der, usedforsecurity=False).hexdigest(),  # RDS names roots by SHA-1 (Thumbprint)
        subject=_name(cert.subject),
        issuer=_name(cert.issuer),
        not_before=cert.not_valid_before_utc,
        not_after=cert.not_valid_after_utc,
        key=key_name(cert),
        is_ca=_is_ca(cert),
        names=_alternative_names(cert, x509.DNSName),
    )


def read_pem(text: str) -> tuple[list[Certificate], list[str]]:
    """Read all certificates of *text* as OpenSSL would, and say what it would skip or stumble over.

    Stricter than ``cryptography``, which takes indented, glued and truncated blocks that real clients refuse.
    """
    certificates: list[Certificate] = []
    complaints: list[str] = []
    plain = text.removeprefix("\ufeff").removeprefix(_MARK_IN_BYTES).replace("\r\n", "\n")
    for block in _BLOCK.finditer(plain):
        line = plain.count("\n", 0, block.start()) + 1
        if block["label"] != "CERTIFICATE":
            complaints.append(f"line {line}: a block of another kind ({block['label']})")
            continue
        try:
            if _GAP.search(block["body"].strip(" \t")):
                raise ValueError("an empty line inside")
            certificates.append(read_der(base64.b64decode("".join(block["body"].split()), validate=True)))
        except (ValueError, binascii.Error):
            complaints.append(f"line {line}: this block is no certificate, and {REFUSED}")
    missed = plain.count("-----BEGIN ") - len(certificates) - len(complaints)
    if indented := min(missed, len(_INDENTED.findall(plain))):
        complaints.append(f"{indented} block(s) that OpenSSL passes over: their first line does not begin with dashes")
    if missed > indented:
        complaints.append(f"{missed - indented} block(s) cut off or glued together, and {REFUSED}")
    return certificates, complaints


@dataclass(frozen=True)
class ChainVerdict:
    """Trust, name and dates of a served chain, each judged by itself; *root* is the anchor it leads to.

    *trusted* is the word of clients that take only roots as anchors, as OpenSSL does, *trusted_by_any* of those that
    take any certificate of their store (OpenSSL's partial chain, the default of Python from 3.13 on).
    """

    trusted: bool
    name_ok: bool
    dates_ok: bool
    root: Certificate | None
    reason: str
    trusted_by_any: bool = False

    @property
    def ok(self) -> bool:
        """True when a client that checks everything would connect."""
        return self.trusted and self.name_ok and self.dates_ok


def judge_chain(
    chain: Sequence[Certificate], store: Sequence[Certificate], *, name: str, now: datetime
) -> ChainVerdict:
    """Say whether a client with the trust store *store* accepts *chain* for the host *name* at the time *now*.

    The verdicts are separate because their remedies are: a root to add, a name to use, a leaf to renew. ``ok`` and
    ``root`` are about clients that trust only the roots of the store.
    """
    if not chain:
        return ChainVerdict(False, False, False, None, "no certificate was served")
    leaf = chain[0]
    late = [c for c in chain if not c.not_before <= now <= c.not_after]
    name_ok = any(matches(pattern, name) for pattern in leaf.names)
    roots = [c for c in store if c.is_root]
    root = _anchor(chain, roots, store, now)
    reasons = []
    if root is None:
        reasons.append(f"its chain does not lead to a trusted root: {_why_not(chain, roots)}")
    if not name_ok:
        reasons.append(f"its certificate is for {_holder(leaf)}, not for {name}")
    for c in late:
        whose = "its certificate" if c is leaf else f"the CA certificate {c.subject} in its chain"
        ends = f"was valid until {c.not_after:%Y-%m-%d}" if c.not_after < now else f"begins on {c.not_before:%Y-%m-%d}"
        reasons.append(f"{whose} {ends}")
    return ChainVerdict(
        trusted=root is not None,
        name_ok=name_ok,
        dates_ok=not late,
        root=root,
        reason="; ".join(reasons) or "chain, name and dates are good",
        trusted_by_any=root is not None or _anchor(chain, store, store, now) is not None,
    )


def _anchor(
    chain: Sequence[Certificate], anchors: Sequence[Certificate], store: Sequence[Certificate], now: datetime
) -> Certificate | None:
    """Find the anchor that *chain* leads to; the way may lead over other certificates of the *store*.

    Name and dates are judged apart. So the path is verified for no name, which is what a client verifier does, and
    at a time at which the whole chain is in force, if there is one.
    """
    begin, end = _in_force(chain)
    if not anchors or begin > end:
        return None
    others = [c for c in store if not c.is_root]
    load = x509.load_der_x509_certificate
    verifier = (
        verification.PolicyBuilder()
        .store(verification.Store([load(c.der) for c in anchors]))
        .time(min(max(now, begin), end))
        .extension_policies(ca_policy=verification.ExtensionPolicy.webpki_defaults_ca(), ee_policy=_SERVER)
        .build_client_verifier()
    )
    try:
        path = verifier.verify(load(chain[0].der), [load(c.der) for c in (*chain[1:], *others)]).chain
    except verification.VerificationError:
        return None
    found = path[-1].public_bytes(Encoding.DER)
    return next(c for c in anchors if c.der == found)


def _for_servers(_policy: verification.Policy, _leaf: x509.Certificate, usage: x509.ExtendedKeyUsage | None) -> None:
    if usage is not None and ExtendedKeyUsageOID.SERVER_AUTH not in usage:
        raise ValueError("its certificate is not meant for servers")


_SERVER = verification.ExtensionPolicy.permit_all().may_be_present(
    x509.ExtendedKeyUsage, verification.Criticality.AGNOSTIC, _for_servers
)


def _why_not(chain: Sequence[Certificate], roots: Sequence[Certificate]) -> str:
    begin, end = _in_force(chain)
    issuer = chain[-1].issuer
    if begin > end:
        return "its certificates were never in force all at the same time"
    if not roots:
        return "the trust store holds no root"
    if len(chain) == 1 and not chain[0].self_signed:
        return f"the server leaves out the CA certificate {issuer}, which signed its own"
    if any(root.subject == issuer for root in roots):
        return f"{issuer} is among the trusted roots by its name, and vouches for no such chain"
    return f"{issuer} is not among the trusted roots"


def _in_force(chain: Sequence[Certificate]) -> tuple[datetime, datetime]:
    """Give the first and the last moment at which all of *chain* is valid; the first is later when there is none."""
    return max(c.not_before for c in chain), min(c.not_after for c in chain)


def _holder(leaf: Certificate) -> str:
    """Say for whom *leaf* was issued; the common name does not count, clients ignore it."""
    if leaf.names:
        return ", ".join(leaf.names)
    addresses = _alternative_names(x509.load_der_x509_certificate(leaf.der), x509.IPAddress)
    return f"the IP address {', '.join(map(str, addresses))} only" if addresses else "no name at all"


def _name(name: x509.Name) -> str:
    common = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(common[0].value) if common else name.rfc4514_string()


def key_name(cert: x509.Certificate) -> str:
    """Name the public key by kind and size, such as ``RSA2048`` or ``EC secp384r1``."""
    try:
        public = cert.public_key()
    except UnsupportedAlgorithm:  # such as SM2; somebody else's certificate in a store is no reason to stop
        return "unknown"
    if isinstance(public, rsa.RSAPublicKey):
        return f"RSA{public.key_size}"
    return f"EC {public.curve.name}" if isinstance(public, ec.EllipticCurvePublicKey) else type(public).__name__


def _is_ca(cert: x509.Certificate) -> bool:
    try:
        return cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _self_signed(cert: x509.Certificate) -> bool:
    if cert.issuer != cert.subject:
        return False
    try:
        cert.verify_directly_issued_by(cert)
    except (TypeError, InvalidSignature):
        return False
    except (ValueError, UnsupportedAlgorithm):  # rds-ca-2015 is signed with SHA-1, which cryptography does not check
        return True
    return True


def issued_by(certificate: Certificate, issuer: Certificate) -> bool:
    """Tell whether *issuer* signed *certificate*: by its name and by its key."""
    if certificate.issuer != issuer.subject:
        return False
    with _quiet():
        try:
            x509.load_der_x509_certificate(certificate.der).verify_directly_issued_by(
                x509.load_der_x509_certificate(issuer.der)
            )
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            return False
    return True


def _alternative_names(cert: x509.Certificate, kind: type[x509.DNSName] | type[x509.IPAddress]) -> tuple[Any, ...]:
    try:
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return tuple(names.get_values_for_type(kind))


def matches(pattern: str, name: str) -> bool:
    """Match a host name against a SAN as RFC 6125 has it: a star stands for one whole first label."""
    pattern, name = pattern.lower().rstrip("."), name.lower().rstrip(".")
    if not pattern.startswith("*."):
        return pattern == name
    return name.partition(".")[2] == pattern[2:] and "." in name
