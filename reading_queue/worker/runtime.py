"""What a job is given, opened once in each process.

A connection must not cross a fork, so nothing is opened in the worker's parent process.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reading_queue.services.hub import Hub


@dataclass(frozen=True, slots=True)
class Runtime:
    """The hub, and where the fonts of documents are."""

    hub: Hub
    fonts_dir: Path


class RuntimePerProcess:
    """Opens a Runtime in the process that asks for it, and gives each process its own."""

    def __init__(self, open_runtime: Callable[[], Runtime]) -> None:
        self._open = open_runtime
        self._pid = 0
        self._runtime: Runtime | None = None

    def get(self) -> Runtime:
        """Return this process's Runtime."""
        if self._runtime is None or self._pid != os.getpid():
            self._runtime, self._pid = self._open(), os.getpid()
        return self._runtime

    def open_once(self) -> Runtime:
        """Return a Runtime of the caller's own, who disposes of its engine."""
        return self._open()
