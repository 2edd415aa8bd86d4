"""Transfer classes, most urgent first."""

from __future__ import annotations

from enum import StrEnum


class Lane(StrEnum):
    """How urgently a study travels and is offered."""

    STAT = "stat"
    URGENT = "urgent"
    ROUTINE = "routine"
    BACKGROUND = "background"
