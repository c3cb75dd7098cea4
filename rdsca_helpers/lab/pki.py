"""The practice copy of Amazon's RDS certificate chain: regional root, subordinate, one-year leaf."""

from __future__ import annotations

import os
import ssl
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from ..catalogue import Catalogue, fact_of
from ..certs import read_der

CURRENT = ("rds-ca-rsa2048-g1", "rds-ca-rsa4096-g1", "rds-ca-ecc384-g1")
RETIRED = ("rds-ca-2019",)

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
Digest = hashes.SHA256 | hashes.SHA384
Dates = tuple[datetime, datetime]

ORGANIZATION = "rdsca practice world"
_CN_MAX = 64  # X.509's upper bound; a longer endpoint is whole in the SAN, which is what clients read


@dataclass(frozen=True)
class Served:
    """What a server needs to show a certificate: leaf, subordinate and root in one PEM, the leaf's key."""

    chain_pem: str
    key_pem: str
    not_after: datetime

    def context(self) -> ssl.SSLContext:
        """Give a TLS context for a server that shows it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # private to us from its first byte
            file.write(self.chain_pem + self.key_pem)
            file.flush()
            context.load_cert_chain(file.name)
        return context


@dataclass(frozen=True)
class _Kind:
    """How one CA is made; the dates are those of Amazon's first regions."""

    root_name: str
    subordinate_name: str
    make_key: Callable[[], Key]
    digest: Digest
    root_dates: Dates
    subordinate_dates: Dates


def _rsa(bits: int) -> Callable[[], Key]:
    return lambda: rsa.generate_private_key(public_exponent=65537, key_size=bits)


def _years(year: int, month: int, day: int, years: int) -> Dates:
    return datetime(year, month, day, tzinfo=UTC), datetime(year + years, month, day, tzinfo=UTC)


def _g1(label: str, make_key: Callable[[], Key], digest: Digest, years: int) -> _Kind:
    return _Kind(
        root_name=f"Practice RDS {{region}} Root CA {label} G1",
        subordinate_name=f"Practice RDS {{region}} Subordinate CA {label} G1.A.1",
        make_key=make_key,
        digest=digest,
        root_dates=_years(2021, 5, 21, years),
        subordinate_dates=_years(2022, 12, 8, 10),
    )


_KINDS = {
    "rds-ca-rsa2048-g1": _g1("RSA2048", _rsa(2048), hashes.SHA256(), 40),
    "rds-ca-rsa4096-g1": _g1("RSA4096", _rsa(4096), hashes.SHA384(), 100),
    "rds-ca-ecc384-g1": _g1("ECC384", lambda: ec.generate_private_key(ec.SECP384R1()), hashes.SHA384(), 100),
    "rds-ca-2019": _Kind(
        root_name="Practice RDS Root 2019 CA {region}",
        subordinate_name="Practice RDS {region} 2019 CA",
        make_key=_rsa(2048),
        digest=hashes.SHA256(),
        root_dates=_years(2019, 8, 22, 5),
        subordinate_dates=_years(2019, 8, 22, 5),
    ),
}


@dataclass(frozen=True)
class _Authority:
    certificate: x509.Certificate
    key: Key


