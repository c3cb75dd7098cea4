"""Directories of certificates: what OpenSSL finds in one is what counts, and a root that is added is found."""

from __future__ import annotations

import shutil
import stat
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rdsca_helpers.certs import Certificate, read_pem
from rdsca_helpers.edge.stores import directory
from rdsca_helpers.edge.stores.opening import open_store
from rdsca_helpers.edge.stores.writing import add, remove
from rdsca_helpers.errors import Refused, UsageError
from rdsca_helpers.trust import Root

DATA = Path(__file__).parent / "data"
PUBLIC, _ = read_pem((DATA / "amazon-trust-services-roots.pem").read_text())
ROOTS = [
    Root(c, "rds-ca-rsa2048-g1", "cn-north-1")
    for c in read_pem((DATA / "cn-global-bundle-2026-09-21.pem").read_text())[0]
]


def rehash(folder: Path) -> None:
    subprocess.run(["openssl", "rehash", folder], check=True, capture_output=True)


def hashed(folder: Path, *certificates: Certificate) -> Path:
    folder.mkdir()
    for number, certificate in enumerate(certificates):
        (folder / f"ca{number}.pem").write_text(certificate.pem)
    rehash(folder)
    return folder


def openssl_finds(folder: Path, certificate: Certificate, work: Path) -> bool:
    """Ask a real client: `openssl verify` with nothing but this directory."""
    file = work / "asked.pem"
    file.write_text(certificate.pem)
    words = ["openssl", "verify", "-no-CAfile", "-no-CAstore", "-CApath", folder, file]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def same_name(work: Path, number: int) -> Certificate:
    """Make one of several different roots of one name: they share a hash."""
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj"]
    file = work / f"twin{number}.pem"
    subprocess.run([*words, "/CN=Twin", "-keyout", "/dev/null", "-out", file], check=True, capture_output=True)
    return read_pem(file.read_text())[0][0]


@pytest.mark.parametrize("file", ["amazon-trust-services-roots.pem", "cn-global-bundle-2026-09-21.pem"])
def test_the_hash_is_the_one_that_openssl_looks_for(file: str) -> None:
    for certificate in read_pem((DATA / file).read_text())[0]:
        words = ["openssl", "x509", "-noout", "-subject_hash"]
        said = subprocess.run(words, input=certificate.pem, capture_output=True, text=True, check=True).stdout
        assert directory.subject_hash(certificate) == said.strip()


def test_what_counts_is_what_openssl_finds(tmp_path: Path) -> None:
    folder = hashed(tmp_path / "ca", *PUBLIC[:3])
    (folder / "late.pem").write_text(PUBLIC[3].pem)  # after the rehash, so without a link
    contents = open_store(str(folder)).contents
    assert set(contents.certificates) == {c for c in PUBLIC if openssl_finds(folder, c, tmp_path)} == set(PUBLIC[:3])
    assert [c for c in contents.complaints if "late.pem" in c and "openssl rehash" in c]


def test_a_missing_number_hides_what_comes_after_it(tmp_path: Path) -> None:
    twins = [same_name(tmp_path, n) for n in range(3)]
    folder = hashed(tmp_path / "ca", *twins)
    assert set(open_store(str(folder)).contents.certificates) == set(twins)
    (folder / f"{directory.subject_hash(twins[0])}.1").unlink()
    found = {c for c in twins if openssl_finds(folder, c, tmp_path)}
    contents = open_store(str(folder)).contents
    assert set(contents.certificates) == found
    assert len(found) == 1
    assert len([c for c in contents.complaints if "hash link" in c]) == 2


def test_a_link_under_a_wrong_hash_or_to_nothing_does_not_count(tmp_path: Path) -> None:
    folder = hashed(tmp_path / "ca", PUBLIC[0])
    (folder / "wrong.pem").write_text(PUBLIC[1].pem)
    (folder / "00000000.0").symlink_to("wrong.pem")
    (folder / f"{directory.subject_hash(PUBLIC[2])}.0").symlink_to("nothing.pem")
    contents = open_store(str(folder)).contents
    assert contents.certificates == (PUBLIC[0],)
    assert not openssl_finds(folder, PUBLIC[1], tmp_path)
    assert [c for c in contents.complaints if "00000000.0" in c]


