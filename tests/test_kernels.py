"""One notebook through papermill: its states and its result are true, however it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest

from rdsca_helpers import kernels
from rdsca_helpers.errors import Damaged
from rdsca_helpers.kernels import Ran

DIES = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
LISTENS = """
import os, sys
from pathlib import Path
mine = [f"/proc/self/fd/{f}" for f in os.listdir("/proc/self/fd")]
inodes = {os.readlink(f) for f in mine if os.path.lexists(f)}
tcp = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/self/net/{name}").read_text().splitlines()[1:]]
own = f"{sys.stdout.pub_thread._pipe_port:04X}"  # ipykernel's inlet for its own forked children, behind a key
print("listeners:", [row[1] for row in tcp if row[3] == "0A" and f"socket:[{row[9]}]" in inodes and row[1][-4:] != own])
"""


def notebook(folder: Path, *cells: str, name: str = "01-plain") -> Path:
    """Write a notebook with a parameters cell and *cells*."""
    made = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
    )
    made.cells = [nbformat.v4.new_code_cell('where: str = ""', metadata={"tags": ["parameters"]})]
    made.cells += [nbformat.v4.new_code_cell(source) for source in cells]
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.ipynb"
    nbformat.write(made, path)
    return path


def run(source: Path, out: Path, **keywords: Any) -> Ran:
    return kernels.run(source, out, {"where": "here"}, say=lambda _: None, **keywords)


def states(ran: Ran) -> list[str]:
    """Give the states of the cells after the parameters and papermill's own."""
    return [c.metadata.papermill["status"] for c in nbformat.read(ran.file, 4).cells[2:]]


def printed(ran: Ran) -> str:
    cells = nbformat.read(ran.file, 4).cells
    return "".join(o.get("text", "") for c in cells if c.cell_type == "code" for o in c.outputs)


def test_a_good_notebook_is_completed_and_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = run(notebook(tmp_path / "in", 'print("where is", where)', LISTENS), out)
    assert (ran.error, ran.file) == ("", out / "01-plain.ipynb")
    assert states(ran) == ["completed", "completed"]
    assert "where is here" in printed(ran)
    assert "listeners: []" in printed(ran)  # nobody else on this machine can talk to the kernel
    about = nbformat.read(ran.file, 4).metadata.papermill
    assert (about["input_path"], about["output_path"]) == ("01-plain.ipynb", "01-plain.ipynb")
    assert about["exception"] is None
    assert str(tmp_path) not in ran.file.read_text()
    assert [p.name for p in out.iterdir()] == ["01-plain.ipynb"]


def test_an_error_is_told_and_what_came_after_it_did_not_run(tmp_path: Path) -> None:
    said: list[str] = []
    source = notebook(tmp_path, "1", 'raise LookupError("no such thing")', "2")
    ran = kernels.run(source, tmp_path / "out", {}, say=said.append)
    assert (ran.error, ran.text) == ("LookupError", "no such thing")
    assert said == ["01-plain.ipynb stopped: LookupError: no such thing"]
    cells = [c for c in nbformat.read(ran.file, 4).cells if "papermill-error" not in str(c.metadata.get("tags"))]
    assert [c.metadata.papermill["status"] for c in cells if c.cell_type == "code"][1:] == [
        "completed",
        "failed",
        "not_run",
    ]


def test_a_kernel_that_is_killed_leaves_a_failed_cell_and_one_that_did_not_run(tmp_path: Path) -> None:
    ran = run(notebook(tmp_path, "1", DIES, 'print("never")'), tmp_path / "out")
    assert ran.error == "DeadKernelError"
    assert states(ran) == ["completed", "failed", "not_run"]
    assert nbformat.read(ran.file, 4).metadata.papermill["exception"] is True
    assert "never" not in printed(ran)


@pytest.mark.parametrize("last", [True, False])
def test_a_cell_that_takes_too_long_failed_also_when_it_is_the_last(tmp_path: Path, *, last: bool) -> None:
    cells = ["import time; time.sleep(60)", *([] if last else ["2"])]
    ran = run(notebook(tmp_path, *cells), tmp_path / "out", cell_seconds=1)
    assert ran.error == "CellTimeoutError"
    assert states(ran) == ["failed", *([] if last else ["not_run"])]
    assert nbformat.read(ran.file, 4).metadata.papermill["exception"] is True


@pytest.mark.parametrize("last", [True, False])
def test_a_notebook_that_exits_with_0_half_way_did_not_succeed(tmp_path: Path, *, last: bool) -> None:
    cells = ["import sys; sys.exit(0)", *([] if last else ["2"])]
    ran = run(notebook(tmp_path, *cells), tmp_path / "out")
    assert ran.error == "SystemExit"
    assert states(ran) == ["failed", *([] if last else ["not_run"])]


_INTERRUPTED = """
import sys, threading, time
from pathlib import Path
from rdsca_helpers import kernels

source, out, begun = map(Path, sys.argv[1:])

def interrupt():
    while not begun.exists():
        time.sleep(0.02)
    kernels.KERNELS.interrupt()

threading.Thread(target=interrupt).start()
for _ in range(2):
    print(kernels.run(source, out, {"where": str(begun)}, say=lambda _: None))
"""


