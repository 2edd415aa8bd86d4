"""A thread that does one step, waits as long as the step says, and can be woken; and the end of several threads.

Volatile: everything.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

import structlog

log = structlog.get_logger(__name__)

AFTER_FAILURE_S: Final = 30.0


class Loop:
    """Calls `step` again and again; `step` returns the seconds to wait unless somebody calls `wake`.

    Who is woken waits `gather_s` more, so that what comes at nearly the same time is one step's work.
    """

    def __init__(self, name: str, step: Callable[[], float], *, gather_s: float = 0) -> None:
        self._name = name
        self._step = step
        self._gather_s = gather_s
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; the first step is done at once."""
        self._thread.start()

    def wake(self) -> None:
        """Have the next step done now."""
        self._wake.set()

    def stop(self) -> None:
        """Do no further step; returns at once."""
        self._stopping.set()
        self._wake.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the step under way; return whether it came."""
        return join_threads([self._thread], timeout_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                wait_s = self._step()
            except Exception:  # the border of a thread: it must live on, and the log has the traceback
                log.exception("loop_step_failed", loop=self._name)
                wait_s = AFTER_FAILURE_S
            if not self._stopping.is_set() and self._wake.wait(wait_s):
                self._stopping.wait(self._gather_s)


def join_threads(threads: Iterable[threading.Thread], timeout_s: float) -> bool:
    """Wait at most `timeout_s` altogether for threads, begun or not; return whether none is alive."""
    deadline = time.monotonic() + timeout_s
    waited_for = list(threads)
    for thread in waited_for:
        if thread.is_alive():
            thread.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in waited_for)
