"""PEM read as strictly as OpenSSL, and chains judged with openssl as the second opinion."""

from __future__ import annotations

import contextlib
import hashlib
import random
import ssl
import subprocess
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rdsca_helpers.certs import Certificate, judge_chain, read_der, read_pem
from rdsca_helpers.lab.pki import CURRENT, Pki

DATA = Path(__file__).parent / "data"
SHARED = Path(__file__).parents[2] / "shared/data/rds-ca"
REGION, OTHER = "eu-west-1", "us-west-2"
NAME = "orders.abcdefghijkl.eu-west-1.rds.amazonaws.com"
RSA, RSA4096, ECC = CURRENT
NOW = datetime.now(UTC)
END = "-----END CERTIFICATE-----\n"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"), regions=(REGION, OTHER))


def real(name: str) -> str:
    """Give a real bundle: the project's own copy, or the one beside the checkout that may not enter it."""
    for folder in (DATA, SHARED):
        if (folder / name).exists():
            return (folder / name).read_text("ascii")
    pytest.skip(f"{name} may not enter the project and is not in {SHARED}")


def blocks(pem: str) -> list[str]:
    return [part + END for part in pem.split(END) if part.strip()]


THREE = "".join(blocks((DATA / "cn-global-bundle-2026-09-21.pem").read_text())[:3])
FIRST, SECOND, THIRD = blocks(THREE)


def sha256s(text: str) -> list[str]:
    """Give the certificates' hashes without reading any certificate: the truth that no reader is asked for."""
    return [hashlib.sha256(ssl.PEM_cert_to_DER_cert(block)).hexdigest() for block in blocks(text)]


def openssl_loads(text: str, folder: Path) -> set[str] | None:
    """Give what a client of OpenSSL loads from *text* as its CA file; ``None`` when it refuses the whole file."""
    file = folder / "ca.pem"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=file)
    except ssl.SSLError:
        return None
    return {hashlib.sha256(der).hexdigest() for der in context.get_ca_certs(binary_form=True)}


# Reading PEM


@pytest.mark.parametrize(
    ("name", "number", "roots"),
    [
        ("global-bundle-2026-09-25.pem", 108, 108),
        ("cn-global-bundle-2026-09-21.pem", 6, 6),
        ("amazon-trust-services-roots.pem", 5, 5),
        ("gov-global-bundle-2026-09-21.pem", 10, 6),
        ("global-bundle-2023-05.pem", 115, 93),
        ("global-bundle-2024-08.pem", 124, 102),
        ("rds-combined-ca-bundle-2019-01.pem", 17, 1),
        ("rds-combined-ca-bundle-2019-10.pem", 45, 6),
        ("rds-ca-2015-root.pem", 1, 1),
    ],
)
def test_a_real_bundle_reads_whole_without_a_complaint_or_a_warning(name: str, number: int, roots: int) -> None:
    text = real(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, complaints = read_pem(text)
    assert complaints == []
    assert [c.sha256 for c in found] == sha256s(text)
    assert len(found) == number
    assert sum(c.is_root for c in found) == roots


def test_the_real_indented_bundle_gives_the_two_roots_that_openssl_loads_and_says_so(tmp_path: Path) -> None:
    text = real("real-world-indented-us-east-1-bundle.pem")
    found, complaints = read_pem(text)
    assert {c.sha256 for c in found} == openssl_loads(text, tmp_path)
    assert (len(found), len(complaints)) == (2, 1)


def test_the_thumbprint_that_rds_names_is_the_sha1_of_the_root() -> None:
    # AWS's API documents print this one for rds-ca-rsa2048-g1 of us-west-2.
    found, _ = read_pem(real("global-bundle-2026-09-25.pem"))
    (root,) = [c for c in found if c.subject == "Amazon RDS us-west-2 Root CA RSA2048 G1"]
    assert root.sha1 == hashlib.sha1(ssl.PEM_cert_to_DER_cert(root.pem)).hexdigest()
    assert root.key == "RSA2048"


@pytest.mark.parametrize("length", [64, 10, 76, 80, 4000])
def test_lines_of_another_length_are_read_as_openssl_reads_them(length: int, tmp_path: Path) -> None:
    body = "".join(FIRST.splitlines()[1:-1])
    lines = "\n".join(body[i : i + length] for i in range(0, len(body), length))
    text = f"-----BEGIN CERTIFICATE-----\n{lines}\n{END}"
    assert {c.sha256 for c in read_pem(text)[0]} == openssl_loads(text, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: "\ufeff" + t,
        lambda t: t.replace("\n", "\r\n"),
        lambda t: "# our own words, né\n\n" + t.replace(END, END + "\nSubject: CN=x\n"),
        lambda t: t.rstrip("\n"),
        lambda t: t.replace("-----\n", "----- \t\n"),
        lambda t: t + "\n\n\0",
    ],
    ids=["byte order mark", "CRLF", "comments", "no final newline", "blanks at the end", "NUL at the end"],
)
def test_what_openssl_takes_without_loss_is_taken(change: Callable[[str], str], tmp_path: Path) -> None:
    found, complaints = read_pem(change(THREE))
    assert [c.sha256 for c in found] == sha256s(THREE)
    assert complaints == []
    assert openssl_loads(change(THREE), tmp_path) == set(sha256s(THREE))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t[:-100],
        lambda t: t.replace("\n", "\r"),
        lambda t: t.replace(END, END.strip()),
        lambda t: " " + t,
        lambda t: t.replace("-----BEGIN", "\t-----BEGIN"),
        lambda t: t.replace(SECOND[200:204], "!!!!"),
        lambda t: t.replace(SECOND[200:204], "AAAA"),
        lambda t: t.replace(END, "", 1),
        lambda t: t.replace(SECOND[28:93], SECOND[28:93] + "\n"),
        lambda t: "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIE\n-----END PRIVATE KEY-----\n" + t,
        lambda t: t.replace(" CERTIFICATE", " TRUSTED CERTIFICATE"),
        lambda t: t.replace(" CERTIFICATE", " X509 CERTIFICATE", 2),
        lambda t: t.replace("BEGIN CERTIFICATE-----\n", "BEGIN CERTIFICATE-----\nX-Note: hello\n\n", 1),
    ],
    ids=[
        "cut off",
        "bare CR",
        "glued",
        "first indented",
        "all indented",
        "no base64",
        "no DER",
        "an END missing",
        "empty line in a body",
        "private key",
        "TRUSTED",
        "X509",
        "header",
    ],
)
def test_what_some_reader_would_lose_or_refuse_is_complained_about(
    change: Callable[[str], str], tmp_path: Path
) -> None:
    found, complaints = read_pem(change(THREE))
    assert complaints
    held = openssl_loads(change(THREE), tmp_path)
    assert {c.sha256 for c in found} <= set(sha256s(THREE))
    if held is not None:
        assert {c.sha256 for c in found} <= held


