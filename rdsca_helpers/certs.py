"""Certificates: read PEM strictly, and judge a served chain. No network, no file, no clock."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509 import verification

_BLOCK = re.compile(
    r"^-----BEGIN (?P<label>[A-Z0-9 ]+)-----[ \t]*$(?P<body>.*?)^-----END (?P=label)-----[ \t]*$", re.S | re.M
)
_INDENTED = re.compile(r"^(?!-----).+-----BEGIN ", re.M)
_GAP = re.compile(r"\S[ \t]*\n[ \t]*\n\s*\S")  # an empty line ends a PEM header, so what stood above it is none
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
    self_signed: bool
    names: tuple[str, ...]

    @property
    def pem(self) -> str:
        """The certificate as every reader takes it: LF, 64 columns, no text around."""
        body = base64.b64encode(self.der).decode("ascii")
        lines = [body[i : i + 64] for i in range(0, len(body), 64)]
        return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])

    @property
    def is_root(self) -> bool:
        """True for a self-signed CA certificate, the only kind that AWS advises to trust."""
        return self.is_ca and self.self_signed


def read_der(der: bytes) -> Certificate:
    """Read one DER certificate; raises ``ValueError`` when it is none."""
    with warnings.catch_warnings():
        # Starfield G2, the root of RDS Proxy, has serial number 0; cryptography warns at each read.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        try:
            return _certificate(x509.load_der_x509_certificate(der), der)
        except x509.DuplicateExtension as e:
            raise ValueError(str(e)) from None


def _certificate(cert: x509.Certificate, der: bytes) -> Certificate:
    return Certificate(
        der=der,
        sha256=hashlib.sha256(der).hexdigest(),
        sha1=hashlib.sha1(der, usedforsecurity=False).hexdigest(),  # RDS names roots by SHA-1 (Thumbprint)
        subject=_name(cert.subject),
        issuer=_name(cert.issuer),
        not_before=cert.not_valid_before_utc,
        not_after=cert.not_valid_after_utc,
        key=_key(cert),
        is_ca=_is_ca(cert),
        self_signed=_self_signed(cert),
        names=_dns_names(cert),
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
    """Trust, name and dates of a served chain, each judged by itself; *root* is the anchor it leads to."""

    trusted: bool
    name_ok: bool
    dates_ok: bool
    root: Certificate | None
    reason: str

    @property
    def ok(self) -> bool:
        """True when a client that checks everything would connect."""
        return self.trusted and self.name_ok and self.dates_ok


def judge_chain(
    chain: Sequence[Certificate], roots: Sequence[Certificate], *, name: str, now: datetime
) -> ChainVerdict:
    """Say whether a client that trusts only *roots* accepts *chain* for the host *name* at the time *now*.

    The three verdicts are separate because their remedies are: a root to add, a name to use, a leaf to renew.
    """
    if not chain:
        return ChainVerdict(False, False, False, None, "no certificate was served")
    leaf = chain[0]
    dates_ok = all(c.not_before <= now <= c.not_after for c in chain)
    name_ok = any(_matches(pattern, name) for pattern in leaf.names)
    root, why = _anchor(chain, [r for r in roots if r.is_root], now)
    reasons = []
    if root is None:
        reasons.append(f"its chain does not lead to a trusted root: {why}")
    if not name_ok:
        reasons.append(f"its certificate is for {', '.join(leaf.names) or 'no name'}, not for {name}")
    if not dates_ok:
        end = min(c.not_after for c in chain)
        reasons.append(f"its certificate chain is out of date (ends {end:%Y-%m-%d})")
    return ChainVerdict(
        root is not None, name_ok, dates_ok, root, "; ".join(reasons) or "chain, name and dates are good"
    )


def _anchor(
    chain: Sequence[Certificate], roots: Sequence[Certificate], now: datetime
) -> tuple[Certificate | None, str]:
    """Find the root that *chain* leads to, with the reason when there is none.

    Validity is judged apart, so the path is verified at a time at which the whole chain is in force, if there is one.
    """
    begin, end = max(c.not_before for c in chain), min(c.not_after for c in chain)
    at = min(max(now, begin), end)
    if not roots:
        return None, "the trust store holds no root"
    if begin > end:
        return None, "its certificates were never in force all at the same time"
    if not chain[0].names:
        return None, "the server certificate names no host"
    load = x509.load_der_x509_certificate
    policy = verification.PolicyBuilder().store(verification.Store([load(r.der) for r in roots])).time(at)
    try:
        verifier = policy.build_server_verifier(x509.DNSName(chain[0].names[0].replace("*", "any", 1)))
    except ValueError:
        return None, f"the server certificate is for {chain[0].names[0]}, which is no host name"
    try:
        path = verifier.verify(load(chain[0].der), [load(c.der) for c in chain[1:]])
    except verification.VerificationError as e:
        return None, f"{chain[-1].issuer} is not among the trusted roots ({e})"
    found = path[-1].public_bytes(Encoding.DER)
    return next(r for r in roots if r.der == found), ""


def _name(name: x509.Name) -> str:
    common = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(common[0].value) if common else name.rfc4514_string()


def _key(cert: x509.Certificate) -> str:
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


def _dns_names(cert: x509.Certificate) -> tuple[str, ...]:
    try:
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return tuple(names.get_values_for_type(x509.DNSName))


def _matches(pattern: str, name: str) -> bool:
    """Match a host name against a SAN as RFC 6125 has it: a star stands for one whole first label."""
    pattern, name = pattern.lower().rstrip("."), name.lower().rstrip(".")
    if not pattern.startswith("*."):
        return pattern == name
    return name.partition(".")[2] == pattern[2:] and "." in name


def judge_store(
    certificates: Sequence[Certificate],
    complaints: Sequence[str],
    root: Certificate,
    offered: Mapping[str, str],
    target_ca: str,
) -> tuple[str, str]:
    """Say what a store with *certificates* means for a client of OpenSSL when the server moves to *root*.

    *offered* maps the region's CA ids to the SHA-1 thumbprints that RDS names. OpenSSL, libpq, the MySQL clients and
    Node take only roots as anchors: a pinned subordinate or leaf is of no use there. What OpenSSL would not load
    does not count as held; of a file with a broken block it loads nothing.
    """
    if broken := [c for c in complaints if c.endswith(REFUSED)]:
        return "unreadable-by-client", "; ".join(broken)
    held = {c.sha1: c for c in certificates if c.is_root}
    others = sorted(ca for ca, thumbprint in offered.items() if thumbprint in held and ca != target_ca)
    skipped = f" (and {'; '.join(complaints)})" if complaints else ""
    if root.sha1 in held:
        more = f", beside {', '.join(others)}" if others else ""
        return ("both" if others else "ready"), f"it holds {root.subject}{more}{skipped}"
    lacks = f"it lacks {root.subject}, SHA-256 {root.sha256[:16]}{skipped}"
    if others:
        return "old-only", f"{lacks}; it holds {', '.join(others)} of this region"
    if complaints or not certificates:
        return "unreadable-by-client", lacks
    if pinned := [c.subject for c in certificates if not c.is_root]:
        return "pin-only", f"{lacks}; it holds certificates that are no roots: {', '.join(pinned[:2])}"
    kind, what = (
        ("wrong-region", "roots of RDS, of other regions")
        if _of_rds(certificates, root)
        else ("public-only", "other CAs")
    )
    return kind, f"{lacks}; it holds {what}"


def _of_rds(certificates: Sequence[Certificate], root: Certificate) -> bool:
    """Tell whether one of the *certificates* is named as RDS names its roots, region and key aside."""
    family = root.subject.partition(" RDS ")[0] + " RDS "
    return any(c.subject.startswith(family) for c in certificates)
