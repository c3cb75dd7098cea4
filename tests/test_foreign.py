"""Stores that rdsca does not write: known by sight, left alone, and the exact lines that look and add."""

from __future__ import annotations

import re
import shlex
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from rdsca_helpers.certs import read_pem
from rdsca_helpers.edge.stores.kinds import all_kinds, recognise
from rdsca_helpers.edge.stores.opening import open_store
from rdsca_helpers.edge.stores.writing import add, remove
from rdsca_helpers.errors import Refused
from rdsca_helpers.trust import Root

DATA = Path(__file__).parent / "data"
ROOTS = [
    Root(c, "rds-ca-rsa2048-g1", "cn-north-1")
    for c in read_pem((DATA / "cn-global-bundle-2026-09-21.pem").read_text())[0]
]
# Magic numbers: JDK's JceKeyStore, Bouncy Castle's BKS and BCFKS, Oracle's auto-login wallet, NSS's cert8.db,
# [MS-OSHARED] 2.3.9.1 for the serialized store, Apple's keychain.
MAGIC = {
    "jceks": bytes.fromhex("cececece00000002"),
    "bks": bytes.fromhex("0000000200000014") + bytes(20),
    "bcfks": bytes.fromhex("3082077d308206a7305f06092a864886f70d01050d3052"),
    "oracle-wallet": bytes.fromhex("a1f84e3600000006"),
    "nss": bytes.fromhex("0006156100000002"),
    "windows": bytes.fromhex("0000000043455254"),
    "macos": b"kych\0\1\0\0",
}


@pytest.mark.parametrize("name", MAGIC)
def test_each_is_known_by_its_first_bytes_and_not_written(tmp_path: Path, name: str) -> None:
    file = tmp_path / "it's a store.pem"
    file.write_bytes(MAGIC[name] + bytes(100))
    store = open_store(str(file))
    assert store.kind.name == store.contents.format == name
    for change in (lambda: add(store, ROOTS[:1]), lambda: remove(store, [ROOTS[0].certificate.sha256])):
        try:
            assert change().note == "nothing to remove"
        except Refused as refused:
            look, line = refused.remedy.removeprefix("run: ").split(" && ")
            assert "it's a store.pem" in " ".join(shlex.split(look)) or str(tmp_path) in look
            assert f"{ROOTS[0].alias}.pem" in shlex.split(line)
    assert file.read_bytes() == MAGIC[name] + bytes(100)
    assert [p.name for p in tmp_path.iterdir()] == [file.name]


def test_a_database_of_nss_is_told_from_any_other_of_sqlite(tmp_path: Path) -> None:
    for name, table in (("cert9.db", "nssPublic"), ("other.db", "customers")):
        connection = sqlite3.connect(tmp_path / name)
        connection.execute(f"CREATE TABLE {table} (id PRIMARY KEY UNIQUE ON CONFLICT ABORT, a0)")
        connection.commit()
        connection.close()
    assert open_store(str(tmp_path / "cert9.db")).kind.name == "nss"
    with pytest.raises(Refused, match="SQLite"):
        open_store(str(tmp_path / "other.db"))
    with pytest.raises(Refused, match=f"certutil -A -d sql:{re.escape(str(tmp_path))} -t C,, "):
        add(open_store(str(tmp_path / "cert9.db")), ROOTS[:1])


def test_an_encrypted_private_key_is_not_taken_for_a_keystore() -> None:
    words = ["openssl", "genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:x", "-outform", "DER"]
    key = subprocess.run(words, check=True, capture_output=True).stdout
    assert recognise(key) is None


@pytest.mark.parametrize("name", sorted({kind.name for kind in all_kinds() if kind.command}))
def test_no_word_of_a_path_reaches_the_shell_as_a_command(tmp_path: Path, name: str) -> None:
    evil = "a b;touch $(id)`id`'\"\n&x/y.db"
    for kind in all_kinds():
        if kind.name == name and kind.command:
            words = shlex.split(kind.command(evil, evil, evil), comments=False)
            folder = evil.rpartition("/")[0]
            assert [w for w in words if folder in w]
            left = [w for w in words if folder not in w]
            assert not [w for w in left if set(w) & set(";$`\"'&")]


@pytest.mark.skipif(not shutil.which("keytool"), reason="needs a JDK (keytool)")
def test_keytool_does_what_the_printed_lines_say(tmp_path: Path) -> None:
    store, certificate = tmp_path / "my trust.jceks", tmp_path / f"{ROOTS[1].alias}.pem"
    first = tmp_path / "first.pem"
    first.write_text(ROOTS[0].certificate.pem)
    certificate.write_text(ROOTS[1].certificate.pem)
    made = ["keytool", "-importcert", "-noprompt", "-storetype", "JCEKS", "-keystore", store, "-alias", "first"]
    subprocess.run([*made, "-file", first, "-storepass", "changeit"], check=True, capture_output=True)
    with pytest.raises(Refused) as refused:
        add(open_store(str(store)), ROOTS[1:2])
    look, line = refused.value.remedy.removeprefix("run: ").split(" && ")
    for command in (line, look):
        done = subprocess.run(
            shlex.split(command), cwd=tmp_path, input="changeit\n", check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert ROOTS[1].alias in done.stdout
