"""PKCS#12: read as Java sees it, added to and dropped from without touching a key; Java and openssl are the judges."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import subprocess
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import PrivateFormat
from cryptography.hazmat.primitives.serialization import pkcs12 as theirs
from cryptography.x509 import load_der_x509_certificate
from hypothesis import given, settings
from hypothesis import strategies as st
from keystores import (
    DATA,
    PASSWORD,
    PUBLIC,
    ROOTS,
    SHA256S,
    Java,
    generating,
    importing,
    keytool,
    keytool_makes,
    running_java,
)
from wire import program

from rdsca_helpers import der
from rdsca_helpers.certs import Certificate, read_pem
from rdsca_helpers.edge.stores import pkcs12
from rdsca_helpers.edge.stores.kinds import recognise
from rdsca_helpers.errors import Refused
from rdsca_helpers.model import Secret
from rdsca_helpers.trust import JAVA_REFUSED, Contents, Root

GIVEN = Secret(PASSWORD)
NAME, KEY_ID, DATA_TYPE = "1.2.840.113549.1.9.20", "1.2.840.113549.1.9.21", "1.2.840.113549.1.7.1"
SHA1, SHA256 = "1.3.14.3.2.26", "2.16.840.1.101.3.4.2.1"
PUBLIC_ROOTS = [Root(c, "public", str(n)) for n, c in enumerate(PUBLIC)]
KEYTOOL = ("trusted", "key and trusted", "two keys", "secret", "key", "chain", "old", "open")
PROTECTIONS = [f"PBEWithHmacSHA{sha}AndAES_{aes}" for sha in (1, 224, 256, 384, 512) for aes in (128, 256)]
MACS = {
    "PBEWithSHA1AndRC2_40": "HmacPBESHA1",
    "PBEWithSHA1AndRC2_128": "HmacPBESHA384",
    "PBEWithSHA1AndDESede": "HmacPBESHA512",
}


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Java]:
    with running_java(tmp_path_factory.mktemp("java")) as judge:
        yield judge


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Stores by keytool; "old" is as Java 8 wrote them, "open" has neither encryption nor MAC."""
    pem, folder = DATA / "amazon-trust-services-roots.pem", tmp_path_factory.mktemp("pkcs12")
    none = ("certProtectionAlgorithm", "macAlgorithm")
    chains = {
        "a": [
            importing("trusted", "Amazon", pem),
            generating("key and trusted", "App"),
            generating("two keys", "second"),
            ["secret", "-genseckey", "-keyalg", "AES", "-keysize", "128", "-alias", "secret"],
        ],
        "b": [generating("key", "app", "-ext", "bc:c"), generating("chain", "leaf", "-signer", "app")],
        "c": [[*importing("old", "amazon", pem), "-J-Dkeystore.pkcs12.legacy"]],
        "d": [[*importing("open", "amazon", pem), *(f"-J-Dkeystore.pkcs12.{name}=NONE" for name in none)]],
    }
    return keytool_makes(folder, "PKCS12", chains)


