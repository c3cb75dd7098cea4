"""JKS: read as Java sees it, added to and dropped from without touching a key; keytool and Java are the judges."""

from __future__ import annotations

import contextlib
import hashlib
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
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

from rdsca_helpers.edge.stores import jks, pkcs12
from rdsca_helpers.edge.stores.kinds import recognise
from rdsca_helpers.edge.stores.opening import open_store
from rdsca_helpers.errors import Refused
from rdsca_helpers.model import Secret
from rdsca_helpers.trust import JAVA_REFUSED, Root

CACERTS = Path("/etc/ssl/certs/java/cacerts")
GIVEN = Secret(PASSWORD)
PUBLIC_ROOTS = [Root(c, "public", str(n)) for n, c in enumerate(PUBLIC)]
STORES = ("trusted", "key", "two keys", "key and trusted", "chain")


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Java]:
    with running_java(tmp_path_factory.mktemp("java")) as judge:
        yield judge


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Stores by keytool; the second key has a password of its own, and a key's chain ends in a trusted root."""
    pem, folder = DATA / "amazon-trust-services-roots.pem", tmp_path_factory.mktemp("jks")
    issued = ["-signer", "app", "-ext", "bc:c"]
    chains = {
        "a": [importing("trusted", "Amazon", pem), generating("key and trusted", "App")],
        "b": [
            generating("key", "app", "-ext", "bc:c"),
            generating("two keys", "second", "-keypass", "another"),
            generating("chain", "leaf", *issued),
        ],
    }
    return keytool_makes(folder, "JKS", chains)


def opaque(data: bytes) -> bytes:
    """Give all entries of a store as they stand, without the head and the digest."""
    return data[12:-20]


def signed(body: bytes, password: str = PASSWORD) -> bytes:
    """Sign a store as Java does."""
    return body + hashlib.sha1(password.encode("utf-16-be") + b"Mighty Aphrodite" + body).digest()


@pytest.mark.parametrize("name", STORES)
def test_anchors_and_keys_are_those_that_java_finds(name: str, made: dict[str, bytes], java: Java) -> None:
    found, seen = jks.read(made[name]), java.sees(made[name])
    assert {c.sha256 for c in found.certificates} == seen.anchors != set()
    assert found.keys == len(seen.keys)
    assert {e.alias for e in found.entries} == {*seen.keys, *seen.trusted}
    assert found.complaints == ()
    kind = recognise(made[name])
    assert kind is not None
    assert kind.name == "jks"


def test_of_a_keys_chain_java_and_we_take_only_the_first_certificate(made: dict[str, bytes], java: Java) -> None:
    entries = [e for e in jks.read(made["chain"]).entries if e.alias == "leaf"]
    assert [e.anchor for e in entries] == [True, False]
    assert entries[0].certificate.sha256 in java.sees(made["chain"]).anchors


@pytest.mark.parametrize("name", STORES)
def test_roots_are_added_and_everything_else_stays_byte_for_byte(name: str, made: dict[str, bytes], java: Java) -> None:
    added = jks.add(made[name], ROOTS)
    before, after = java.sees(made[name]), java.sees(added)
    assert opaque(added).startswith(opaque(made[name]))
    assert after.anchors == before.anchors | SHA256S
    assert after.trusted == before.trusted | {r.alias: r.certificate.sha256 for r in ROOTS}
    assert after.keys == before.keys
    assert jks.add(added, list(reversed(ROOTS)), GIVEN) == added
    assert jks.remove(added, frozenset(SHA256S)) == made[name]


def test_keys_still_sign_with_their_own_passwords(made: dict[str, bytes], java: Java) -> None:
    added = jks.add(made["two keys"], ROOTS)
    assert java.sees(added).keys["app"] == "signs"
    assert java.sees(added, key_password="another").keys["second"] == "signs"
    assert java.sees(added, key_password="another").keys["app"] != "signs"


