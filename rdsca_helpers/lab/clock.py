"""The lab's clock: real time plus an offset, and everything that is still going to happen."""

from __future__ import annotations

import heapq
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta

Action = Callable[[datetime], None]
log = logging.getLogger(__name__)


class Clock:
    """A discrete-event clock: things fall due as time goes by, or all at once when it is put forward.

    Each action is told the time it was due at, so a chain of events keeps its own time over a jump.
    A slow one (a database restart) does not hold up the others, unless time jumps: then all is done
    when `advance` returns.
    """

    def __init__(self) -> None:
        self.errors: list[str] = []
        self._offset = timedelta()
        self._due: list[tuple[datetime, int, Action, bool]] = []
        self._count = 0
        self._changed = threading.Condition()
        self._turn = threading.RLock()
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="lab-event")
        self._running: set[Future[None]] = set()
        self._stopped = False

    def now(self) -> datetime:
        """Say what time it is in the lab."""
        return datetime.now(UTC) + self._offset

    def at(self, when: datetime, action: Action, *, slow: bool = False) -> None:
        """Have *action* run at *when*."""
        with self._changed:
            self._count += 1
            heapq.heappush(self._due, (when, self._count, action, slow))
            self._changed.notify()

    def pending(self) -> int:
        """Count what has not happened yet."""
        with self._changed:
            return len(self._due) + len(self._running)

    def advance(self, by: timedelta) -> datetime:
        """Put the clock forward and do, in order, all that falls due on the way."""
        with self._turn:
            wait(self._running)
            with self._changed:
                self._offset += by
            self._run_due(background=False)
            return self.now()

    def start(self) -> None:
        """Let time pass by itself, in a thread."""
        threading.Thread(target=self._tick, name="lab-clock", daemon=True).start()

    def stop(self) -> None:
        """Let nothing more happen."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._pool.shutdown(cancel_futures=True)

    def _tick(self) -> None:
        while True:
            with self._changed:
                if self._stopped:
                    return
                if not self._due:
                    self._changed.wait()
                elif (left := (self._due[0][0] - self.now()).total_seconds()) > 0:
                    self._changed.wait(min(left, 3600))
            with self._turn:
                self._run_due(background=True)

    def _run_due(self, *, background: bool) -> None:
        while True:
            with self._changed:
                if self._stopped or not self._due or self._due[0][0] > self.now():
                    return
                when, _, action, slow = heapq.heappop(self._due)
            if slow and background:
                done = self._pool.submit(self._run, when, action)
                self._running.add(done)
                done.add_done_callback(self._running.discard)
            else:
                self._run(when, action)

    def _run(self, when: datetime, action: Action) -> None:
        try:
            action(when)
        except Exception as e:
            log.exception("an event of %s failed", when)
            self.errors.append(f"{type(e).__name__}: {e}")
