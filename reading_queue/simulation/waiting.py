"""Tasks about which nobody can be asked: who they wait for, since when, and when the hub asks again. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping

from reading_queue.simulation.life import SimulatedTask, Wait
from reading_queue.simulation.network import Network
from reading_queue.simulation.timeline import OTHER, Timeline


class Waiting:
    """What waits. It is woken by who comes, has room again, or by a new day; the hub, which tries each minute, sees the
    change at its next try.
    """

    def __init__(
        self, network: Network, timeline: Timeline, retry_s: float, end_s: float, ask: Callable[[SimulatedTask], None]
    ) -> None:
        self.waits: list[Wait] = []
        self._network, self._timeline, self._retry_s, self._end_s, self._ask = network, timeline, retry_s, end_s, ask
        self._at: dict[str, dict[SimulatedTask, None]] = defaultdict(dict)
        self._all: dict[SimulatedTask, None] = {}
        self._waking: set[str] = set()

    def begin(self, task: SimulatedTask, reasons: Mapping[str, int]) -> None:
        """Let the task wait for anybody who may read for its organisation."""
        task.parked_s, task.parked_reasons = self._timeline.now_s, reasons
        self._all[task] = None
        for organisation_id in self._network.assisting(task.case.study.organisation_id):
            self._at[organisation_id][task] = None

    def end(self, task: SimulatedTask) -> None:
        """Let the task wait no more."""
        if task.parked_s is None:
            return
        for organisation_id in self._network.assisting(task.case.study.organisation_id):
            del self._at[organisation_id][task]
        del self._all[task]
        self._note(task, self._timeline.now_s)
        task.parked_s = None

    def close(self) -> None:
        """Count what still waits at the end of the run."""
        for task in self._all:
            self._note(task, None)

    def wake(self, organisation_id: str) -> None:
        """Ask again, at the hub's next try, about what this organisation's physicians may now be able to take."""
        if self._at[organisation_id] and organisation_id not in self._waking:
            self._waking.add(organisation_id)
            next_try_s = (self._timeline.now_s // self._retry_s + 1) * self._retry_s
            self._timeline.at(next_try_s, OTHER, self._ask_again, organisation_id)

    def wake_all(self) -> None:
        """Ask again about everything."""
        for organisation_id in list(self._at):
            self.wake(organisation_id)

    def _ask_again(self, organisation_id: str) -> None:
        self._waking.discard(organisation_id)
        for task in sorted(self._at[organisation_id], key=lambda one: one.case.urgency):
            self._ask(task)

    def _note(self, task: SimulatedTask, end_s: float | None) -> None:
        begin_s = task.parked_s or 0.0
        task.case.unroutable_s += (self._end_s if end_s is None else end_s) - begin_s
        self.waits.append(Wait(task.case, task.phase, begin_s, end_s, task.parked_reasons or {}))
