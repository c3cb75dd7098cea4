"""PEM trust stores: read as OpenSSL reads them, and added to without losing or moving a byte of what is in them."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsca_helpers.certs import REFUSED, Certificate, read_pem
from rdsca_helpers.edge.stores import pem
from rdsca_helpers.errors import Refused
from rdsca_helpers.trust import Root

DATA = Path(__file__).parent / "data"
ROOTS = [
    Root(c, "rds-ca-rsa2048-g1", "cn-north-1")
    for c in read_pem((DATA / "cn-global-bundle-2026-09-21.pem").read_text())[0]
]
PUBLIC = (DATA / "amazon-trust-services-roots.pem").read_text()
BEGIN = "-----BEGIN CERTIFICATE-----"
KEY = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519"], check=True, capture_output=True, text=True).stdout


def openssl_holds(file: Path) -> set[bytes]:
    """Ask OpenSSL, through Python's ssl; a file that it refuses holds nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=file)
    except ssl.SSLError:
        return set()
    return set(context.get_ca_certs(binary_form=True))


def storeutl_counts(file: Path) -> int:
    done = subprocess.run(
        ["openssl", "storeutl", "-noout", "-certs", file], capture_output=True, text=True, check=False
    )
    return int(done.stdout.rpartition("Total found: ")[2])


def sha256s(data: bytes) -> list[str]:
    return [e.certificate.sha256 for e in pem.read(data).entries]


@pytest.mark.parametrize(
    "content",
    [
        PUBLIC,
        PUBLIC.rstrip("\n"),
        PUBLIC.replace("\n", "\r\n"),
        "\ufeff" + PUBLIC,
        "# Unsere eigenen: né, ü\n\n" + PUBLIC + "\n\n# end of file",
        PUBLIC.replace("-----END CERTIFICATE-----\n", "-----END CERTIFICATE-----\nsubject=whatever\n\n"),
        b"# latin-1: \xe9 and \xff\n" + PUBLIC.encode(),
        KEY + PUBLIC,
        b"",
        b"# nothing yet",
    ],
    ids=[
        "plain",
        "no final newline",
        "CRLF",
        "BOM",
        "comments",
        "text between",
        "no UTF-8",
        "private key",
        "empty",
        "comment only",
    ],
)
def test_what_is_in_the_store_stays_byte_for_byte_and_openssl_loads_old_and_new(
    tmp_path: Path, content: str | bytes
) -> None:
    before = content.encode() if isinstance(content, str) else content
    file = tmp_path / "rds.pem"
    file.write_bytes(before)
    held = openssl_holds(file)
    after = pem.add(before, ROOTS[:2])
    assert after.startswith(before)
    file.write_bytes(after)
    assert openssl_holds(file) == held | {r.certificate.der for r in ROOTS[:2]}
    assert storeutl_counts(file) == len(held) + 2
    assert pem.add(after, ROOTS[:2]) == after
    gone = pem.remove(after, frozenset(r.certificate.sha256 for r in ROOTS[:2]))
    assert gone in (before, before + b"\n")


def test_the_same_root_asked_for_twice_is_added_once() -> None:
    assert pem.add(PUBLIC.encode(), [ROOTS[0], ROOTS[0]]).count(b"BEGIN CERTIFICATE") == 6


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (PUBLIC[:-100], f"line {PUBLIC.count(chr(10), 0, PUBLIC.rindex(BEGIN)) + 1}"),
        (" " + PUBLIC, "line 1"),
        (PUBLIC.replace("-----END CERTIFICATE-----\n", "-----END CERTIFICATE-----"), "line"),
        (PUBLIC.replace("\n", "\r"), "line 1"),
        (PUBLIC.replace("MII", "M#I"), "line 1"),
    ],
    ids=["cut off", "indented", "glued", "bare CR", "damaged"],
)
def test_a_store_that_is_not_clean_is_left_to_a_person_and_the_line_is_named(content: str, where: str) -> None:
    for change in (lambda: pem.add(content.encode(), ROOTS[:1]), lambda: pem.remove(content.encode(), frozenset("x"))):
        with pytest.raises(Refused, match="not clean") as refused:
            change()
        assert where in str(refused.value)


