"""What the running clock asks for: more stages at one and two thirds of the limit, and people.

Pure. The thirds are of the time from the clock's start to the moment when the report is due (reference norms measure
from the start of the examination), so that what arrives late is hurried at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final


class Escalation(StrEnum):
    """Why somebody is told of a case."""

    WIDENED = "widened"  # nobody took it in a third of its time: the next stage is asked as well
    TWO_THIRDS = "two_thirds"  # nor in two thirds: every stage, and the coordinator
    BREACHED = "breached"  # it is not signed in time: the duty director and the administrator
    GREEN_CHANNEL = "green_channel"  # a stroke, say, was ordered: at once, until it is taken
    NOBODY = "nobody"  # nobody can be asked at any stage: at once, and the site
    CONSULT_WAITS = "consult_waits"  # another hospital has not answered in two thirds of the time that it has
    CONSULT_EXPIRED = "consult_expired"  # nor in all of it; the reader may ask another


# At which part of the limit, in thirds; the last one is the limit itself. Those in WHILE_UNTAKEN end with a claim.
THIRDS: Final = {Escalation.WIDENED: 1, Escalation.TWO_THIRDS: 2, Escalation.BREACHED: 3}
WHILE_UNTAKEN: Final = frozenset({Escalation.WIDENED, Escalation.TWO_THIRDS})
UNTIL_TAKEN: Final = frozenset({Escalation.GREEN_CHANNEL, Escalation.NOBODY})  # raised at once, ended by a claim
OF_CONSULTS: Final = frozenset({Escalation.CONSULT_WAITS, Escalation.CONSULT_EXPIRED})  # by the consultation's clock
TELLS_THE_DIRECTOR: Final = frozenset({Escalation.BREACHED, Escalation.NOBODY})
TELLS_A_PERSON: Final = frozenset({Escalation.TWO_THIRDS, Escalation.BREACHED}) | UNTIL_TAKEN | OF_CONSULTS


@dataclass(frozen=True, slots=True)
class Clock:
    """How a case stands in time. `taken`: a physician holds it, or has written it."""

    began_at: datetime
    due_at: datetime
    taken: bool

    def moment_of(self, step: Escalation) -> datetime:
        """Return when a step of the limit is reached."""
        return self.began_at + (self.due_at - self.began_at) * THIRDS[step] / 3


def steps_reached(clock: Clock, now: datetime) -> list[Escalation]:
    """Return the steps that the clock has passed, in their order."""
    return [step for step in _steps_of(clock) if clock.moment_of(step) <= now]


def next_look(clock: Clock, now: datetime) -> datetime | None:
    """Return when the next step is reached, None when there is none any more."""
    return next((clock.moment_of(step) for step in _steps_of(clock) if clock.moment_of(step) > now), None)


def stages_widened(clock: Clock, now: datetime) -> int:
    """Return how many times the circle of those who are asked is wider by now."""
    return sum(step in WHILE_UNTAKEN for step in steps_reached(clock, now))


def _steps_of(clock: Clock) -> Iterator[Escalation]:
    return (step for step in THIRDS if not (clock.taken and step in WHILE_UNTAKEN))
