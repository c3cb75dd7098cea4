"""Runs one notebook through papermill: states that are true however it ended, a kernel nobody else can talk to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.manager import AsyncKernelManager
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from papermill.exceptions import PapermillExecutionError

from .edge.files import write_whole
from .edge.folder import free_name
from .errors import Damaged, Stopped

ENGINE = "rdsca"
_CELL_SECONDS = 3 * 3600  # a cell that waits for a wave of rotations takes long; one that hangs must end


@dataclass(frozen=True)
class Ran:
    """How a notebook ended: the file that tells, and the name and text of the error that stopped it, if one did."""

    file: Path
    error: str = ""
    text: str = ""


class Kernels:
    """The kernels that run now, so that an interrupt reaches them all."""

    def __init__(self) -> None:
        """Start with none."""
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._managers: set[PrivateKernelManager] = set()

    def add(self, manager: PrivateKernelManager) -> None:
        """Note a kernel that starts."""
        with self._lock:
            self._managers.add(manager)

    def remove(self, manager: PrivateKernelManager) -> None:
        """Forget a kernel that ended."""
        with self._lock:
            self._managers.discard(manager)

    def interrupt(self) -> None:
        """Interrupt every kernel, as Ctrl-C in JupyterLab does, and let no further notebook begin."""
        self.stopping.set()
        with self._lock:
            for manager in self._managers:
                if pid := getattr(manager.provisioner, "pid", None):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGINT)


KERNELS = Kernels()


class PrivateKernelManager(AsyncKernelManager):
    """A kernel manager whose sockets lie in a folder of their own that only this user can enter.

    Over TCP any user of the machine could listen; and with ``transport="ipc"`` alone all kernels share their names.
    """

    def __init__(self, **keywords: Any) -> None:
        """Make the folder, below the short system path that socket names need."""
        super().__init__(**keywords)
        self._folder = tempfile.mkdtemp(prefix="rdsca-")
        self.transport = "ipc"
        self.ip = str(Path(self._folder) / "s")
        KERNELS.add(self)

    async def _async_cleanup_resources(self, restart: bool = False) -> None:
        """Take the folder away with the kernel."""
        await super()._async_cleanup_resources(restart=restart)
        if not restart:
            shutil.rmtree(self._folder, ignore_errors=True)
            KERNELS.remove(self)

    cleanup_resources = _async_cleanup_resources  # by this name nbclient calls it for a kernel that died


class _TruthfulManager(NotebookExecutionManager):  # type: ignore[misc]
    """Papermill's states, corrected: after a dead kernel, a time-out or an interrupt it calls all cells completed."""

    current: int | None = None
    broken: BaseException | None = None

    def cell_start(self, cell: Any, cell_index: int | None = None, **keywords: Any) -> None:
        if KERNELS.stopping.is_set():  # the interrupt came before this kernel could hear it
            raise Stopped("the run was interrupted")
        self.current = cell_index
        super().cell_start(cell, cell_index, **keywords)

    def cell_complete(self, cell: Any, cell_index: int | None = None, **keywords: Any) -> None:
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None:
            cell.metadata.papermill["status"] = self.FAILED
        super().cell_complete(cell, cell_index, **keywords)

    def notebook_complete(self, **keywords: Any) -> None:
        cells = self.nb.cells
        if self.broken is not None and self.current is not None:
            cell = cells[self.current]
            self.cell_exception(cell, cell_index=self.current)
            if cell.cell_type == "code" and not any(o.output_type == "error" for o in cell.outputs):
                name, text = type(self.broken).__name__, str(self.broken).strip().partition("\n")[0]
                cell.outputs.append(
                    nbformat.v4.new_output("error", ename=name, evalue=text, traceback=[f"{name}: {text}"])
                )
        failed = any(c.metadata.papermill["status"] == self.FAILED for c in cells)
        pending = [c for c in cells if c.metadata.papermill["status"] == self.PENDING]
        super().notebook_complete(**keywords)
        if failed or self.broken is not None:
            self.nb.metadata.papermill["exception"] = True
            for cell in pending:
                cell.metadata.papermill["status"] = "not_run"
            self.save()

    def save(self, **_: Any) -> None:
        """Save whole: a full disk or a kill in mid-write leaves the state before it."""
        if self.output_path:
            write_whole(Path(self.output_path), nbformat.writes(self.nb).encode())
        self.last_save_time = self.now()


