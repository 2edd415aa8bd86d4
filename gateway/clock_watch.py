"""Notices that the machine's clock was set back, and has what waits for a moment of the old time tried now.

Without it a clinic's clock that ran a year ahead and was put right would hold every waiting study back for a year. A
clock set forwards needs nothing: what waits is due a little early. Durable: the moments, in the journal. Volatile: what
the clock was compared with; after a restart only what lies further ahead than anything ever waits is known to be wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from gateway.journal.database import Journal
from gateway.journal.waiting import hurry_after_clock_change

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 5.0
SET_BACK_S_MIN: Final = 2.0  # less is the clock being disciplined
LONGEST_WAIT: Final = timedelta(hours=6)  # more than any back-off, and than any wish of the hub


class ClockWatch:
    """One step of a `Loop`. `on_set_back` is called after the journal says that everything is due."""

    def __init__(
        self,
        journal: Journal,
        *,
        clock: Callable[[], datetime],
        on_set_back: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._on_set_back = on_set_back
        self._monotonic = monotonic
        self._last: tuple[datetime, float] | None = None

    def step(self) -> float:
        """Compare both clocks; return the seconds to the next look."""
        now, running = self._clock(), self._monotonic()
        patience = LONGEST_WAIT
        if self._last is not None:
            moved_s = (now - self._last[0]).total_seconds() - (running - self._last[1])
            if moved_s <= -SET_BACK_S_MIN:
                log.warning("clock_set_back", seconds=round(-moved_s))
                patience = timedelta(0)
        self._last = (now, running)
        hurried = hurry_after_clock_change(self._journal, now, patience)
        if hurried:
            log.warning("waits_ended_after_clock_change", rows=hurried)
            self._on_set_back()
        return LOOK_EVERY_S
