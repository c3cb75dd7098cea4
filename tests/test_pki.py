"""The practice chain, judged by openssl."""

from __future__ import annotations

import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from rdsca_helpers.lab.pki import CURRENT, RETIRED, Pki

REGION = "eu-west-1"
NAME = "orders.abcdefghijkl.eu-west-1.rds.amazonaws.com"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"), regions=(REGION, "us-west-2"))


def openssl(*words: str | Path, stdin: str = "") -> str:
    done = subprocess.run(["openssl", *words], input=stdin, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def blocks(pem: str) -> list[str]:
    end = "-----END CERTIFICATE-----\n"
    return [part + end for part in pem.split(end) if part]


def served(pki: Pki, ca: str, days: int = 365, name: str = NAME) -> list[str]:
    now = datetime.now(UTC)
    return blocks(pki.issue(REGION, ca, [name], now - timedelta(days=1), now + timedelta(days=days)).chain_pem)


def verify(folder: Path, chain: list[str], roots: str, *options: str) -> str:
    leaf, sub, root = folder / "leaf.pem", folder / "sub.pem", folder / "roots.pem"
    leaf.write_text(chain[0])
    sub.write_text(chain[1])
    root.write_text(roots)
    return openssl("verify", "-x509_strict", "-CAfile", root, "-untrusted", sub, *options, leaf)


@pytest.mark.parametrize("ca", CURRENT)
def test_openssl_accepts_a_served_chain_under_the_bundle_of_its_region(pki: Pki, tmp_path: Path, ca: str) -> None:
    said = verify(tmp_path, served(pki, ca), pki.bundle(REGION), "-verify_hostname", NAME)
    assert said.endswith("leaf.pem: OK\n")


def test_openssl_refuses_another_region_another_name_and_an_expired_leaf(pki: Pki, tmp_path: Path) -> None:
    ca = CURRENT[0]
    chain = served(pki, ca)
    assert "issuer certificate" in verify(tmp_path, chain, pki.bundle("us-west-2"))
    assert "hostname mismatch" in verify(tmp_path, chain, pki.bundle(REGION), "-verify_hostname", "other.example")
    assert "certificate has expired" in verify(tmp_path, served(pki, ca, days=0), pki.bundle(REGION))


def test_the_2019_root_is_expired_and_out_of_the_bundle_but_still_builds_a_chain(pki: Pki, tmp_path: Path) -> None:
    (retired,) = RETIRED
    assert pki.validity(REGION, retired)[1] == datetime(2024, 8, 22, tzinfo=UTC)
    assert pki.root_pem(REGION, retired) not in pki.bundle()
    root = pki.root_pem(REGION, retired)
    assert "has expired" in verify(tmp_path, served(pki, retired), root)
    assert verify(tmp_path, served(pki, retired), root, "-no_check_time").endswith("OK\n")


def test_the_bundle_holds_every_published_root_of_every_region_once(pki: Pki) -> None:
    subjects = [x509.load_pem_x509_certificate(b.encode()).subject for b in blocks(pki.bundle())]
    assert len(subjects) == len(set(subjects)) == 2 * len(CURRENT)


@pytest.mark.parametrize("ca", CURRENT + RETIRED)
def test_a_chain_has_the_shape_of_amazons(pki: Pki, ca: str) -> None:
    leaf, sub, root = (x509.load_pem_x509_certificate(b.encode()) for b in served(pki, ca))
    assert leaf.issuer == sub.subject
    assert sub.issuer == root.subject == root.issuer
    assert [type(e.value).__name__ for e in root.extensions if e.critical] == ["BasicConstraints", "KeyUsage"]
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length is None
    assert sub.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert {type(e.value).__name__ for e in leaf.extensions} == {
        "SubjectKeyIdentifier",
        "AuthorityKeyIdentifier",
        "SubjectAlternativeName",
        "BasicConstraints",
    }
    assert type(leaf.public_key()) is type(root.public_key())


@pytest.mark.parametrize("ca", CURRENT + RETIRED)
def test_the_thumbprint_is_the_sha1_fingerprint_that_openssl_prints(pki: Pki, ca: str) -> None:
    said = openssl("x509", "-noout", "-fingerprint", "-sha1", stdin=pki.root_pem(REGION, ca))
    assert said.strip().split("=")[1].replace(":", "").lower() == pki.thumbprint(REGION, ca)


def test_a_second_pki_on_the_folder_has_the_same_roots_and_keys_are_private(pki: Pki) -> None:
    again = Pki(pki.folder, regions=pki.regions)
    assert again.bundle() == pki.bundle()
    assert {file.stat().st_mode & 0o777 for file in pki.folder.iterdir()} == {0o600}


def test_many_threads_and_two_processes_worth_of_pkis_agree_on_one_root(tmp_path: Path) -> None:
    seen: set[str] = set()
    pkis = [Pki(tmp_path), Pki(tmp_path)]
    threads = [
        threading.Thread(target=lambda p=pkis[n % 2]: seen.add(p.root_pem(REGION, "rds-ca-rsa2048-g1")))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 1


def test_an_endpoint_longer_than_a_common_name_may_be_is_whole_in_the_san(pki: Pki, tmp_path: Path) -> None:
    name = "a-cluster-with-a-rather-long-name.cluster-ro-abcdefghijkl.eu-west-1.rds.amazonaws.com"
    chain = served(pki, CURRENT[2], name=name)
    assert verify(tmp_path, chain, pki.bundle(REGION), "-verify_hostname", name).endswith("OK\n")
