"""Measures the line, decides how many uploads fill it, and keeps the limits as plan and people want them.

Durable: the measured speed, the number of streams and the limit that counts, in the journal, so that a restart begins
with what was known. Volatile: samples and trials. `step` is called a few times each second by one thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from gateway.journal.database import Journal
from gateway.journal.line import read_line, save_measured
from gateway.line.budget import LineBudget
from gateway.line.plan import LinePlan
from gateway.line.streams import STREAMS_UNMEASURED, Choice, after_sample
from storage.packs.layout import PACK_BYTES_MAX, PACK_BYTES_MIN

log = structlog.get_logger(__name__)

PACK_BYTES_UNMEASURED: Final = 2 * 1024 * 1024
SMOOTHING: Final = 0.4  # weight of the newest sample
SAMPLE_S: Final = 3.0
SAMPLE_MAX_S: Final = 15.0
SAMPLE_BYTES_MIN: Final = 1024 * 1024  # much more than the system takes from us before the line does
GAP_MAX_S: Final = 0.5  # between two packs a stream waits for an answer; longer, and the line had too little to do
UPLOAD_BYTES_MIN: Final = 64 * 1024  # smaller uploads measure the round trip, not the line
STEP_S: Final = 0.25
SAVE_EVERY_S: Final = 10.0


@dataclass(slots=True)
class _Window:
    """A stretch of time in which `streams` uploads kept the line busy."""

    since: float
    sent_bytes: int
    streams: int
    full_at: float
    held_back: bool = False


class LineWatch:
    """The line as it is now; used by many threads, stepped by one. `clock` returns aware UTC."""

    def __init__(
        self,
        journal: Journal,
        budget: LineBudget,
        plan: LinePlan,
        *,
        streams_max: int,
        seconds_per_pack: float,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._budget = budget
        self._plan = plan
        self._streams_max = streams_max
        self._seconds_per_pack = seconds_per_pack
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        known = read_line(journal)
        self._bytes_per_s = known.measured_bytes_per_s
        self._choice = Choice(streams=min(known.streams or STREAMS_UNMEASURED, streams_max))
        self._window: _Window | None = None
        self._saved_at = monotonic()
        self._saved: tuple[float | None, int, float | None] = (self._bytes_per_s, known.streams or 0, None)
        self._apply_limits()

    @property
    def streams(self) -> int:
        """How many uploads at once fill the line."""
        return self._choice.streams

    @property
    def bytes_per_s(self) -> float | None:
        """How fast uploads go together: the line, or the limit where that is lower; None: not measured yet."""
        known = [speed for speed in (self._bytes_per_s, self._budget.limits.bytes_per_s) if speed]
        return min(known) if known else None

    def pack_bytes(self) -> int:
        """Return how large a pack should be to take the configured seconds of the line."""
        speed = self.bytes_per_s
        if speed is None:
            return PACK_BYTES_UNMEASURED
        return int(min(max(speed * self._seconds_per_pack, PACK_BYTES_MIN), PACK_BYTES_MAX))

    def observe_upload(self, size_bytes: int, seconds: float) -> None:
        """Learn from one finished upload while nothing better is known."""
        with self._lock:
            if self._bytes_per_s is None and size_bytes >= UPLOAD_BYTES_MIN and seconds > 0:
                self._bytes_per_s = size_bytes / seconds

    def step(self) -> float:
        """Look once; return the seconds to the next look."""
        self._apply_limits()
        now = self._monotonic()
        sent_bytes, held_back = self._budget.take_counts()
        on_line = self._budget.on_line()
        running = sum(1 for upload in on_line if not upload.yields)
        with self._lock:
            self._look(now, sent_bytes, running, held_back=held_back or len(on_line) > running)
        if now - self._saved_at >= SAVE_EVERY_S:
            self.save()
        return STEP_S

    def save(self) -> None:
        """Note in the journal what is known, where it has changed."""
        self._saved_at = self._monotonic()
        state = (self._bytes_per_s, self._choice.streams, self._budget.limits.bytes_per_s)
        if state != self._saved:
            self._saved = state
            save_measured(
                self._journal, self._clock(), bytes_per_s=state[0], streams=state[1], limit_bytes_per_s=state[2]
            )

    def _apply_limits(self) -> None:
        asked = read_line(self._journal)
        limits = self._plan.limits_at(
            self._clock(),
            measured_bytes_per_s=self._bytes_per_s,
            wished_bytes_per_s=asked.wished_bytes_per_s,
            paused=asked.paused_at is not None,
        )
        if limits != self._budget.limits:
            log.info("line_limits_changed", bytes_per_s=limits.bytes_per_s, paused=limits.paused)
            self._budget.set_limits(limits)

    def _look(self, now: float, sent_bytes: int, running: int, *, held_back: bool) -> None:
        window = self._window
        if window is None or window.streams != self._choice.streams:
            self._window = _Window(now, sent_bytes, self._choice.streams, now) if running else None
            return
        window.held_back |= held_back
        if running >= window.streams:
            window.full_at = now
        elif now - window.full_at > GAP_MAX_S:
            self._window = None  # too little to do: it says nothing of the line
            return
        took_s, carried = now - window.since, sent_bytes - window.sent_bytes
        if took_s < SAMPLE_S or (carried < SAMPLE_BYTES_MIN and took_s < SAMPLE_MAX_S):
            return
        self._window = _Window(now, sent_bytes, window.streams, now)
        self._learn(carried / took_s, now, held_back=window.held_back)

    def _learn(self, bytes_per_s: float, now: float, *, held_back: bool) -> None:
        known = self._bytes_per_s
        if held_back:
            if known is None or bytes_per_s > known:
                self._bytes_per_s = bytes_per_s  # the line is at least that fast
            return
        self._bytes_per_s = bytes_per_s if known is None else known + SMOOTHING * (bytes_per_s - known)
        before = self._choice.streams
        self._choice = after_sample(self._choice, bytes_per_s, now, streams_max=self._streams_max)
        if self._choice.streams != before:
            log.info("line_streams_changed", streams=self._choice.streams, bytes_per_s=round(bytes_per_s))
