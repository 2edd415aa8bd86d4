"""Transfer classes, most urgent first."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Lane(StrEnum):
    """How urgently a study travels and is offered."""

    STAT = "stat"
    URGENT = "urgent"
    ROUTINE = "routine"
    BACKGROUND = "background"


_RANKS: Final = {lane: rank for rank, lane in enumerate(Lane)}


def is_more_urgent(one: Lane, other: Lane) -> bool:
    """Return whether the lane `one` goes before `other`."""
    return _RANKS[one] < _RANKS[other]