def test_keytool_lists_an_added_store_and_edits_it_later(made: dict[str, bytes], tmp_path: Path, java: Java) -> None:
    file = tmp_path / "store"
    file.write_bytes(jks.add(made["key and trusted"], ROOTS))
    said = keytool(file, "-list")
    assert said.count("trustedCertEntry") == len(ROOTS) + 1
    assert said.count("PrivateKeyEntry") == 1
    keytool(file, "-delete", "-alias", "amazon")
    later = jks.read(file.read_bytes())
    assert len(later.certificates) == len(ROOTS) + 1
    assert java.sees(file.read_bytes()).keys == {"app": "signs"}


def test_a_copy_of_the_cacerts_of_this_machine_takes_all_roots(java: Java) -> None:
    if not CACERTS.is_file():
        pytest.skip(f"no {CACERTS}; on Debian: apt-get install ca-certificates-java")
    data = CACERTS.read_bytes()
    if not jks.recognise(data):
        pytest.skip(f"{CACERTS} is no JKS here")
    found, added = jks.read(data), jks.add(data, ROOTS)
    assert {c.sha256 for c in found.certificates} == java.sees(data).anchors
    assert java.sees(added).anchors == {c.sha256 for c in found.certificates} | SHA256S
    assert opaque(added).startswith(opaque(data))
    assert jks.remove(added, frozenset(SHA256S)) == data


def test_all_roots_are_built_into_a_store_that_keytool_lists(tmp_path: Path, java: Java) -> None:
    file = tmp_path / "store"
    file.write_bytes(jks.build(ROOTS))
    assert keytool(file, "-list").count("trustedCertEntry") == len(ROOTS) == 108
    assert java.sees(file.read_bytes()).trusted == {r.alias: r.certificate.sha256 for r in ROOTS}
    assert {c.sha256 for c in jks.read(file.read_bytes()).certificates} == SHA256S


def test_the_same_roots_give_the_same_bytes() -> None:
    assert jks.build(ROOTS) == jks.build([*reversed(ROOTS), ROOTS[0]])


def test_a_store_that_java_wrote_and_we_emptied_is_what_java_writes_empty(java: Java) -> None:
    theirs = java.make("JKS", PASSWORD, PUBLIC)
    assert {c.sha256 for c in jks.read(theirs).certificates} == {c.sha256 for c in PUBLIC}
    emptied = jks.remove(theirs, frozenset(c.sha256 for c in PUBLIC))
    assert emptied == java.make("JKS", PASSWORD, [])
    assert jks.add(emptied, PUBLIC_ROOTS) == jks.build(PUBLIC_ROOTS)


def test_an_entry_is_dated_as_its_certificate_begins(tmp_path: Path) -> None:
    file = tmp_path / "store"
    oldest = min(ROOTS, key=lambda r: r.certificate.not_before)
    file.write_bytes(jks.build([oldest]))
    assert f"{oldest.certificate.not_before:%b %-d, %Y}" in keytool(
        file, "-list", "-J-Duser.language=en", "-J-Duser.timezone=UTC"
    )


def test_a_taken_alias_gets_a_number_and_the_entry_that_has_it_stays(java: Java) -> None:
    named = jks.build([ROOTS[0]])
    body = named[: named.index(b"X.509") + 5] + len(PUBLIC[0].der).to_bytes(4, "big") + PUBLIC[0].der
    seen = java.sees(jks.add(signed(body), [ROOTS[0]]))
    assert seen.trusted == {
        ROOTS[0].alias: PUBLIC[0].sha256,
        f"{ROOTS[0].alias}-2": ROOTS[0].certificate.sha256,
    }


