"""One embedded server: a child process with a log file, awaited until it answers, stopped by signals.

Nothing of it is durable but what the server itself writes. The child dies with this process's main thread.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from reading_queue.embedded import EmbeddedServerError
from reading_queue.embedded.programs import bare_environment

READY_POLL_S = 0.02
LOG_BYTES_MAX = 8 * 1024 * 1024  # a log longer than this starts anew at the next start of its server
LOG_TAIL_BYTES = 2000


class ServerProcess:
    """A running server program. `pid` is the server's own, not that of a wrapper."""

    def __init__(self, name: str, argv: Sequence[str], *, cwd: Path, log_path: Path) -> None:
        self.name = name
        self._log_path = log_path
        log_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = "ab" if not log_path.exists() or log_path.stat().st_size <= LOG_BYTES_MAX else "wb"
        with log_path.open(mode) as log:
            self._process = subprocess.Popen(
                list(argv),
                cwd=cwd,
                env=bare_environment(cwd),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C at the terminal reaches the supervisor alone
            )

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""
        return self._process.poll()

    def wait_until(self, answers: Callable[[], bool], *, within_s: float) -> None:
        """Return when `answers` is true.

        Raises:
            EmbeddedServerError: the server ended, or did not answer in time; the message carries the end of its log.
        """
        deadline = time.monotonic() + within_s
        while not answers():
            try:
                status = self._process.wait(READY_POLL_S)
            except subprocess.TimeoutExpired:
                if time.monotonic() < deadline:
                    continue
                self.stop([(signal.SIGKILL, 5.0)])
                raise self._failure(f"did not answer within {within_s:g} s") from None
            raise self._failure(f"ended with status {status} before it answered")

    def stop(self, signals: Sequence[tuple[signal.Signals, float]]) -> None:
        """Send each signal in turn, each with its patience in seconds, until the server has ended."""
        for what, patience_s in signals:
            if self._process.poll() is not None:
                return
            self._process.send_signal(what)
            try:
                self._process.wait(patience_s)
            except subprocess.TimeoutExpired:
                continue

    def _failure(self, what: str) -> EmbeddedServerError:
        tail = self._log_path.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
        return EmbeddedServerError(f"{self.name} {what}; the end of {self._log_path}:\n{tail}")
