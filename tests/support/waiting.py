"""Waiting for what real processes do, by asking again and never by sleeping a guessed time."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol, TypeVar

PATIENCE_S: Final = 60.0  # what is over at once on an idle machine is over by then on a busy one

T = TypeVar("T")


class HasLog(Protocol):
    """Something whose log helps to understand a failure."""

    @property
    def name(self) -> str: ...

    def log(self) -> str: ...


def eventually(
    assertion: Callable[[], T], within_s: float = PATIENCE_S, *, every_s: float = 0.05, logs: Iterable[HasLog] = ()
) -> T:
    """Call `assertion` until it raises no AssertionError and return what it returns.

    Any other exception passes at once. When time is up the last AssertionError is raised, after the end of every log
    of `logs` was printed. TypeError: it returned False, which waits for nothing; it must assert.
    """
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while True:
        try:
            found = assertion()
            if found is False:
                raise TypeError("what is waited for must be asserted: False says nothing about time")
            return found
        except AssertionError:
            if time.monotonic() >= deadline:
                for process in logs:
                    sys.stderr.write(f"--- log of {process.name}\n{process.log()[-8000:]}\n")
                raise
        pause.wait(every_s)


def takes(seconds: float, took_s: Callable[[], float], *, within: float, attempts: int = 20) -> None:
    """Fail where any attempt is over too soon, and unless some attempt takes these seconds; `within` is a share.

    What is held back by a clock is never early, and late only on a machine that does much else.
    """
    late: list[float] = []
    while len(late) < attempts:
        took = took_s()
        assert took >= seconds * (1 - within), f"{took} s instead of {seconds} s"
        if took <= seconds * (1 + within):
            return
        late.append(took)
    raise AssertionError(f"never {seconds} s: {late}")


def keeps(promise_s: float, took_s: Callable[[], float], *, in_a_row: int = 3, attempts: int = 20) -> None:
    """Fail unless some attempts in a row take less than the promise.

    On a machine that does much else any one attempt may be late, and one may be carried along by what goes before it;
    what waits too long by itself is late again and again.
    """
    seconds: list[float] = []
    while len(seconds) < attempts:
        seconds.append(took_s())
        if len(seconds) >= in_a_row and max(seconds[-in_a_row:]) < promise_s:
            return
    raise AssertionError(f"never {in_a_row} in a row within {promise_s} s: {seconds}")