def test_an_alias_in_upper_case_is_lost_to_java_and_its_root_is_added_anew(java: Java) -> None:
    root = ROOTS[0]
    body = jks.build([root])[:-20].replace(root.alias.encode(), root.alias.upper().encode())
    store = signed(body)
    found = jks.read(store)
    assert found.certificates == ()
    assert "not in lower case" in found.complaints[0]
    added = jks.add(store, [root])
    assert java.sees(added).anchors == {root.certificate.sha256}
    assert f"{root.alias}-2" in {e.alias for e in jks.read(added).entries}


def test_of_two_entries_with_one_alias_java_and_we_see_the_last(java: Java) -> None:
    one, two = (jks.build([Root(c, "same", "same")])[12:-20] for c in PUBLIC[:2])
    alias = Root(PUBLIC[0], "same", "same").alias.encode()
    two = two.replace(Root(PUBLIC[1], "same", "same").alias.encode(), alias)
    store = signed(bytes.fromhex("feedfeed 00000002 00000002") + one + two)
    assert {c.sha256 for c in jks.read(store).certificates} == java.sees(store).anchors == {PUBLIC[1].sha256}
    assert "keeps only the last" in jks.read(store).complaints[0]
    assert java.sees(jks.add(store, [Root(PUBLIC[0], "a", "b")])).anchors == {c.sha256 for c in PUBLIC[:2]}


def test_version_1_is_read_and_added_to(java: Java) -> None:
    body = jks.build(PUBLIC_ROOTS)[8:-20].replace(b"\0\5X.509", b"")
    store = signed(bytes.fromhex("feedfeed00000001") + body)
    assert java.sees(store).anchors == {c.sha256 for c in PUBLIC}
    assert java.sees(jks.add(store, ROOTS)).anchors == {c.sha256 for c in PUBLIC} | SHA256S


@pytest.mark.parametrize("password", ["", "pässwörd ☂", "changeit"])
def test_a_store_is_built_added_to_and_read_with_its_password(password: str, java: Java) -> None:
    built = jks.build(PUBLIC_ROOTS, Secret(password))
    added = jks.add(built, ROOTS, Secret(password))
    assert java.sees(added, password).anchors == {c.sha256 for c in PUBLIC} | SHA256S
    assert jks.read(java.make("JKS", password, PUBLIC), Secret(password)).complaints == ()
    assert "incorrect" in java.sees(added, password + "x").error


@pytest.mark.parametrize(
    "change", [jks.read, lambda d, p: jks.add(d, ROOTS, p), lambda d, p: jks.remove(d, frozenset(), p)]
)
def test_a_wrong_password_is_refused_and_not_shown(change: object) -> None:
    with pytest.raises(Refused, match=r"does not fit.*env:NAME or file:PATH") as refused:
        change(jks.build(ROOTS), Secret("Tr0ub4dor"))  # type: ignore[operator]
    assert "Tr0ub4dor" not in str(refused.value)


def test_without_a_fitting_password_a_store_is_read_but_not_changed() -> None:
    store = jks.build(ROOTS, Secret("Tr0ub4dor"))
    found = jks.read(store)
    assert len(found.certificates) == len(ROOTS)
    assert "integrity was not checked" in found.doubt
    for change in (lambda: jks.add(store, PUBLIC_ROOTS), lambda: jks.remove(store, frozenset(SHA256S))):
        with pytest.raises(Refused, match=r"env:NAME or file:PATH"):
            change()


def test_only_trusted_entries_are_removed_and_a_keys_certificate_stays(made: dict[str, bytes]) -> None:
    everything = frozenset(e.certificate.sha256 for e in jks.read(made["key and trusted"]).entries)
    left = jks.read(jks.remove(made["key and trusted"], everything))
    assert [e.alias for e in left.entries] == ["app"]
    assert jks.remove(made["key"], everything) is made["key"]


