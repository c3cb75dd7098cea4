"""The practice applications' trust stores, of every kind, and the clients files that say who reads which."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from .. import der
from ..certs import Certificate, read_der
from ..edge.stores import directory, kubernetes
from ..trust import Root
from .applications import APPLICATIONS
from .clients import NO_FILE, settings
from .folder import STORES, clients, store, write_whole
from .pki import Pki
from .seed import ACCOUNTS, BILLING, SHOP

_DRIVERS = {"postgres": "psycopg2", "mysql": "pymysql", "sqlserver": "python-tds"}
CA = "rds-ca-rsa2048-g1"  # whose roots the stores hold at first
PASSWORD = "changeit"  # noqa: S105  Java's own, and no secret
# Java applications, which have no session in the lab; one of them fell for PyMySQL's best known trap.
_OTHERS: dict[str, Sequence[tuple[str, str, str, dict[str, Any]]]] = {
    SHOP: (
        ("warehouse", "mysql-connector-j", "shop-warehouse.jks", {"sslMode": "VERIFY_IDENTITY"}),
        ("catalog-search", "pymysql", "shop-catalog.pem", {"ssl_ca": "shop-catalog.pem"}),
    ),
    BILLING: (("ledger-reports", "mysql-connector-j", "billing-ledger.p12", {"sslMode": "VERIFY_IDENTITY"}),),
}


def write_stores(folder: Path, pki: Pki) -> None:
    """Write the trust stores as they are before the runbook has touched them."""
    company = _Company()
    for name, (_, regions) in STORES.items():
        file = store(folder, name)
        roots = [Root(read_der(_der(pki.root_pem(region, CA))), CA, region) for region in regions]
        text = "".join(root.certificate.pem for root in roots)
        if name == "billing-ca":
            shutil.rmtree(file, ignore_errors=True)
            directory.build(file, roots)
        elif name.endswith(".jks"):
            write_whole(file, company.keystore(roots))
        elif name.endswith(".p12"):
            write_whole(file, _without_java(roots))
        elif name.endswith(".yaml"):
            write_whole(file, kubernetes.build_manifest("ConfigMap", "rds-ca", "legacy", "ca.crt", roots))
        elif name == "shop-catalog.pem":
            write_whole(file, f"# the company's own root, for the intranet\n{company.certificate.pem}{text}")
        elif name == "legacy.pem":
            old = "".join(pki.root_pem(region, "rds-ca-2019") for region in regions)
            write_whole(file, f"# of 2019\n{old}{text}")
        else:
            write_whole(file, text)


def write_clients(folder: Path) -> None:
    """Write a clients file for each account: its applications with their drivers' own settings."""
    for account in ACCOUNTS:
        rows = [
            {
                "name": a.name,
                "driver": _DRIVERS[a.engine],
                "settings": {
                    k: v for k, v in settings(a.engine, a.tls, store(folder, a.store)).items() if v != NO_FILE
                },
                "store": "" if a.tls == "require" else str(store(folder, a.store)),  # which believes any certificate
            }
            for a in APPLICATIONS
            if a.account == account.id
        ]
        rows += [
            {"name": name, "driver": driver, "settings": given, "store": str(store(folder, file))}
            for name, driver, file, given in _OTHERS.get(account.id, ())
        ]
        write_whole(clients(folder, account.id), yaml.safe_dump({"clients": rows}, sort_keys=False))


class _Company:
    """A company's own root with its key, which have nothing to do with RDS and lie in its stores."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Example Shop Internal Root CA")])
        now = datetime.now(UTC)
        root = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1000))
            .not_valid_after(now + timedelta(days=3000))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate: Certificate = read_der(root.public_bytes(Encoding.DER))

    def keystore(self, roots: Sequence[Root]) -> bytes:
        """Give a JKS with the company's root, *roots*, and a private key, as keytool would have made it.

        Layout and key protection: sun.security.provider.JavaKeyStore and KeyProtector of OpenJDK.
        """
        password, salt = PASSWORD.encode("utf-16-be"), os.urandom(20)
        plain = self._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        stream, block = b"", salt
        while len(stream) < len(plain):
            block = _sha1(password + block)
            stream += block
        hidden = salt + bytes(a ^ b for a, b in zip(plain, stream, strict=False)) + _sha1(password + plain)
        sun = der.write(der.SEQUENCE, der.write_oid("1.3.6.1.4.1.42.2.17.1.1"), der.write(der.NULL))
        secret = der.write(der.SEQUENCE, sun, der.write(der.OCTET_STRING, hidden))
        mine = _number(1) + _certificate(self.certificate)
        entries = [_number(1) + _text("warehouse-key") + _DATE + _number(len(secret)) + secret + mine]
        trusted = [("company-root", self.certificate)] + [(r.region, r.certificate) for r in roots]
        entries += [_number(2) + _text(alias) + _DATE + _certificate(c) for alias, c in trusted]
        body = bytes.fromhex("feedfeed") + _number(2) + _number(len(entries)) + b"".join(entries)
        return body + _sha1(password + b"Mighty Aphrodite" + body)


_DATE = (1_700_000_000_000).to_bytes(8, "big")


def _certificate(certificate: Certificate) -> bytes:
    return _text("X.509") + _number(len(certificate.der)) + certificate.der


def _number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def _text(text: str) -> bytes:
    return len(text).to_bytes(2, "big") + text.encode()


def _sha1(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest()


def _without_java(roots: Sequence[Root]) -> bytes:
    """Give a PKCS#12 as ``openssl pkcs12 -export -nokeys`` makes it: without the attribute by which Java trusts."""
    return pkcs12.serialize_key_and_certificates(
        None,
        None,
        None,
        [x509.load_der_x509_certificate(root.certificate.der) for root in roots],
        BestAvailableEncryption(PASSWORD.encode()),
    )


def _der(pem: str) -> bytes:
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
