"""Waiting for what real processes do, by asking again and never by sleeping a guessed time."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")


class HasLog(Protocol):
    """Something whose log helps to understand a failure."""

    @property
    def name(self) -> str: ...

    def log(self) -> str: ...


def eventually(
    assertion: Callable[[], T], within_s: float = 10, *, every_s: float = 0.05, logs: Iterable[HasLog] = ()
) -> T:
    """Call `assertion` until it raises no AssertionError and return what it returns.

    Any other exception passes at once. When time is up the last AssertionError is raised, after the end of every log
    of `logs` was printed.
    """
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while True:
        try:
            return assertion()
        except AssertionError:
            if time.monotonic() >= deadline:
                for process in logs:
                    sys.stderr.write(f"--- log of {process.name}\n{process.log()[-8000:]}\n")
                raise
        pause.wait(every_s)


def keeps(promise_s: float, took_s: Callable[[], float], attempts: int = 8) -> None:
    """Fail when each of several attempts took longer than the promise.

    On a machine that does much else any one attempt may be late; what waits too long by itself is late each time.
    """
    seconds: list[float] = []
    for _ in range(attempts):
        seconds.append(took_s())
        if seconds[-1] < promise_s:
            return
    raise AssertionError(f"{attempts} attempts took {seconds} s each, and not {promise_s} s")