class TruthfulEngine(NBClientEngine):  # type: ignore[misc]
    """The papermill engine of the walks."""

    @classmethod
    def execute_notebook(cls, nb: Any, kernel_name: str, output_path: str | None = None, **keywords: Any) -> Any:
        """Execute *nb* and stamp what really happened to each cell."""
        for word in ("progress_bar", "log_output", "autosave_cell_every", "input_path"):
            keywords.pop(word, None)
        manager = _TruthfulManager(nb, output_path=output_path, progress_bar=False)
        manager.notebook_start()
        try:
            cls.execute_managed_notebook(
                manager,
                kernel_name,
                kernel_manager_class=PrivateKernelManager,
                shutdown_kernel="immediate",
                **keywords,
            )
        except BaseException as e:
            manager.broken = e
            raise
        finally:
            manager.notebook_complete()
        return manager.nb


papermill_engines.register(ENGINE, TruthfulEngine)


def run(
    source: Path,
    folder: Path,
    parameters: Mapping[str, str | int],
    *,
    say: Callable[[str], None],
    cell_seconds: int = _CELL_SECONDS,
) -> Ran:
    """Run the notebook *source* and leave it, executed, in *folder* under a name that was free.

    A cell that takes longer than *cell_seconds* is stopped. The executed notebook appears whole or not at all.
    Raises ``Damaged`` when the folder cannot be written.
    """
    if KERNELS.stopping.is_set():
        return Ran(folder / source.name, "KeyboardInterrupt", "not started: the run was interrupted")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise Damaged(f"{folder} cannot be made ({e.strerror})") from None
    part = folder / f".{source.stem}.part.ipynb"
    error = text = ""
    try:
        part.unlink(missing_ok=True)  # left by a run that was killed; it must not be taken for this one
        with _own_loop():
            papermill.execute_notebook(
                _literal(source),
                _literal(part),
                dict(parameters),
                engine_name=ENGINE,
                progress_bar=False,
                start_timeout=300,
                execution_timeout=cell_seconds,
                autosave_cell_every=0,
            )
    except PapermillExecutionError as e:
        error, text = e.ename, e.evalue
    except Exception as e:  # noqa: BLE001  a kernel that died, a time-out, a full disk: each is told in the result
        error, text = type(e).__name__, str(e).strip().partition("\n")[0]
    return _finish(part, free_name(folder, source.name), error, text, say)


def _literal(path: Path) -> str:
    """Write *path* so that papermill, which fills braces with parameters, leaves it as it is."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _finish(part: Path, final: Path, error: str, text: str, say: Callable[[str], None]) -> Ran:
    """Give the executed notebook its final name, with names instead of this machine's paths in its metadata."""
    try:
        notebook = nbformat.read(part, as_version=4)
    except (OSError, ValueError, nbformat.reader.NotJSONError) as e:
        part.unlink(missing_ok=True)
        raise Damaged(f"{final} could not be written whole ({error or type(e).__name__}: {text})") from None
    about = notebook.metadata.papermill
    about["input_path"], about["output_path"] = final.name, final.name
    if not error:
        unfinished = [
            i for i, c in enumerate(notebook.cells) if c.metadata.get("papermill", {}).get("status") == "failed"
        ]
        if unfinished:  # sys.exit(0) in a cell counts as success for papermill
            error, text = "SystemExit", f"cell {unfinished[0] + 1} ended the notebook before its end"
    if error:
        about["exception"] = True  # the last state that a full disk took knows of no error
        for cell in notebook.cells:
            state = cell.metadata.get("papermill", {})
            state["status"] = {"running": "failed", "pending": "not_run"}.get(state.get("status"), state.get("status"))
    write_whole(final, nbformat.writes(notebook).encode())
    part.unlink(missing_ok=True)
    if error:
        say(f"{final.name} stopped: {error}: {text}")
    return Ran(final, error, text)


class _own_loop:  # noqa: N801  used like the context managers of contextlib
    """Give the thread an event loop of its own: walks run in threads, where asyncio makes none."""

    def __enter__(self) -> None:
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)

    def __exit__(self, *_: object) -> None:
        asyncio.set_event_loop(None)
        self._loop.close()