@pytest.mark.parametrize(
    "text", ["", "\n", "<html><body>Please log in</body></html>", THREE.encode("utf-16").decode("latin-1"), "\0" * 99]
)
def test_what_is_no_pem_at_all_gives_no_certificate(text: str) -> None:
    assert read_pem(text)[0] == []


def test_the_bytes_of_a_private_key_are_not_in_the_complaint() -> None:
    key = "MC4CAQAwBQYDK2VwBCIEIJrandomrandomrandom"
    _, complaints = read_pem(f"-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n")
    assert complaints
    assert "random" not in "".join(complaints)


def test_a_bundle_cut_at_any_byte_gives_the_certificates_before_the_cut_and_never_another() -> None:
    truth, ends = sha256s(THREE), [i for i in range(len(THREE)) if THREE[:i].endswith(END.strip())]
    for cut in range(len(THREE)):
        found, complaints = read_pem(THREE[:cut])
        whole = sum(end <= cut for end in ends)
        assert [c.sha256 for c in found] == truth[:whole]
        inside = "-----BEGIN " in THREE[:cut][ends[whole - 1] if whole else 0 :]
        assert bool(complaints) == inside, cut


def test_what_is_read_without_complaint_is_what_openssl_loads_however_the_file_was_damaged(tmp_path: Path) -> None:
    dice = random.Random(20261124)
    junk = ["\n", "\n\n", " ", "\t", "\r", "-", "-----", "=", "\0", "é", END, "-----BEGIN CERTIFICATE-----\n"]
    quiet = 0
    for _ in range(800):
        text = list(THREE)
        for _ in range(dice.choice([1, 1, 2])):
            at = dice.randrange(len(text))
            text[at : at + dice.choice([0, 1, 1, 40])] = dice.choice(junk)
        damaged = "".join(text)
        found, complaints = read_pem(damaged)
        held = openssl_loads(damaged, tmp_path)
        if not complaints:
            quiet += 1
            assert {c.sha256 for c in found} == (held or set()), repr(damaged)
        elif held is not None:
            assert {c.sha256 for c in found} <= held, repr(damaged)
    assert quiet > 20


def test_der_with_one_byte_more_or_less_is_no_certificate() -> None:
    der = ssl.PEM_cert_to_DER_cert(FIRST)
    for damaged in (der + b"\0", der[:-1], b"", b"\x30"):
        with pytest.raises(ValueError):  # noqa: PT011
            read_der(damaged)


