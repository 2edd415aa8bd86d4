"""One role of the hub (web, worker, scheduler) as a child process in a process group of its own.

Volatile. The child dies with the supervisor's main thread; what it was doing is launched again from the database.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence

from reading_queue.embedded.programs import dying_with_parent
from reading_queue.heartbeat import Heartbeat, Listener


class RoleProcess:
    """A role that can be started, stopped and started again."""

    def __init__(
        self, name: str, argv: Sequence[str], heartbeat: Heartbeat, *, descriptors: Sequence[int] = ()
    ) -> None:
        """Take what to run; `descriptors` stay open in it, under the same numbers."""
        self.name = name
        self._descriptors = tuple(descriptors)
        self._listener = Listener(heartbeat)
        self._argv = list(argv)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The role's process id, or None before the first start."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the role; what is left of its last process group is killed first."""
        self.kill()
        self._listener.begin()
        self._process = subprocess.Popen(
            [*dying_with_parent(signal.SIGTERM), *self._argv],
            stdin=subprocess.DEVNULL,
            process_group=0,
            pass_fds=self._descriptors,
        )

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs or was never started."""
        return None if self._process is None else self._process.poll()

    @property
    def was_heard(self) -> bool:
        """Whether it has been heard since its start, as of the last `is_silent`."""
        return self._listener.was_heard

    def is_silent(self, after_s: float) -> bool:
        """Return whether it runs and has not been heard for `after_s`."""
        return self._process is not None and self._process.poll() is None and self._listener.hears_nothing(after_s)

    def ask_to_stop(self) -> None:
        """Send SIGTERM; the role ends when it has finished what it is doing."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def await_stop(self, until: float) -> bool:
        """Wait until this moment of `time.monotonic`, then kill its group; return whether it ended by itself."""
        if self._process is None:
            return True
        try:
            self._process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        self.kill()
        return True

    def kill(self) -> None:
        """Kill the role and everything in its process group."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):  # nothing of the group is left
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
