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
