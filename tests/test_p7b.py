"""PKCS#7 bundles: read whole or not at all, written as openssl and keytool read them, the same each time."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from rdsca_helpers.certs import read_pem
from rdsca_helpers.edge.stores import p7b
from rdsca_helpers.edge.stores.kinds import recognise
from rdsca_helpers.edge.stores.opening import open_store
from rdsca_helpers.edge.stores.writing import add
from rdsca_helpers.errors import Refused
from rdsca_helpers.trust import Root

DATA = Path(__file__).parent / "data"
PUBLIC = [Root(c, "public", "x") for c in read_pem((DATA / "amazon-trust-services-roots.pem").read_text())[0]]
ROOTS = [Root(c, "a", "b") for c in read_pem((DATA / "cn-global-bundle-2026-09-21.pem").read_text())[0]]
WRITERS = {"pem": p7b.build, "der": p7b.build_der}


@pytest.mark.parametrize("form", WRITERS)
def test_openssl_reads_what_was_written_and_we_read_what_openssl_writes(tmp_path: Path, form: str) -> None:
    file = tmp_path / "x.p7b"
    file.write_bytes(WRITERS[form](ROOTS + PUBLIC))
    words = ["openssl", "pkcs7", "-print_certs", "-inform", form, "-in", file]
    text = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    expected = {r.certificate for r in ROOTS + PUBLIC}
    assert set(read_pem(text)[0]) == expected
    assert set(open_store(str(file)).contents.certificates) == expected
    made = ["openssl", "crl2pkcs7", "-nocrl", "-outform", form]
    for bundle in ("global-bundle-2026-09-25.pem", "cn-global-bundle-2026-09-21.pem"):
        made += ["-certfile", DATA / bundle]
    theirs = subprocess.run(made, check=True, capture_output=True).stdout
    kind = recognise(theirs)
    assert kind
    assert kind.name == "p7b"
    assert len(p7b.read(theirs).certificates) == 114


@pytest.mark.skipif(not shutil.which("keytool"), reason="needs a JDK (keytool)")
@pytest.mark.parametrize("form", WRITERS)
def test_keytool_reads_what_was_written(tmp_path: Path, form: str) -> None:
    file = tmp_path / "x.p7b"
    file.write_bytes(WRITERS[form](ROOTS))
    said = subprocess.run(["keytool", "-printcert", "-file", file], check=True, capture_output=True, text=True).stdout
    assert said.count("SHA256:") == len(ROOTS)


@pytest.mark.parametrize("form", WRITERS)
def test_the_same_roots_give_the_same_bytes(form: str) -> None:
    assert WRITERS[form](ROOTS) == WRITERS[form]([*reversed(ROOTS), ROOTS[0]])


@pytest.mark.parametrize("form", WRITERS)
def test_cut_at_any_byte_a_bundle_is_refused(form: str) -> None:
    data = WRITERS[form](sorted(ROOTS, key=lambda r: len(r.certificate.der))[:1])
    for end in range(len(data) - 1):
        if recognise(data[:end]):
            with pytest.raises(Refused, match="cut off or damaged"):
                p7b.read(data[:end])


def test_it_is_an_export_that_is_not_added_to_and_the_line_for_windows_is_printed(tmp_path: Path) -> None:
    file = tmp_path / "my bundle.p7b"
    file.write_bytes(p7b.build(PUBLIC))
    before = file.read_bytes()
    with pytest.raises(Refused, match=r"certutil\.exe -addstore Root") as refused:
        add(open_store(str(file)), ROOTS[:1])
    assert "'" + str(file) + "'" in str(refused.value)
    assert file.read_bytes() == before
    assert add(open_store(str(file)), PUBLIC[:1]).note == "nothing to add"