@pytest.fixture(scope="module")
def openssl(made: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """Give a function that exports by openssl: with a key and its chain, or with ``-nokeys`` two roots alone."""
    folder = tmp_path_factory.mktemp("openssl")
    (folder / "roots.pem").write_text("".join(c.pem for c in PUBLIC[:2]))
    (folder / "chain").write_bytes(made["chain"])
    opened = run_openssl("pkcs12", "-in", str(folder / "chain"), "-passin", "env:PASSWORD", "-nodes").decode()
    keys = re.findall(r"friendlyName: (\w+)[^-]*(-----BEGIN PRIVATE KEY.*?END PRIVATE KEY-----\n)", opened, re.S)
    (folder / "key.pem").write_text(dict(keys)["leaf"] + "".join(c.pem for c in read_pem(opened)[0]))

    def export(*words: str, password: str = PASSWORD) -> bytes:
        source = folder / ("roots.pem" if "-nokeys" in words else "key.pem")
        asked = ["pkcs12", "-export", "-in", str(source), "-passout", "env:PASSWORD", *words]
        return run_openssl(*asked, password=password)

    return export


def run_openssl(*words: str, password: str = PASSWORD) -> bytes:
    variables = {**os.environ, "PASSWORD": password, "LC_ALL": "C.UTF-8"}
    asked = [program("openssl", "openssl"), *words]
    done = subprocess.run(asked, env=variables, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def openssl_lists(store: bytes, file: Path, *words: str, password: str = PASSWORD) -> set[str]:
    """Let openssl check the MAC, and give the SHA-256 of every certificate that it lists."""
    file.write_bytes(store)
    text = run_openssl("pkcs12", "-in", str(file), "-passin", "env:PASSWORD", "-nokeys", *words, password=password)
    return {c.sha256 for c in read_pem(text.decode())[0]}


def truststore(aliases: dict[str, Certificate], *, rounds: int = 1, mac: hashes.HashAlgorithm | None = None) -> bytes:
    """Let ``cryptography`` write a store of trusted certificates by their aliases."""
    builder = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(rounds)
    builder = builder.hmac_hash(mac) if mac else builder
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Starfield G2 has serial number 0
        loaded = {alias: load_der_x509_certificate(c.der) for alias, c in aliases.items()}
    entries = [theirs.PKCS12Certificate(c, alias.encode()) for alias, c in loaded.items()]
    return theirs.serialize_java_truststore(entries, builder.build(PASSWORD.encode()))


def shas(contents: Contents) -> set[str]:
    return {c.sha256 for c in contents.certificates}


def assert_read_as_java_does(store: bytes, java: Java, password: str | None = PASSWORD) -> Contents:
    found, seen = pkcs12.read(store), java.sees(store, password)
    assert seen.error == ""
    assert shas(found) == seen.anchors
    kind = recognise(store)
    assert kind is not None
    assert kind.name == "pkcs12"
    return found


@pytest.mark.parametrize("name", KEYTOOL)
def test_anchors_and_keys_of_keytools_stores_are_those_that_java_finds(
    name: str, made: dict[str, bytes], java: Java
) -> None:
    found, seen = assert_read_as_java_does(made[name], java), java.sees(made[name])
    assert found.keys == len(seen.keys)
    assert found.complaints == ()
    assert {e.alias.lower() for e in found.entries} >= set(seen.trusted)


def test_of_a_keys_chain_java_and_we_take_only_the_first_certificate(
    made: dict[str, bytes], openssl: Callable[..., bytes], java: Java
) -> None:
    found = assert_read_as_java_does(made["chain"], java)
    assert {c.subject for c in found.certificates} == {"leaf", "app"}
    issued = pkcs12.read(openssl())
    assert {(e.certificate.subject, e.anchor) for e in issued.entries} == {("leaf", True), ("app", False)}


@pytest.mark.parametrize("name", KEYTOOL)
def test_roots_are_added_and_everything_else_stays(
    name: str, made: dict[str, bytes], java: Java, tmp_path: Path
) -> None:
    added = pkcs12.add(made[name], ROOTS)
    before, after = java.sees(made[name]), java.sees(added)
    assert after.anchors == before.anchors | SHA256S
    assert after.trusted == before.trusted | {r.alias: r.certificate.sha256 for r in ROOTS}
    assert after.keys == before.keys
    assert set(after.keys.values()) <= {"signs", "secret"}
    assert parts(added)[:-1] == parts(made[name])
    assert pkcs12.add(added, list(reversed(ROOTS)), GIVEN) == added
    assert pkcs12.remove(added, frozenset(SHA256S)) == made[name]
    everything = {e.certificate.sha256 for e in pkcs12.read(added).entries}
    assert openssl_lists(added, tmp_path / "store", "-legacy") == everything


def parts(store: bytes) -> list[bytes]:
    """Give the parts under the MAC as they stand in the file."""
    content = der.read(store).parts()[1].parts()[1].only(der.context(0)).octets()
    return [part.raw for part in der.read(content).parts()]


def test_keytool_lists_an_added_store_and_edits_it_later(made: dict[str, bytes], tmp_path: Path, java: Java) -> None:
    file = tmp_path / "store"
    file.write_bytes(pkcs12.add(made["secret"], ROOTS))
    said = keytool(file, "-list")
    counts = [said.count(kind) for kind in ("trustedCertEntry", "PrivateKeyEntry", "SecretKeyEntry")]
    assert counts == [len(ROOTS) + 1, 2, 1]
    keytool(file, "-delete", "-alias", "amazon")
    edited = file.read_bytes()
    assert shas(assert_read_as_java_does(edited, java)) >= SHA256S
    assert java.sees(edited).keys == {"app": "signs", "second": "signs", "secret": "secret"}
    gone = frozenset(list(SHA256S)[:100])
    assert shas(pkcs12.read(pkcs12.remove(edited, gone))) == shas(pkcs12.read(edited)) - gone


def test_all_roots_are_built_into_a_store_that_keytool_and_openssl_list(tmp_path: Path, java: Java) -> None:
    file = tmp_path / "store"
    store = pkcs12.build(ROOTS)
    file.write_bytes(store)
    assert keytool(file, "-list").count("trustedCertEntry") == len(ROOTS) == 108
    assert java.sees(store).trusted == {r.alias: r.certificate.sha256 for r in ROOTS}
    assert shas(pkcs12.read(store)) == openssl_lists(store, file) == SHA256S
    mac = der.read(store).parts()[2].parts()
    assert mac[0].parts()[0].parts()[0].oid() == SHA256
    assert mac[2].integer() == 10_000
    for bag in der.read(der.read(parts(store)[0]).parts()[1].only(der.context(0)).octets()).parts():
        attributes = [a.raw for a in bag.parts()[2].parts(der.SET)]
        assert attributes == sorted(attributes)  # as DER has a SET


def test_the_same_roots_give_the_same_bytes() -> None:
    assert pkcs12.build(ROOTS) == pkcs12.build([*reversed(ROOTS), ROOTS[0]])


def test_a_store_of_no_roots_is_one_that_java_opens(java: Java) -> None:
    assert java.sees(pkcs12.build([])).trusted == {}
    assert java.sees(pkcs12.add(pkcs12.build([]), ROOTS)).anchors == SHA256S


@pytest.mark.parametrize("words", [("-nokeys",), ("-nokeys", "-nomac"), ("-nokeys", "-certpbe", "NONE")])
def test_what_openssl_exports_without_javas_attribute_is_empty_for_java_and_for_us_until_it_is_added(
    words: tuple[str, ...], openssl: Callable[..., bytes], java: Java
) -> None:
    store = openssl(*words)
    found = assert_read_as_java_does(store, java)
    assert found.certificates == ()
    assert {e.certificate.sha256 for e in found.entries} == {c.sha256 for c in PUBLIC[:2]}
    added = pkcs12.add(store, PUBLIC_ROOTS[:1])
    assert java.sees(added).anchors == shas(pkcs12.read(added)) == {PUBLIC[0].sha256}
    assert pkcs12.remove(added, frozenset([PUBLIC[0].sha256])) == store


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("-legacy",),
        ("-legacy", "-certpbe", "PBE-SHA1-RC2-40", "-keypbe", "PBE-SHA1-3DES", "-macalg", "sha1"),
        ("-legacy", "-certpbe", "PBE-SHA1-RC2-128", "-macalg", "sha384"),
        ("-certpbe", "PBE-SHA1-3DES", "-macalg", "sha512", "-iter", "1"),
        ("-certpbe", "PBE-SHA1-2DES", "-macalg", "sha224", "-nomaciter"),
        ("-certpbe", "AES-128-CBC", "-iter", "20000"),
        ("-certpbe", "AES-192-CBC", "-name", "Lone"),
        ("-certpbe", "NONE", "-keypbe", "NONE"),
        ("-certpbe", "AES-256-CBC", "-nomac"),
        ("-certpbe", "NONE", "-nomac"),
    ],
)
@pytest.mark.parametrize("password", [PASSWORD, ""])
def test_a_key_with_its_chain_by_openssl_is_read_added_to_and_stays_readable(
    words: tuple[str, ...], password: str, openssl: Callable[..., bytes], java: Java, tmp_path: Path
) -> None:
    store = openssl(*words, password=password)
    found = pkcs12.read(store)
    assert found.keys == 1
    assert {e.certificate.subject for e in found.entries} == {"leaf", "app"}
    added = pkcs12.add(store, ROOTS)
    assert pkcs12.remove(added, frozenset(SHA256S)) == store
    legacy = words[:1] if words[:1] == ("-legacy",) else ()
    assert openssl_lists(added, tmp_path / "store", *legacy, password=password) > SHA256S
    if password == PASSWORD and words[1:2] not in (("AES-192-CBC",), ("PBE-SHA1-2DES",)):
        assert shas(found) == java.sees(store).anchors
        assert java.sees(added).anchors == java.sees(store).anchors | SHA256S


