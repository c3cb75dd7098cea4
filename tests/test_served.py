"""What a server shows, put into words: each fault named apart, trust judged as two kinds of clients do."""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rdsca_helpers import served
from rdsca_helpers.certs import Certificate, read_der, read_pem
from rdsca_helpers.engines import Wire
from rdsca_helpers.errors import Unreachable
from rdsca_helpers.lab.pki import CURRENT, Pki

REGION = "eu-west-1"
NAME = "orders.abcdefghijkl.eu-west-1.rds.amazonaws.com"
RSA, RSA4096, ECC = CURRENT
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def cas(pki: Pki) -> dict[str, str]:
    return {pki.thumbprint(REGION, ca): ca for ca in (*CURRENT, "rds-ca-2019")}


def chain_of(pki: Pki, ca: str = RSA, *, names: tuple[str, ...] = (NAME,), days: float = 300) -> list[Certificate]:
    issued = pki.issue(REGION, ca, list(names), NOW - timedelta(days=60), NOW + timedelta(days=days))
    return read_pem(issued.chain_pem)[0]


def roots_of(pki: Pki, *cas: str) -> list[Certificate]:
    return read_pem("".join(pki.root_pem(REGION, ca) for ca in cas))[0]


def wire_of(chain: Sequence[Certificate], version: str = "TLSv1.3") -> Wire:
    return Wire(tuple(c.der for c in chain), version, "TLS_AES_256_GCM_SHA384")


def judge(
    chain: Sequence[Certificate], store: Sequence[Certificate], cas: dict[str, str], version: str = "TLSv1.3"
) -> served.Served:
    return served.judge(wire_of(chain, version), store, name=NAME, cas=cas, now=NOW)


def openssl_accepts(chain: Sequence[Certificate], store: Sequence[Certificate], folder: Path, *, partial: bool) -> bool:
    leaf, rest, anchors = folder / "leaf", folder / "rest", folder / "store"
    leaf.write_text(chain[0].pem)
    rest.write_text("".join(c.pem for c in chain[1:]))
    anchors.write_text("".join(c.pem for c in store))
    words = ["openssl", "verify", "-CAfile", anchors, "-no-CApath", "-no-CAstore", "-purpose", "sslserver"]
    words += ["-partial_chain"] if partial else []
    words += ["-untrusted", rest] if chain[1:] else []
    return subprocess.run([*words, leaf], capture_output=True, check=False).returncode == 0


def own_chain(names: Sequence[x509.GeneralName], usage: x509.ObjectIdentifier | None = None) -> list[Certificate]:
    """Make a root and a leaf as RDS does not make them."""
    key = ec.generate_private_key(ec.SECP256R1())

    def signed(subject: str, *extensions: tuple[x509.ExtensionType, bool]) -> Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "A root")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - timedelta(days=1))
            .not_valid_after(NOW + timedelta(days=9))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return read_der(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))

    signing = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    leaf: list[tuple[x509.ExtensionType, bool]] = [(x509.SubjectAlternativeName(names), False)] if names else []
    leaf += [(x509.ExtendedKeyUsage([usage]), False)] if usage else []
    return [signed("A leaf", *leaf), signed("A root", (x509.BasicConstraints(True, None), True), (signing, True))]


def test_a_good_chain_is_described_with_the_ca_id_that_rds_uses(pki: Pki, cas: dict[str, str]) -> None:
    chain = chain_of(pki, ECC)
    shown = judge(chain, roots_of(pki, *CURRENT), cas)
    assert shown.ca == ECC
    assert (shown.subject, shown.issuer) == (chain[0].subject, chain[1].subject)
    assert (shown.expires, shown.names, shown.key) == (chain[0].not_after, (NAME,), "EC secp384r1")
    assert (shown.protocol, shown.cipher) == ("TLSv1.3", "TLS_AES_256_GCM_SHA384")
    assert shown.verdict.ok
    assert shown.notes == ()


def test_a_retired_ca_is_named_although_the_bundle_has_dropped_it(pki: Pki, cas: dict[str, str]) -> None:
    old = Pki(pki.folder, (REGION,)).issue(
        REGION, "rds-ca-2019", [NAME], datetime(2023, 10, 1, tzinfo=UTC), datetime(2024, 8, 1, tzinfo=UTC)
    )
    shown = judge(read_pem(old.chain_pem)[0], roots_of(pki, *CURRENT), cas)
    assert shown.ca == "rds-ca-2019"
    assert (shown.verdict.trusted, shown.verdict.name_ok, shown.verdict.dates_ok) == (False, True, False)


def test_a_root_of_rds_that_is_only_sent_along_gives_nobody_its_name(pki: Pki, cas: dict[str, str]) -> None:
    (root,) = roots_of(pki, RSA)
    shown = judge([*chain_of(pki, ECC)[:2], root], roots_of(pki, RSA4096), cas)
    assert shown.ca is None


