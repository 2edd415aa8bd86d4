"""Whose turn it is with a study's directory: arriving instances share it, a move has it alone.

Volatile: a restart begins with nobody waiting.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Any number of arrivals at the same moment, or one mover, which may enter again; waiting movers go first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._arriving = 0
        self._movers_waiting = 0
        self._mover: int | None = None  # its thread
        self._depth = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Keep movers out, not other arrivals; inside, the same thread must not ask to be alone."""
        with self._changed:
            while self._mover is not None or self._movers_waiting:
                self._changed.wait()
            self._arriving += 1
        try:
            yield
        finally:
            with self._changed:
                self._arriving -= 1
                if not self._arriving:
                    self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep everybody else out."""
        me = threading.get_ident()
        with self._changed:
            if self._mover != me:
                self._movers_waiting += 1
                while self._mover is not None or self._arriving:
                    self._changed.wait()
                self._movers_waiting -= 1
                self._mover = me
            self._depth += 1
        try:
            yield
        finally:
            with self._changed:
                self._depth -= 1
                if not self._depth:
                    self._mover = None
                    self._changed.notify_all()