@pytest.mark.parametrize("how", [*PROTECTIONS, *MACS])
def test_every_protection_that_java_writes_is_read_added_to_and_dropped_from(how: str, java: Java) -> None:
    store = java.make("PKCS12", PASSWORD, PUBLIC, how, MACS.get(how, "HmacPBESHA256"))
    assert shas(assert_read_as_java_does(store, java)) == {c.sha256 for c in PUBLIC}
    added = pkcs12.add(store, ROOTS)
    assert java.sees(added).anchors == {c.sha256 for c in PUBLIC} | SHA256S
    gone = frozenset(c.sha256 for c in PUBLIC[1:])
    assert java.sees(pkcs12.remove(added, gone)).anchors == {PUBLIC[0].sha256} | SHA256S
    assert java.sees(pkcs12.remove(store, gone)).trusted.keys() < java.sees(store).trusted.keys()


@pytest.mark.parametrize("mac", [None, hashes.SHA1(), hashes.SHA512()])
def test_stores_of_trusted_certificates_by_cryptography_are_read_and_added_to(
    mac: hashes.HashAlgorithm | None, java: Java
) -> None:
    store = truststore({c.subject: c for c in PUBLIC}, rounds=2048, mac=mac)
    assert shas(assert_read_as_java_does(store, java)) == {c.sha256 for c in PUBLIC}
    assert java.sees(pkcs12.add(store, ROOTS)).anchors == {c.sha256 for c in PUBLIC} | SHA256S


