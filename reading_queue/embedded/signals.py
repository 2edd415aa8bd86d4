"""Waiting for signals in the main thread, without running anything of ours inside a signal handler.

Volatile. SIGCHLD wakes the waiter too, so that an ended child is seen at once.
"""

from __future__ import annotations

import os
import select
import signal
from types import FrameType, TracebackType
from typing import Final, Self

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_AWAITED: Final = (*STOP_SIGNALS, signal.SIGCHLD)


class SignalWaiter:
    """While open, the awaited signals do nothing but end `wait`. Only for the main thread."""

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, _nothing) for number in _AWAITED}
        self._told_to_stop = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._reader)
        os.close(self._writer)

    def wait(self, timeout_s: float) -> bool:
        """Wait for a signal or the time; return whether SIGTERM or SIGINT has ever come."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        if poll.poll(0 if self._told_to_stop else timeout_s * 1000):
            received = os.read(self._reader, 512)
            self._told_to_stop |= any(number in received for number in STOP_SIGNALS)
        return self._told_to_stop


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Leave it to the pipe."""
