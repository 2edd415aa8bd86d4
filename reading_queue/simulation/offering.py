"""Who is offered what: the clock of each case, the ranking, the offers and their ends, as the hub has them. Pure.

Tens of thousands of tasks are offered anew every quarter of an hour. What is looked at for each of them is little and
shared, because fetching it from memory costs more than the rules do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from reading_queue.domain.escalation import WHILE_UNTAKEN, next_look, steps_reached
from reading_queue.domain.offering import whose_limits_count
from reading_queue.domain.routing import Phase, choose, limit_of, still_to_ask
from reading_queue.domain.transitions import Actor, CaseEvent, ReadingTaskState
from reading_queue.simulation.candidates import Candidates, Ranker
from reading_queue.simulation.day_limits import DayLimits
from reading_queue.simulation.life import Asked, Reader, SimulatedCase, SimulatedTask, number_of
from reading_queue.simulation.network import Network
from reading_queue.simulation.rules import Rules
from reading_queue.simulation.staff import Staff
from reading_queue.simulation.timeline import DAY_S, OTHER, Timeline
from reading_queue.simulation.waiting import Waiting
from storage.contract.lanes import Lane


class Offering:
    """The cases of a run, and to whom their tasks are offered."""

    def __init__(
        self,
        network: Network,
        rules: Rules,
        timeline: Timeline,
        readers: Mapping[str, Reader],
        days: int,
        look_soon: Callable[[Reader, Lane], None],
    ) -> None:
        self.cases: list[SimulatedCase] = []
        self.rankings = 0
        self._network, self._rules, self._timeline, self._readers = network, rules, timeline, readers
        self._look_soon = look_soon
        self.staff = Staff()
        self._day_limits = DayLimits(network)
        self.candidates = Candidates(network, self.staff, timeline, self._day_limits)
        self.rank: Ranker = self.candidates.rank
        self.waiting = Waiting(network, timeline, rules.retry_s, days * DAY_S, self.route)

    # The clock

    def watch(self, case: SimulatedCase) -> None:
        """Look at the case when its limit reaches the next third, as `escalating.escalate_due` does."""
        look_at = next_look(case.clock(self._timeline.begin), self._timeline.now)
        if look_at is not None:
            self._timeline.at(self._timeline.seconds(look_at), OTHER, self._look_at_clock, case, case.due_s)

    def _look_at_clock(self, case: SimulatedCase, due_s: float) -> None:
        if case.due_s != due_s or case.signed_s is not None:
            return  # its limit has changed since, and that clock is watched as well; or nothing is waited for
        clock = case.clock(self._timeline.begin)
        case.steps_reached |= WHILE_UNTAKEN.intersection(steps_reached(clock, self._timeline.now))
        if case.waiting is not None and case.waiting.phase is Phase.INTERPRETATION:
            self.route(case.waiting)
        self.watch(case)

    # Offers

    def route(self, task: SimulatedTask) -> None:
        """Offer the task to those the ranking puts first, as `services.routing.routing.route` does."""
        if task.state is not ReadingTaskState.SCHEDULED:
            return
        case, width = task.case, self._rules.offer_width
        case.waiting = task
        interpreting = task.phase is Phase.INTERPRETATION
        widened = case.widened(self._timeline.begin, self._timeline.now_s) if interpreting else 0
        facts = self.candidates.facts_of(task)
        knows = case.patient.readers
        if facts.author_id in knows:
            knows -= {facts.author_id}  # who does not verify their own
        self.rankings += 1
        chosen = choose(self.rank(task, facts, knows, width, widened), facts.lane, width, widened)
        able = [one.physician_id for one in task.asked if one.reader.is_able]
        fresh = still_to_ask(chosen, able, width * (1 + widened))
        if not fresh:
            if not task.asked and task.parked_s is None:
                self.waiting.begin(task, self.candidates.rank_everybody(task, facts, knows).counts())
            return
        if task.parked_s is not None:
            self.waiting.end(task)
        case.move(CaseEvent.OFFER, Actor.SYSTEM)
        if interpreting:
            case.stage_reached = max(case.stage_reached, *(one.stage for one in fresh))
            agreed = {one.agreement_id for one in task.asked} | {one.agreement_id for one in fresh}
            counting = whose_limits_count(self.candidates.stages_of(facts, task), agreed)
            self._keep_limit(task, limit_of((self._network.limits[one] for one in counting), facts.lane))
        self.offer(task, [self._readers[one.physician_id].under(one.agreement_id) for one in fresh])

    def _keep_limit(self, task: SimulatedTask, minutes: int | None) -> None:
        if minutes is not None and task.case.tighten(minutes, self._timeline.begin):
            self.watch(task.case)
            for one in task.asked:
                one.reader.offers.add(task.case.urgency, self._timeline.now_s + self._rules.offer_ttl_s)

    def offer(self, task: SimulatedTask, to: Sequence[Asked]) -> None:
        """Offer the task to these physicians."""
        case, batch = task.case, tuple(to)
        until_s = self._timeline.now_s + self._rules.offer_ttl_s
        task.asked = task.asked + batch if task.asked else batch
        for one in batch:
            reader = one.reader
            self._day_limits.count(task, one.physician_id, one.agreement_id, self._timeline.today())
            reader.offers.add(case.urgency, until_s)
            if task.is_stat:
                reader.stat_offers += 1
            self._look_soon(reader, case.study.lane)
        self._timeline.at(until_s, OTHER, self._expire, task, batch)

    def offered_to(self, reader: Reader, urgency: int) -> SimulatedTask | None:
        """Return the task of the case with this urgency as long as it is offered to the reader."""
        case = self.cases[number_of(urgency)]
        task = case.waiting
        if task is None or case.urgency != urgency:
            return None
        return task if any(one.reader is reader for one in task.asked) else None

    def ask_others_of_emergencies(self, reader: Reader) -> None:
        """Offer what is stat to others beside who can take no more, as the hub's claim has it done."""
        found = (self.offered_to(reader, urgency) for urgency in reader.offers.all())
        for task in dict.fromkeys(one for one in found if one is not None and one.is_stat):
            self.route(task)

    def _expire(self, task: SimulatedTask, batch: tuple[Asked, ...]) -> None:
        overdue = batch if task.asked is batch else [one for one in batch if one in task.asked]
        if not overdue:
            return
        self.close(task, overdue)
        who = [one.physician_id for one in overdue]
        if not task.let_pass.issuperset(who):
            task.let_pass = self.staff.group(task.let_pass.union(who))
        if task.state is ReadingTaskState.SCHEDULED:
            self._note_exhausted(task)
            self.route(task)

    def close(self, task: SimulatedTask, offers: Sequence[Asked]) -> None:
        """End these offers of the task."""
        task.asked = () if len(offers) == len(task.asked) else tuple(one for one in task.asked if one not in offers)
        if task.is_stat:
            for one in offers:
                one.reader.stat_offers -= 1
        if task.counted is not None:
            for one in offers:
                with_room = self._day_limits.give_back(task, one.physician_id)
                if with_room is not None:
                    self.waiting.wake(with_room)

    def decline(self, task: SimulatedTask, by: Reader) -> None:
        """Offer the task to others than who declined it."""
        task.case.move(CaseEvent.DECLINE, Actor.PHYSICIAN)
        self.close(task, [one for one in task.asked if one.reader is by])
        task.declined |= {by.physician_id}
        self._note_exhausted(task)
        self.route(task)

    def _note_exhausted(self, task: SimulatedTask) -> None:
        if not task.asked:
            task.case.move(CaseEvent.OFFERS_EXHAUSTED, Actor.SYSTEM)
