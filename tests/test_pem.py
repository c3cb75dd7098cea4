"""PEM trust stores: added to without losing or moving a byte of what is in them, and read by OpenSSL afterwards."""

from __future__ import annotations

import os
import ssl
import stat
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from test_files import full_disk

from rdsca_helpers.certs import Certificate, read_pem
from rdsca_helpers.edge.stores import pem
from rdsca_helpers.errors import Damaged, RdscaError, Refused, UsageError

DATA = Path(__file__).parent / "data"
ROOTS, _ = read_pem((DATA / "cn-global-bundle-2026-09-21.pem").read_text())
PUBLIC = (DATA / "amazon-trust-services-roots.pem").read_text()


def a_store(folder: Path, content: str | bytes = PUBLIC) -> Path:
    file = folder / "rds.pem"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def names(folder: Path | str) -> list[str]:
    return sorted(p.name for p in Path(folder).iterdir())


def add(file: Path, *roots: Certificate) -> Path | None:
    return pem.add(pem.read(str(file)), roots, comment="added by rdsca")


def openssl_holds(file: Path) -> set[bytes]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=file)
    return set(context.get_ca_certs(binary_form=True))


def storeutl_counts(file: Path) -> int:
    done = subprocess.run(["openssl", "storeutl", "-noout", "-certs", file], capture_output=True, text=True, check=True)
    return int(done.stdout.rpartition("Total found: ")[2])


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
        b"",
        b"# nothing yet",
    ],
    ids=["plain", "no final newline", "CRLF", "BOM", "comments", "text between", "no UTF-8", "empty", "comment only"],
)
def test_what_is_in_the_store_stays_byte_for_byte_and_openssl_loads_old_and_new(
    tmp_path: Path, content: str | bytes
) -> None:
    file = a_store(tmp_path, content)
    before = file.read_bytes()
    held = openssl_holds(file) if b"BEGIN" in before else set()
    backup = add(file, *ROOTS[:2])
    assert backup
    assert file.read_bytes().startswith(before)
    assert backup.read_bytes() == before
    assert openssl_holds(file) == held | {r.der for r in ROOTS[:2]}
    assert storeutl_counts(file) == len(held) + 2


def test_adding_again_writes_nothing_and_keeps_the_time(tmp_path: Path) -> None:
    file = a_store(tmp_path)
    add(file, *ROOTS[:2])
    os.utime(file, ns=(1, 1))
    before = names(tmp_path)
    assert add(file, *ROOTS[:2]) is None
    assert add(file, ROOTS[0]) is None
    assert file.stat().st_mtime_ns == 1
    assert names(tmp_path) == before


def test_the_same_root_asked_for_twice_is_added_once(tmp_path: Path) -> None:
    file = a_store(tmp_path)
    add(file, ROOTS[0], ROOTS[0])
    assert file.read_text().count("BEGIN CERTIFICATE") == 6


def test_a_second_change_in_the_same_second_keeps_the_backup_of_the_first(tmp_path: Path) -> None:
    file = a_store(tmp_path)
    original = file.read_bytes()
    backups = [add(file, root) for root in ROOTS[:4]]
    assert len(set(backups)) == 4
    assert backups[0]
    assert backups[0].read_bytes() == original


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target = a_store(tmp_path / "real")
    chain = tmp_path / "link2"
    (tmp_path / "link1").symlink_to(target)
    chain.symlink_to("link1")
    add(chain, ROOTS[0])
    assert chain.is_symlink()
    assert (tmp_path / "link1").is_symlink()
    assert ROOTS[0].der in openssl_holds(target)


def test_a_loop_of_links_a_dangling_one_and_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "c").symlink_to("nothing")
    for name in ("a", "c", "nothing", "."):
        with pytest.raises(UsageError, match="cannot be read"):
            pem.read(str(tmp_path / name))


def test_mode_and_owner_are_kept_on_store_and_backup(tmp_path: Path) -> None:
    file = a_store(tmp_path)
    if os.geteuid() == 0:
        os.chown(file, 12345, 23456)
    file.chmod(0o640)
    before = file.stat()
    backup = add(file, ROOTS[0])
    assert backup
    for path in (file, backup):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert (path.stat().st_uid, path.stat().st_gid) == (before.st_uid, before.st_gid)


