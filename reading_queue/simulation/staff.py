"""Who works where, who of them is there now, and in which order the pure ranking puts them.

The order of a hospital's people for one kind of case is kept: tasks come in crowds, people do not. Who changes is
ranked anew, alone, when the order is wanted next. A physician of several hospitals is there in each of them, and
stands apart from these orders, because the agreement that counts for them is not their hospital's alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Set
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Final

from reading_queue.domain.routing import AgreementFacts, Candidate, CaseFacts, Phase, PhysicianFacts, merit, rank
from reading_queue.simulation.life import Reader, SimulatedTask
from reading_queue.simulation.timeline import Timeline
from storage.contract.lanes import Lane

_ALL_SERVICES: Final = frozenset(phase.service for phase in Phase)


class Place:
    """Where somebody stands in an order: the merit, which no two people share, and whose it is."""

    __slots__ = ("_under", "candidate", "merit")

    def __init__(self, merit: tuple[Any, ...], candidate: Candidate) -> None:
        self.merit, self.candidate = merit, candidate
        self._under: dict[tuple[str, bool], Candidate] = {}

    def under(self, agreement: AgreementFacts, *, let_pass: bool) -> Candidate:
        """Return the candidate under the agreement, one object for all who ask: they come in crowds."""
        key = (agreement.agreement_id, let_pass)
        found = self._under.get(key)
        if found is None:
            found = self._under[key] = self.candidate.under(agreement, let_pass=let_pass)
        return found


@dataclass(frozen=True, slots=True)
class Kind:
    """What makes cases alike to everybody who may read them, whoever sends them; `case` stands for all of them."""

    number: int
    case: CaseFacts


class Order:
    """Of one hospital for one kind of case: who may take it, best first."""

    def __init__(self, hospital: str, kind: Kind) -> None:
        self.case = replace(kind.case, organisation_ids=(hospital,))
        self.agreements = [_any_agreement(hospital, kind.case.local_date)]
        self.ids: list[str] = []
        self.place_of: dict[str, Place] = {}
        self.seen = 0  # of the changes at the hospital
        self._merits: list[tuple[Any, ...]] = []  # of the physicians in `ids`

    def rank(self, changed: Iterable[Reader], facts: Iterable[PhysicianFacts], now: datetime) -> None:
        """Put those who have changed where they belong now; who is there no more has no facts."""
        for reader in changed:
            before = self.place_of.pop(reader.physician_id, None)
            if before is not None:
                at = bisect_left(self._merits, before.merit)
                del self._merits[at], self.ids[at]
        for candidate in rank(self.case, list(facts), self.agreements, now).candidates:
            merits = merit(self.case.lane, candidate)
            self.place_of[candidate.physician_id] = Place(merits, candidate)
            at = bisect_left(self._merits, merits)
            self._merits.insert(at, merits)
            self.ids.insert(at, candidate.physician_id)


class Staff:
    """The physicians of every hospital."""

    def __init__(self) -> None:
        self._hired: dict[str, list[Reader]] = defaultdict(list)
        self._present: dict[str, dict[str, Reader]] = defaultdict(dict)
        self._at_several: dict[str, dict[Reader, None]] = defaultdict(dict)
        self._orders: dict[str, dict[int, Order]] = defaultdict(dict)
        self._changes: dict[str, list[Reader]] = defaultdict(list)
        self._kinds: dict[tuple[Any, ...], Kind] = {}
        self._groups: dict[frozenset[str], frozenset[str]] = {}
        self._day: date | None = None
        self._modalities: frozenset[str] = frozenset()  # named by anybody as what they read
        self.specialties: frozenset[str] = frozenset()  # that anybody has
        self.any_at_several = False

    def hire(self, reader: Reader) -> None:
        """Let the physician belong to their hospitals."""
        for hospital in reader.facts.hospitals:
            self._hired[hospital].append(reader)
        self.any_at_several |= len(reader.facts.hospitals) > 1
        self._modalities |= reader.facts.modalities
        self.specialties |= reader.facts.specialties
        reader.on_change = self._note_change

    def come(self, reader: Reader) -> None:
        """Let the physician be there."""
        for hospital in reader.facts.hospitals:
            self._present[hospital][reader.physician_id] = reader
            if len(reader.facts.hospitals) > 1:
                self._at_several[hospital][reader] = None
        self._note_change(reader)

    def leave(self, reader: Reader) -> None:
        """Let the physician be there no more."""
        for hospital in reader.facts.hospitals:
            del self._present[hospital][reader.physician_id]
            self._at_several[hospital].pop(reader, None)
        self._note_change(reader)

    def kind_of(self, case: CaseFacts) -> Kind:
        """Return the kind of such a case; orders are kept for the kinds of the latest day alone."""
        if case.local_date != self._day:
            self._day = case.local_date
            self._orders.clear()
            self._changes.clear()
            self._groups.clear()
        modality = case.modality if case.modality in self._modalities else ""  # nobody tells the others apart
        alike = (case.lane is Lane.STAT, case.phase, modality, case.specialties, case.local_date)
        if alike not in self._kinds:
            anybodys = replace(case, case_id="", organisation_ids=(), author_id=None)
            self._kinds[alike] = Kind(len(self._kinds), anybodys)
        return self._kinds[alike]

    def in_order(self, hospital: str, kind: Kind, timeline: Timeline) -> Order:
        """Return who is there and may take a case of the kind, best first; those of several hospitals apart."""
        orders, present, changes = self._orders[hospital], self._present[hospital], self._changes[hospital]
        order = orders.get(kind.number)
        if order is None:
            order = orders[kind.number] = Order(hospital, kind)
            changed = dict.fromkeys(present.values())
        elif order.seen < len(changes):
            changed = dict.fromkeys(changes[order.seen :])
        else:
            return order
        there = (one.facts for one in changed if one.physician_id in present and len(one.facts.hospitals) == 1)
        order.rank(changed, there, timeline.now)
        order.seen = len(changes)
        return order

    def apart(self, hospitals: Iterable[str], task: SimulatedTask, knows: Set[str]) -> list[PhysicianFacts]:
        """Return the facts of those there who stand apart: who knows the patient, and who is at several hospitals."""
        found: dict[Reader, None] = {}
        for hospital in hospitals:
            present = self._present[hospital]
            found.update(dict.fromkeys(present[one] for one in knows if one in present))
            found.update(self._at_several[hospital])
        return [reader.facts_for(task, knows) for reader in found]

    def group(self, people: frozenset[str]) -> frozenset[str]:
        """Return the one set that is kept of these people: the same few let thousands of tasks pass."""
        return self._groups.setdefault(people, people)

    def there(self, hospital: str) -> list[Reader]:
        """Return who is at the hospital now."""
        return list(self._present[hospital].values())

    def everybody(self, hospitals: Iterable[str], task: SimulatedTask, knows: Set[str]) -> list[PhysicianFacts]:
        """Return the facts of all who belong to the hospitals, each once, with their answers to the task."""
        hired = dict.fromkeys(reader for one in hospitals for reader in self._hired[one])
        return [reader.facts_for(task, knows) for reader in hired]

    def _note_change(self, reader: Reader) -> None:
        for hospital in reader.facts.hospitals:
            self._changes[hospital].append(reader)


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