def test_of_two_entries_with_one_alias_java_and_we_see_the_last(java: Java) -> None:
    store = truststore({"Same": PUBLIC[0], "SAME": PUBLIC[1], "other": PUBLIC[2]})
    found = assert_read_as_java_does(store, java)
    assert shas(found) == {PUBLIC[1].sha256, PUBLIC[2].sha256}
    assert "a second entry is called 'same'" in found.complaints[0]
    added = pkcs12.add(store, PUBLIC_ROOTS)
    assert shas(assert_read_as_java_does(added, java)) == {c.sha256 for c in PUBLIC}


def test_a_taken_alias_gets_a_number_and_the_entry_that_has_it_stays(java: Java) -> None:
    root = ROOTS[0]
    store = truststore({root.alias.upper(): PUBLIC[0], f"{root.alias}-2": PUBLIC[1]})
    assert java.sees(pkcs12.add(store, [root])).trusted == {
        root.alias: PUBLIC[0].sha256,
        f"{root.alias}-2": PUBLIC[1].sha256,
        f"{root.alias}-3": root.certificate.sha256,
    }


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("dropped", [KEY_ID, NAME, "any", "other IDs"])
def test_a_key_goes_with_the_certificate_that_java_gives_it_whatever_names_and_ids_are_there(
    dropped: str, order: int, openssl: Callable[..., bytes], java: Java
) -> None:
    store = openssl("-certpbe", "NONE", "-nomac", "-name", "Lone")
    one_id = der.write(der.SEQUENCE, der.write_oid(KEY_ID), der.write(der.SET, der.write(der.OCTET_STRING, b"1")))

    def stripped(bag: der.Element) -> bytes:
        kind, value, *attributes = bag.parts()
        kept = [a.raw for s in attributes for a in s.parts(der.SET) if dropped not in ("any", a.parts()[0].oid())]
        if dropped == "other IDs":
            kept = [one_id, *(raw for raw in kept if der.write_oid(KEY_ID) not in raw)]
        return der.write(der.SEQUENCE, kind.raw, value.raw, der.write(der.SET, *kept) if kept else b"")

    safes = []
    for part in parts(store)[::order]:
        kind, content = der.read(part).parts()
        bags = der.read(content.only(der.context(0)).octets()).parts()
        inner = der.write(der.OCTET_STRING, der.write(der.SEQUENCE, *map(stripped, bags)))
        safes.append(der.write(der.SEQUENCE, kind.raw, der.write(der.context(0), inner)))
    assert_read_as_java_does(wrapped(safes), java)