def test_a_private_key_is_counted_and_its_bytes_are_never_shown() -> None:
    contents = pem.read((KEY + PUBLIC).encode())
    assert (contents.keys, len(contents.certificates)) == (1, 5)
    assert KEY.splitlines()[1] not in repr(contents.complaints)
    broken = KEY + PUBLIC[:-100]
    with pytest.raises(Refused) as refused:
        pem.add(broken.encode(), ROOTS[:1])
    assert KEY.splitlines()[1] not in str(refused.value)


def test_removal_takes_the_named_block_and_its_comment_and_nothing_else() -> None:
    old = PUBLIC.replace("\n", "\r\n").encode() + b"# mine\n"
    full = pem.add(pem.add(old, ROOTS[:1]), ROOTS[1:3])
    assert pem.remove(full, frozenset([ROOTS[1].certificate.sha256])) == pem.add(pem.add(old, ROOTS[:1]), ROOTS[2:3])
    first = sha256s(old)[0]
    left = pem.remove(old, frozenset([first]))
    assert sha256s(left) == sha256s(old)[1:]
    assert old.endswith(left)
    assert pem.remove(old, frozenset(["0" * 64])) == old


def test_a_built_store_is_canonical_whatever_the_order_of_the_roots(tmp_path: Path) -> None:
    built = pem.build(ROOTS)
    assert built == pem.build([*reversed(ROOTS), ROOTS[0]])
    assert b"\r" not in built
    assert built.isascii()
    assert built.splitlines()[0] == b"-----BEGIN CERTIFICATE-----"
    assert not [line for line in built.splitlines() if len(line) > 64]
    (tmp_path / "x.pem").write_bytes(built)
    assert openssl_holds(tmp_path / "x.pem") == {r.certificate.der for r in ROOTS}


@pytest.mark.parametrize(
    ("words", "trusted"),
    [
        ([], True),
        (["-addtrust", "serverAuth"], True),
        (["-addtrust", "clientAuth"], False),
        (["-addreject", "serverAuth"], False),
        (["-addtrust", "anyExtendedKeyUsage"], True),
    ],
    ids=["plain", "servers", "clients only", "rejected", "any"],
)
def test_a_trusted_certificate_is_an_anchor_where_openssl_takes_it_for_servers(
    tmp_path: Path, words: list[str], trusted: bool
) -> None:
    plain = tmp_path / "plain.pem"
    plain.write_text(ROOTS[0].certificate.pem)
    done = subprocess.run(["openssl", "x509", "-in", plain, "-trustout", *words], capture_output=True, check=True)
    store = tmp_path / "trusted.pem"
    store.write_bytes(done.stdout)
    assert pem.recognise(done.stdout)
    (entry,) = pem.read(done.stdout).entries
    assert entry.certificate == ROOTS[0].certificate
    said = subprocess.run(
        ["openssl", "verify", "-purpose", "sslserver", "-no-CApath", "-CAfile", store, plain],
        capture_output=True,
        check=False,
    )
    assert entry.anchor is trusted is (said.returncode == 0)


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html><pre>\n" + PUBLIC.encode() + b"</pre>",
        PUBLIC.encode("utf-16"),
        b"",
        KEY.encode(),
        b"-----BEGIN CERTIFICATE REQUEST-----",
    ],
    ids=["HTML", "UTF-16", "empty", "key only", "request"],
)
def test_what_holds_no_certificate_is_not_taken_for_a_store(content: bytes) -> None:
    assert not pem.recognise(content)


@pytest.mark.parametrize("where", [0, 27, 30, 500, len(PUBLIC) - 1], ids=str)
@pytest.mark.parametrize("what", [b"\0", b"\r", b"\n\n", b" ", b"\xff", b"-"], ids=repr)
def test_nothing_counts_that_openssl_does_not_load(tmp_path: Path, what: bytes, where: int) -> None:
    data = PUBLIC.encode()[:where] + what + PUBLIC.encode()[where:]
    file = tmp_path / "x.pem"
    file.write_bytes(data)
    contents = pem.read(data)
    ours = set() if any(c.endswith(REFUSED) for c in contents.complaints) else {e.der for e in contents.certificates}
    assert ours <= openssl_holds(file)


