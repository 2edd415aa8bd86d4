"""What agreements with a limit for a day have taken today, counted as the hub counts it. Pure.

A case counts under an agreement from an offer under it, on the local day of the offer, as long as the offer is open or
was claimed (`services.routing.routing_facts`); several offers of one case count once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from reading_queue.domain.routing import AgreementFacts
from reading_queue.simulation.life import SimulatedCase, SimulatedTask
from reading_queue.simulation.network import Network


class DayLimits:
    """The cases of today under each agreement that has a limit."""

    def __init__(self, network: Network) -> None:
        limited = [one.facts for one in network.agreements if one.facts.cases_per_day_max]
        self._limited = {one.agreement_id: one.assisting_organisation_id for one in limited}
        self._concerned = {one.requesting_organisation_id for one in limited}
        self._offers: dict[tuple[str, date], Counter[int]] = defaultdict(Counter)  # open or claimed, by case
        self._cases: dict[tuple[str, date], Counter[str]] = defaultdict(Counter)  # by modality

    def concern(self, organisation_ids: Sequence[str]) -> bool:
        """Return whether an agreement of these organisations has a limit."""
        return bool(self._concerned) and not self._concerned.isdisjoint(organisation_ids)

    def apply(self, agreements: Sequence[AgreementFacts], case: SimulatedCase, today: date) -> Sequence[AgreementFacts]:
        """Return the agreements with the other cases that they have today, and whether they have this one."""
        return [self._with_today(one, case, today) if one.cases_per_day_max else one for one in agreements]

    def _with_today(self, agreement: AgreementFacts, case: SimulatedCase, today: date) -> AgreementFacts:
        key = (agreement.agreement_id, today)
        counted = self._cases[key]
        has_this_case = self._offers[key][case.number] > 0
        others = {one: number - (has_this_case and one == case.study.modality) for one, number in counted.items()}
        return replace(agreement, cases_today=others, has_this_case=has_this_case)

    def count(self, task: SimulatedTask, physician_id: str, agreement_id: str, today: date) -> None:
        """Count an offer under the agreement."""
        if agreement_id not in self._limited:
            return
        key, case = (agreement_id, today), task.case
        if task.counted is None:
            task.counted = {}
        task.counted[physician_id] = key
        self._cases[key][case.study.modality] += self._offers[key][case.number] == 0
        self._offers[key][case.number] += 1

    def give_back(self, task: SimulatedTask, physician_id: str) -> str | None:
        """Count an offer that has ended unclaimed no more; return who has a place free by it."""
        key = None if task.counted is None else task.counted.pop(physician_id, None)
        if key is None:
            return None
        case = task.case
        self._offers[key][case.number] -= 1
        if self._offers[key][case.number]:
            return None
        self._cases[key][case.study.modality] -= 1
        return self._limited[key[0]]
