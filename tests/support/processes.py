"""Real processes for tests: started with a log file, awaited by a condition, stopped or killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.support.waiting import PATIENCE_S, eventually


class RunningProcess:
    """A process of its own session, so that killing it never reaches the tests."""

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        log_path: Path,
        name: str = "",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Start `argv`; `env` is added to the environment of the tests."""
        self.name = name or Path(argv[0]).name
        self.log_path = log_path
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("ab") as log:
            self.popen = subprocess.Popen(
                [str(word) for word in argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    def log(self) -> str:
        """Return everything it has printed so far."""
        return self.log_path.read_text(errors="replace")

    def wait_until(self, ready: Callable[[], object], within_s: float = PATIENCE_S) -> None:
        """Return when `ready` is true; fail with the log when the process ends or the time is up."""

        def is_ready() -> None:
            if self.popen.poll() is not None:
                raise RuntimeError(f"{self.name} ended with status {self.popen.returncode}:\n{self.log()[-8000:]}")
            assert ready(), f"{self.name} is not ready"

        eventually(is_ready, within_s, logs=[self])

    def stop(self, within_s: float = PATIENCE_S) -> int:
        """Send SIGTERM and return the exit status; kill the whole session and fail when it does not end in time."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(within_s)
        except subprocess.TimeoutExpired:
            log = self.log()[-8000:]
            self.kill_session()
            raise AssertionError(f"{self.name} did not stop within {within_s} s:\n{log}") from None

    def kill(self) -> None:
        """Send SIGKILL to this process alone."""
        self.popen.kill()
        self.popen.wait()

    def kill_session(self) -> None:
        """Send SIGKILL to this process and to all it started in its process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()


class ProcessStarter:
    """Starts processes with logs in one folder and kills whatever still runs at the end."""

    def __init__(self, log_dir: Path) -> None:
        self._log_dir = log_dir
        self._started: list[RunningProcess] = []

    def start(
        self,
        argv: Sequence[str | Path],
        *,
        name: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        ready: Callable[[], object] | None = None,
        within_s: float = PATIENCE_S,
    ) -> RunningProcess:
        """Start `argv` and return it once `ready` is true."""
        log_path = self._log_dir / f"{name}.log"
        process = RunningProcess(argv, log_path=log_path, name=name, env=env, cwd=cwd)
        self._started.append(process)
        if ready is not None:
            process.wait_until(ready, within_s)
        return process

    def end_all(self) -> None:
        """Kill everything that still runs, latest first."""
        for process in reversed(self._started):
            process.kill_session()