def test_cut_at_any_byte_a_store_is_refused_or_reads_as_whole_certificates_from_its_beginning() -> None:
    small = sorted((r.certificate.pem for r in ROOTS), key=len)[:2]
    whole = sha256s("".join(small).encode())
    for end in range(len("".join(small)) + 1):
        contents = pem.read("".join(small)[:end].encode())
        got = [e.certificate.sha256 for e in contents.entries]
        refused = any(c.endswith(REFUSED) for c in contents.complaints)
        assert refused or (got == whole[: len(got)] and end in _after(small, len(got))), end


def _after(blocks: list[str], count: int) -> range:
    """Give the places at which *blocks* may be cut so that the first *count* are whole and no other has begun."""
    end = sum(len(b) for b in blocks[:count])
    return range(end - 1 if count else 0, end + len("-----BEGIN "))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([*PUBLIC.splitlines(keepends=True), "\r", " ", "\0", "-----", "é", "\n"]), max_size=60))
def test_any_text_is_read_or_complained_of_and_only_our_own_errors_come_out(lines: list[str]) -> None:
    data = "".join(lines).encode()
    contents = pem.read(data)
    try:
        after = pem.add(data, ROOTS[:1])
    except Refused:
        return
    assert after.startswith(data)
    assert len(pem.read(after).entries) == len(contents.entries) + 1


def test_a_name_in_the_comment_cannot_bring_a_line_of_its_own(tmp_path: Path) -> None:
    key, evil = tmp_path / "key", tmp_path / "evil.pem"
    subject = "/CN=x\n-----BEGIN CERTIFICATE-----\nAAAA"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run([*words, "-keyout", key, "-subj", subject, "-out", evil], check=True, capture_output=True)
    (root,), _ = read_pem(evil.read_text())
    after = pem.add(PUBLIC.encode(), [Root(root, "a\nb", "x-----y")])
    assert pem.read(after).complaints == ()
    (tmp_path / "x.pem").write_bytes(after)
    assert openssl_holds(tmp_path / "x.pem") >= {root.der}


@pytest.mark.skipif(
    not os.environ.get("RDSCA_REAL_BUNDLES") and not Path("../shared/data/rds-ca").is_dir(),
    reason="historic bundles are not here (../shared/data/rds-ca)",
)
def test_of_the_hand_copied_bundle_openssl_loads_what_we_read_and_we_leave_it_to_a_person(tmp_path: Path) -> None:
    folder = Path(os.environ.get("RDSCA_REAL_BUNDLES", "../shared/data/rds-ca"))
    file = folder / "real-world-indented-us-east-1-bundle.pem"
    contents = pem.read(file.read_bytes())
    held: set[Certificate] = set(contents.certificates)
    assert {c.der for c in held} == openssl_holds(file)
    assert len(held) == 2
    with pytest.raises(Refused, match="line 1"):
        pem.add(file.read_bytes(), ROOTS[:1])


PLAIN = PUBLIC.encode()
FIRST = ROOTS[0].certificate.pem


def armoured(label: str, body: str) -> str:
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n"


