"""Cases on hold: their reader has asked the site for something and waits, as `services.cases.holds` has it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from reading_queue.domain.information import Outcome as HoldOutcome
from reading_queue.domain.transitions import Actor, CaseEvent
from reading_queue.simulation.life import Reader, SimulatedTask
from reading_queue.simulation.timeline import Timeline


@dataclass(slots=True, eq=False)
class SimulatedHold:
    """One question to the site."""

    asked_s: float
    ended_s: float | None = None
    outcome: HoldOutcome | None = None


class Holds:
    """The questions of a run; a case has one at most. Its limit stands still meanwhile, unless it counts gross."""

    def __init__(self, timeline: Timeline) -> None:
        self.all: list[SimulatedHold] = []
        self._timeline = timeline
        self._open: dict[SimulatedTask, SimulatedHold] = {}

    def ask(self, reader: Reader, task: SimulatedTask) -> None:
        """Put the case on hold; its reader keeps it and reads others meanwhile."""
        task.case.asked_site = True
        task.case.move(CaseEvent.HOLD, Actor.HOLDER)
        hold = self._open[task] = SimulatedHold(self._timeline.now_s)
        self.all.append(hold)
        reader.on_hold[task] = None

    def end(self, reader: Reader, task: SimulatedTask, outcome: HoldOutcome) -> bool:
        """End the question, however it ends; return whether the limit has moved by it."""
        hold = self._open.pop(task)
        hold.ended_s, hold.outcome = self._timeline.now_s, outcome
        del reader.on_hold[task]
        return task.case.pause(hold.ended_s - hold.asked_s, self._timeline.begin)
