"""Whether the hub can be reached, as all requests together show it. Volatile: a restart asks anew."""

from __future__ import annotations

import threading
from collections.abc import Callable


def _nothing(*_: str) -> None:
    return


class Reach:
    """Hears of every request; used by many threads, the callbacks run in that of the request.

    `on_back` is called when an answer comes after failures, `on_reached` with every answer, `on_lost` with words at
    every failure.
    """

    def __init__(
        self,
        *,
        on_reached: Callable[[], None] = _nothing,
        on_back: Callable[[], None] = _nothing,
        on_lost: Callable[[str], None] = _nothing,
    ) -> None:
        self._on_reached = on_reached
        self._on_back = on_back
        self._on_lost = on_lost
        self._lock = threading.Lock()
        self._lost = False

    def note_reached(self) -> None:
        """A usable answer came."""
        with self._lock:
            back, self._lost = self._lost, False
        self._on_reached()
        if back:
            self._on_back()

    def note_unreachable(self, because: str) -> None:
        """No usable answer came; `because` is words for the technician."""
        with self._lock:
            self._lost = True
        self._on_lost(because)