ODD = {
    "bad RSA key": armoured("RSA PRIVATE KEY", "AAAA\n") + FIRST,
    "bad EC key": armoured("EC PRIVATE KEY", "AAAA\n") + FIRST,
    "bad PKCS#8 key": armoured("PRIVATE KEY", "!!!!\n") + FIRST,
    "bad list": FIRST + armoured("X509 CRL", "AAAA\n"),
    "unknown label": armoured("FOO", "!!!!\n") + FIRST,
    "empty block": armoured("FOO", "") + FIRST,
    "parameters": FIRST + armoured("DH PARAMETERS", "MIIB\n\n"),
    "bad DEK-Info": armoured("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n") + FIRST,
    "blank line before END": FIRST.replace("\n-----END", "\n\n-----END"),
    "form feed": FIRST.replace("\nMII", "\n\x0cMII"),
    "garbage in TRUSTED": FIRST.replace("CERTIFICATE", "TRUSTED CERTIFICATE").replace("\n-----END", "AAAA\n-----END"),
    "blank lines in TRUSTED": FIRST.replace("CERTIFICATE", "TRUSTED CERTIFICATE").replace("\n", "\n\n") + FIRST,
    "blank lines in X509": FIRST + FIRST.replace("CERTIFICATE", "X509 CERTIFICATE").replace("\n", "\n\n"),
    "bad request": FIRST + armoured("CERTIFICATE REQUEST", "AAAA\n"),
    "TRUSTED": FIRST.replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
    "X509": FIRST.replace("CERTIFICATE", "X509 CERTIFICATE"),
    "BEGIN in a comment": "\x0b-----BEGIN CERTIFICATE\n" + FIRST,
    "BOM": "\ufeff" + FIRST,
    "0 first": "0\n" + FIRST,
    "dashes": "# x\n-----\n" + FIRST,
    "key": KEY + FIRST,
    "blanks behind BEGIN": FIRST.replace("CERTIFICATE-----\n", "CERTIFICATE-----  \n", 1),
    "plain": FIRST,
    "CRLF": FIRST.replace("\n", "\r\n"),
    "comments": "# é -- and - so\n\n" + FIRST + "subject=x\n" + FIRST.rstrip(),
    "ours": pem.add(PLAIN, ROOTS[:3]).decode(),
}
GOOD = {"plain", "CRLF", "comments", "ours"}  # for every client


def counted(text: str, engine: str) -> set[bytes]:
    """Give what we let clients of *engine* count on."""
    found = pem.read(text.encode())
    if engine in found.refused_by or any(c.endswith(REFUSED) for c in found.complaints):
        return set()
    return {c.der for c in found.certificates}


@pytest.mark.parametrize("what", ODD)
def test_beside_blocks_of_any_kind_only_that_counts_which_openssl_loads(tmp_path: Path, what: str) -> None:
    file = tmp_path / "x.pem"
    file.write_bytes(ODD[what].encode())
    held = openssl_holds(file)
    assert counted(ODD[what], "openssl") <= held
    if what in GOOD | {"key", "X509", "BOM"}:
        assert counted(ODD[what], "openssl") == held != set()


@pytest.mark.skipif(not shutil.which("certtool"), reason="needs certtool (package gnutls-bin)")
@pytest.mark.parametrize("what", ODD)
def test_what_counts_for_gnutls_is_what_gnutls_loads(tmp_path: Path, what: str) -> None:
    file = tmp_path / "x.pem"
    file.write_bytes(ODD[what].encode())
    words = ["certtool", "--verify", "--verify-profile", "low", "--load-ca-certificate", str(file)]
    taken = subprocess.run(words, input=FIRST.encode(), capture_output=True, check=False).returncode == 0
    assert taken or ROOTS[0].certificate.der not in counted(ODD[what], "gnutls")
    assert what not in GOOD or counted(ODD[what], "gnutls")


JAVA_COUNTS = """
import java.io.*; import java.security.cert.*;
public class Counts { public static void main(String[] files) throws Exception { for (String file : files) {
  try (InputStream in = new FileInputStream(file)) {
    System.out.println(CertificateFactory.getInstance("X.509").generateCertificates(in).size());
  } catch (Exception e) { System.out.println(-1); } } } }
"""


@pytest.mark.skipif(not shutil.which("java"), reason="needs java (package default-jdk-headless)")
def test_what_counts_for_java_is_what_its_certificate_factory_reads(tmp_path: Path) -> None:
    (tmp_path / "Counts.java").write_text(JAVA_COUNTS)
    files = [tmp_path / f"{n}.pem" for n in range(len(ODD))]
    for file, text in zip(files, ODD.values(), strict=True):
        file.write_bytes(text.encode())
    words = ["java", str(tmp_path / "Counts.java"), *map(str, files)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    for what, count in zip(ODD, map(int, said), strict=True):
        ours = counted(ODD[what], "java")
        assert not ours or count == ODD[what].count("BEGIN CERTIFICATE"), what
        assert what not in GOOD or ours, what


def test_a_private_key_that_openssl_was_asked_about_leaves_no_file_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert pem.read((KEY + FIRST).encode()).keys == 1
    assert not list(tmp_path.iterdir())
