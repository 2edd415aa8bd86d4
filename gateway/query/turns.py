"""Few retrievals at once, the urgent first: sending must never keep the gateway from receiving. Volatile throughout."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

LOOK_AGAIN_S: Final = 0.5


class Turns:
    """At most `places` at once; who waits gets a place in the order of rank, then of coming."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: list[tuple[int, int]] = []
        self._tickets = 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, rank: int, goes_on: Callable[[], bool]) -> Iterator[bool]:
        """Wait for a place and hold it; give False when `goes_on` said no, which is asked again and again."""
        has_place = self._take(rank, goes_on)
        try:
            yield has_place
        finally:
            if has_place:
                with self._changed:
                    self._free += 1
                    self._changed.notify_all()

    def _take(self, rank: int, goes_on: Callable[[], bool]) -> bool:
        with self._changed:
            self._tickets += 1
            mine = (rank, self._tickets)
            self._waiting.append(mine)
        try:
            while True:
                with self._changed:
                    if self._free > 0 and min(self._waiting) == mine:
                        self._free -= 1
                        return True
                    self._changed.wait(LOOK_AGAIN_S)
                if not goes_on():
                    return False
        finally:
            with self._changed:
                self._waiting.remove(mine)
                self._changed.notify_all()
