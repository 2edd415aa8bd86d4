"""The run: events in the order of their time, each handled by the rules of the domain.

What people do is drawn from the demand model: who is on duty looks at what is offered after a while, takes the most
urgent, reads one case at a time, leaves it for a stat case, and gives back at the end of duty what is not finished.
As the limit of a case runs, further stages are asked, as the hub's sweep has them asked.
Leases do not run out, because who reads is at the desk; delivery after the signature is not simulated.
"""

from __future__ import annotations

import heapq
import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from reading_queue.domain.escalation import WHILE_UNTAKEN, next_look, steps_reached
from reading_queue.domain.routing import (
    WORKLOAD_POINTS,
    WORKLOAD_POINTS_DEFAULT,
    CaseFacts,
    Phase,
    choose,
    limit_of,
    still_to_ask,
)
from reading_queue.domain.specialties import specialties_for
from reading_queue.domain.transitions import Actor, CaseEvent, ReadingTaskEvent, ReadingTaskState
from reading_queue.simulation.candidates import rank_by_stages
from reading_queue.simulation.demand import Demand, Study, draw_studies
from reading_queue.simulation.life import Reader, SimulatedCase, SimulatedTask, Wait, Work
from reading_queue.simulation.network import Network, RosteredPhysician, periods_within
from reading_queue.simulation.outcome import Outcome
from reading_queue.simulation.rules import Rules
from reading_queue.simulation.staff import Staff
from storage.contract.lanes import Lane

DAYS_MAX: Final = 28  # within the window over which the hub counts workload
REWRITING_SHARE: Final = 0.5  # of a first reading's time: the author knows the case
DAY_S: Final = 86400.0
# At the same moment: what is finished is finished, who leaves has left, who comes is there; then everything else.
FINISHED, LEFT, CAME, OTHER = range(4)
_URGENCY: Final = {lane: place for place, lane in enumerate(Lane)}


def simulate(network: Network, demand: Demand, rules: Rules, begin: datetime, days: int, seed: int) -> Outcome:
    """Return what becomes of `days` days of synthetic studies, the first beginning at `begin`, a local midnight.

    The same arguments give the same outcome; another roster is given the very same studies.
    """
    if not 1 <= days <= DAYS_MAX:
        raise ValueError(f"a run is of 1 to {DAYS_MAX} days")
    run = Run(network, demand, rules, begin, days, seed)
    run.to_the_end()
    return Outcome(network, begin, days, run.cases, run.readers, run.waits, run.rankings)