def test_a_secret_takes_its_alias_away_from_a_trusted_certificate_before_it(made: dict[str, bytes], java: Java) -> None:
    names = ["secret".encode("utf-16-be"), "amazon".encode("utf-16-be")]
    store = wrapped([part.replace(*names) for part in parts(made["secret"])[::-1]])
    found = assert_read_as_java_does(store, java)
    assert PUBLIC[0].sha256 in {e.certificate.sha256 for e in found.entries} - shas(found)
    assert java.sees(store).keys["amazon"] == "secret"


def test_a_mac_made_with_no_password_at_all_is_checked_as_java_checks_it(java: Java) -> None:
    content = der.write(der.SEQUENCE, *parts(pkcs12.build(ROOTS)))
    key = hashlib.sha256(bytes([3]) * 64 + b"saltsalt" * 8).digest()  # RFC 7292, B.2: nothing stands for the password
    digest = der.write(der.OCTET_STRING, hmac.digest(key, content, "sha256"))
    tail = der.write(der.SEQUENCE, scheme(SHA256), digest), der.write(der.OCTET_STRING, b"saltsalt")
    store = wrapped(parts(pkcs12.build(ROOTS)), der.write(der.SEQUENCE, *tail))
    assert shas(assert_read_as_java_does(store, java, password="")) == SHA256S
    assert pkcs12.read(store).complaints == ()
    assert java.sees(pkcs12.add(store, PUBLIC_ROOTS), "").anchors > SHA256S


def test_a_damaged_part_is_told_from_a_wrong_password() -> None:
    junk = der.write(der.SEQUENCE, der.write_oid(DATA_TYPE), der.write(der.context(0), der.write(4, b"junk")))
    for password in (None, GIVEN):
        with pytest.raises(Refused, match="cut off or damaged"):
            pkcs12.read(wrapped([junk]), password)


def wrapped(safes: list[bytes], tail: bytes = b"") -> bytes:
    """Put parts into a file without a MAC, or with what stands in its place."""
    content = der.write(der.context(0), der.write(der.OCTET_STRING, der.write(der.SEQUENCE, *safes)))
    info = der.write(der.SEQUENCE, der.write_oid(DATA_TYPE), content)
    return der.write(der.SEQUENCE, der.write_integer(3), info, tail)


def test_indefinite_lengths_as_bouncy_castle_writes_them_are_read_and_added_to(
    made: dict[str, bytes], java: Java, tmp_path: Path
) -> None:
    version, info, mac = der.read(made["key and trusted"]).parts()
    kind, content = info.parts()
    octets = content.only(der.context(0)).octets()
    pieces = b"".join(der.write(der.OCTET_STRING, octets[at : at + 1000]) for at in range(0, len(octets), 1000))
    end = bytes(2)
    inner = b"\x30\x80" + kind.raw + b"\xa0\x80\x24\x80" + pieces + end * 3
    store = b"\x30\x80" + version.raw + inner + mac.raw + end
    assert assert_read_as_java_does(store, java) == pkcs12.read(made["key and trusted"])
    added = pkcs12.add(store, ROOTS)
    assert shas(assert_read_as_java_does(added, java)) == shas(pkcs12.read(store)) | SHA256S
    assert java.sees(added).keys == {"app": "signs"}
    assert openssl_lists(added, tmp_path / "store") > SHA256S


def test_certificates_that_go_with_keys_are_not_removed(made: dict[str, bytes], java: Java) -> None:
    store = made["key and trusted"]
    everything = frozenset(e.certificate.sha256 for e in pkcs12.read(store).entries)
    left = pkcs12.remove(store, everything)
    assert java.sees(left).trusted == {}
    assert java.sees(left).keys == {"app": "signs"}
    assert len(pkcs12.read(left).entries) == 1
    assert pkcs12.remove(left, everything) is left


def changes(store: bytes, password: Secret | None) -> list[Callable[[], object]]:
    return [
        lambda: pkcs12.read(store, password),
        lambda: pkcs12.add(store, ROOTS, password),
        lambda: pkcs12.remove(store, frozenset(SHA256S), password),
    ]


@pytest.mark.parametrize("name", ["key and trusted", "old"])
def test_a_wrong_password_is_refused_and_not_shown(name: str, made: dict[str, bytes]) -> None:
    for change in changes(made[name], Secret("Tr0ub4dor")):
        with pytest.raises(Refused, match=r"does not fit.*env:NAME or file:PATH") as refused:
            change()
        assert "Tr0ub4dor" not in str(refused.value)


