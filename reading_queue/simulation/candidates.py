"""Who is asked: the pure ranking, given as few physicians as can decide it.

Each hospital's people stand in the order of the ranking (`Staff.in_order`); here those are taken from the front whom
the choice can fall on, stage by stage until no later stage can change it. Who is off duty is looked at only when
nobody is left, for the reasons. `rank_everybody` is the plain way to the same choice; tests compare the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date
from itertools import filterfalse
from typing import Any, Protocol

from reading_queue.domain.offering import Stages, agreements_by_stage
from reading_queue.domain.routing import (
    WHOLE_POOL,
    AgreementFacts,
    Candidate,
    CaseFacts,
    Phase,
    PhysicianFacts,
    Ranking,
    merit,
    rank,
)
from reading_queue.domain.specialties import specialties_for
from reading_queue.simulation.day_limits import DayLimits
from reading_queue.simulation.life import SimulatedTask
from reading_queue.simulation.network import Network
from reading_queue.simulation.staff import Kind, Place, Staff
from reading_queue.simulation.timeline import Timeline
from storage.contract.lanes import Lane


class Ranker(Protocol):
    """How the candidates for a task are found."""

    def __call__(self, task: SimulatedTask, case: CaseFacts, knows: Set[str], width: int, widened: int) -> Ranking:
        """Return a ranking from which `domain.routing.choose` takes the right ones of all."""
        ...


@dataclass(slots=True)
class _Asking:
    """One search for candidates, and what it knows of those who stand apart from the orders."""

    task: SimulatedTask
    case: CaseFacts
    kind: Kind
    passed_over: frozenset[str]
    apart: Mapping[tuple[bool, int], Sequence[Candidate]]
    width: int


class Candidates:
    """Finds the candidates for a task among those who are there."""

    def __init__(self, network: Network, staff: Staff, timeline: Timeline, day_limits: DayLimits) -> None:
        self._network, self._staff, self._timeline, self._day_limits = network, staff, timeline, day_limits
        self._stages: dict[tuple[str, Phase, str, date], Stages] = {}
        self._facts: dict[tuple[str, Phase, Lane, str, str | None], CaseFacts] = {}  # of today, by what is alike
        self._facts_day: date | None = None

    def facts_of(self, task: SimulatedTask) -> CaseFacts:
        """Return what the ranking needs of the task's case, as of today."""
        today = self._timeline.today()
        if task.facts is None or task.facts.local_date != today:
            task.facts = self._facts_of(task, today)
        return task.facts

    def _facts_of(self, task: SimulatedTask, today: date) -> CaseFacts:
        case, study = task.case, task.case.study
        author_id = case.author_id if task.phase is Phase.VERIFICATION else None
        alike = (study.organisation_id, task.phase, study.lane, study.modality, author_id)
        if today != self._facts_day:
            self._facts_day = today
            self._facts.clear()
        facts = self._facts.get(alike)
        if facts is None:
            wanted = specialties_for(study.modality, "", None, today)  # what nobody has prefers nobody
            facts = self._facts[alike] = CaseFacts(
                case_id="",
                phase=task.phase,
                lane=study.lane,
                modality=study.modality,
                body_region="",
                organisation_ids=self._network.lineage(study.organisation_id),
                local_date=today,
                author_id=author_id,
                specialties=tuple(one for one in wanted if one in self._staff.specialties),
            )
        return facts

    def rank(self, task: SimulatedTask, case: CaseFacts, knows: Set[str], width: int, widened: int) -> Ranking:
        """Return the ranking of the few on whom the choice can fall."""
        stages = self.stages_of(case, task)
        apart: dict[tuple[bool, int], list[Candidate]] = {}
        if facts := self._apart(case, task, knows):
            for candidate in rank(case, facts, self._agreements(case, task), self._timeline.now).candidates:
                apart.setdefault((candidate.let_pass, candidate.stage), []).append(candidate)
        passed_over = task.declined
        if knows or case.author_id is not None:
            passed_over = passed_over.union(knows, () if case.author_id is None else (case.author_id,))
        most = width * (1 + min(widened, WHOLE_POOL))  # of one stage, where no other is left
        asking = _Asking(task, case, self._staff.kind_of(case), passed_over, apart, most)
        return self._look(asking, stages, widened)

    def rank_everybody(self, task: SimulatedTask, case: CaseFacts, knows: Set[str]) -> Ranking:
        """Return the ranking of everybody whom an agreement lets read for the organisation, with all reasons."""
        agreements = self._agreements(case, task)
        hospitals = dict.fromkeys(one.assisting_organisation_id for one in agreements)
        return rank(case, self._staff.everybody(hospitals, task, knows), agreements, self._timeline.now)

    def _look(self, asking: _Asking, stages: Stages, widened: int) -> Ranking:
        ranking = Ranking()
        self._add(ranking.candidates, asking, stages, widened, again=False)
        if asking.task.let_pass and (asking.case.lane is Lane.STAT or not ranking.candidates):
            self._add(ranking.candidates, asking, stages, widened, again=True)
        return ranking

    def _add(self, found: list[Candidate], asking: _Asking, stages: Stages, widened: int, *, again: bool) -> None:
        """Add who is to be asked, once more or for the first time, until no later stage can change the choice."""
        stat, reached = asking.case.lane is Lane.STAT, 0
        for stage, agreements in stages:
            of_stage = self._first(asking, stage, agreements, again=again)
            found += of_stage
            reached += bool(of_stage)
            if len(found) >= asking.width if stat else widened < WHOLE_POOL and reached > widened:
                return

    def _first(
        self, asking: _Asking, stage: int, agreements: Sequence[AgreementFacts], *, again: bool
    ) -> list[Candidate]:
        """Return the first of the stage, of those who let the task pass before or of the others."""
        let_pass, passed_over, width = asking.task.let_pass, asking.passed_over, asking.width
        those: Any = filter if again else filterfalse  # a crowd that let the task pass is gone through quickly
        found: list[tuple[Place, AgreementFacts]] = []
        for agreement in agreements:
            enough = len(found) + width
            order = self._staff.in_order(agreement.assisting_organisation_id, asking.kind, self._timeline)
            for own in those(let_pass.__contains__, order.ids):
                if own not in passed_over:
                    found.append((order.place_of[own], agreement))
                    if len(found) == enough:
                        break
        apart = asking.apart.get((again, stage), ()) if asking.apart else ()
        if not apart and len(agreements) == 1:
            return [place.under(agreement, let_pass=again) for place, agreement in found]
        mixed = [(place.merit, place.under(agreement, let_pass=again)) for place, agreement in found]
        mixed += [(merit(asking.case.lane, candidate), candidate) for candidate in apart]
        mixed.sort(key=lambda one: one[0])
        return [candidate for _, candidate in mixed[:width]]

    def _apart(self, case: CaseFacts, task: SimulatedTask, knows: Set[str]) -> list[PhysicianFacts]:
        if not knows and not self._staff.any_at_several:
            return []
        return self._staff.apart(self._network.assisting(case.organisation_ids[0]), task, knows)

    def _agreements(self, case: CaseFacts, task: SimulatedTask) -> Sequence[AgreementFacts]:
        agreements = self._network.agreements_of(case.organisation_ids[0])
        if self._day_limits.concern(case.organisation_ids):
            return self._day_limits.apply(agreements, task.case, case.local_date)
        return agreements

    def stages_of(self, case: CaseFacts, task: SimulatedTask) -> Stages:
        """Return under which agreements each stage may take the task's case."""
        if self._day_limits.concern(case.organisation_ids):
            return agreements_by_stage(case, self._agreements(case, task))
        asking = self._network.asking_for(case.organisation_ids[0])
        alike = (asking, case.phase, case.modality, case.local_date)
        if alike not in self._stages:
            self._stages[alike] = agreements_by_stage(case, self._agreements(case, task))
        return self._stages[alike]