def test_a_certificate_with_a_key_that_nobody_knows_here_does_not_stop_the_reading(tmp_path: Path) -> None:
    key, file = tmp_path / "key.pem", tmp_path / "sm2.pem"
    try:
        subprocess.run(["openssl", "ecparam", "-name", "SM2", "-genkey", "-noout", "-out", key], check=True)
        subprocess.run(
            ["openssl", "req", "-x509", "-key", key, "-subj", "/CN=SM2", "-out", file], check=True, capture_output=True
        )
    except subprocess.CalledProcessError:
        pytest.skip("this openssl has no SM2")
    found, _ = read_pem(file.read_text() + THREE)
    assert [c.sha256 for c in found][-3:] == sha256s(THREE)


def test_written_pem_is_read_by_openssl_to_the_same_certificates(tmp_path: Path) -> None:
    found, _ = read_pem(real("global-bundle-2026-09-25.pem"))
    written = "".join(c.pem for c in found)
    assert openssl_loads(written, tmp_path) == {c.sha256 for c in found}
    assert written.isascii()
    assert max(map(len, written.splitlines())) == 64


# Chains


def chain_of(
    pki: Pki, ca: str = RSA, *, names: tuple[str, ...] = (NAME,), days: float = 300, today: datetime = NOW
) -> list[Certificate]:
    served = pki.issue(REGION, ca, list(names), today - timedelta(days=60), today + timedelta(days=days))
    return read_pem(served.chain_pem)[0]


def roots_of(pki: Pki, region: str, *cas: str) -> list[Certificate]:
    return read_pem("".join(pki.root_pem(region, ca) for ca in cas))[0]