@pytest.mark.parametrize("name", ["store.jks", "store.p12", "cacerts"])
def test_a_keystore_is_told_by_its_content_not_by_its_name(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    for kind in (jks, pkcs12):
        file.write_bytes(kind.build(ROOTS))
        assert open_store(str(file)).kind is kind.KINDS[0]


def test_cut_at_any_byte_a_store_is_refused(made: dict[str, bytes]) -> None:
    data = made["key and trusted"]
    for end in range(len(data)):
        with pytest.raises(Refused):
            jks.read(data[:end])
    with pytest.raises(Refused, match="behind its last entry"):
        jks.read(data + b"\0")


def test_a_flipped_byte_is_refused_with_the_password_and_does_no_other_harm_without(made: dict[str, bytes]) -> None:
    data = made["key and trusted"]
    for place in range(len(data)):
        broken = data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :]
        with pytest.raises(Refused):
            jks.read(broken, GIVEN)
        with contextlib.suppress(Refused):
            assert "integrity was not checked" in jks.read(broken).doubt


@pytest.mark.parametrize(
    "body",
    [
        "feedfeed 00000002 ffffffff",
        "feedfeed 00000002 00000001 00000002 ffff",
        "feedfeed 00000002 00000001 00000001 000161 0000000000000000 ffffffff",
        "feedfeed 00000002 00000001 00000001 000161 0000000000000000 00000000 ffffffff",
        "feedfeed 00000002 00000001 00000002 000161 0000000000000000 0005582e353039 ffffffff",
        "feedfeed 00000002 00000001 00000002 000161 0000000000000000 0003504750 00000000",
        "feedfeed 00000002 00000001 00000003 000161 0000000000000000",
        "feedfeed 00000002 00000001 00000002 000180 0000000000000000 0005582e353039 00000000",
        "feedfeed 00000003 00000000",
        "cafebabe 00000002 00000000",
    ],
)
def test_hostile_counts_and_lengths_are_refused_and_cost_no_memory(body: str) -> None:
    tracemalloc.start()
    with pytest.raises(Refused, match="cut off or damaged"):
        jks.read(signed(bytes.fromhex(body)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_more_entries_than_a_store_can_have_are_refused() -> None:
    chain = bytes.fromhex("feedfeed 00000001 00000001 00000001 000161 0000000000000000 00000000 000186a0")
    with pytest.raises(Refused, match="more than 100000 entries"):
        jks.read(signed(chain + bytes(4 * 100_000)))


def test_a_certificate_that_does_not_read_is_told_and_the_others_are_seen() -> None:
    junk = bytes.fromhex("00000002 0004 6a756e6b 0000000000000000 0005582e353039 00000003 313233")
    store = signed(bytes.fromhex("feedfeed 00000002 00000002") + junk + jks.build(ROOTS[:1])[12:-20])
    found = jks.read(store)
    assert [c.sha256 for c in found.certificates] == [ROOTS[0].certificate.sha256]
    assert "'junk' cannot be read" in found.complaints[0]
    assert opaque(jks.add(store, ROOTS)).startswith(opaque(store))


SMALL = jks.build(ROOTS[:2])


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=60), st.integers(0, len(SMALL)), st.integers(0, 60))
def test_whatever_is_spliced_into_a_store_is_read_or_refused(piece: bytes, at: int, dropped: int) -> None:
    spliced = SMALL[:at] + piece + SMALL[at + dropped :]
    for data in (spliced, signed(spliced[:-20]), b"\xfe\xed\xfe\xed" + piece):
        recognise(data)
        with contextlib.suppress(Refused):
            jks.read(data)
            jks.add(data, ROOTS[:1])
            jks.remove(data, frozenset(SHA256S))


def test_one_certificate_that_java_cannot_read_makes_it_refuse_the_whole_store(java: Java) -> None:
    good = jks.build(PUBLIC_ROOTS)
    bad = good[12:-20].replace(PUBLIC[0].der, b"\x30\x03\x02\x01\x01" + PUBLIC[0].der[5:])
    store = signed(good[:12] + bad)
    assert java.sees(store).error
    assert [c for c in jks.read(store).complaints if c.endswith(JAVA_REFUSED)]
