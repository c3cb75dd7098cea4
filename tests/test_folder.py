"""The run folder: what was kept is found again, and any change to what was sealed is found out."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from makers import NOW, days, every_report, instance, inventory
from test_files import full_disk

from rdsca_helpers.edge import folder
from rdsca_helpers.edge.folder import Journal, RunFolder, check, read_journal, seal
from rdsca_helpers.errors import Damaged, Locked, Refused, UsageError
from rdsca_helpers.model import REPORTS, Inventory, Plan


def small(where: Path) -> Path:
    """A sealed folder with a report, a journal of three lines, a text and an earlier report."""
    run = RunFolder(where)
    run.keep(inventory(meaning="first"))
    run.keep(inventory(meaning="second"))
    run.keep_text("report.html", "<p>é</p>")
    with run.journal() as journal:
        for event in ("about to send", "sent", "verified"):
            journal.write(event, instance="orders")
    seal(where, now=NOW)
    assert check(where) == []
    return where


@pytest.mark.parametrize("kind", REPORTS)
@pytest.mark.parametrize("text", ["é \u202e", "/stores/\udcff not utf-8.pem"])
def test_what_was_kept_is_loaded_again(tmp_path: Path, kind: str, text: str) -> None:
    run, found = RunFolder(tmp_path / "new" / "folder"), every_report(text)[kind]
    run.keep(found)
    assert run.load(type(found)) == found
    assert folder.reports(run.path) == {kind: found}


def test_a_report_that_was_there_moves_aside_and_none_is_lost(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for word in ("one", "two", "three"):
        run.keep(inventory(meaning=word))
    assert run.load(Inventory).meaning == "three"
    earlier = sorted((tmp_path / "earlier").iterdir())
    assert [p.name for p in earlier] == ["inventory.2.json", "inventory.json"]
    assert {json.loads(p.read_text())["meaning"] for p in earlier} == {"one", "two"}


def test_keeping_the_same_report_again_changes_nothing(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    path = run.keep(inventory())
    before = path.stat().st_mtime_ns
    run.keep(inventory())
    assert path.stat().st_mtime_ns == before
    assert not (tmp_path / "earlier").exists()


@pytest.mark.parametrize("room", [0, 100])
def test_on_a_full_disk_the_report_that_was_there_is_still_the_one_there(tmp_path: Path, room: int) -> None:
    run = RunFolder(tmp_path)
    run.keep(inventory(meaning="old"))
    with full_disk(room), pytest.raises(Damaged):
        run.keep(inventory(meaning="new"))
    assert run.load(Inventory).meaning == "old"


def test_a_missing_report_says_which_notebook_to_run(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="run 04-plan"):
        RunFolder(tmp_path).load(Plan)
    assert RunFolder(tmp_path).find(Plan) is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "7", '{"kind": "plan"}', '{"kind": "inventory", "schema": 1, "rows": [1]}', "\udcff"],
)
def test_a_report_that_is_none_is_called_damaged_with_its_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "inventory.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(Damaged, match=r"inventory\.json"):
        RunFolder(tmp_path).load(Inventory)


def test_a_report_under_anothers_name_is_refused(tmp_path: Path) -> None:
    RunFolder(tmp_path).keep(inventory())
    shutil.copy(tmp_path / "inventory.json", tmp_path / "plan.json")
    with pytest.raises(Damaged):
        RunFolder(tmp_path).load(Plan)


def test_an_approval_is_found_again_and_a_damaged_one_is_no_approval(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.approval() is None
    run.approve("ab" * 32, by="Ada", note="change 42", now=NOW)
    assert run.approval() == {"plan": "ab" * 32, "by": "Ada", "note": "change 42", "at": "2026-11-24T07:30:00Z"}
    (tmp_path / "approval.json").write_text("[]")
    with pytest.raises(Damaged):
        run.approval()


# The seal


def test_every_single_changed_byte_in_every_file_of_a_sealed_folder_is_found(tmp_path: Path) -> None:
    sealed = small(tmp_path / "run")
    for path in [p for p in sealed.rglob("*") if p.is_file()]:
        whole = path.read_bytes()
        for place in range(len(whole)):
            for flip in (1, 0x20, 0xFF):
                path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
                assert check(sealed), f"{path.name} at {place} xor {flip}"
        for damaged in (whole[:-1], whole + b"\n", whole + b" ", b""):
            path.write_bytes(damaged)
            assert check(sealed)
        path.write_bytes(whole)
    assert check(sealed) == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    sealed = small(tmp_path / "run")
    for path in [p for p in sealed.rglob("*") if p.is_file() and p.name != "manifest.json"]:
        kept = path.read_bytes()
        path.unlink()
        assert f"{path.relative_to(sealed).as_posix()} is missing" in check(sealed)
        path.write_bytes(kept)
    (sealed / "manifest.json").unlink()
    with pytest.raises(UsageError, match=r"manifest\.json"):
        check(sealed)


@pytest.mark.parametrize(
    "name",
    [
        "new.txt",
        "earlier/new.json",
        "deep/er/x",
        "manifest.json.bak",
        "earlier/manifest.json",
        "report.part.html",
        "x.part",
        ".hidden",
        "orders.particulars.json",
    ],
)
def test_an_added_file_is_found_whatever_its_name(tmp_path: Path, name: str) -> None:
    sealed = small(tmp_path / "run")
    (sealed / name).parent.mkdir(parents=True, exist_ok=True)
    (sealed / name).write_text("")
    assert check(sealed) == [f"{name} is not in the manifest"]


def test_what_jupyter_and_a_killed_write_leave_behind_is_no_evidence(tmp_path: Path) -> None:
    sealed = small(tmp_path / "run")
    (sealed / ".ipynb_checkpoints").mkdir()
    (sealed / ".ipynb_checkpoints" / "01-checkpoint.ipynb").write_text("{}")
    (sealed / ".plan.json.abc123.part").write_text("{")
    assert check(sealed) == []


def test_a_renamed_and_an_exchanged_file_are_found(tmp_path: Path) -> None:
    sealed = small(tmp_path / "run")
    (sealed / "report.html").rename(sealed / "report2.html")
    assert len(check(sealed)) == 2
    (sealed / "report2.html").rename(sealed / "report.html")
    a, b = sealed / "inventory.json", sealed / "earlier" / "inventory.json"
    one, other = a.read_bytes(), b.read_bytes()
    a.write_bytes(other)
    b.write_bytes(one)
    assert len(check(sealed)) == 2


@pytest.mark.parametrize("there", [True, False])
def test_a_file_replaced_by_a_link_is_found(tmp_path: Path, there: bool) -> None:
    sealed = small(tmp_path / "run")
    (sealed / "report.html").unlink()
    (sealed / "report.html").symlink_to(tmp_path if there else tmp_path / "nothing")
    assert check(sealed) == ["report.html was edited"]


def test_a_link_to_nothing_cannot_be_sealed(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to(tmp_path / "nothing")
    with pytest.raises(Damaged, match="x"):
        seal(tmp_path, now=NOW)


def test_a_report_older_than_the_one_it_reads_is_out_of_order(tmp_path: Path) -> None:
    run, reports = RunFolder(tmp_path), every_report()
    run.keep(reports["inventory"])
    run.keep(replace(reports["plan"], made_at=NOW - days(1)))
    seal(tmp_path, now=NOW)
    assert check(tmp_path) == ["plan.json is older than inventory.json, which it reads"]


def test_an_empty_folder_and_one_that_is_not_there_have_nothing_to_check(tmp_path: Path) -> None:
    for where in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UsageError):
            check(where)


# The journal


def written(where: Path, *events: str) -> bytes:
    with Journal(where) as journal:
        for event in events:
            journal.write(event, instance="é", at_most=None)
    return where.read_bytes()


def test_a_journal_is_read_back_in_order(tmp_path: Path) -> None:
    written(tmp_path / "j", "one", "two")
    written(tmp_path / "j", "three")
    with Journal(tmp_path / "j") as journal:
        assert [e["event"] for e in journal.entries] == ["one", "two", "three"]
        assert [e["n"] for e in journal.entries] == [1, 2, 3]


def test_a_last_line_torn_at_any_byte_is_cut_and_the_journal_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "j"
    whole = written(file, "one", "two", "three")
    start = whole.rstrip(b"\n").rfind(b"\n") + 1
    for cut in range(start, len(whole)):
        file.write_bytes(whole[:cut])
        with Journal(file) as journal:
            assert [e["event"] for e in journal.entries] == ["one", "two"]
            journal.write("resumed")
        assert [e["event"] for e in read_journal(file.read_bytes(), file)] == ["one", "two", "resumed"]


def test_any_byte_changed_above_the_last_line_is_damage_that_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "j"
    whole = written(file, "one", "two", "three")
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for place in range(last):
        for flip in (1, 7, 0x20, 0xFF):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
            with pytest.raises(Damaged, match=r"damaged at line [123]"):
                Journal(file)
            assert file.read_bytes() != whole  # and nobody mended it behind our back


def test_a_line_taken_out_put_in_or_moved_is_damage(tmp_path: Path) -> None:
    file = tmp_path / "j"
    a, b, c = written(file, "one", "two", "three").splitlines(keepends=True)
    for changed in (b + c, a + c, a + a + b + c, b + a + c, a + c + b, a + b"\n" + b + c):
        file.write_bytes(changed)
        with pytest.raises(Damaged):
            Journal(file)


def test_a_second_writer_is_refused_while_the_first_writes(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as first:
        first.write("one")
        with pytest.raises(Locked, match="in use by another run"):
            Journal(tmp_path / "j")
        first.write("two")
    written(tmp_path / "j", "three")
    assert len(read_journal((tmp_path / "j").read_bytes(), tmp_path / "j")) == 3


@pytest.mark.parametrize("room", [0, 1, 50, 200])
def test_a_line_that_the_disk_does_not_take_is_damage_and_leaves_the_journal_whole(tmp_path: Path, room: int) -> None:
    file = tmp_path / "j"
    before = written(file, "one")
    with Journal(file) as journal:
        with full_disk(len(before) + room if room else 0), pytest.raises(Damaged, match="cannot be written"):
            journal.write("two", text="x" * 5000)
        assert [e["event"] for e in journal.entries] == ["one"]
    assert [e["event"] for e in read_journal(file.read_bytes(), file)] == ["one"]


def test_a_journal_goes_on_once_there_is_room_again(tmp_path: Path) -> None:
    file = tmp_path / "j"
    with Journal(file) as journal:
        journal.write("one")
        with full_disk(300), pytest.raises(Damaged):
            journal.write("two", text="x" * 5000)
        journal.write("three")
    assert [e["event"] for e in read_journal(file.read_bytes(), file)] == ["one", "three"]


def test_a_journal_that_cannot_be_opened_is_damage(tmp_path: Path) -> None:
    (tmp_path / "j").mkdir()
    with pytest.raises(Damaged, match="cannot be written"):
        Journal(tmp_path / "j")
    (tmp_path / "file").write_text("")
    with pytest.raises(Damaged, match="cannot be written"):
        Journal(tmp_path / "file" / "j")


def test_a_line_is_on_the_disk_when_write_comes_back(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.write("about to send")
        assert b"about to send" in (tmp_path / "j").read_bytes()


def test_names_that_are_taken_are_never_given_again(tmp_path: Path) -> None:
    names: list[Any] = []
    for _ in range(4):
        path = folder.free_name(tmp_path, "01-discover.ipynb")
        path.write_text("")
        names.append(path.name)
    assert names == ["01-discover.ipynb", "01-discover.2.ipynb", "01-discover.3.ipynb", "01-discover.4.ipynb"]


def test_what_instances_are_called_does_not_hide_them_from_the_seal(tmp_path: Path) -> None:
    RunFolder(tmp_path).keep(inventory(instance("orders.part")))
    assert "inventory.json" in json.loads(seal(tmp_path, now=NOW).read_text())["files"]
