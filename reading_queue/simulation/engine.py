"""The run: events in the order of their time, each handled by the rules of the domain.

What people do is drawn from the demand model: who is on duty looks at what is offered after a while, takes the most
urgent, reads one case at a time, leaves it for a stat case, and gives back at the end of duty what is not finished, or
forgets it until its lease runs out.
As the limit of a case runs, further stages are asked, as the hub's sweep has them asked.
Some readers ask the site, or a hospital up the line, and hold the case until there is an answer or its time is over.
Not simulated: delivery, and sites in several time zones.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from reading_queue.domain.consults import ConsultActor, ConsultEvent
from reading_queue.domain.information import Outcome as HoldOutcome
from reading_queue.domain.routing import Phase, workload_points
from reading_queue.domain.single_physician import Reading, find_obstacles
from reading_queue.domain.transitions import Actor, CaseEvent, ReadingTaskEvent
from reading_queue.simulation.consulting import Consults
from reading_queue.simulation.demand import Demand, Study, draw_studies
from reading_queue.simulation.holding import Holds
from reading_queue.simulation.life import Patient, Reader, SimulatedCase, SimulatedConsult, SimulatedTask, Work
from reading_queue.simulation.network import Network, RosteredPhysician, periods_within
from reading_queue.simulation.offering import Offering
from reading_queue.simulation.outcome import Outcome
from reading_queue.simulation.rules import Rules
from reading_queue.simulation.timeline import CAME, DAY_S, FINISHED, GIVEN_BACK, LEFT, OTHER, Timeline
from storage.contract.lanes import Lane

DAYS_MAX: Final = 28  # within the window over which the hub counts workload
ENDS_OF_CLAIMS: Final = {
    Actor.HOLDER: {Phase.INTERPRETATION: CaseEvent.RELEASE, Phase.VERIFICATION: CaseEvent.RELEASE_REVIEW},
    Actor.SYSTEM: {Phase.INTERPRETATION: CaseEvent.LEASE_EXPIRED, Phase.VERIFICATION: CaseEvent.REVIEW_LEASE_EXPIRED},
}
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
        self._demand, self._rules, self._terms = demand, rules, network.terms
        self._timeline, self._begin, self._end_s = Timeline(begin), begin.astimezone(UTC), days * DAY_S
        self._chance = random.Random(f"{seed}/people")  # noqa: S311 -- no secret
        self.readers: dict[str, Reader] = {}
        self.offering = Offering(network, rules, self._timeline, self.readers, days, self._look_soon)
        self._staff, self._waiting = self.offering.staff, self.offering.waiting
        self._consults = Consults(network, self._timeline, rules)
        self._holds = Holds(self._timeline)
        self._patients: dict[tuple[str, int], Patient] = {}
        for one in network.physicians:
            self.readers[one.facts.physician_id] = self._hire(one, days, seed)
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
            network,
            begin,
            days,
            self.offering.cases,
            self.readers,
            self._waiting.waits,
            self.offering.rankings,
            self._consults,
            self._holds.all,
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
        reader.note(work_in_progress=reader.holding)
        for task in list(reader.on_hold):
            self._leave_hold(reader, task)
            reader.given_back += 1
            self._end_claim(reader, task, Actor.HOLDER)
        for task in held:
            if self._chance.random() < self._demand.forgotten_rate:
                reader.lapsed += 1
                self._at(self._now_s + self._rules.lease_s, OTHER, self._end_claim, reader, task, Actor.SYSTEM)
            else:
                reader.given_back += 1
                self._end_claim(reader, task, Actor.HOLDER)

    # Cases

    def _expect_next(self) -> None:
        study = next(self._to_come, None)
        if study is not None:
            self._at(study.exam_s, OTHER, self._declare, study)

    def _declare(self, study: Study) -> None:
        self._expect_next()
        limit_s = self._rules.limit_min(study.lane, study.green_channel) * 60
        patient = self._patients.setdefault((study.organisation_id, study.patient), Patient())
        case = SimulatedCase(len(self.offering.cases), study, study.exam_s + limit_s, patient)
        self.offering.cases.append(case)
        self._at(study.exam_s + study.ready_after_s, OTHER, self._verify_images, case)
        self.offering.watch(case)

    def _verify_images(self, case: SimulatedCase) -> None:
        case.move(CaseEvent.IMAGES_VERIFIED, Actor.SYSTEM)
        self.offering.route(SimulatedTask(case, Phase.INTERPRETATION))

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
        return reader.offers.first(
            self._now_s, partial(self.offering.offered_to, reader), partial(self._can_begin, reader)
        )

    def _can_begin(self, reader: Reader, task: SimulatedTask) -> bool | None:
        lane = task.case.study.lane
        if lane is Lane.STAT:
            return not reader.claims or self._interrupts(reader, lane)
        if reader.claims:
            return None  # only what is stat interrupts, and it comes first
        return self._now_s + self._usual_s(reader, task) <= (reader.duty_until_s or 0.0)

    def _usual_s(self, reader: Reader, task: SimulatedTask) -> float:
        usual = self._demand.minutes(task.case.study.modality, reader.facts.title) * 60
        return usual * (self._demand.verification_share if task.phase is Phase.VERIFICATION else 1.0)

    def _decline(self, reader: Reader, task: SimulatedTask) -> None:
        reader.declined += 1
        self.offering.decline(task, reader)

    def _claim(self, reader: Reader, task: SimulatedTask) -> None:
        case, interpreting = task.case, task.phase is Phase.INTERPRETATION
        case.move(CaseEvent.CLAIM if interpreting else CaseEvent.CLAIM_REVIEW, Actor.PHYSICIAN)
        task.move(ReadingTaskEvent.CLAIM, Actor.PHYSICIAN)
        task.agreement_id = next(one.agreement_id for one in task.asked if one.reader is reader)
        if interpreting and case.claimed_s is None:
            case.claimed_s, case.agreement_id = self._now_s, task.agreement_id
        case.waiting = None
        if task.counted is not None:
            task.counted.pop(reader.physician_id, None)  # what is claimed counts until the day is over
        self.offering.close(task, task.asked)
        self._stop_reading(reader)
        reader.claims.append(Work(task, self._takes_s(reader, task)))
        reader.note(work_in_progress=reader.holding)
        self._go_on_reading(reader)
        if reader.stat_offers and not reader.has_room:
            self.offering.ask_others_of_emergencies(reader)

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
        if case.study.asks_site and not case.asked_site:
            self._hold(reader, task)
        else:
            self._ask_or_submit(reader, task)

    def _ask_or_submit(self, reader: Reader, task: SimulatedTask) -> None:
        case = task.case
        if not (case.study.asks_opinion and not case.consulted and self._ask_opinion(reader, task)):
            self._submit(reader, task)

    def _hold(self, reader: Reader, task: SimulatedTask) -> None:
        self._holds.ask(reader, task)
        self._note_room(reader)
        replies_s = task.case.study.site_replies_after_s
        end = self._answer if replies_s <= self._rules.hold_max_s else self._expire_hold
        ends_s = self._now_s + min(replies_s, self._rules.hold_max_s)
        self._at(ends_s, OTHER, end, reader, task)

    def _expire_hold(self, reader: Reader, task: SimulatedTask) -> None:
        if task in reader.on_hold:
            self._leave_hold(reader, task)
            self._end_claim(reader, task, Actor.SYSTEM, CaseEvent.HOLD_EXPIRED)

    def _answer(self, reader: Reader, task: SimulatedTask) -> None:
        if task not in reader.on_hold:
            return
        task.case.move(CaseEvent.RESUME, Actor.TECHNICIAN)
        if self._holds.end(reader, task, HoldOutcome.ANSWERED):
            self.offering.watch(task.case)
        self._note_room(reader)
        self._ask_or_submit(reader, task)

    def _leave_hold(self, reader: Reader, task: SimulatedTask) -> None:
        if self._holds.end(reader, task, HoldOutcome.LEFT):
            self.offering.watch(task.case)
        self._note_room(reader)

    def _submit(self, reader: Reader, task: SimulatedTask) -> None:
        case = task.case
        case.author_id, case.submitted_s = reader.physician_id, self._now_s
        reader.interpreted += 1
        if self._may_sign_alone(reader, task):
            case.move(CaseEvent.SIGN_ALONE, Actor.HOLDER)
            case.signed_alone, case.signed_s = True, self._now_s
            self._complete(reader, task)
            return
        case.move(CaseEvent.SUBMIT, Actor.HOLDER)
        self._complete(reader, task)
        self.offering.route(SimulatedTask(case, Phase.VERIFICATION))

    def _may_sign_alone(self, reader: Reader, task: SimulatedTask) -> bool:
        study, terms = task.case.study, self._terms.get(task.agreement_id or "")
        if terms is None or not terms.single_physician:
            return False
        reading = Reading(
            title=reader.facts.title,
            modalities=frozenset({study.modality}),
            lane=study.lane,
            is_green_channel=study.green_channel is not None,
            was_returned=task.case.rewritten,
            is_in_doubt=False,
            is_first_reading=True,
        )
        return not find_obstacles(terms, reading, self._timeline.today())

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
            self.offering.offer(again, [self.readers[case.author_id].under(case.agreement_id or "")])
            return
        case.move(CaseEvent.SIGN, Actor.HOLDER)
        case.signed_s = self._now_s
        reader.verified += 1
        self._complete(reader, task)

    def _complete(self, reader: Reader, task: SimulatedTask) -> None:
        task.move(ReadingTaskEvent.COMPLETE, Actor.HOLDER)
        points = workload_points(self._rules.workload_points, task.case.study.modality)
        reader.note(workload_points=reader.facts.workload_points + points)
        task.case.patient.readers |= {reader.physician_id}

    def _end_claim(self, reader: Reader, task: SimulatedTask, actor: Actor, event: CaseEvent | None = None) -> None:
        """End a claim: given back it is a no, run out it is let pass, as `services.routing.routing_facts` counts."""
        task.case.move(event or ENDS_OF_CLAIMS[actor][task.phase], actor)
        task.move(ReadingTaskEvent.CANCEL, actor)
        replacement = task.replacement()
        if actor is Actor.SYSTEM:
            replacement.let_pass |= {reader.physician_id}
        else:
            replacement.declined |= {reader.physician_id}
        self.offering.route(replacement)