def test_an_encrypted_store_with_another_password_is_refused_and_the_remedy_named(
    openssl: Callable[..., bytes],
) -> None:
    for words in ((), ("-nomac", "-certpbe", "AES-256-CBC")):
        for password in (None, Secret("x")):
            for change in changes(openssl(*words, password="Tr0ub4dor"), password):
                with pytest.raises(Refused, match=r"env:NAME or file:PATH"):
                    change()


def test_a_store_without_encryption_is_read_without_its_password_but_not_changed(java: Java) -> None:
    store = pkcs12.build(ROOTS, Secret("Tr0ub4dor"))
    found = assert_read_as_java_does(store, java, password=None)
    assert shas(found) == SHA256S
    assert "integrity was not checked" in found.doubt
    for change in changes(store, None)[1:]:
        with pytest.raises(Refused, match=r"env:NAME or file:PATH"):
            change()
    assert java.sees(pkcs12.add(store, PUBLIC_ROOTS, Secret("Tr0ub4dor")), "Tr0ub4dor").anchors > SHA256S


SMALL = truststore({"one": ROOTS[0].certificate})
OPEN = wrapped(parts(pkcs12.build(ROOTS[:1])))


def test_cut_at_any_byte_a_store_is_refused() -> None:
    for store in (SMALL, OPEN):
        for end in range(len(store)):
            with pytest.raises(Refused):
                pkcs12.read(store[:end])
        with pytest.raises(Refused, match="cut off or damaged"):
            pkcs12.read(store + b"\0")


def test_a_flipped_byte_is_refused_or_changes_nothing_where_there_is_a_mac() -> None:
    whole = pkcs12.read(SMALL, GIVEN)
    for place in range(len(SMALL)):
        broken = SMALL[:place] + bytes([SMALL[place] ^ 0x41]) + SMALL[place + 1 :]
        with contextlib.suppress(Refused):
            assert pkcs12.read(broken, GIVEN) == whole, place


def scheme(oid: str, *parameters: bytes) -> bytes:
    return der.write(der.SEQUENCE, der.write_oid(oid), *parameters)


def encrypted(algorithm: bytes) -> bytes:
    body = der.write(der.SEQUENCE, der.write_oid(DATA_TYPE), algorithm, der.write(0x80, bytes(16)))
    content = der.write(der.context(0), der.write(der.SEQUENCE, der.write_integer(0), body))
    return der.write(der.SEQUENCE, der.write_oid("1.2.840.113549.1.7.6"), content)


def mac(oid: str, iterations: int = 1) -> bytes:
    digest = der.write(der.SEQUENCE, scheme(oid), der.write(der.OCTET_STRING, bytes(20)))
    return der.write(der.SEQUENCE, digest, der.write(der.OCTET_STRING, b"salt"), der.write_integer(iterations))


def pbe(oid: str, iterations: int) -> bytes:
    how = der.write(der.SEQUENCE, der.write(der.OCTET_STRING, b"salt"), der.write_integer(iterations))
    return encrypted(scheme(oid, how))


RC4, DES3 = "1.2.840.113549.1.12.1.1", "1.2.840.113549.1.12.1.3"
PUBLIC_KEY = der.write(der.SEQUENCE, der.write_oid("1.2.840.113549.1.7.3"), der.write(der.context(0), b"\5\0"))


@pytest.mark.parametrize(
    ("store", "why"),
    [
        (wrapped([], mac("1.2.840.113549.1.5.14")), "PBMAC1.*keytool -list"),
        (wrapped([], mac("1.2.840.113549.2.5")), r"1\.2\.840\.113549\.2\.5.*keytool -list"),
        (wrapped([pbe(RC4, 1)]), r"12\.1\.1, which rdsca does not speak.*keytool -list"),
        (wrapped([PUBLIC_KEY]), "public key.*keytool -list"),
        (wrapped([]).replace(b"\7\1", b"\7\2"), "public key.*keytool -list"),
        (wrapped([], mac(SHA1, 5_000_001)), "more than 5000000 rounds"),
        (wrapped([], mac(SHA1, 2**62)), "more than 5000000 rounds"),
        (wrapped([pbe(DES3, 1_000_000)] * 6), "more than 5000000 rounds"),
        (wrapped([], mac(SHA1, 0)), "0 rounds"),
        (wrapped([pbe(DES3, 1)]), "neither changeit nor empty"),
    ],
)
def test_what_is_not_spoken_or_would_take_forever_is_refused_at_once(store: bytes, why: str) -> None:
    assert pkcs12.recognise(store)
    with pytest.raises(Refused, match=why):
        pkcs12.read(store)