class Run:
    """The state of the province and the events to come."""

    def __init__(self, network: Network, demand: Demand, rules: Rules, begin: datetime, days: int, seed: int) -> None:
        self.cases: list[SimulatedCase] = []
        self.waits: list[Wait] = []
        self.rankings = 0
        self._network, self._demand, self._rules = network, demand, rules
        self._zone, self._begin, self._end_s = begin.tzinfo, begin.astimezone(UTC), days * DAY_S
        self._chance = random.Random(f"{seed}/people")  # noqa: S311 -- no secret
        self._now_s = 0.0
        self._events: list[tuple[float, int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = 0
        self._dates: dict[int, date] = {}
        self._staff = Staff()
        self._parked: dict[str, dict[SimulatedTask, None]] = defaultdict(dict)
        self._waiting: dict[SimulatedTask, None] = {}
        self._waking: set[str] = set()
        self._knows: dict[tuple[str, int], set[str]] = {}
        self.readers = {one.facts.physician_id: self._hire(one, days, seed) for one in network.physicians}
        sites = [(one.organisation_id, one.kind) for one in network.hospitals.values() if one.sends]
        for study in sorted(draw_studies(demand, sites, days, begin.weekday(), seed), key=lambda one: one.exam_s):
            self._declare(study)
        for day in range(1, days):
            self._at(day * DAY_S, CAME, self._begin_day)

    def to_the_end(self) -> None:
        """Handle every event until the end of the run."""
        while self._events and self._events[0][0] < self._end_s:
            self._now_s, _, _, handle, arguments = heapq.heappop(self._events)
            handle(*arguments)
        self._now_s = self._end_s
        for reader in self.readers.values():
            self._stop_reading(reader)
        for task in self._waiting:
            self._note_wait(task, None)

    # Time

    def _at(self, at_s: float, order: int, handle: Callable[..., None], *arguments: Any) -> None:
        self._numbers += 1
        heapq.heappush(self._events, (at_s, order, self._numbers, handle, arguments))

    @property
    def _now(self) -> datetime:
        return self._begin + timedelta(seconds=self._now_s)

    def _today(self) -> date:
        hour = int(self._now_s // 3600)
        if hour not in self._dates:
            self._dates[hour] = self._now.astimezone(self._zone).date()
        return self._dates[hour]

    def _begin_day(self) -> None:
        for organisation_id in list(self._parked):  # licences and agreements run in local days
            self._wake(organisation_id)

    # Duty

    def _hire(self, rostered: RosteredPhysician, days: int, seed: int) -> Reader:
        reader = Reader(rostered, replace(rostered.facts, duty=(), work_in_progress=0, workload_points=0))
        self._staff.hire(reader)
        for start, end in periods_within(rostered, self._begin, self._begin + timedelta(seconds=days * DAY_S)):
            if not rostered.always and self._stays_away(reader, start, seed):
                continue
            self._at((start - self._begin).total_seconds(), CAME, self._come, reader, start, end)
            self._at((end - self._begin).total_seconds(), LEFT, self._leave, reader)
            reader.duty_s += (end - start).total_seconds()
        return reader

    def _stays_away(self, reader: Reader, start: datetime, seed: int) -> bool:
        chance = random.Random(f"{seed}/{reader.physician_id}/{start.isoformat()}")  # noqa: S311 -- no secret
        return chance.random() < self._demand.absence_rate

    def _come(self, reader: Reader, start: datetime, end: datetime) -> None:
        reader.note(duty=((start, end),))
        reader.duty_until_s = (end - self._begin).total_seconds()
        self._staff.come(reader)
        for hospital in reader.facts.hospitals:
            self._wake(hospital)
        self._look_soon(reader)

    def _leave(self, reader: Reader) -> None:
        reader.note(duty=())
        reader.duty_until_s = None
        self._staff.leave(reader)
        self._stop_reading(reader)
        for work in reversed(reader.claims):
            reader.given_back += 1
            self._end_claim(reader, work.task)
        reader.claims.clear()

    # Cases

    def _declare(self, study: Study) -> None:
        limit_s = self._rules.time_limit_default_min[study.lane] * 60
        case = SimulatedCase(len(self.cases), study, study.exam_s + limit_s)
        self.cases.append(case)
        self._at(study.exam_s + study.ready_after_s, OTHER, self._verify_images, case)
        self._watch(case)

    def _verify_images(self, case: SimulatedCase) -> None:
        case.move(CaseEvent.IMAGES_VERIFIED, Actor.SYSTEM)
        self._route(SimulatedTask(case, Phase.INTERPRETATION))

    # The clock

    def _watch(self, case: SimulatedCase) -> None:
        """Look at the case when its limit reaches the next third, as `escalating.escalate_due` does."""
        look_at = next_look(case.clock(self._begin), self._now)
        if look_at is not None:
            self._at((look_at - self._begin).total_seconds(), OTHER, self._look_at_clock, case, case.due_s)

    def _look_at_clock(self, case: SimulatedCase, due_s: float) -> None:
        if case.due_s != due_s:
            return  # its limit has changed since; that clock is watched as well
        case.steps_reached |= WHILE_UNTAKEN.intersection(steps_reached(case.clock(self._begin), self._now))
        if case.waiting is not None and case.waiting.phase is Phase.INTERPRETATION:
            self._route(case.waiting)
        if case.signed_s is None:
            self._watch(case)

    # Offers

    def _route(self, task: SimulatedTask) -> None:
        """Offer the task to those the ranking puts first, as `services.routing.routing.route` does."""
        if task.state is not ReadingTaskState.SCHEDULED:
            return
        case, study = task.case, task.case.study
        case.waiting, widened = task, task.widened(self._begin, self._now)
        knows = self._knows.get((study.organisation_id, study.patient), set())
        facts, width = self._facts_of(task), self._rules.offer_width
        ranking = rank_by_stages(
            facts,
            self._network.agreements_by_stage(study.organisation_id),
            lambda hospitals: self._staff.foremost(hospitals, task, knows, facts, width, self._now),
            lambda hospitals: self._staff.everybody(hospitals, task, knows),
            self._now,
            width,
            widened,
        )
        self.rankings += 1
        chosen = choose(ranking, study.lane, self._rules.offer_width, widened)
        fresh = still_to_ask(chosen, task.asked, self._rules.offer_width * (1 + widened))
        if not fresh:
            if not task.asked:
                self._park(task, ranking.counts())
            return
        self._unpark(task)
        case.move(CaseEvent.OFFER, Actor.SYSTEM)
        if task.phase is Phase.INTERPRETATION:
            case.stage_reached = max(case.stage_reached, *(one.stage for one in fresh))
            minutes = limit_of([self._network.limits[fresh[0].agreement_id]], study.lane)
            if minutes is not None and case.tighten(minutes):
                self._watch(case)
        for one in fresh:
            self._offer(task, self.readers[one.physician_id], one.agreement_id, one.stage)
        self._at(self._now_s + self._rules.offer_ttl_s, OTHER, self._expire_offers, task)

    def _facts_of(self, task: SimulatedTask) -> CaseFacts:
        case, study = task.case, task.case.study
        return CaseFacts(
            case_id=str(case.number),
            phase=task.phase,
            lane=study.lane,
            modality=study.modality,
            body_region="",
            organisation_ids=self._network.lineage(study.organisation_id),
            local_date=self._today(),
            author_id=case.author_id if task.phase is Phase.VERIFICATION else None,
            specialties=specialties_for(study.modality, "", None, self._today()),
        )

    def _offer(self, task: SimulatedTask, reader: Reader, agreement_id: str, stage: int) -> None:
        task.asked[reader.physician_id] = self._now_s + self._rules.offer_ttl_s
        task.stages[reader.physician_id] = (agreement_id, stage)
        reader.offers[task] = None
        self._look_soon(reader, task.case.study.lane)

    def _expire_offers(self, task: SimulatedTask) -> None:
        overdue = [one for one, until_s in task.asked.items() if until_s <= self._now_s]
        for physician_id in overdue:
            self._close_offer(task, physician_id)
            task.let_pass.add(physician_id)
        if overdue and task.state is ReadingTaskState.SCHEDULED:
            self._note_exhausted(task)
            self._route(task)

    def _close_offer(self, task: SimulatedTask, physician_id: str) -> None:
        del task.asked[physician_id]
        self.readers[physician_id].offers.pop(task, None)

    def _note_exhausted(self, task: SimulatedTask) -> None:
        if not task.asked:
            task.case.move(CaseEvent.OFFERS_EXHAUSTED, Actor.SYSTEM)

    # Nobody can be asked

    def _park(self, task: SimulatedTask, reasons: Mapping[str, int]) -> None:
        if task.parked_s is None:
            task.parked_s, task.parked_reasons = self._now_s, reasons
            self._waiting[task] = None
            for organisation_id in self._network.assisting(task.case.study.organisation_id):
                self._parked[organisation_id][task] = None

    def _unpark(self, task: SimulatedTask) -> None:
        if task.parked_s is None:
            return
        for organisation_id in self._network.assisting(task.case.study.organisation_id):
            del self._parked[organisation_id][task]
        del self._waiting[task]
        self._note_wait(task, self._now_s)
        task.parked_s = None

    def _note_wait(self, task: SimulatedTask, end_s: float | None) -> None:
        begin_s = task.parked_s or 0.0
        task.case.unroutable_s += (self._end_s if end_s is None else end_s) - begin_s
        self.waits.append(Wait(task.case, task.phase, begin_s, end_s, task.parked_reasons))

    def _wake(self, organisation_id: str) -> None:
        """Ask again, at the hub's next try, about what this organisation's physicians may now be able to take."""
        if self._parked[organisation_id] and organisation_id not in self._waking:
            self._waking.add(organisation_id)
            next_try_s = (self._now_s // self._rules.retry_s + 1) * self._rules.retry_s
            self._at(next_try_s, OTHER, self._ask_again, organisation_id)

    def _ask_again(self, organisation_id: str) -> None:
        self._waking.discard(organisation_id)
        for task in sorted(self._parked[organisation_id], key=_urgency):
            self._route(task)

    # Reading

    def _look_soon(self, reader: Reader, lane: Lane = Lane.ROUTINE) -> None:
        if reader.duty_until_s is None or (reader.claims and not self._interrupts(reader, lane)):
            return
        at_s = self._now_s + self._chance.expovariate(1.0) * self._demand.reaction_s[lane]
        if reader.looks_at_s is None or at_s < reader.looks_at_s:
            reader.looks_at_s = at_s
            self._at(at_s, OTHER, self._look, reader, at_s)

    def _interrupts(self, reader: Reader, lane: Lane) -> bool:
        return lane is Lane.STAT and reader.claims[-1].task.case.study.lane is not Lane.STAT

    def _look(self, reader: Reader, at_s: float) -> None:
        """Take the most urgent of what is offered, or decline it."""
        if reader.looks_at_s != at_s:
            return
        reader.looks_at_s = None
        open_to_reader = [task for task in reader.offers if self._can_begin(reader, task)]
        if not open_to_reader:
            return
        task = min(open_to_reader, key=_urgency)
        if self._chance.random() < self._demand.decline_rate:
            self._decline(reader, task)
            self._look_soon(reader, task.case.study.lane)
        else:
            self._claim(reader, task)

    def _can_begin(self, reader: Reader, task: SimulatedTask) -> bool:
        if reader.duty_until_s is None or not reader.has_room:
            return False
        lane = task.case.study.lane
        if lane is Lane.STAT:
            return not reader.claims or self._interrupts(reader, lane)
        return not reader.claims and self._now_s + self._usual_s(reader, task) <= reader.duty_until_s

    def _usual_s(self, reader: Reader, task: SimulatedTask) -> float:
        usual = self._demand.minutes(task.case.study.modality, reader.facts.title) * 60
        return usual * (self._demand.verification_share if task.phase is Phase.VERIFICATION else 1.0)

    def _decline(self, reader: Reader, task: SimulatedTask) -> None:
        task.case.move(CaseEvent.DECLINE, Actor.PHYSICIAN)
        reader.declined += 1
        self._close_offer(task, reader.physician_id)
        task.declined.add(reader.physician_id)
        self._note_exhausted(task)
        self._route(task)

    def _claim(self, reader: Reader, task: SimulatedTask) -> None:
        case, interpreting = task.case, task.phase is Phase.INTERPRETATION
        case.move(CaseEvent.CLAIM if interpreting else CaseEvent.CLAIM_REVIEW, Actor.PHYSICIAN)
        task.move(ReadingTaskEvent.CLAIM, Actor.PHYSICIAN)
        if interpreting and case.claimed_s is None:
            case.claimed_s, case.agreement_id = self._now_s, task.stages[reader.physician_id][0]
        case.waiting = None
        for physician_id in list(task.asked):
            self._close_offer(task, physician_id)
        self._stop_reading(reader)
        reader.claims.append(Work(task, self._takes_s(reader, task)))
        reader.note(work_in_progress=len(reader.claims))
        self._go_on_reading(reader)

    def _takes_s(self, reader: Reader, task: SimulatedTask) -> float:
        study = task.case.study
        if task.phase is Phase.VERIFICATION:
            return self._usual_s(reader, task) * study.verifying_difficulty
        again = REWRITING_SHARE if task.case.rewritten else 1.0
        return self._usual_s(reader, task) * study.difficulty * again

    def _go_on_reading(self, reader: Reader) -> None:
        work = reader.claims[-1]
        work.since_s = self._now_s
        reader.turn += 1
        self._at(self._now_s + work.remaining_s, FINISHED, self._finish, reader, reader.turn)

    def _stop_reading(self, reader: Reader) -> None:
        """Count what was read until now; whoever calls decides what is read next."""
        reader.turn += 1
        if reader.claims and reader.claims[-1].since_s is not None:
            work = reader.claims[-1]
            spent_s = self._now_s - (work.since_s or 0.0)
            reader.busy_s += spent_s
            work.remaining_s -= spent_s
            work.since_s = None

    def _finish(self, reader: Reader, turn: int) -> None:
        if reader.turn != turn:
            return
        self._stop_reading(reader)
        work = reader.claims.pop()
        was_full = not reader.has_room
        reader.note(work_in_progress=len(reader.claims))
        if was_full:
            for hospital in reader.facts.hospitals:
                self._wake(hospital)
        if work.task.phase is Phase.INTERPRETATION:
            self._finish_interpretation(reader, work.task)
        else:
            self._finish_verification(reader, work.task)
        if reader.claims:
            self._go_on_reading(reader)
        if any(task.case.study.lane is Lane.STAT for task in reader.offers):
            self._look_soon(reader, Lane.STAT)
        elif not reader.claims:
            at_s = reader.looks_at_s = self._now_s + self._demand.between_s
            self._at(at_s, OTHER, self._look, reader, at_s)

    def _finish_interpretation(self, reader: Reader, task: SimulatedTask) -> None:
        case = task.case
        if case.study.returns_to_site and not case.came_back:
            case.came_back = True
            case.move(CaseEvent.RETURN_TO_SITE, Actor.HOLDER)
            task.move(ReadingTaskEvent.CANCEL, Actor.HOLDER)
            self._at(self._now_s + case.study.site_answers_after_s, OTHER, self._verify_images, case)
            return
        case.move(CaseEvent.SUBMIT, Actor.HOLDER)
        case.author_id = reader.physician_id
        reader.interpreted += 1
        self._complete(reader, task)
        self._route(SimulatedTask(case, Phase.VERIFICATION))

    def _finish_verification(self, reader: Reader, task: SimulatedTask) -> None:
        case = task.case
        if case.study.returns_to_author and not case.rewritten and case.author_id is not None:
            case.rewritten = True
            case.move(CaseEvent.RETURN_TO_AUTHOR, Actor.HOLDER)
            task.move(ReadingTaskEvent.CANCEL, Actor.HOLDER)
            again = case.waiting = SimulatedTask(case, Phase.INTERPRETATION)
            agreement_id = case.agreement_id or ""
            self._offer(again, self.readers[case.author_id], agreement_id, case.stage_reached)
            self._at(self._now_s + self._rules.offer_ttl_s, OTHER, self._expire_offers, again)
            return
        case.move(CaseEvent.SIGN, Actor.HOLDER)
        case.signed_s = self._now_s
        reader.verified += 1
        self._complete(reader, task)

    def _complete(self, reader: Reader, task: SimulatedTask) -> None:
        study = task.case.study
        task.move(ReadingTaskEvent.COMPLETE, Actor.HOLDER)
        points = WORKLOAD_POINTS.get(study.modality, WORKLOAD_POINTS_DEFAULT)
        reader.note(workload_points=reader.facts.workload_points + points)
        self._knows.setdefault((study.organisation_id, study.patient), set()).add(reader.physician_id)

    def _end_claim(self, reader: Reader, task: SimulatedTask) -> None:
        """Give a claim back; it counts as a no, as `services.routing.routing_facts` counts it."""
        interpreting = task.phase is Phase.INTERPRETATION
        task.case.move(CaseEvent.RELEASE if interpreting else CaseEvent.RELEASE_REVIEW, Actor.HOLDER)
        task.move(ReadingTaskEvent.CANCEL, Actor.HOLDER)
        replacement = task.replacement()
        replacement.declined.add(reader.physician_id)
        reader.note(work_in_progress=reader.facts.work_in_progress - 1)
        self._route(replacement)


def _urgency(task: SimulatedTask) -> tuple[int, float, int]:
    case = task.case
    return _URGENCY[case.study.lane], case.due_s, case.number