def test_added_roots_are_found_by_openssl_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    folder = hashed(tmp_path / "ca", *PUBLIC[:2])
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    (folder / "ca0.pem").chmod(0o640)
    change = add(open_store(str(folder)), ROOTS[:3])
    assert set(change.added) == {r.certificate.sha256 for r in ROOTS[:3]}
    assert all(openssl_finds(folder, c, tmp_path) for c in [*PUBLIC[:2], *(r.certificate for r in ROOTS[:3])])
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert stat.S_IMODE((folder / f"{ROOTS[0].alias}.pem").stat().st_mode) == 0o640
    after, when = names(folder), folder.stat().st_mtime_ns
    assert add(open_store(str(folder)), ROOTS[:3]).added == ()
    assert (names(folder), folder.stat().st_mtime_ns) == (after, when)
    copy = shutil.copytree(folder, tmp_path / "copy", symlinks=True)
    rehash(copy)
    assert names(copy) == after  # openssl itself would make the same links


def test_a_root_with_a_name_that_is_there_gets_the_next_number(tmp_path: Path) -> None:
    twins = [same_name(tmp_path, n) for n in range(3)]
    folder = hashed(tmp_path / "ca", twins[0])
    add(open_store(str(folder)), [Root(t, f"rds-ca-{n}", "x") for n, t in enumerate(twins)])
    assert all(openssl_finds(folder, t, tmp_path) for t in twins)


def test_a_file_left_without_its_link_by_a_killed_run_is_linked_by_the_next(tmp_path: Path) -> None:
    folder = hashed(tmp_path / "ca", *PUBLIC[:2])
    file = folder / f"{ROOTS[0].alias}.pem"
    file.write_text(ROOTS[0].certificate.pem)
    (folder / f".{file.name}.abcdefgh.part").write_text("half")
    add(open_store(str(folder)), ROOTS[:1])
    assert openssl_finds(folder, ROOTS[0].certificate, tmp_path)
    assert not [name for name in names(folder) if name.endswith(".part")]


def test_a_directory_for_update_ca_certificates_gets_one_crt_for_each_root(tmp_path: Path) -> None:
    folder = tmp_path / "ca-certificates"
    folder.mkdir()
    add(open_store(str(folder)), ROOTS[:1])
    add(open_store(str(folder)), ROOTS[:3])
    assert names(folder) == sorted(f"{r.alias}.crt" for r in ROOTS[:3])
    contents = open_store(str(folder)).contents
    assert set(contents.certificates) == {r.certificate for r in ROOTS[:3]}
    assert contents.complaints == ()


def test_a_bundle_in_one_crt_does_not_count_and_the_trap_is_named(tmp_path: Path) -> None:
    (tmp_path / "all.crt").write_text("".join(c.pem for c in PUBLIC))
    contents = open_store(str(tmp_path)).contents
    assert (len(contents.entries), contents.certificates) == (5, ())
    assert "Java gets the first" in contents.complaints[0]


@pytest.mark.skipif(not Path("/usr/sbin/update-ca-certificates").exists(), reason="needs the package ca-certificates")
def test_update_ca_certificates_takes_what_we_made(tmp_path: Path) -> None:
    local, etc, hooks = tmp_path / "local", tmp_path / "etc", tmp_path / "hooks"
    for folder in (local, etc, hooks, tmp_path / "none"):
        folder.mkdir()
    (tmp_path / "conf").touch()
    add(open_store(str(local)), ROOTS)
    words = ["/usr/sbin/update-ca-certificates", "--certsconf", tmp_path / "conf", "--certsdir", tmp_path / "none"]
    words += ["--localcertsdir", local, "--etccertsdir", etc, "--hooksdir", hooks]
    subprocess.run(words, check=True, capture_output=True)
    assert set(open_store(str(etc / "ca-certificates.crt")).contents.certificates) == {r.certificate for r in ROOTS}
    assert all(openssl_finds(etc, r.certificate, tmp_path) for r in ROOTS)


def test_removal_keeps_what_is_left_findable_and_the_file_as_a_backup(tmp_path: Path) -> None:
    twins = [same_name(tmp_path, n) for n in range(3)]
    folder = hashed(tmp_path / "ca", *twins, PUBLIC[0])
    change = remove(open_store(str(folder)), [twins[0].sha256, "0" * 64])
    assert change.removed == (twins[0].sha256,)
    assert [openssl_finds(folder, c, tmp_path) for c in [*twins, PUBLIC[0]]] == [False, True, True, True]
    (kept,) = folder.glob("ca0.pem.rdsca-*.bak")
    assert kept.read_text() == twins[0].pem
    kept.rename(folder / "ca0.pem")
    rehash(folder)
    assert openssl_finds(folder, twins[0], tmp_path)