def test_lengths_and_counts_that_are_only_claimed_cost_no_memory() -> None:
    many = der.write(der.SEQUENCE, *[der.write(der.SEQUENCE)] * (der.MOST + 1))
    bag = der.write(der.SEQUENCE, der.write_oid(DATA_TYPE), der.write(der.context(0), b"\5\0"))
    bags = (der.write(der.OCTET_STRING, der.write(der.SEQUENCE, *[bag] * count)) for count in (1, der.MOST))
    filled = [der.write(der.SEQUENCE, der.write_oid(DATA_TYPE), der.write(der.context(0), b)) for b in bags]
    with pytest.raises(Refused, match="more than 100000 entries"):
        pkcs12.read(wrapped(filled))
    tracemalloc.start()
    for store in (
        bytes.fromhex("3084ffffffff0201033084fffffff0"),
        SMALL[:2] + b"\xff\xff" + SMALL[4:],
        wrapped([many]),
    ):
        with pytest.raises(Refused, match="cut off or damaged"):
            pkcs12.read(store)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


def variants(data: bytes, depth: int = 0) -> Iterator[bytes]:
    """Give *data* with one element emptied, doubled, left out, or turned into another, for each of its elements."""
    try:
        elements = der.read_all(data)
    except ValueError:
        return
    for number, element in enumerate(elements):
        before, after = (b"".join(e.raw for e in some) for some in (elements[:number], elements[number + 1 :]))
        others = (b"", element.raw * 2, der.write(element.tag), b"\2\1\2", b"\5\0", b"\x30\0", b"\x04\0")
        inner = variants(element.content, depth + 1) if depth < 20 else ()
        for other in (*others, *(der.write(element.tag, content) for content in inner)):
            yield before + other + after


@pytest.mark.parametrize(
    "store",
    [
        OPEN,
        wrapped([pbe(DES3, 1)], mac(SHA1)),
        wrapped(parts(truststore({"one": ROOTS[0].certificate}))),
        wrapped(parts(pkcs12.build(ROOTS[:1])), mac(SHA256, 2)),
    ],
)
def test_with_any_element_missing_doubled_or_another_a_store_is_read_or_refused(store: bytes) -> None:
    refused = 0
    for data in variants(store):
        try:
            pkcs12.read(data)
        except Refused:
            refused += 1
    assert refused > 50


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from([SMALL, OPEN, wrapped([pbe(DES3, 1)], mac(SHA1))]),
    st.binary(max_size=40),
    st.floats(0, 1),
    st.integers(0, 40),
)
def test_whatever_is_spliced_into_a_store_is_read_or_refused(
    store: bytes, piece: bytes, where: float, dropped: int
) -> None:
    at = int(where * len(store))
    data = store[:at] + piece + store[at + dropped :]
    recognise(data)
    with contextlib.suppress(Refused):
        pkcs12.read(data)
        pkcs12.add(data, ROOTS[:1])
        pkcs12.remove(data, frozenset(SHA256S))


def test_a_password_that_is_no_ascii_is_refused_because_java_refuses_it(
    openssl: Callable[..., bytes], java: Java
) -> None:
    word = "pässwörd ☂ 😀"
    store = openssl(password=word)
    assert java.sees(store, word).error
    found = pkcs12.read(store, Secret(word))
    assert [c for c in found.complaints if c.endswith(JAVA_REFUSED)]
    assert found.keys == 1
    for change in (lambda: pkcs12.add(store, ROOTS, Secret(word)), lambda: pkcs12.build(ROOTS, Secret(word))):
        with pytest.raises(Refused, match="ASCII") as refused:
            change()
        assert word not in str(refused.value)


def test_one_certificate_that_java_cannot_read_makes_it_refuse_the_whole_store(java: Java) -> None:
    bad = b"\x30\x03\x02\x01\x01"
    store = wrapped([pkcs12._plain([pkcs12._trusted_bag("bad", bad), pkcs12._trusted_bag("good", PUBLIC[1].der)])])
    assert java.sees(store).error
    assert [c for c in pkcs12.read(store).complaints if c.endswith(JAVA_REFUSED)]
