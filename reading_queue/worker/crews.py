"""One worker as several processes that watch nothing but their own work: its crews, and what is said of them.

Volatile, all of it. The first process loads what jobs need, forks, and from then on only looks after the others: one
that ended or is not heard any more is started again, and the jobs it had are delivered again by the broker. Whatever
ends the first process ends them all (the kernel tells them), so that nothing works on unwatched.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import signal
import struct
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

import structlog

from reading_queue.embedded.signals import SignalWaiter
from reading_queue.embedded.supervisor import HEALTHY_AFTER_S, restart_delay_s
from reading_queue.heartbeat import BEAT_EVERY_S, SILENT_AFTER_S, Listener

TICK_S: Final = 0.5
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_RESET: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)

_log = structlog.get_logger(__name__)


class SharedHeartbeat:
    """When a forked process was last heard, in memory that it shares with the others of its worker."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def beat(self) -> None:
        """Be heard."""
        self._page[:8] = struct.pack("d", time.time())

    def last(self) -> float | None:
        """Return when it was last heard, in seconds since the epoch; None when it never was."""
        (at,) = struct.unpack("d", self._page[:8])
        return at or None


@dataclass(frozen=True)
class Member:
    """One process of the worker: what it does until SIGTERM, and how it is heard."""

    name: str
    work: Callable[[], int]
    heartbeat: SharedHeartbeat
    niceness: int = 0  # above 0 it gets what the others leave of the processors


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that forked it ends; end at once where `parent` has already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(1)


class _Forked:
    """A member's process: started, watched, started again."""

    def __init__(self, member: Member, silent_after_s: float) -> None:
        self._member = member
        self._listener = Listener(member.heartbeat)
        self._silent_after_s = silent_after_s
        self._failures = 0
        self._started_at = 0.0
        self._due_at: float | None = None
        self.pid: int | None = None

    def start(self) -> None:
        self._listener.begin()
        self._started_at, self._due_at = time.monotonic(), None
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _be(self._member, parent)

    def tend(self) -> None:
        """Kill it where it is silent, and start it again when it has ended and its delay is over."""
        if self.pid is not None:
            if self._listener.hears_nothing(self._silent_after_s):
                _log.error("crew_silent", crew=self._member.name, pid=self.pid)
                self.kill()
            self._see_whether_ended()
        if self._due_at is not None and time.monotonic() >= self._due_at:
            self.start()
            _log.info("crew_restarted", crew=self._member.name, pid=self.pid)

    def ask_to_stop(self) -> None:
        if self.pid is not None:
            os.kill(self.pid, signal.SIGTERM)

    def await_end(self) -> None:
        if self.pid is not None:
            os.waitpid(self.pid, 0)
            self.pid = None

    def kill(self) -> None:
        """Kill it; its children end with it."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)

    def _see_whether_ended(self) -> None:
        pid, status = os.waitpid(self.pid or 0, os.WNOHANG)
        if pid == 0:
            return
        now = time.monotonic()
        self.pid = None
        self._failures = 1 if now - self._started_at > HEALTHY_AFTER_S else self._failures + 1
        self._due_at = now + restart_delay_s(self._failures)
        status = os.waitstatus_to_exitcode(status)
        _log.error("crew_ended", crew=self._member.name, status=status, failures=self._failures)


def run_members(members: Sequence[Member], *, beat: Callable[[], None], silent_after_s: float = SILENT_AFTER_S) -> int:
    """Run every member until SIGTERM or SIGINT, then let each finish what it does; a second signal cuts that short.

    Calls `beat` for as long as it looks after them. Only for the main thread of a process without others.
    """
    forked = [_Forked(member, silent_after_s) for member in members]
    beat_due_at = 0.0
    gc.collect()
    gc.freeze()  # what is loaded stays shared: no collection of a member writes to it
    with SignalWaiter() as signals:
        for one in forked:
            one.start()
        while not signals.wait(TICK_S):
            for one in forked:
                one.tend()
            if time.monotonic() >= beat_due_at:
                beat()
                beat_due_at = time.monotonic() + BEAT_EVERY_S
        for one in forked:
            one.ask_to_stop()
    for one in forked:
        one.await_end()
    return 0


def _be(member: Member, parent: int) -> NoReturn:
    """Do the member's work in this forked process, and end it: nothing of the parent's stack runs here."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in _RESET:
            signal.signal(number, signal.SIG_DFL)
        os.setpgid(0, 0)  # Ctrl-C reaches the parent alone, which asks in its own words
        os.nice(member.niceness)
        end_with_parent(parent)
        status = member.work()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 -- the border of a process: whatever it is, it is said before the end
        _log.exception("crew_failed", crew=member.name)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
