"""A store that is changed is the old one or the new one, whole, whatever happens, and both can be had again.

Faults are injected into system calls by strace; where it, setfacl or a right is missing, the test says so.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import re
import shutil
import signal
import ssl
import stat
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from test_files import full_disk

from rdsca_helpers.certs import read_pem
from rdsca_helpers.edge.stores import directory, jks, pem, writing
from rdsca_helpers.edge.stores.opening import open_store
from rdsca_helpers.edge.stores.writing import Change, add, backups, remove, restore
from rdsca_helpers.errors import Locked, RdscaError, Refused, UsageError
from rdsca_helpers.trust import Root

DATA = Path(__file__).parent / "data"
ROOTS = [
    Root(c, "rds-ca-rsa2048-g1", "cn-north-1")
    for c in read_pem((DATA / "cn-global-bundle-2026-09-21.pem").read_text())[0]
]
OLD = (DATA / "amazon-trust-services-roots.pem").read_bytes()
NEW = pem.add(OLD, ROOTS[:2])
TWO = tuple(sorted(r.certificate.sha256 for r in ROOTS[:2]))
CHANGES = re.compile(r"\w*(open|write|fsync|rename|link|chown|chmod|xattr|utime|truncate|flock|allocate)\w*")
needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="needs the package strace")


def a_store(folder: Path, content: bytes = OLD) -> Path:
    file = folder / "rds.pem"
    file.write_bytes(content)
    return file


def names(folder: Path | str) -> list[str]:
    return sorted(p.name for p in Path(folder).iterdir())


def add_two(file: Path, **more: bool) -> Change:
    return add(open_store(str(file)), ROOTS[:2], **more)


def said_by(what: Callable[[], object]) -> str:
    """Give what *what* returns, or the name and text of our own error."""
    try:
        return str(what())
    except RdscaError as e:
        return f"{type(e).__name__}: {e}"


def start(what: Callable[[], object]) -> tuple[int, int]:
    """Start *what* in a child process, and give its pid and the pipe on which it says how it went."""
    reading, writing_end = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.close(reading)
            os.write(writing_end, said_by(what).encode())
        except BaseException as e:  # noqa: BLE001 - whatever it is, this test is to see it
            os.write(writing_end, f"DEFECT {e!r}".encode())
        finally:
            os._exit(0)
    os.close(writing_end)
    return child, reading


def finish(child: int, reading: int) -> str:
    with os.fdopen(reading, "rb") as answer:
        said = answer.read().decode()
    os.waitpid(child, 0)
    return said


def in_child(what: Callable[[], object]) -> str:
    return finish(*start(what))


def as_nobody(what: Callable[[], object]) -> str:
    """Do *what* as a user whom modes bind: root may write everything."""

    def dropped() -> object:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        return what()

    return in_child(dropped)


# What a change does


def test_a_change_keeps_a_backup_and_says_what_was_added(tmp_path: Path) -> None:
    file = a_store(tmp_path)
    change = add_two(file)
    assert file.read_bytes() == NEW
    assert change.added == TWO
    assert change.backup
    assert change.backup.read_bytes() == OLD
    assert re.fullmatch(r"rds\.pem\.rdsca-\d{8}T\d{6}Z\.bak", change.backup.name)
    assert names(tmp_path) == ["rds.pem", change.backup.name]


def test_adding_again_writes_nothing_and_keeps_the_time(tmp_path: Path) -> None:
    file = a_store(tmp_path)
    add_two(file)
    os.utime(file, ns=(1, 1))
    before = names(tmp_path)
    change = add_two(file)
    assert (change.added, change.backup) == ((), None)
    assert file.stat().st_mtime_ns == 1
    assert names(tmp_path) == before


def test_a_second_change_in_the_same_second_keeps_the_backup_of_the_first(tmp_path: Path) -> None:
    file = a_store(tmp_path)
    kept = [add(open_store(str(file)), [root]).backup for root in ROOTS[:4]]
    assert len(set(kept)) == 4
    assert kept[0]
    assert kept[0].read_bytes() == OLD
    assert list(backups(str(file))) == list(reversed(kept))


def test_removal_undoes_an_addition_and_never_empties_a_store(tmp_path: Path) -> None:
    file = a_store(tmp_path)
    add_two(file)
    change = remove(open_store(str(file)), [*TWO, "0" * 64])
    assert change.removed == TWO
    assert file.read_bytes() == OLD
    assert remove(open_store(str(file)), TWO).backup is None
    everything = [e.certificate.sha256 for e in open_store(str(file)).contents.entries]
    with pytest.raises(Refused, match="nothing would be left"):
        remove(open_store(str(file)), everything)
    assert file.read_bytes() == OLD


def test_a_restoration_is_shown_first_and_can_itself_be_restored(tmp_path: Path) -> None:
    file = a_store(tmp_path)
    change = add_two(file)
    shown = restore(str(file), apply=False)
    assert (shown.backup, shown.applied, shown.added) == (change.backup, False, ())
    assert shown.removed == TWO
    assert file.read_bytes() == NEW
    done = restore(str(file), apply=True)
    assert file.read_bytes() == OLD
    assert done.saved
    assert done.saved.read_bytes() == NEW
    assert restore(str(file), done.saved.name, apply=True).added == TWO
    assert file.read_bytes() == NEW
    assert restore(str(file), change.backup.name if change.backup else "", apply=True).applied
    assert file.read_bytes() == OLD


def test_to_restore_twice_is_the_same_as_once_and_each_change_is_undone_by_its_own_backup(tmp_path: Path) -> None:
    file = a_store(tmp_path)
    first = add_two(file).backup
    restore(str(file), apply=True)
    before = names(tmp_path)
    again = restore(str(file), apply=True)
    assert (again.backup, again.applied, again.note) == (first, False, writing.ALREADY)
    assert file.read_bytes() == OLD
    assert names(tmp_path) == before
    add_two(file)
    remove(open_store(str(file)), TWO)
    assert restore(str(file), apply=True).added == TWO
    assert file.read_bytes() == NEW


def test_a_backup_of_another_kind_is_refused_where_a_store_stands(tmp_path: Path) -> None:
    file, other = a_store(tmp_path), tmp_path / "store.jks"
    other.write_bytes(jks.build(ROOTS[:1], None))
    for apply in (False, True):
        with pytest.raises(Refused, match=r"of the kind jks, and .*rds\.pem is one of the kind pem"):
            restore(str(file), str(other), apply=apply)
    assert file.read_bytes() == OLD
    file.write_bytes(b"<html>")
    assert restore(str(file), str(other), apply=True).applied
    assert file.read_bytes() == other.read_bytes()


def test_a_store_that_was_deleted_or_broken_is_restored_with_its_mode(tmp_path: Path) -> None:
    file = a_store(tmp_path)
    file.chmod(0o640)
    add_two(file)
    file.unlink()
    assert restore(str(file), apply=True).applied
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (OLD, 0o640)
    file.write_bytes(b"<html>")
    saved = restore(str(file), apply=True).saved
    assert file.read_bytes() == OLD
    assert saved
    assert saved.read_bytes() == b"<html>"


@pytest.mark.parametrize("content", [b"<html>", b"", b"nothing"])
def test_a_backup_that_is_no_store_is_refused(tmp_path: Path, content: bytes) -> None:
    file = a_store(tmp_path)
    (tmp_path / "rds.pem.rdsca-20991231T000000Z.bak").write_bytes(content)
    with pytest.raises(Refused, match="is no trust store"):
        restore(str(file), apply=True)
    assert file.read_bytes() == OLD
    with pytest.raises(UsageError, match="cannot be read"):
        restore(str(file), "no-such-backup", apply=True)
    with pytest.raises(UsageError, match="there is no backup"):
        restore(str(tmp_path / "other.pem"), apply=True)


# What the file is


def test_a_chain_of_links_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target = a_store(tmp_path / "real")
    (tmp_path / "link1").symlink_to(target)
    (tmp_path / "link2").symlink_to("link1")
    change = add_two(tmp_path / "link2")
    assert (tmp_path / "link2").readlink() == Path("link1")
    assert (tmp_path / "link1").is_symlink()
    assert target.read_bytes() == NEW
    assert change.backup
    assert change.backup.parent == tmp_path / "real"
    assert restore(str(tmp_path / "link2"), apply=True).applied
    assert target.read_bytes() == OLD


def test_mode_owner_and_attributes_are_kept_on_store_and_backup(tmp_path: Path) -> None:
    file = a_store(tmp_path)
    if os.geteuid() == 0:
        os.chown(file, 12345, 23456)
    file.chmod(0o640)
    try:
        os.setxattr(file, "user.note", b"mine")
    except OSError:
        pytest.skip("no extended attributes on this file system")
    before = file.stat()
    backup = add_two(file).backup
    assert backup
    for path in (file, backup):
        after = path.stat()
        assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
        assert os.getxattr(path, "user.note") == b"mine"


@pytest.mark.skipif(not shutil.which("setfacl"), reason="needs the package acl (setfacl)")
def test_access_control_lists_are_kept(tmp_path: Path) -> None:
    file = a_store(tmp_path)
    if subprocess.run(["setfacl", "-m", "u:65534:r,g:12345:rw", file], check=False).returncode:
        pytest.skip("no access control lists on this file system")
    before = subprocess.run(["getfacl", "-cn", file], capture_output=True, check=True).stdout
    backup = add_two(file).backup
    for path in (file, backup):
        assert subprocess.run(["getfacl", "-cn", path], capture_output=True, check=True).stdout == before
    assert b"user:65534:r--" in before


def test_hard_links_are_refused_and_changed_in_place_only_when_asked(tmp_path: Path) -> None:
    file = a_store(tmp_path)
    os.link(file, tmp_path / "other")
    with pytest.raises(Refused, match="hard links"):
        add_two(file)
    assert file.read_bytes() == OLD
    assert names(tmp_path) == ["other", "rds.pem"]
    change = add_two(file, in_place=True)
    assert (tmp_path / "other").read_bytes() == NEW
    assert "in place" in change.note
    assert change.backup
    assert change.backup.read_bytes() == OLD
    assert restore(str(file), apply=True, in_place=True).applied
    assert (tmp_path / "other").read_bytes() == OLD


def test_a_file_that_is_mounted_by_itself_is_changed_in_place_only_when_asked(tmp_path: Path) -> None:
    file, outside = a_store(tmp_path), tmp_path / "outside.pem"
    outside.write_bytes(OLD)

    def mounted() -> str:
        if ctypes.CDLL(None, use_errno=True).unshare(0x00020000):
            return "no right"
        for words in (["--make-rprivate", "/"], ["--bind", outside, file]):
            if subprocess.run(["mount", *words], check=False, capture_output=True).returncode:
                return "no right"
        first = said_by(lambda: add_two(file))
        assert outside.read_bytes() == OLD
        assert names(tmp_path) == ["outside.pem", "rds.pem"]
        return f"{first} THEN {add_two(file, in_place=True).note}"

    said = in_child(mounted)
    if said == "no right":
        pytest.skip("needs the right to mount (root)")
    assert re.match(r"Refused: .* is mounted by itself, .* THEN written in place", said), said
    assert outside.read_bytes() == NEW


@pytest.mark.parametrize(("mode", "above"), [(0o444, 0o777), (0o666, 0o555)], ids=["file", "folder"])
def test_a_store_that_this_user_may_not_write_is_refused_and_untouched(mode: int, above: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = a_store(Path(folder))
        file.chmod(mode)
        Path(folder).chmod(above)
        said = as_nobody(lambda: add_two(file))
        Path(folder).chmod(0o777)
        assert re.match("Refused: .* is read-only here", said)
        assert file.read_bytes() == OLD
        assert names(folder) == ["rds.pem"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to have files of two owners")
def test_a_store_whose_owner_cannot_be_kept_is_refused_and_untouched() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = a_store(Path(folder))
        file.chmod(0o666)
        Path(folder).chmod(0o777)
        assert re.match("Refused: .*owner", as_nobody(lambda: add_two(file)))
        assert file.read_bytes() == OLD
        assert names(folder) == ["rds.pem"]


@pytest.mark.parametrize("room", [0, 100, len(OLD), len(OLD) + 500])
@pytest.mark.parametrize("linked", [False, True], ids=["replaced", "in place"])
def test_on_a_full_disk_the_store_is_as_it_was(tmp_path: Path, room: int, linked: bool) -> None:
    file = a_store(tmp_path)
    if linked:
        os.link(file, tmp_path / "other")
    before = names(tmp_path)
    store = open_store(str(file))
    with full_disk(room), pytest.raises(Refused, match=r"disk is full.*the store is as it was"):
        add(store, ROOTS[:1], in_place=True)
    assert file.read_bytes() == OLD
    assert names(tmp_path) == before


@pytest.mark.parametrize(
    "path",
    [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/ssl/certs",
        "/etc/ssl/certs/java/cacerts",
        "/usr/lib/jvm/java-17/lib/security/cacerts",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "/x/lib/python3.12/site-packages/certifi/cacert.pem",
        "/opt/wallet/ewallet.p12",
    ],
)
def test_what_a_package_owns_is_not_added_to(path: str) -> None:
    store = replace(open_store(str(DATA / "amazon-trust-services-roots.pem")), path=Path(path))
    with pytest.raises(Refused, match="would overwrite") as refused:
        add(store, ROOTS[:1])
    assert refused.value.remedy


def test_certifi_is_read_and_added_to_only_when_that_is_asked_for(tmp_path: Path) -> None:
    certifi = pytest.importorskip("certifi")
    assert len(open_store(certifi.where()).contents.certificates) > 100
    with pytest.raises(Refused, match="upgrade of the Python package"):
        add(open_store(certifi.where()), ROOTS[:1])
    (tmp_path / "certifi").mkdir()
    copy = tmp_path / "certifi" / "cacert.pem"
    shutil.copy(certifi.where(), copy)
    assert add(open_store(str(copy)), ROOTS[:1], managed=True).added


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("linked", "hard links"),
        ("managed", "upgrade of the Python package"),
        ("damaged", "OpenSSL"),
        ("foreign", "of the kind jceks"),
    ],
)
def test_a_dry_run_refuses_what_the_change_refuses_and_neither_writes(tmp_path: Path, broken: str, words: str) -> None:
    folder = tmp_path / "certifi"
    folder.mkdir()
    damaged = b"-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0LWtleS1ieXRlcw==\n-----END RSA PRIVATE KEY-----\n"
    content = {"damaged": damaged + OLD, "foreign": b"\xce\xce\xce\xce\0\0\0\2"}.get(broken, OLD)
    file = folder / ("cacert.pem" if broken == "managed" else "rds.pem")
    file.write_bytes(content)
    if broken == "linked":
        os.link(file, folder / "other")
    before = names(folder)
    told = [said_by(lambda dry=dry: add(open_store(str(file)), ROOTS[:2], dry=dry)) for dry in (True, False)]
    assert told[0] == told[1]
    assert re.match(f"Refused: .*{words}", told[0])
    assert "None" not in told[0]
    assert (names(folder), file.read_bytes()) == (before, content)


def test_a_dry_run_of_a_good_change_says_what_it_would_do_and_writes_nothing(tmp_path: Path) -> None:
    file = a_store(tmp_path, NEW)
    (tmp_path / ".rds.pem.abcdefgh.part").touch()
    before = names(tmp_path), file.stat().st_mtime_ns
    store = open_store(str(file))
    assert add(store, ROOTS, dry=True).added == tuple(sorted({r.certificate.sha256 for r in ROOTS} - set(TWO)))
    assert remove(store, TWO, dry=True) == Change(str(file), removed=TWO)
    assert (names(tmp_path), file.stat().st_mtime_ns) == before


@pytest.mark.parametrize(("mode", "above"), [(0o444, 0o777), (0o666, 0o555), (0o666, 0o777)])
def test_a_dry_run_refuses_what_this_user_may_not_write_or_does_not_own(mode: int, above: int) -> None:
    if os.geteuid() != 0 and mode & above & 0o222:
        pytest.skip("needs root, to have files of two owners")
    with tempfile.TemporaryDirectory() as folder:
        file = a_store(Path(folder))
        directory.build(Path(folder) / "many", ROOTS[:1])
        file.chmod(mode)
        Path(folder).chmod(above)
        dry, wet = (as_nobody(lambda d=d: add_two(file, dry=d)) for d in (True, False))
        many = as_nobody(lambda: add(open_store(f"{folder}/many"), ROOTS[:2], dry=True))
        Path(folder).chmod(0o777)
        assert dry == wet
        assert dry.startswith("Refused: ")
        assert os.geteuid() != 0 or "is read-only here" in many


def test_a_name_without_room_for_a_backups_is_refused(tmp_path: Path) -> None:
    file = tmp_path / ("x" * 250)
    file.write_bytes(OLD)
    with pytest.raises(Refused, match="too long a name for a backup"):
        add_two(file)
    assert file.read_bytes() == OLD


# Other writers


def test_a_store_changed_since_it_was_read_is_refused(tmp_path: Path) -> None:
    file = a_store(tmp_path)
    store = open_store(str(file))
    file.write_bytes(OLD + b"# somebody was here\n")
    with pytest.raises(Refused, match="changed by somebody else"):
        add(store, ROOTS[:1])
    assert file.read_bytes().endswith(b"somebody was here\n")
    file.unlink()
    with pytest.raises(Refused, match="is gone"):
        add(store, ROOTS[:1])
    assert names(tmp_path) == []


def test_two_writers_at_once_lose_nothing_and_never_mix(tmp_path: Path) -> None:
    file = a_store(tmp_path, ROOTS[0].certificate.pem.encode())
    started = time.monotonic()

    def writer(mine: list[Root]) -> Callable[[], str]:
        def work() -> str:
            for _ in range(15):
                for change in (
                    lambda: add(open_store(str(file)), mine),
                    lambda: remove(open_store(str(file)), [r.certificate.sha256 for r in mine]),
                ):
                    while "changed by somebody else" in (said := said_by(change)):
                        pass
                    if not said.startswith("Change"):
                        return said
            while "changed by somebody else" in (said := said_by(lambda: add(open_store(str(file)), mine).added)):
                pass
            return said

        return work

    ends = [finish(*pair) for pair in [start(writer(ROOTS[1:3])), start(writer(ROOTS[3:5]))]]
    assert not [end for end in ends if "DEFECT" in end or "Error" in end or "Refused" in end], ends
    assert set(open_store(str(file)).contents.certificates) == {r.certificate for r in ROOTS[:5]}
    whole = [open_store(str(b)) for b in backups(str(file))]
    assert len(whole) > 60
    assert not [s for s in whole if s.contents.complaints]
    assert not [name for name in names(tmp_path) if name.endswith(".part")]
    assert time.monotonic() - started < 200


def test_a_store_that_another_run_holds_is_waited_for_and_then_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = a_store(tmp_path)
    monkeypatch.setattr(writing, "PATIENCE", 0.3)
    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Locked, match="another rdsca"):
            add_two(file)
    assert add_two(file).added
    assert file.read_bytes() == NEW


def test_a_lock_on_a_file_that_was_replaced_meanwhile_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, copy = a_store(tmp_path), tmp_path / "copy"
    copy.write_bytes(OLD)
    monkeypatch.setattr(writing, "PATIENCE", 1.5)
    with file.open("rb") as old, copy.open("rb") as new:
        fcntl.flock(old, fcntl.LOCK_EX)
        fcntl.flock(new, fcntl.LOCK_EX)
        waiting = start(lambda: add_two(file))
        time.sleep(0.5)
        copy.rename(file)
        fcntl.flock(old, fcntl.LOCK_UN)
        assert finish(*waiting).startswith("Locked")
    assert file.read_bytes() == OLD


# Faults, one at each system call


def traced(path: Path, *words: str) -> tuple[str, str]:
    """Add two roots to the store at *path* in a child that strace holds from its first step; give its word and a log.

    A process forked from this one has everything loaded, and its system calls are those of the change alone.
    """
    log = path.parent / "log.strace"

    def held() -> Change:
        ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1))  # PR_SET_PTRACER: a tracer that is no ancestor
        os.kill(os.getpid(), signal.SIGSTOP)
        return add(open_store(str(path)), ROOTS[:2])

    child, reading = start(held)
    os.waitpid(child, os.WUNTRACED)
    tracer = subprocess.Popen(["strace", "-qq", "-o", log, *words, "-p", str(child)], stderr=subprocess.PIPE, text=True)
    try:
        while "TracerPid:\t0" in Path(f"/proc/{child}/status").read_text():
            if tracer.poll() is not None:
                os.kill(child, signal.SIGKILL)
                finish(child, reading)
                pytest.skip(f"strace may not trace here: {tracer.stderr.read() if tracer.stderr else ''}")
            time.sleep(0.001)
        os.kill(child, signal.SIGCONT)
        return finish(child, reading), log.read_text()
    finally:
        tracer.wait()
        if tracer.stderr:
            tracer.stderr.close()


def steps_of(log: str) -> list[tuple[str, int]]:
    """List every system call of an undisturbed change that touches a file: its name, and the how many-eth of it."""
    seen: Counter[str] = Counter()
    found = []
    for line in log.splitlines():
        call = line.partition("(")[0]
        if CHANGES.fullmatch(call):
            seen[call] += 1
            found.append((call, seen[call]))
    return found[:-1]  # the last write is the child's answer to this test


def with_attribute(file: Path) -> Path:
    with contextlib.suppress(OSError):
        os.setxattr(file, "user.note", b"mine")
    return file


def points(folder: Path) -> list[tuple[str, int]]:
    folder.mkdir()
    said, log = traced(with_attribute(a_store(folder)))
    assert said.startswith("Change"), said
    return steps_of(log)


def hit(folder: Path, call: str, number: int, fault: str) -> str:
    """Let one call fail or kill, and see that the store is whole and the next run finishes the work."""
    folder.mkdir()
    file = with_attribute(a_store(folder))
    attributes = os.listxattr(file)
    said, _ = traced(file, "-e", f"trace={call}", "-e", f"inject={call}:{fault}:when={number}")
    where = f"{call} {number} {fault}: {said}"
    now = file.read_bytes()
    assert now in (OLD, NEW), where
    assert os.listxattr(file) == attributes, where
    assert "DEFECT" not in said, where
    if said.startswith("Change"):
        assert now == NEW, where
    elif said.startswith("Damaged"):
        assert "does not read as it was just written" in said, where
        assert now == NEW, where
        assert len(list(folder.glob("*.bak"))) == 1, where
    elif said:
        assert said.startswith(("Refused", "UsageError")), where
        assert now == OLD, where
        assert "unlink" in call or not list(folder.glob("*.bak")), where
    for kept in folder.glob("*.bak"):
        assert kept.read_bytes() == OLD, where
    add(open_store(str(file)), ROOTS[:2])
    assert file.read_bytes() == NEW, where
    add(open_store(str(file)), ROOTS[:3])
    assert not list(folder.glob(".*.part")), where
    return said


@needs_strace
def test_killed_at_any_step_the_store_is_whole_and_the_next_run_cleans_up(tmp_path: Path) -> None:
    steps = points(tmp_path / "plain")
    print(f"killed at {len(steps)} steps")
    assert len(steps) > 20
    said = [hit(tmp_path / f"{i}", *step, "signal=KILL") for i, step in enumerate(steps)]
    assert set(said) == {""}


@needs_strace
@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EROFS", "EPERM"])
def test_an_error_at_any_step_leaves_the_old_store_or_the_new_one_and_says_which(tmp_path: Path, error: str) -> None:
    steps = points(tmp_path / "plain")
    said = [hit(tmp_path / f"{i}", *step, f"error={error}") for i, step in enumerate(steps)]
    print(f"{error} at {len(steps)} steps: {Counter(s.partition(':')[0][:7] for s in said)}")
    assert [s for s in said if s.startswith("Refused")]
    last_fsync = max(i for i, (call, _) in enumerate(steps) if call == "fsync")
    assert writing.UNCONFIRMED in said[last_fsync]


@needs_strace
@pytest.mark.parametrize("fault", ["signal=KILL", "error=ENOSPC"])
def test_in_a_directory_a_root_is_there_whole_or_not_at_all_and_the_next_run_finishes(
    tmp_path: Path, fault: str
) -> None:
    def made(name: str) -> Path:
        folder = tmp_path / name / "ca"
        folder.parent.mkdir()
        directory.build(folder, [Root(c, "public", "x") for c in read_pem(OLD.decode())[0][:2]])
        return folder

    before = {r.certificate for r in ROOTS[:2]}
    said, log = traced(made("plain"))
    assert said.startswith("Change"), said
    steps = steps_of(log)
    print(f"{fault} at {len(steps)} steps")
    for i, (call, number) in enumerate(steps):
        folder = made(str(i))
        old = names(folder)
        said, _ = traced(folder, "-e", f"trace={call}", "-e", f"inject={call}:{fault}:when={number}")
        where = f"{call} {number} {fault}: {said}"
        contents = open_store(str(folder)).contents
        assert len(set(contents.certificates) - before) == 2, where
        assert "DEFECT" not in said, where
        if said.startswith(("Refused", "UsageError")) and not call.startswith("unlink"):
            assert names(folder) == old, where
        add(open_store(str(folder)), ROOTS[:2])
        contents = open_store(str(folder)).contents
        assert before <= set(contents.certificates), where
        assert contents.complaints == (), where
        add(open_store(str(folder)), ROOTS[:3])
        assert not list(folder.glob(".*.part")), where


@needs_strace
def test_a_writer_that_knows_no_locks_is_noticed_before_the_new_store_takes_its_place(tmp_path: Path) -> None:
    file, theirs = a_store(tmp_path), OLD + b"# somebody was here\n"

    def other() -> None:
        while not list(tmp_path.glob(".rds.pem.????????.part")):
            time.sleep(0.005)
        file.write_bytes(theirs)

    thread = threading.Thread(target=other)
    thread.start()
    said, _ = traced(file, "-e", "trace=fsync", "-e", "inject=fsync:delay_enter=1000000:when=3")
    thread.join()
    assert "changed by somebody else" in said
    assert file.read_bytes() == theirs


def test_the_built_in_loader_agrees_with_the_store_that_was_written(tmp_path: Path) -> None:
    file = a_store(tmp_path)
    add(open_store(str(file)), ROOTS)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=file)
    assert {r.certificate.der for r in ROOTS} <= set(context.get_ca_certs(binary_form=True))


def test_what_openssl_would_not_load_is_not_written(tmp_path: Path) -> None:
    """A broken key of an old kind: the text is clean, and OpenSSL refuses the whole file for it."""
    old = b"-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0LWtleS1ieXRlcw==\n-----END RSA PRIVATE KEY-----\n" + OLD
    file = a_store(tmp_path, old)
    with pytest.raises(Refused, match="OpenSSL") as refused:
        add_two(file)
    assert "c2Vj" not in str(refused.value)
    assert file.read_bytes() == old
    assert names(tmp_path) == ["rds.pem"]
