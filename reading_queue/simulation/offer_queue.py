"""What one physician is offered, by urgency. Pure.

Most offers end before anybody looks at them, and tens of thousands are open at once: an offer that ends is not taken
out here, so that its end costs nothing. The physician who looks passes over those that are open no more.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Callable
from typing import Final, TypeVar

SPARE: Final = 16  # of offers that have run out, before they are left behind
Found = TypeVar("Found")


class OfferQueue:
    """Offers as their urgencies: an integer names its case and is all that stands here of it."""

    __slots__ = ("_heap", "_ordered", "_until_s", "_urgencies")

    def __init__(self) -> None:
        self._urgencies: list[int] = []  # in the order of the offers
        self._until_s: list[float] = []  # when they run out, in the same order: all run equally long
        self._ordered = 0  # how many of them are in the heap
        self._heap: list[int] = []

    def add(self, urgency: int, until_s: float) -> None:
        """Take an offer that runs out at a time, which is not before that of any offer added earlier."""
        self._urgencies.append(urgency)
        self._until_s.append(until_s)

    def first(
        self, now_s: float, find: Callable[[int], Found | None], fits: Callable[[Found], bool | None]
    ) -> Found | None:
        """Return the most urgent that `find` finds open and that fits; `fits` says None where no other can fit."""
        self._order(now_s)
        aside: list[int] = []
        found = None
        while self._heap:
            task = find(self._heap[0])
            if task is None:
                heapq.heappop(self._heap)
                continue
            fit = fits(task)
            if fit:
                found = task
            if fit or fit is None:
                break
            aside.append(heapq.heappop(self._heap))
        for urgency in aside:
            heapq.heappush(self._heap, urgency)
        return found

    def all(self) -> list[int]:
        """Return all that is not left behind yet, open or not."""
        return self._urgencies.copy()

    def _order(self, now_s: float) -> None:
        over = bisect_left(self._until_s, now_s)
        if over > SPARE and 2 * over > len(self._until_s):
            del self._urgencies[:over], self._until_s[:over]
            self._heap = self._urgencies.copy()
            heapq.heapify(self._heap)
        else:
            for urgency in self._urgencies[self._ordered :]:
                heapq.heappush(self._heap, urgency)
        self._ordered = len(self._urgencies)