def test_a_file_that_holds_others_too_is_not_removed(tmp_path: Path) -> None:
    folder = hashed(tmp_path / "ca", PUBLIC[0])
    (folder / "two.pem").write_text(PUBLIC[1].pem + PUBLIC[2].pem)
    before = names(folder)
    with pytest.raises(Refused, match="holds other certificates too"):
        remove(open_store(str(folder)), [PUBLIC[0].sha256, PUBLIC[1].sha256])
    assert names(folder) == before


def test_a_built_directory_serves_openssl_and_is_the_same_each_time(tmp_path: Path) -> None:
    directory.build(tmp_path / "a", ROOTS)
    directory.build(tmp_path / "b", [*reversed(ROOTS), ROOTS[0]])
    assert directory.digest(tmp_path / "a") == directory.digest(tmp_path / "b")
    assert all(openssl_finds(tmp_path / "a", r.certificate, tmp_path) for r in ROOTS)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o755
    with pytest.raises(UsageError, match="already there"):
        directory.build(tmp_path / "a", ROOTS)
    assert names(tmp_path) == ["a", "asked.pem", "b"]


def test_a_change_since_it_was_read_is_noticed(tmp_path: Path) -> None:
    folder = hashed(tmp_path / "ca", *PUBLIC[:2])
    store = open_store(str(folder))
    (folder / "ca0.pem").write_text(PUBLIC[3].pem)
    before = names(folder)
    with pytest.raises(Refused, match="changed by somebody else"):
        add(store, ROOTS[:1])
    assert names(folder) == before


def test_what_is_no_certificate_is_named_and_a_key_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "a.crt").write_text(PUBLIC[0].pem)
    (tmp_path / "key.pem").write_text(
        "-----BEGIN PRIVATE KEY-----\nc2VjcmV0LWtleS1ieXRlcw==\n-----END PRIVATE KEY-----\n"
    )
    (tmp_path / "page.crt").write_text("<html>")
    (tmp_path / "cut.crt").write_text(PUBLIC[1].pem[:-90])
    (tmp_path / "README").write_text("hello")
    contents = directory.read(tmp_path)
    assert contents.certificates == (PUBLIC[0],)
    assert {c.split()[0].rstrip(":") for c in contents.complaints} == {"key.pem", "page.crt", "cut.crt"}
    assert "c2Vj" not in repr(contents.complaints)


def test_a_directory_in_the_way_of_a_root_is_refused_and_all_new_names_go_again(tmp_path: Path) -> None:
    folder = hashed(tmp_path / "ca", PUBLIC[0])
    roots = sorted(ROOTS, key=lambda root: root.alias)
    (folder / f"{roots[3].alias}.pem").mkdir()
    before = names(folder)
    with pytest.raises(Refused, match="is there and is not a certificate"):
        add(open_store(str(folder)), roots)
    assert names(folder) == before


def test_the_time_of_a_backup_is_in_its_name(tmp_path: Path) -> None:
    folder = hashed(tmp_path / "ca", *PUBLIC[:2])
    sha256s = frozenset([PUBLIC[0].sha256])
    (backup,) = directory.remove(folder, sha256s, datetime(2026, 11, 24, 1, 2, 3, tzinfo=UTC))
    assert backup.name == "ca0.pem.rdsca-20261124T010203Z.bak"
    assert backup.exists()


def test_without_hash_links_openssl_finds_nothing_and_is_told_to_be_refused(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    add(open_store(str(folder)), ROOTS[:1])
    assert not openssl_finds(folder, ROOTS[0].certificate, tmp_path)
    assert "openssl rehash" in open_store(str(folder)).contents.refused_by["openssl"]
    rehash(folder)
    assert openssl_finds(folder, ROOTS[0].certificate, tmp_path)
    assert not open_store(str(folder)).contents.refused_by


@pytest.mark.parametrize("copied", [True, False], ids=["copy", "link"])
def test_a_hash_name_of_a_file_that_openssl_refuses_does_not_count_nor_do_those_after_it(
    tmp_path: Path, copied: bool
) -> None:
    twins = [same_name(tmp_path, n) for n in range(2)]
    folder = hashed(tmp_path / "ca", *twins, PUBLIC[0])
    subject = directory.subject_hash(twins[0])
    broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" + twins[0].pem
    first = folder / f"{subject}.0"
    first.unlink()
    (first if copied else folder / "broken.pem").write_text(broken)
    if not copied:
        first.symlink_to("broken.pem")
    found = {c for c in (*twins, PUBLIC[0]) if openssl_finds(folder, c, tmp_path)}
    assert set(open_store(str(folder)).contents.certificates) == found == {PUBLIC[0]}
