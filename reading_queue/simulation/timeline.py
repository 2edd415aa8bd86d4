"""What is to come, in the order of its time, and the present moment. Pure."""

from __future__ import annotations

import gc
import heapq
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

DAY_S: Final = 86400.0
# At the same moment: what is finished is finished, all who leave have left, what they held is given back, who comes is
# there; then everything else.
FINISHED, LEFT, GIVEN_BACK, CAME, OTHER = range(5)


SLICE_S: Final = 30.0
_Event = tuple[Any, ...]  # time, order, number, handler, then its arguments: one object to fetch from memory


class Timeline:
    """Events in seconds from the beginning of a run; those of the same moment and kind in the order of their making.

    Only those of the present slice of time are in order: what is to come later lies unsorted in its slice, so that an
    event costs the same however many there are.
    """

    def __init__(self, begin: datetime) -> None:
        self.begin, self._zone = begin.astimezone(UTC), begin.tzinfo
        self.now_s = 0.0
        self._now = (0.0, self.begin)
        self._slices: defaultdict[int, list[_Event]] = defaultdict(list)
        self._to_come: list[int] = []  # slices, a heap
        self._reached = -1
        self._events: list[_Event] = []  # of the slice that is reached, a heap
        self._numbers = 0
        self._handlers: dict[Callable[..., None], Callable[..., None]] = {}  # each kept once, not with every event
        self._dates: dict[int, date] = {}

    def at(self, at_s: float, order: int, handle: Callable[..., None], *arguments: Any) -> None:
        """Have something handled at its time."""
        self._numbers += 1
        event = (at_s, order, self._numbers, self._handlers.setdefault(handle, handle), *arguments)
        number = int(at_s // SLICE_S)
        if number <= self._reached:
            heapq.heappush(self._events, event)
            return
        if number not in self._slices:
            heapq.heappush(self._to_come, number)
        self._slices[number].append(event)

    def go_on_until(self, end_s: float) -> None:
        """Handle every event before the end; then it is the end.

        A run keeps what it makes: the search for unreachable cycles would go through all of it again and again.
        """
        was_on = gc.isenabled()
        gc.disable()
        try:
            self._handle_until(end_s)
        finally:
            if was_on:
                gc.enable()
        self.now_s = end_s

    def _handle_until(self, end_s: float) -> None:
        while self._events or self._reach_next():
            if self._events[0][0] >= end_s:
                return
            event = heapq.heappop(self._events)
            self.now_s = event[0]
            event[3](*event[4:])

    def _reach_next(self) -> bool:
        if not self._to_come:
            return False
        self._reached = heapq.heappop(self._to_come)
        self._events = self._slices.pop(self._reached)
        heapq.heapify(self._events)
        return True

    @property
    def now(self) -> datetime:
        """Return the present moment."""
        if self._now[0] != self.now_s:
            self._now = (self.now_s, self.begin + timedelta(seconds=self.now_s))
        return self._now[1]

    def seconds(self, moment: datetime) -> float:
        """Return how long after the beginning a moment is."""
        return (moment - self.begin).total_seconds()

    def today(self) -> date:
        """Return the local date of the present moment."""
        hour = int(self.now_s // 3600)
        if hour not in self._dates:
            self._dates[hour] = self.now.astimezone(self._zone).date()
        return self._dates[hour]
