"""Who works where, and who of them is there now. A physician of several hospitals is there in each of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime
from typing import Final

from reading_queue.domain.routing import AgreementFacts, CaseFacts, Phase, PhysicianFacts, rank
from reading_queue.simulation.life import Reader, SimulatedTask
from storage.contract.lanes import Lane

_ALL_SERVICES: Final = frozenset(phase.service for phase in Phase)


Kind = tuple[bool, Phase, str, tuple[str, ...], date]  # of a case, as far as the order of people for it differs


class Staff:
    """The physicians of every hospital."""

    def __init__(self) -> None:
        self._hired: dict[str, list[Reader]] = defaultdict(list)
        self._present: dict[str, dict[str, Reader]] = defaultdict(dict)
        self._at_several: dict[str, dict[Reader, None]] = defaultdict(dict)
        self._orders: dict[str, dict[Kind, list[Reader]]] = defaultdict(dict)
        self._shared = False

    def hire(self, reader: Reader) -> None:
        """Let the physician belong to their hospitals."""
        for hospital in reader.facts.hospitals:
            self._hired[hospital].append(reader)
        reader.on_change = self._forget_order
        self._shared |= len(reader.facts.hospitals) > 1

    def come(self, reader: Reader) -> None:
        """Let the physician be there."""
        for hospital in reader.facts.hospitals:
            self._present[hospital][reader.physician_id] = reader
            if len(reader.facts.hospitals) > 1:
                self._at_several[hospital][reader] = None
        self._forget_order(reader)

    def leave(self, reader: Reader) -> None:
        """Let the physician be there no more."""
        for hospital in reader.facts.hospitals:
            del self._present[hospital][reader.physician_id]
            self._at_several[hospital].pop(reader, None)
        self._forget_order(reader)

    def foremost(
        self, hospitals: Iterable[str], task: SimulatedTask, knows: set[str], case: CaseFacts, width: int, now: datetime
    ) -> list[PhysicianFacts]:
        """Return the facts of who is there and may be chosen, with their answers to the task.

        Of each hospital these are those who know the patient, the first `width` who let the task pass before, and the
        first `width` of all others: a choice of `width` from a stage takes no others.
        """
        found: dict[Reader, None] = {}
        for hospital in hospitals:
            present = self._present[hospital]
            if knows:
                found.update(dict.fromkeys(present[one] for one in knows if one in present))
            found.update(self._at_several[hospital])
            others, again = width, width
            for reader in self._in_order(hospital, case, now):
                own = reader.physician_id
                if own in task.declined or own == case.author_id or own in knows:
                    continue
                if own not in task.let_pass:
                    others -= 1
                    found[reader] = None
                elif again:
                    again -= 1
                    found[reader] = None
                if others == 0:
                    break
        if knows or task.let_pass or task.declined:
            return [reader.facts_for(task, knows) for reader in found]
        return [reader.facts for reader in found]

    def everybody(self, hospitals: Iterable[str], task: SimulatedTask, knows: set[str]) -> list[PhysicianFacts]:
        """Return the facts of all who belong to the hospitals, each once, with their answers to the task."""
        return self._facts((reader for one in hospitals for reader in self._hired[one]), task, knows)

    def _in_order(self, hospital: str, case: CaseFacts, now: datetime) -> list[Reader]:
        """Return who is there and may take such a case, in the order of the ranking; those of several hospitals apart.

        The order is kept until something changes at the hospital: tasks come in crowds, people do not.
        """
        kept = self._orders[hospital]
        kind = (case.lane is Lane.STAT, case.phase, case.modality, case.specialties, case.local_date)
        if kind not in kept:
            present = self._present[hospital]
            alone = [reader.facts for reader in present.values() if len(reader.facts.hospitals) == 1]
            anybody = replace(case, author_id=None, organisation_ids=(hospital,))
            ranking = rank(anybody, alone, [_any_agreement(hospital, case.local_date)], now)
            kept[kind] = [present[candidate.physician_id] for candidate in ranking.candidates]
        return kept[kind]

    def _forget_order(self, reader: Reader) -> None:
        for hospital in reader.facts.hospitals:
            self._orders[hospital].clear()

    def _facts(self, readers: Iterable[Reader], task: SimulatedTask, knows: set[str]) -> list[PhysicianFacts]:
        if self._shared:
            readers = dict.fromkeys(readers)
        if knows or task.declined or task.let_pass:
            return [reader.facts_for(task, knows) for reader in readers]
        return [reader.facts for reader in readers]


def _any_agreement(hospital: str, day: date) -> AgreementFacts:
    """Return an agreement under which the hospital reads everything, so that the people alone decide."""
    return AgreementFacts(
        agreement_id="any",
        requesting_organisation_id=hospital,
        assisting_organisation_id=hospital,
        modalities=frozenset(),
        body_regions=frozenset(),
        services=_ALL_SERVICES,
        stage=1,
        valid_from=day,
        valid_until=day,
    )
