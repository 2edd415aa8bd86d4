"""The run: events in the order of their time, each handled by the rules of the domain.

What people do is drawn from the demand model: who is on duty looks at what is offered after a while, takes the most
urgent, reads one case at a time, leaves it for a stat case, and gives back at the end of duty what is not finished.
As the limit of a case runs, further stages are asked, as the hub's sweep has them asked.
Some readers ask a hospital up the line and hold the case until it has answered or its time is over.
Not simulated: leases that run out (who reads is at the desk), questions to the site, reports that one physician signs
alone, delivery, and that an emergency goes to others at once when who was asked is full.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from reading_queue.domain.consults import ConsultActor, ConsultEvent
from reading_queue.domain.escalation import WHILE_UNTAKEN, next_look, steps_reached
from reading_queue.domain.routing import (
    WORKLOAD_POINTS,
    WORKLOAD_POINTS_DEFAULT,
    Phase,
    choose,
    limit_of,
    still_to_ask,
)
from reading_queue.domain.transitions import Actor, CaseEvent, ReadingTaskEvent, ReadingTaskState
from reading_queue.simulation.candidates import Candidates, Ranker
from reading_queue.simulation.consulting import Consults
from reading_queue.simulation.day_limits import DayLimits
from reading_queue.simulation.demand import Demand, Study, draw_studies
from reading_queue.simulation.life import Reader, SimulatedCase, SimulatedConsult, SimulatedTask, Work
from reading_queue.simulation.network import Network, RosteredPhysician, periods_within
from reading_queue.simulation.outcome import Outcome
from reading_queue.simulation.rules import Rules
from reading_queue.simulation.staff import Staff
from reading_queue.simulation.timeline import CAME, DAY_S, FINISHED, GIVEN_BACK, LEFT, OTHER, Timeline
from reading_queue.simulation.waiting import Waiting
from storage.contract.lanes import Lane

DAYS_MAX: Final = 28  # within the window over which the hub counts workload
REWRITING_SHARE: Final = 0.5  # of a first reading's time: the author knows the case


def simulate(network: Network, demand: Demand, rules: Rules, begin: datetime, days: int, seed: int) -> Outcome:
    """Return what becomes of `days` days of synthetic studies, the first beginning at `begin`, a local midnight.

    The same arguments give the same outcome; another roster is given the very same studies.
    """
    if not 1 <= days <= DAYS_MAX:
        raise ValueError(f"a run is of 1 to {DAYS_MAX} days")
    run = Run(network, demand, rules, begin, days, seed)
    run.to_the_end()
    return run.outcome(network, begin, days)


class Run:
    """The state of the province and the events to come."""

    def __init__(self, network: Network, demand: Demand, rules: Rules, begin: datetime, days: int, seed: int) -> None:
        self.cases: list[SimulatedCase] = []
        self.rankings = 0
        self._network, self._demand, self._rules = network, demand, rules
        self._timeline, self._begin, self._end_s = Timeline(begin), begin.astimezone(UTC), days * DAY_S
        self._chance = random.Random(f"{seed}/people")  # noqa: S311 -- no secret
        self._staff = Staff()
        self._day_limits = DayLimits(network)
        self._candidates = Candidates(network, self._staff, self._timeline, self._day_limits)
        self.rank: Ranker = self._candidates.rank
        self._consults = Consults(network, self._timeline, rules)
        self._waiting = Waiting(network, self._timeline, rules.retry_s, self._end_s, self._route)
        self._known_by: dict[tuple[str, int], set[str]] = {}
        self.readers = {one.facts.physician_id: self._hire(one, days, seed) for one in network.physicians}
        sites = [(one.organisation_id, one.kind) for one in network.hospitals.values() if one.sends]
        drawn = sorted(draw_studies(demand, sites, days, begin.weekday(), seed), key=lambda one: one.exam_s)
        self._to_come = iter(drawn)
        self._expect_next()
        for day in range(1, days):
            self._at(day * DAY_S, CAME, self._waiting.wake_all)  # licences and agreements run in local days

    def to_the_end(self) -> None:
        """Handle every event until the end of the run."""
        self._timeline.go_on_until(self._end_s)
        for reader in self.readers.values():
            self._stop_reading(reader)
        self._waiting.close()

    def _at(self, at_s: float, order: int, handle: Callable[..., None], *arguments: Any) -> None:
        self._timeline.at(at_s, order, handle, *arguments)

    @property
    def _now_s(self) -> float:
        return self._timeline.now_s

    def outcome(self, network: Network, begin: datetime, days: int) -> Outcome:
        """Return what became of everything."""
        return Outcome(
            network, begin, days, self.cases, self.readers, self._waiting.waits, self.rankings, self._consults
        )

    # Duty

    def _hire(self, rostered: RosteredPhysician, days: int, seed: int) -> Reader:
        reader = Reader(rostered, replace(rostered.facts, duty=(), work_in_progress=0, workload_points=0))
        self._staff.hire(reader)
        for start, end in periods_within(rostered, self._begin, self._begin + timedelta(days=days)):
            if not rostered.always and self._stays_away(reader, start, seed):
                continue
            self._at(self._timeline.seconds(start), CAME, self._come, reader, start, end)
            self._at(self._timeline.seconds(end), LEFT, self._leave, reader)
            self._at(self._timeline.seconds(end), GIVEN_BACK, self._give_back, reader)
            reader.duty_s += (end - start).total_seconds()
        return reader

    def _stays_away(self, reader: Reader, start: datetime, seed: int) -> bool:
        chance = random.Random(f"{seed}/{reader.physician_id}/{start.isoformat()}")  # noqa: S311 -- no secret
        return chance.random() < self._demand.absence_rate

    def _come(self, reader: Reader, start: datetime, end: datetime) -> None:
        reader.note(duty=((start, end),))
        reader.duty_until_s = self._timeline.seconds(end)
        self._staff.come(reader)
        for hospital in reader.facts.hospitals:
            self._waiting.wake(hospital)
        self._look_soon(reader)

    def _leave(self, reader: Reader) -> None:
        reader.note(duty=())
        reader.duty_until_s = None
        self._staff.leave(reader)
        self._stop_reading(reader)

    def _give_back(self, reader: Reader) -> None:
        held = [consult.task for consult in reader.asking]
        for consult in list(reader.asking):  # it ends with the claim that asked
            self._consults.end(consult, ConsultEvent.WITHDRAW, ConsultActor.ASKER)
        for work in reversed(reader.claims):
            if work.task.consult is None:
                held.append(work.task)
            else:
                self._end_consult(work.task.consult, ConsultEvent.DECLINE, ConsultActor.ACCEPTED_BY)
        reader.claims.clear()
        for task in held:
            reader.given_back += 1
            self._end_claim(reader, task)

    # Cases

    def _expect_next(self) -> None:
        study = next(self._to_come, None)
        if study is not None:
            self._at(study.exam_s, OTHER, self._declare, study)

    def _declare(self, study: Study) -> None:
        self._expect_next()
        limit_s = self._rules.limit_min(study.lane, study.green_channel) * 60
        case = SimulatedCase(len(self.cases), study, study.exam_s + limit_s)
        case.known_by = self._known_by.setdefault((study.organisation_id, study.patient), case.known_by)
        self.cases.append(case)
        self._at(study.exam_s + study.ready_after_s, OTHER, self._verify_images, case)
        self._watch(case)

    def _verify_images(self, case: SimulatedCase) -> None:
        case.move(CaseEvent.IMAGES_VERIFIED, Actor.SYSTEM)
        self._route(SimulatedTask(case, Phase.INTERPRETATION))

    # The clock

    def _watch(self, case: SimulatedCase) -> None:
        """Look at the case when its limit reaches the next third, as `escalating.escalate_due` does."""
        look_at = next_look(case.clock(self._begin), self._timeline.now)
        if look_at is not None:
            self._at(self._timeline.seconds(look_at), OTHER, self._look_at_clock, case, case.due_s)

    def _look_at_clock(self, case: SimulatedCase, due_s: float) -> None:
        if case.due_s != due_s:
            return  # its limit has changed since; that clock is watched as well
        case.steps_reached |= WHILE_UNTAKEN.intersection(steps_reached(case.clock(self._begin), self._timeline.now))
        if case.waiting is not None and case.waiting.phase is Phase.INTERPRETATION:
            self._route(case.waiting)
        if case.signed_s is None:
            self._watch(case)

    # Offers

    def _route(self, task: SimulatedTask) -> None:
        """Offer the task to those the ranking puts first, as `services.routing.routing.route` does."""
        if task.state is not ReadingTaskState.SCHEDULED:
            return
        case, study, width = task.case, task.case.study, self._rules.offer_width
        case.waiting = task
        widened = case.widened(self._begin, self._now_s) if task.phase is Phase.INTERPRETATION else 0
        facts = self._candidates.facts_of(task)
        knows = case.known_by
        if facts.author_id in knows:
            knows = knows - {facts.author_id}  # who does not verify their own
        self.rankings += 1
        chosen = choose(self.rank(task, facts, knows, width, widened), study.lane, width, widened)
        able = [one for one in task.asked if self.readers[one].is_able]
        fresh = still_to_ask(chosen, able, width * (1 + widened))
        if not fresh:
            if not task.asked and task.parked_s is None:
                self._waiting.begin(task, self._candidates.rank_everybody(task, facts, knows).counts())
            return
        self._waiting.end(task)
        case.move(CaseEvent.OFFER, Actor.SYSTEM)
        if task.phase is Phase.INTERPRETATION:
            case.stage_reached = max(case.stage_reached, *(one.stage for one in fresh))
            minutes = limit_of([self._network.limits[fresh[0].agreement_id]], study.lane)
            if minutes is not None and case.tighten(minutes):
                self._watch(case)
                for physician_id in task.asked:
                    self.readers[physician_id].order_anew()
        self._offer(task, [(self.readers[one.physician_id], one.agreement_id) for one in fresh])

    def _offer(self, task: SimulatedTask, to: Sequence[tuple[Reader, str]]) -> None:
        until_s = self._now_s + self._rules.offer_ttl_s
        for reader, agreement_id in to:
            task.asked[reader.physician_id] = (until_s, agreement_id)
            self._day_limits.count(task, reader.physician_id, agreement_id, self._timeline.today())
            reader.be_offered(task)
            self._look_soon(reader, task.case.study.lane)
        self._at(until_s, OTHER, self._expire_offers, task)

    def _expire_offers(self, task: SimulatedTask) -> None:
        overdue = [one for one, (until_s, _) in task.asked.items() if until_s <= self._now_s]
        if not overdue:
            return
        for physician_id in overdue:
            self._close_offer(task, physician_id)
        if not task.let_pass.issuperset(overdue):
            task.let_pass = self._staff.group(task.let_pass.union(overdue))
        if task.state is ReadingTaskState.SCHEDULED:
            self._note_exhausted(task)
            self._route(task)

    def _close_offer(self, task: SimulatedTask, physician_id: str) -> None:
        del task.asked[physician_id]
        self.readers[physician_id].lose_offer(task)
        with_room = self._day_limits.give_back(task, physician_id)
        if with_room is not None:
            self._waiting.wake(with_room)

    def _note_exhausted(self, task: SimulatedTask) -> None:
        if not task.asked:
            task.case.move(CaseEvent.OFFERS_EXHAUSTED, Actor.SYSTEM)

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
        task = self._most_urgent(reader)
        consult = None if reader.claims or reader.duty_until_s is None else self._consults.first_for(reader)
        if consult is not None and (task is None or consult.task.case.urgency < task.case.urgency):
            self._take_consult(reader, consult)
            return
        if task is None:
            return
        if self._chance.random() < self._demand.decline_rate:
            self._decline(reader, task)
            self._look_soon(reader, task.case.study.lane)
        else:
            self._claim(reader, task)

    def _most_urgent(self, reader: Reader) -> SimulatedTask | None:
        """Return the most urgent of what is offered that the physician can begin now."""
        if reader.duty_until_s is None or not reader.has_room or (reader.claims and not reader.stat_offers):
            return None
        return reader.most_urgent(self._can_begin)

    def _can_begin(self, reader: Reader, task: SimulatedTask) -> bool:
        lane = task.case.study.lane
        if lane is Lane.STAT:
            return not reader.claims or self._interrupts(reader, lane)
        return not reader.claims and self._now_s + self._usual_s(reader, task) <= (reader.duty_until_s or 0.0)

    def _usual_s(self, reader: Reader, task: SimulatedTask) -> float:
        usual = self._demand.minutes(task.case.study.modality, reader.facts.title) * 60
        return usual * (self._demand.verification_share if task.phase is Phase.VERIFICATION else 1.0)

    def _decline(self, reader: Reader, task: SimulatedTask) -> None:
        task.case.move(CaseEvent.DECLINE, Actor.PHYSICIAN)
        reader.declined += 1
        self._close_offer(task, reader.physician_id)
        task.declined |= {reader.physician_id}
        self._note_exhausted(task)
        self._route(task)

    def _claim(self, reader: Reader, task: SimulatedTask) -> None:
        case, interpreting = task.case, task.phase is Phase.INTERPRETATION
        case.move(CaseEvent.CLAIM if interpreting else CaseEvent.CLAIM_REVIEW, Actor.PHYSICIAN)
        task.move(ReadingTaskEvent.CLAIM, Actor.PHYSICIAN)
        if interpreting and case.claimed_s is None:
            case.claimed_s, case.agreement_id = self._now_s, task.asked[reader.physician_id][1]
        case.waiting = None
        if task.counted is not None:
            task.counted.pop(reader.physician_id, None)  # what is claimed counts until the day is over
        for physician_id in list(task.asked):
            self._close_offer(task, physician_id)
        self._stop_reading(reader)
        reader.claims.append(Work(task, self._takes_s(reader, task)))
        reader.note(work_in_progress=reader.holding)
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
        self._note_room(reader)
        if work.task.consult is not None:
            reader.consulted += work.task.consult.ended_s is None
            self._end_consult(work.task.consult, ConsultEvent.ANSWER, ConsultActor.ACCEPTED_BY)
        elif work.task.phase is Phase.INTERPRETATION:
            self._finish_interpretation(reader, work.task)
        else:
            self._finish_verification(reader, work.task)
        if reader.claims:
            self._go_on_reading(reader)
        if reader.stat_offers:
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
        if case.study.asks_opinion and not case.consulted and self._ask_opinion(reader, task):
            return
        self._submit(reader, task)

    def _submit(self, reader: Reader, task: SimulatedTask) -> None:
        case = task.case
        case.move(CaseEvent.SUBMIT, Actor.HOLDER)
        case.author_id = reader.physician_id
        reader.interpreted += 1
        self._complete(reader, task)
        self._route(SimulatedTask(case, Phase.VERIFICATION))

    # Opinions

    def _ask_opinion(self, reader: Reader, task: SimulatedTask) -> bool:
        """Ask up the line; the case stays with the reader, who reads others meanwhile."""
        consult = self._consults.ask(reader, task)
        if consult is None:
            return False
        self._note_room(reader)
        self._at(consult.due_s, OTHER, self._end_consult, consult, ConsultEvent.EXPIRE, ConsultActor.SYSTEM)
        for one in self._staff.there(consult.hospital_id):
            self._look_soon(one, task.case.study.lane)
        return True

    def _take_consult(self, reader: Reader, consult: SimulatedConsult) -> None:
        self._consults.accept(consult)
        study = consult.task.case.study
        takes_s = (
            self._demand.consult_min * 60 * self._demand.title_factor[reader.facts.title] * study.opinion_difficulty
        )
        reader.claims.append(Work(SimulatedTask(consult.task.case, Phase.INTERPRETATION, consult=consult), takes_s))
        self._go_on_reading(reader)

    def _end_consult(self, consult: SimulatedConsult, event: ConsultEvent, actor: ConsultActor) -> None:
        """End the question; who asked goes on with the case, with an opinion or without."""
        if self._consults.end(consult, event, actor):
            self._note_room(consult.asker)
            self._submit(consult.asker, consult.task)

    def _note_room(self, reader: Reader) -> None:
        was_full = not reader.has_room
        reader.note(work_in_progress=reader.holding)
        if was_full and reader.has_room:
            for hospital in reader.facts.hospitals:
                self._waiting.wake(hospital)

    def _finish_verification(self, reader: Reader, task: SimulatedTask) -> None:
        case = task.case
        if case.study.returns_to_author and not case.rewritten and case.author_id is not None:
            case.rewritten = True
            case.move(CaseEvent.RETURN_TO_AUTHOR, Actor.HOLDER)
            task.move(ReadingTaskEvent.CANCEL, Actor.HOLDER)
            again = case.waiting = SimulatedTask(case, Phase.INTERPRETATION)
            self._offer(again, [(self.readers[case.author_id], case.agreement_id or "")])
            return
        case.move(CaseEvent.SIGN, Actor.HOLDER)
        case.signed_s = self._now_s
        reader.verified += 1
        self._complete(reader, task)

    def _complete(self, reader: Reader, task: SimulatedTask) -> None:
        task.move(ReadingTaskEvent.COMPLETE, Actor.HOLDER)
        points = WORKLOAD_POINTS.get(task.case.study.modality, WORKLOAD_POINTS_DEFAULT)
        reader.note(workload_points=reader.facts.workload_points + points)
        task.case.known_by.add(reader.physician_id)

    def _end_claim(self, reader: Reader, task: SimulatedTask) -> None:
        """Give a claim back; it counts as a no, as `services.routing.routing_facts` counts it."""
        interpreting = task.phase is Phase.INTERPRETATION
        task.case.move(CaseEvent.RELEASE if interpreting else CaseEvent.RELEASE_REVIEW, Actor.HOLDER)
        task.move(ReadingTaskEvent.CANCEL, Actor.HOLDER)
        replacement = task.replacement()
        replacement.declined |= {reader.physician_id}
        reader.note(work_in_progress=reader.holding)
        self._route(replacement)