class Pki:
    """The authorities of the practice world, kept in *folder* and made when first asked for.

    Two processes may share the folder: the first to finish an authority wins, the other takes it over.
    """

    def __init__(self, folder: Path, regions: Sequence[str] = ()) -> None:
        self.folder = folder
        self.regions = tuple(regions)
        self._texts: dict[str, str] = {}
        self._locks: dict[str, threading.Lock] = {}

    def root_pem(self, region: str, ca: str) -> str:
        """Give the root of *ca* in *region*, as the CA bundle carries it."""
        return _pem(self._root(region, ca).certificate)

    def thumbprint(self, region: str, ca: str) -> str:
        """Give what DescribeCertificates calls Thumbprint: the SHA-1 of the root, lower case."""
        sha1 = hashes.SHA1()  # noqa: S303 - AWS's own choice; it names the root and protects nothing
        return self._root(region, ca).certificate.fingerprint(sha1).hex()

    def validity(self, region: str, ca: str) -> Dates:
        """Give the first and the last moment of the root."""
        root = self._root(region, ca).certificate
        return root.not_valid_before_utc, root.not_valid_after_utc

    def bundle(self, region: str | None = None) -> str:
        """Give the CA bundle of *region*, or of all regions: published roots only, retired ones are out."""
        regions = self.regions if region is None else (region,)
        return "".join(self.root_pem(r, ca) for r in regions for ca in CURRENT)

    def bundle_p7b(self, region: str | None = None) -> bytes:
        """Give the same bundle as PKCS#7 in PEM, as Amazon publishes it for Windows."""
        certificates = x509.load_pem_x509_certificates(self.bundle(region).encode())
        return pkcs7.serialize_certificates(certificates, serialization.Encoding.PEM)

    def facts(self) -> Catalogue:
        """Give the facts of all roots, as the catalogue of Amazon's own has them; the retired ones are not current."""
        known = [
            fact_of(
                read_der(self._root(region, ca).certificate.public_bytes(serialization.Encoding.DER)),
                ca=ca,
                region=region,
                source=ORGANIZATION,
                current=ca in CURRENT,
            )
            for region in self.regions
            for ca in (*CURRENT, *RETIRED)
        ]
        return Catalogue(tuple(known))

    def issue(self, region: str, ca: str, names: Sequence[str], not_before: datetime, not_after: datetime) -> Served:
        """Sign a server certificate for the DNS *names*, the endpoint first."""
        kind, root, subordinate = _KINDS[ca], self._root(region, ca), self._subordinate(region, ca)
        key = self._leaf_key(ca)
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, names[0][:_CN_MAX]),
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "RDS"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
                x509.NameAttribute(NameOID.LOCALITY_NAME, "Seattle"),
                x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, "Washington"),
                x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            ]
        )
        # As on real endpoints: neither keyUsage nor extendedKeyUsage.
        leaf = (
            _builder(subject, key, subordinate.certificate.subject, (not_before, not_after))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_signed_by(subordinate.certificate), critical=False)
            .sign(subordinate.key, kind.digest)
        )
        return Served(
            chain_pem=_pem(leaf) + _pem(subordinate.certificate) + _pem(root.certificate),
            key_pem=_key_pem(key),
            not_after=leaf.not_valid_after_utc,
        )

    def _root(self, region: str, ca: str) -> _Authority:
        kind = _KINDS[ca]
        name = _ca_name(kind.root_name.format(region=region))

        def make() -> _Authority:
            key = kind.make_key()
            builder = _ca_builder(name, key, name, kind.root_dates, path_length=None)
            return _Authority(builder.sign(key, kind.digest), key)

        return self._authority(f"{region}.{ca}.root", make)

    def _subordinate(self, region: str, ca: str) -> _Authority:
        kind, root = _KINDS[ca], self._root(region, ca)
        name = _ca_name(kind.subordinate_name.format(region=region))

        def make() -> _Authority:
            key = kind.make_key()
            builder = _ca_builder(
                name, key, root.certificate.subject, kind.subordinate_dates, path_length=0
            ).add_extension(_signed_by(root.certificate), critical=False)
            return _Authority(builder.sign(root.key, kind.digest), key)

        return self._authority(f"{region}.{ca}.subordinate", make)

    def _authority(self, name: str, make: Callable[[], _Authority]) -> _Authority:
        def text() -> str:
            made = make()
            return _key_pem(made.key) + _pem(made.certificate)

        pem = self._kept(name, text)
        return _Authority(x509.load_pem_x509_certificate(pem.encode()), _load_key(pem))

    def _leaf_key(self, ca: str) -> Key:
        """Give the one key that all leaves of *ca* share: an RSA4096 key takes up to two seconds to make."""
        return _load_key(self._kept(f"leaf.{ca}", lambda: _key_pem(_KINDS[ca].make_key())))

    def _kept(self, name: str, make: Callable[[], str]) -> str:
        with self._locks.setdefault(name, threading.Lock()):
            if name not in self._texts:
                file = self.folder / f"{name}.pem"
                if not file.exists():
                    _write_once(file, make())
                self._texts[name] = file.read_text()
            return self._texts[name]


def _write_once(file: Path, text: str) -> None:
    """Write *file* whole, readable by its owner only; leave it alone when somebody else was first."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=".")
    try:
        with os.fdopen(descriptor, "w") as out:
            out.write(text)
        with suppress(FileExistsError):
            os.link(temporary, file)
    finally:
        Path(temporary).unlink()


def _ca_name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
        ]
    )


def _ca_builder(
    name: x509.Name, key: Key, issuer: x509.Name, dates: Dates, path_length: int | None
) -> x509.CertificateBuilder:
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        _builder(name, key, issuer, dates)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(usage, critical=True)
    )


def _builder(subject: x509.Name, key: Key, issuer: x509.Name, dates: Dates) -> x509.CertificateBuilder:
    not_before, not_after = dates
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _signed_by(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: Key) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@cache
def _load_key(pem: str) -> Key:
    # We wrote the file ourselves, and checking an RSA4096 key takes a quarter of a second.
    key = serialization.load_pem_private_key(pem.encode(), password=None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise TypeError(f"{type(key).__name__} in the practice PKI's folder; delete the folder")
    return key