def test_an_interrupt_stops_the_cell_and_no_other_notebook_begins(tmp_path: Path) -> None:
    source = notebook(tmp_path, "import time, pathlib\npathlib.Path(where).touch()\ntime.sleep(60)", 'print("never")')
    command = [sys.executable, "-c", _INTERRUPTED, source, tmp_path / "out", tmp_path / "begun"]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert time.monotonic() - began < 40
    first, second = done.stdout.splitlines()[-2:]
    assert "error='KeyboardInterrupt'" in first
    assert "not started" in second
    (file,) = (tmp_path / "out").iterdir()
    cells = [c for c in nbformat.read(file, 4).cells if c.cell_type == "code"]
    assert [c.metadata.papermill["status"] for c in cells][-2:] == ["failed", "not_run"]


def test_an_interrupt_that_a_cell_keeps_to_itself_ends_the_walk_all_the_same(tmp_path: Path) -> None:
    swallows = (
        "import time, pathlib\npathlib.Path(where).touch()\n"
        "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    print('kept')"
    )
    source = notebook(tmp_path, swallows, 'print("never")')
    command = [sys.executable, "-c", _INTERRUPTED, source, tmp_path / "out", tmp_path / "begun"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    first, second = done.stdout.splitlines()[-2:]
    assert "error='Stopped'" in first
    assert "not started" in second
    (file,) = (tmp_path / "out").iterdir()
    text = file.read_text()
    assert "kept" in printed(Ran(file))
    assert "never" not in printed(Ran(file))
    assert '"status": "not_run"' in text or '"status": "failed"' in text


_DEAF = """
import sys, threading, time
from pathlib import Path
from rdsca_helpers import kernels

source, out = map(Path, sys.argv[1:])

def interrupt():
    while not list(out.glob(".*.part.ipynb")):  # papermill has begun, the kernel is not there yet
        time.sleep(0.001)
    kernels.KERNELS.interrupt()

threading.Thread(target=interrupt).start()
print(kernels.run(source, out, {}, say=lambda _: None))
"""


def test_an_interrupt_that_comes_before_the_kernel_can_hear_it_lets_no_cell_run(tmp_path: Path) -> None:
    source = notebook(tmp_path, f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()")
    command = [sys.executable, "-c", _DEAF, source, tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "error='Stopped'" in done.stdout
    assert not (tmp_path / "ran").exists()
    (file,) = (tmp_path / "out").iterdir()
    assert {c.metadata.papermill["status"] for c in nbformat.read(file, 4).cells} <= {"not_run", "failed"}


def test_the_notebook_of_an_earlier_run_is_never_overwritten(tmp_path: Path) -> None:
    source, out = notebook(tmp_path / "in", "1"), tmp_path / "out"
    first = run(source, out)
    before = first.file.read_bytes()
    assert run(source, out).file == out / "01-plain.2.ipynb"
    assert first.file.read_bytes() == before


def test_what_a_killed_run_left_is_not_taken_for_this_one(tmp_path: Path) -> None:
    source, out = notebook(tmp_path / "in", "1"), tmp_path / "out"
    left = run(source, out).file
    left.rename(out / ".01-plain.part.ipynb")
    broken = nbformat.read(source, 4)
    broken.metadata.kernelspec.name = "no-such-kernel"
    nbformat.write(broken, source)
    try:
        ran = run(source, out)
    except Damaged:
        assert list(out.iterdir()) == []
    else:
        assert ran.error
        assert "completed" not in states(ran)


def test_a_folder_with_braces_in_its_name_is_a_folder_like_any_other(tmp_path: Path) -> None:
    out = tmp_path / "out {where} {0.__class__}"
    ran = run(notebook(tmp_path / "in", "1"), out)
    assert (ran.error, ran.file) == ("", out / "01-plain.ipynb")


def test_a_folder_that_cannot_be_made_is_damage_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Damaged, match="cannot be made"):
        run(notebook(tmp_path / "in", "1"), tmp_path / "file/out")


def test_a_full_disk_leaves_no_half_notebook_and_the_earlier_one_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "small"
    out.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(out)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here: that takes root")
    try:
        first = run(notebook(tmp_path / "in", "1"), out)
        before = first.file.read_bytes()
        large = notebook(tmp_path / "in", 'print("x" * 200_000)')
        ran = run(large, out)
        assert ran.error == "Damaged"
        assert states(ran) == ["failed"]
        assert nbformat.read(ran.file, 4).metadata.papermill["exception"] is True
        assert first.file.read_bytes() == before
        for file in out.rglob("*"):
            nbformat.read(file, 4)
    finally:
        subprocess.run(["umount", str(out)], check=False)


def test_no_kernel_and_no_socket_folder_is_left_behind(tmp_path: Path) -> None:
    before = set(kernels.KERNELS._managers)
    ran = run(notebook(tmp_path, "import os; print('kernel', os.getpid())", DIES), tmp_path / "out")
    pid = int(printed(ran).split()[1])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIG_DFL)
    assert kernels.KERNELS._managers == before