def test_a_file_with_a_second_name_is_refused_and_untouched(tmp_path: Path) -> None:
    file = a_store(tmp_path)
    os.link(file, tmp_path / "other")
    with pytest.raises(Refused, match="hard links"):
        add(file, ROOTS[0])
    assert file.read_text() == PUBLIC
    assert names(tmp_path) == ["other", "rds.pem"]


def as_nobody(what: Callable[[], str]) -> str:
    """Do *what* as a user whom modes bind: root may write everything."""
    if os.geteuid() != 0:
        return what()
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            os.write(writing, what().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        said = answer.read().decode()
    os.waitpid(child, 0)
    return said


@pytest.mark.parametrize(("mode", "above"), [(0o444, 0o777), (0o666, 0o555)], ids=["file", "folder"])
def test_a_store_that_this_user_may_not_write_is_refused_and_untouched(mode: int, above: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = a_store(Path(folder))
        file.chmod(mode)
        Path(folder).chmod(above)

        def attempt() -> str:
            try:
                add(file, ROOTS[0])
            except Refused as e:
                return str(e)
            return "added"

        assert "is read-only here" in as_nobody(attempt)
        Path(folder).chmod(0o777)
        assert file.read_text() == PUBLIC
        assert names(folder) == ["rds.pem"]


@pytest.mark.parametrize(
    "content",
    [
        PUBLIC[:-100],
        " " + PUBLIC,
        PUBLIC.replace("-----END CERTIFICATE-----\n", "-----END CERTIFICATE-----"),
        "-----BEGIN PRIVATE KEY-----\nc2VjcmV0LWtleS1ieXRlcw==\n-----END PRIVATE KEY-----\n" + PUBLIC,
    ],
)
def test_a_store_that_is_not_clean_is_left_to_a_person(tmp_path: Path, content: str) -> None:
    file = a_store(tmp_path, content)
    with pytest.raises(Refused, match="not clean PEM") as refused:
        add(file, ROOTS[0])
    assert "c2VjcmV0" not in str(refused.value)
    assert file.read_bytes() == content.encode()


def test_a_store_changed_since_it_was_read_is_refused(tmp_path: Path) -> None:
    file = a_store(tmp_path)
    store = pem.read(str(file))
    file.write_text(PUBLIC + "# somebody was here\n")
    with pytest.raises(Refused, match="changed by somebody else"):
        pem.add(store, ROOTS[:1], comment="x")
    assert file.read_text().endswith("somebody was here\n")


def test_a_store_removed_since_it_was_read_is_an_error_of_ours(tmp_path: Path) -> None:
    file = a_store(tmp_path)
    store = pem.read(str(file))
    file.unlink()
    with pytest.raises(RdscaError):
        pem.add(store, ROOTS[:1], comment="x")


@pytest.mark.parametrize("room", [0, 100, len(PUBLIC), len(PUBLIC) + 500])
def test_on_a_full_disk_the_store_is_as_it_was(tmp_path: Path, room: int) -> None:
    file = a_store(tmp_path)
    with full_disk(room), pytest.raises(Damaged):
        add(file, ROOTS[0])
    assert file.read_text() == PUBLIC
    assert not [name for name in names(tmp_path) if name.endswith(".part")]


def test_a_name_in_the_comment_cannot_bring_a_line_of_its_own(tmp_path: Path) -> None:
    key, evil = tmp_path / "key", tmp_path / "evil.pem"
    subject = "/CN=x\n-----BEGIN CERTIFICATE-----\nAAAA"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run([*words, "-keyout", key, "-subj", subject, "-out", evil], check=True, capture_output=True)
    (root,), _ = read_pem(evil.read_text())
    file = a_store(tmp_path)
    add(file, root)
    _, complaints = read_pem(file.read_text())
    assert complaints == []
    assert openssl_holds(file) >= {root.der}
