"""Files are written whole or not at all, on a full disk too."""

from __future__ import annotations

import os
import resource
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rdsca_helpers.edge.files import write_whole
from rdsca_helpers.errors import Damaged


@contextmanager
def full_disk(after: int) -> Iterator[None]:
    """Let no file grow beyond *after* bytes: a write then fails in mid-file, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 1, 4096, 99_999])
def test_on_a_full_disk_the_old_file_stays_whole_and_nothing_is_left_beside_it(tmp_path: Path, room: int) -> None:
    file = tmp_path / "plan.json"
    file.write_bytes(b"old")
    with full_disk(room), pytest.raises(Damaged, match=r"plan\.json cannot be written"):
        write_whole(file, b"n" * 100_000)
    assert file.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


def test_a_new_file_is_whole_and_can_be_read_by_others(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"\0" * 70_000)
    assert (tmp_path / "a").read_bytes() == b"\0" * 70_000
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("mode", [0o640, 0o600, 0o444, 0o755])
def test_mode_and_owner_are_those_of_the_file_it_stands_for(tmp_path: Path, mode: int) -> None:
    old = tmp_path / "store.pem"
    old.write_bytes(b"old")
    if os.geteuid() == 0:
        os.chown(old, 12345, 23456)
    old.chmod(mode)
    before = old.stat()
    write_whole(old, b"new", like=old)
    after = old.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert old.read_bytes() == b"new"


def test_extended_attributes_are_kept(tmp_path: Path) -> None:
    old = tmp_path / "store.pem"
    old.write_bytes(b"old")
    try:
        os.setxattr(old, "user.note", b"mine")
    except (AttributeError, OSError):
        pytest.skip("no extended attributes on this file system")
    write_whole(old, b"new", like=old)
    assert os.getxattr(old, "user.note") == b"mine"


@pytest.mark.parametrize("where", ["no/such/folder/a", "x" * 300])
def test_a_path_that_cannot_be_written_is_named(tmp_path: Path, where: str) -> None:
    with pytest.raises(Damaged, match="cannot be written"):
        write_whole(tmp_path / where, b"new")
    assert [p.name for p in tmp_path.iterdir()] == []


def test_a_reader_sees_the_old_file_or_the_new_one_and_never_a_part(tmp_path: Path) -> None:
    file, versions = tmp_path / "a", {bytes([65 + i]) * 300_000 for i in range(6)}
    file.write_bytes(min(versions))
    seen: set[bytes] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(file.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for data in sorted(versions) * 3:
        write_whole(file, data)
    done.set()
    reader.join()
    assert seen <= versions