@pytest.mark.parametrize("sent", [3, 2, 1], ids=["whole", "without root", "leaf only"])
@pytest.mark.parametrize("held", ["root", "subordinate", "leaf", "both", "another root", "nothing"])
def test_trust_is_what_openssl_says_in_both_its_ways(
    pki: Pki, cas: dict[str, str], tmp_path: Path, sent: int, held: str
) -> None:
    chain = chain_of(pki)
    store = {
        "root": [chain[2]],
        "subordinate": [chain[1]],
        "leaf": [chain[0]],
        "both": chain[1:],
        "another root": roots_of(pki, ECC),
        "nothing": [],
    }[held]
    verdict = judge(chain[:sent], store, cas).verdict
    assert verdict.trusted == openssl_accepts(chain[:sent], store, tmp_path, partial=False)
    assert verdict.trusted_by_any == openssl_accepts(chain[:sent], store, tmp_path, partial=True)


def test_each_fault_has_words_of_its_own(pki: Pki, cas: dict[str, str]) -> None:
    store, chain = roots_of(pki, *CURRENT), chain_of(pki)
    address = own_chain([x509.IPAddress(ipaddress.ip_address("10.1.2.3"))])
    nameless = own_chain([])
    said = {
        "leaf only": judge(chain[:1], store, cas).verdict.reason,
        "wrong root": judge(chain, roots_of(pki, ECC), cas).verdict.reason,
        "expired": judge(chain_of(pki, days=-1), store, cas).verdict.reason,
        "wrong name": judge(chain_of(pki, names=("other.example",)), store, cas).verdict.reason,
        "address": judge(address, address[1:], cas).verdict.reason,
        "nameless": judge(nameless, nameless[1:], cas).verdict.reason,
    }
    words = {
        "leaf only": f"leaves out the CA certificate {chain[1].subject}",
        "wrong root": f"{chain[2].subject} is not among the trusted roots",
        "expired": f"its certificate was valid until {NOW - timedelta(days=1):%Y-%m-%d}",
        "wrong name": "is for other.example, not for",
        "address": "is for the IP address 10.1.2.3 only, not for",
        "nameless": "is for no name at all, not for",
    }
    for fault, word in words.items():
        assert [f for f, text in said.items() if word in text] == [fault], said[fault]


def test_a_certificate_for_an_address_or_for_nobody_may_be_trusted_all_the_same(
    cas: dict[str, str], tmp_path: Path
) -> None:
    for names in ([x509.IPAddress(ipaddress.ip_address("10.1.2.3"))], []):
        chain = own_chain(names)
        verdict = judge(chain, chain[1:], cas).verdict
        assert (verdict.trusted, verdict.name_ok) == (True, False)
        assert openssl_accepts(chain, chain[1:], tmp_path, partial=False)


@pytest.mark.parametrize("usage", [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
def test_a_certificate_that_is_only_for_clients_is_not_trusted(
    cas: dict[str, str], tmp_path: Path, usage: x509.ObjectIdentifier
) -> None:
    chain = own_chain([x509.DNSName(NAME)], usage)
    trusted = judge(chain, chain[1:], cas).verdict.trusted
    assert trusted == openssl_accepts(chain, chain[1:], tmp_path, partial=False)
    assert trusted == (usage == ExtendedKeyUsageOID.SERVER_AUTH)


def test_what_is_no_fault_is_noted(pki: Pki, cas: dict[str, str]) -> None:
    store = roots_of(pki, *CURRENT)
    wildcard = judge(chain_of(pki, names=("*.abcdefghijkl.eu-west-1.rds.amazonaws.com",)), store, cas)
    assert wildcard.verdict.ok
    assert wildcard.notes == ("its certificate is for the wildcard *.abcdefghijkl.eu-west-1.rds.amazonaws.com",)
    short = judge(chain_of(pki)[:2], store, cas)
    assert short.verdict.ok
    assert short.ca == RSA
    assert short.notes == ("it serves its chain without the root",)
    assert judge(chain_of(pki)[:1], store, cas).notes == ("it serves its own certificate only",)
    assert judge(chain_of(pki), store, cas, "TLSv1").notes == ("it offers nothing newer than TLSv1",)


def test_what_is_no_certificate_is_a_reason_and_no_crash(pki: Pki, cas: dict[str, str]) -> None:
    for chain in ((b"0\x03abc",), ()):
        with pytest.raises(Unreachable, match=r"cannot be read|no certificate"):
            served.judge(replace(wire_of([]), chain=chain), roots_of(pki, RSA), name=NAME, cas=cas, now=NOW)
