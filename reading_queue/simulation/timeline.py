"""What is to come, in the order of its time, and the present moment. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

DAY_S: Final = 86400.0
# At the same moment: what is finished is finished, all who leave have left, what they held is given back, who comes is
# there; then everything else.
FINISHED, LEFT, GIVEN_BACK, CAME, OTHER = range(5)


class Timeline:
    """Events in seconds from the beginning of a run; those of the same moment and kind in the order of their making."""

    def __init__(self, begin: datetime) -> None:
        self.begin, self._zone = begin.astimezone(UTC), begin.tzinfo
        self.now_s = 0.0
        self._events: list[tuple[float, int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = 0
        self._dates: dict[int, date] = {}

    def at(self, at_s: float, order: int, handle: Callable[..., None], *arguments: Any) -> None:
        """Have something handled at its time."""
        self._numbers += 1
        heapq.heappush(self._events, (at_s, order, self._numbers, handle, arguments))

    def go_on_until(self, end_s: float) -> None:
        """Handle every event before the end; then it is the end."""
        events = self._events
        while events and events[0][0] < end_s:
            self.now_s, _, _, handle, arguments = heapq.heappop(events)
            handle(*arguments)
        self.now_s = end_s

    @property
    def now(self) -> datetime:
        """Return the present moment."""
        return self.begin + timedelta(seconds=self.now_s)

    def seconds(self, moment: datetime) -> float:
        """Return how long after the beginning a moment is."""
        return (moment - self.begin).total_seconds()

    def today(self) -> date:
        """Return the local date of the present moment."""
        hour = int(self.now_s // 3600)
        if hour not in self._dates:
            self._dates[hour] = self.now.astimezone(self._zone).date()
        return self._dates[hour]