def openssl_accepts(
    chain: list[Certificate], roots: list[Certificate], folder: Path, *, name: str = NAME, at: datetime = NOW
) -> bool:
    leaf, rest, anchors = folder / "leaf", folder / "rest", folder / "roots"
    leaf.write_text(chain[0].pem)
    rest.write_text("".join(c.pem for c in chain[1:]))
    anchors.write_text("".join(c.pem for c in roots))
    words = ["openssl", "verify", "-CAfile", anchors, "-no-CApath", "-no-CAstore", "-purpose", "sslserver"]
    words += ["-verify_hostname", name, "-attime", str(int(at.timestamp()))]
    words += ["-untrusted", rest] if chain[1:] else []
    return subprocess.run([*words, leaf], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("ca", [*CURRENT, "rds-ca-2019"])
@pytest.mark.parametrize("served", [3, 2, 1], ids=["with root", "without root", "leaf only"])
@pytest.mark.parametrize("trusted", ["its root", "all of its region", "wrong root", "wrong region", "none"])
def test_a_chain_is_accepted_when_openssl_accepts_it(
    pki: Pki, tmp_path: Path, ca: str, served: int, trusted: str
) -> None:
    others = [c for c in CURRENT if c != ca]
    roots = {
        "its root": roots_of(pki, REGION, ca),
        "all of its region": roots_of(pki, REGION, ca, *others),
        "wrong root": roots_of(pki, REGION, *others),
        "wrong region": roots_of(pki, OTHER, ca, *others),
        "none": [],
    }[trusted]
    chain = chain_of(pki, ca, today=datetime(2023, 11, 1, tzinfo=UTC) if ca == "rds-ca-2019" else NOW)[:served]
    verdict = judge_chain(chain, roots, name=NAME, now=NOW)  # the 2019 chain leads to its root, and is long past
    assert verdict.ok == openssl_accepts(chain, roots, tmp_path)
    should = trusted in ("its root", "all of its region") and served > 1
    assert verdict.trusted == should
    assert verdict.ok == (should and ca != "rds-ca-2019")
    assert (verdict.root is not None) == should
    if should:
        assert verdict.root == roots[0]


@pytest.mark.parametrize(
    ("names", "asked"),
    [
        ((NAME,), NAME),
        ((NAME,), NAME.upper()),
        ((NAME,), "other.abcdefghijkl.eu-west-1.rds.amazonaws.com"),
        ((NAME,), "127.0.0.1"),
        (("*.abcdefghijkl.eu-west-1.rds.amazonaws.com",), NAME),
        (("*.abcdefghijkl.eu-west-1.rds.amazonaws.com",), "a." + NAME),
        (("*.abcdefghijkl.eu-west-1.rds.amazonaws.com",), "abcdefghijkl.eu-west-1.rds.amazonaws.com"),
        (("*.rds.amazonaws.com",), NAME),
        (("first.example.org", NAME), NAME),
        (("first.example.org", NAME), "second.example.org"),
        ((NAME + "x",), NAME),
        (("x" + NAME,), NAME),
    ],
)
def test_a_name_is_good_when_openssl_says_so(pki: Pki, tmp_path: Path, names: tuple[str, ...], asked: str) -> None:
    chain, roots = chain_of(pki, names=names), roots_of(pki, REGION, RSA)
    verdict = judge_chain(chain, roots, name=asked, now=NOW)
    assert verdict.trusted
    assert verdict.name_ok == openssl_accepts(chain, roots, tmp_path, name=asked)
    if not verdict.name_ok:
        assert names[0] in verdict.reason
        assert asked in verdict.reason


def test_an_expired_and_a_not_yet_valid_leaf_are_told_apart_from_trust_and_name(pki: Pki, tmp_path: Path) -> None:
    roots = roots_of(pki, REGION, RSA)
    expired = chain_of(pki, days=-1)
    late = judge_chain(expired, roots, name=NAME, now=NOW)
    assert (late.trusted, late.name_ok, late.dates_ok, late.ok) == (True, True, False, False)
    assert f"{NOW - timedelta(days=1):%Y-%m-%d}" in late.reason
    assert not openssl_accepts(expired, roots, tmp_path)
    before = NOW - timedelta(days=90)
    early = judge_chain(chain_of(pki), roots, name=NAME, now=before)
    assert (early.trusted, early.dates_ok) == (True, False)
    assert not openssl_accepts(chain_of(pki), roots, tmp_path, at=before)


def test_a_root_that_only_shares_the_name_is_not_the_anchor(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> None:
    impostor = Pki(tmp_path_factory.mktemp("impostor"), regions=(REGION,))
    (false_root,) = roots_of(impostor, REGION, RSA)
    (true_root,) = roots_of(pki, REGION, RSA)
    assert false_root.subject == true_root.subject
    assert not judge_chain(chain_of(pki), [false_root], name=NAME, now=NOW).trusted
    assert judge_chain(chain_of(pki), [false_root, true_root], name=NAME, now=NOW).root == true_root


def test_a_served_root_is_no_reason_to_trust_it(pki: Pki) -> None:
    chain = chain_of(pki)
    assert chain[-1].is_root
    assert not judge_chain(chain, roots_of(pki, OTHER, RSA), name=NAME, now=NOW).trusted


def test_a_pinned_subordinate_or_leaf_is_no_anchor(pki: Pki) -> None:
    chain = chain_of(pki)
    assert not judge_chain(chain, chain[:2], name=NAME, now=NOW).trusted


def test_a_leaf_of_somebody_else_behind_the_right_chain_is_refused(pki: Pki) -> None:
    mixed = [chain_of(pki, ECC)[0], *chain_of(pki, RSA)[1:]]
    assert not judge_chain(mixed, roots_of(pki, REGION, *CURRENT), name=NAME, now=NOW).trusted


def test_a_leaf_that_outlives_its_ca_is_not_said_to_lead_to_a_stranger(pki: Pki) -> None:
    verdict = judge_chain(chain_of(pki, "rds-ca-2019"), roots_of(pki, REGION, "rds-ca-2019"), name=NAME, now=NOW)
    assert not verdict.ok
    assert "never in force all at the same time" in verdict.reason


def test_no_certificate_served_is_a_reason_and_not_a_crash(pki: Pki) -> None:
    verdict = judge_chain([], roots_of(pki, REGION, RSA), name=NAME, now=NOW)
    assert not verdict.ok
    assert verdict.reason == "no certificate was served"


@pytest.mark.parametrize(
    "name", ["under_score.example.org", "-dash.example.org", "a..b", "x" * 70 + ".org", "*", "*.*"]
)
def test_a_leaf_with_a_strange_name_is_judged_and_does_not_crash(pki: Pki, name: str) -> None:
    verdict = judge_chain(chain_of(pki, names=(name,)), roots_of(pki, REGION, RSA), name=NAME, now=NOW)
    assert not verdict.ok
    assert name in verdict.reason


def test_the_real_subordinate_that_rds_served_leads_to_the_root_of_the_real_bundle(tmp_path: Path) -> None:
    (subordinate,), _ = read_pem(real("real-subordinate-ca-ap-northeast-2-A.5.pem"))
    bundle, _ = read_pem(real("global-bundle-2026-09-25.pem"))
    (issuer,) = [c for c in bundle if c.subject == subordinate.issuer]
    assert issuer.is_root
    assert subordinate.is_ca
    assert not subordinate.is_root


# Stores


def test_the_real_store_of_this_machine_reads_as_openssl_reads_it(tmp_path: Path) -> None:
    store = Path(ssl.get_default_verify_paths().openssl_cafile or "")
    candidates = [p for p in (store, Path("/etc/ssl/certs/ca-certificates.crt")) if p.is_file()]
    if not candidates:
        pytest.skip("this machine has no CA store in one file")
    text = candidates[0].read_text("ascii", errors="surrogateescape")
    with contextlib.suppress(FileNotFoundError), warnings.catch_warnings():
        warnings.simplefilter("error")
        found, complaints = read_pem(text)
    assert complaints == []
    assert {c.sha256 for c in found if c.is_ca} == openssl_loads(text, tmp_path)
    assert all(c.is_root for c in found if c.issuer == c.subject and c.is_ca)
