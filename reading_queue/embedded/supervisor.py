"""`counterpart-hub serve`: starts the embedded servers and every role, keeps them alive, stops them in order.

A role that has ended is started again, and so is one that lives and is not heard any more (`heartbeat`).

Volatile, all of it: `run/ready` and `run/children.json` in the data directory tell others what is going on and are
written anew at each start. Killing the supervisor ends everything it started (the kernel tells the children), and the
next `serve` continues with the same data.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

import structlog

from reading_queue.embedded import EmbeddedServerError
from reading_queue.embedded.role import RoleProcess
from reading_queue.embedded.signals import SignalWaiter
from reading_queue.heartbeat import SILENT_AFTER_S

TICK_S: Final = 0.2
ROLES_STOP_S: Final = 6.0
HEALTHY_AFTER_S: Final = 10.0  # a child that lived so long starts at once when it ends
RESTART_DELAYS_S: Final = (0.0, 0.5, 1.0, 2.0, 5.0)

_log = structlog.get_logger(__name__)


class Server(Protocol):
    """An embedded server."""

    name: str

    @property
    def pid(self) -> int | None:
        """Its process id, or None before the first start."""

    def start(self) -> None:
        """Start and return when it answers; raises EmbeddedServerError."""

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""

    def stop(self) -> None:
        """Stop it."""


def restart_delay_s(failures: int) -> float:
    """Return how long to wait before the start after this many failures in a row (from 1)."""
    return RESTART_DELAYS_S[min(failures, len(RESTART_DELAYS_S)) - 1]


class _Child:
    """A server or role under supervision."""

    def __init__(self, process: Server | RoleProcess) -> None:
        self.process = process
        self.restarts = 0
        self.silences = 0
        self._failures = 0
        self._started_at = 0.0
        self._due_at: float | None = None

    def start(self) -> None:
        self.process.start()
        self._started_at, self._due_at = time.monotonic(), None

    def kill_if_silent(self, after_s: float) -> None:
        """Kill a role that runs and is not heard; `restart_if_ended` does the rest."""
        role = self.process
        if isinstance(role, RoleProcess) and role.is_silent(after_s):
            _log.error("role_silent", role=role.name, pid=role.pid)
            self.silences += 1
            role.kill()

    def restart_if_ended(self) -> bool:
        """Start it again when it has ended and its delay is over; return whether it was started."""
        now = time.monotonic()
        status = self.process.poll()
        if status is None:
            return False
        if self._due_at is None:
            self._failures = 1 if now - self._started_at > HEALTHY_AFTER_S else self._failures + 1
            self._due_at = now + restart_delay_s(self._failures)
            _log.error("child_ended", child=self.process.name, status=status, failures=self._failures)
        if now < self._due_at:
            return False
        try:
            self.start()
        except EmbeddedServerError as exc:
            self._failures += 1
            self._due_at = time.monotonic() + restart_delay_s(self._failures)
            _log.error("child_start_failed", child=self.process.name, reason=str(exc))
            return False
        self.restarts += 1
        _log.info("child_restarted", child=self.process.name, pid=self.process.pid)
        return True


class Supervisor:
    """Runs `servers`, then `prepare` once, then `roles`. The caller owns the data directory."""

    def __init__(
        self,
        run_dir: Path,
        *,
        servers: Sequence[Server],
        prepare: Callable[[], None],
        roles: Sequence[RoleProcess],
        is_ready: Callable[[], bool],
        silent_after_s: float = SILENT_AFTER_S,
    ) -> None:
        self._ready_path = run_dir / "ready"
        self._children_path = run_dir / "children.json"
        self._servers = servers
        self._prepare = prepare
        self._roles = roles
        self._is_ready = is_ready
        self._silent_after_s = silent_after_s
        self._ready = False

    def run(self, signals: SignalWaiter) -> None:
        """Run until SIGTERM or SIGINT, then stop everything.

        Raises:
            EmbeddedServerError: a server did not start the first time.
        """
        self._ready_path.unlink(missing_ok=True)
        servers, roles = [_Child(server) for server in self._servers], [_Child(role) for role in self._roles]
        children = [*servers, *roles]
        try:
            for child in servers:
                child.start()
            self._prepare()
            for child in roles:
                child.start()
            self._tell(children)
            while not signals.wait(TICK_S):
                for child in roles:
                    child.kill_if_silent(self._silent_after_s)
                restarted = [child for child in children if child.restart_if_ended()]
                if restarted:
                    self._tell(children)
                self._look_whether_ready(again=any(child.process.name == "web" for child in restarted))
        finally:
            self._stop()

    def _look_whether_ready(self, *, again: bool) -> None:
        if again:
            self._ready = False
            self._ready_path.unlink(missing_ok=True)
        if not self._ready and self._web_is_heard() and self._is_ready():
            self._ready = True
            _write(self._ready_path, "ready\n")
            _log.info("hub_ready")

    def _web_is_heard(self) -> bool:
        """Return whether somebody answers on the socket, which takes connections all the while."""
        return all(role.was_heard for role in self._roles if role.name == "web")

    def _tell(self, children: Sequence[_Child]) -> None:
        told = [
            {"name": one.process.name, "pid": one.process.pid, "restarts": one.restarts, "silences": one.silences}
            for one in children
        ]
        _write(self._children_path, json.dumps(told) + "\n")

    def _stop(self) -> None:
        """Stop the roles together, then the servers, the last started first."""
        _log.info("hub_stopping")
        self._ready_path.unlink(missing_ok=True)
        for role in self._roles:
            role.ask_to_stop()
        until = time.monotonic() + ROLES_STOP_S
        for role in self._roles:
            if not role.await_stop(until):
                _log.warning("role_killed", role=role.name)
        for server in reversed(self._servers):
            server.stop()
        self._children_path.unlink(missing_ok=True)
        _log.info("hub_stopped")


def _write(path: Path, text: str) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text)
    fresh.replace(path)
