"""Who works where, and who of them is there now. A physician of several hospitals is there in each of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from reading_queue.domain.routing import PhysicianFacts
from reading_queue.simulation.life import Reader, SimulatedTask


class Staff:
    """The physicians of every hospital."""

    def __init__(self) -> None:
        self._hired: dict[str, list[Reader]] = defaultdict(list)
        self._present: dict[str, dict[str, Reader]] = defaultdict(dict)
        self._shared = False

    def hire(self, reader: Reader) -> None:
        """Let the physician belong to their hospitals."""
        for hospital in reader.facts.hospitals:
            self._hired[hospital].append(reader)
        self._shared |= len(reader.facts.hospitals) > 1

    def come(self, reader: Reader) -> None:
        """Let the physician be there."""
        for hospital in reader.facts.hospitals:
            self._present[hospital][reader.physician_id] = reader

    def leave(self, reader: Reader) -> None:
        """Let the physician be there no more."""
        for hospital in reader.facts.hospitals:
            del self._present[hospital][reader.physician_id]

    def present(self, hospitals: Iterable[str], task: SimulatedTask, knows: set[str]) -> list[PhysicianFacts]:
        """Return the facts of who is there, each once, with their answers to the task."""
        return self._facts((reader for one in hospitals for reader in self._present[one].values()), task, knows)

    def everybody(self, hospitals: Iterable[str], task: SimulatedTask, knows: set[str]) -> list[PhysicianFacts]:
        """Return the facts of all who belong to the hospitals, each once, with their answers to the task."""
        return self._facts((reader for one in hospitals for reader in self._hired[one]), task, knows)

    def _facts(self, readers: Iterable[Reader], task: SimulatedTask, knows: set[str]) -> list[PhysicianFacts]:
        if self._shared:
            readers = dict.fromkeys(readers)
        if knows or task.declined or task.let_pass:
            return [reader.facts_for(task, knows) for reader in readers]
        return [reader.facts for reader in readers]
