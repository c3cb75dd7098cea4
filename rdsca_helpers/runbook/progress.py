"""A progress bar as plain text: one line that is written over again, in a terminal and in a notebook."""

from __future__ import annotations

import io
import sys
from typing import Any

from IPython.core.getipython import get_ipython
from IPython.display import display
from tqdm import tqdm


class Bar(tqdm):  # type: ignore[misc]
    """The bar; it draws only when it is told of progress."""

    monitor_interval = 0  # no thread that draws by itself: a notebook would show it in whichever cell runs then


class _NotebookLine(io.StringIO):
    """A line of a notebook's output: the executed notebook keeps its last state, not one line for each."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: Any = display(_Text(""), display_id=True)  # type: ignore[no-untyped-call]

    def write(self, text: str) -> int:
        if line := text.strip("\r\n"):
            self._shown.update(_Text(line))
        return len(text)


class _Text(str):
    """Text that a notebook shows without quotes."""

    __repr__ = str.__str__


def bar(total: int, unit: str, *, shown: bool) -> Bar:
    """Give the bar for *total* steps of one *unit* each, where it is to be *shown*; a file or a pipe gets none."""
    shell = get_ipython()
    if shown and shell and hasattr(shell, "kernel"):
        return Bar(total=total, unit=unit, file=_NotebookLine(), ncols=96, ascii=False)
    return Bar(total=total, unit=unit, file=sys.stdout, disable=not (shown and sys.stdout.isatty()))
