"""What the hub keeps in tables of cases, reading tasks and physicians, in memory, with what is counted of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Final

from reading_queue.domain.clocks import agreed_due, moved_limit
from reading_queue.domain.consults import ConsultState
from reading_queue.domain.escalation import Clock, Escalation, next_look, stages_widened
from reading_queue.domain.routing import CaseFacts, Phase, PhysicianFacts
from reading_queue.domain.transitions import (
    BEING_READ,
    Actor,
    CaseEvent,
    CaseState,
    ReadingTaskEvent,
    ReadingTaskState,
    apply,
)
from reading_queue.simulation.demand import Study
from reading_queue.simulation.network import RosteredPhysician
from reading_queue.simulation.offer_queue import OfferQueue
from storage.contract.lanes import Lane

_URGENCY: Final = {lane: place for place, lane in enumerate(Lane)}
_NUMBER_BITS, _MOMENT_BITS = 32, 64  # of an urgency: the case, and microseconds


@dataclass(slots=True, eq=False)
class Patient:
    """Who has read this patient, the same for all cases of the patient."""

    readers: frozenset[str] = frozenset()


@dataclass(slots=True, eq=False)
class SimulatedCase:
    """A case, its clocks in seconds from the beginning of the run, and what became of it.

    What every offer looks at stands first: tens of thousands of cases wait at once, none of them in the cache.
    """

    number: int
    study: Study
    due_s: float
    patient: Patient = field(default_factory=Patient)
    state: CaseState = CaseState.RECEIVING
    waiting: SimulatedTask | None = None  # the reading task that nobody has claimed
    urgency: int = field(init=False)  # the most urgent of several has the least; it names the case
    agreed_min: int | None = None  # the agreement's own limit, where one was set
    _widened: int = 0  # by how many stages
    _widened_until_s: float = 0.0  # until which moment that is so
    stage_reached: int = 0
    author_id: str | None = None
    submitted_s: float | None = None  # when its author signed last
    signed_alone: bool = False
    agreement_id: str | None = None  # under which it was first claimed
    claimed_s: float | None = None
    signed_s: float | None = None
    unroutable_s: float = 0.0
    came_back: bool = False  # from the site, with better images
    rewritten: bool = False  # by its author, whom the verifier asked
    asked_site: bool = False  # for what was missing
    paused_s: float = 0.0  # how long it waited for its site
    consulted: bool = False  # another hospital was asked about it, or could not be
    steps_reached: frozenset[Escalation] = frozenset()  # thirds of its limit that passed before a claim

    def __post_init__(self) -> None:
        self._set_due(self.due_s)

    def _set_due(self, due_s: float) -> None:
        self.due_s, self._widened_until_s = due_s, 0.0
        at_us = _URGENCY[self.study.lane] << _MOMENT_BITS | round(due_s * 1e6)
        self.urgency = at_us << _NUMBER_BITS | self.number

    def clock(self, begin: datetime) -> Clock:
        """Return how the case stands in time, in a run that began at `begin`."""
        exam, due = (begin + timedelta(seconds=at_s) for at_s in (self.study.exam_s, self.due_s))
        began = moved_limit(exam, self.study.lane, timedelta(seconds=self.paused_s)) if self.paused_s else exam
        return Clock(min(began, due), due, taken=self.state in BEING_READ)

    def pause(self, pause_s: float, begin: datetime) -> bool:
        """Count a time in which the case waited for its site; return whether its limit has moved by it."""
        self.paused_s += pause_s
        due = begin + timedelta(seconds=self.due_s)
        moved = moved_limit(due, self.study.lane, timedelta(seconds=pause_s))
        if moved == due:
            return False
        self._set_due((moved - begin).total_seconds())
        return True

    def tighten(self, minutes: int, begin: datetime) -> bool:
        """Set an agreement's own limit; return whether it is another one than before."""
        if minutes == self.agreed_min:
            return False
        self.agreed_min = minutes
        agreed, paused = timedelta(seconds=self.study.exam_s, minutes=minutes), timedelta(seconds=self.paused_s)
        moved = moved_limit(begin + agreed, self.study.lane, paused) - begin
        agreed_s, in_green_channel = moved.total_seconds(), self.study.green_channel is not None
        due_s = agreed_due(agreed_s, self.due_s, in_green_channel=in_green_channel)
        if due_s == self.due_s:
            return False
        self._set_due(due_s)
        return True

    def widened(self, begin: datetime, now_s: float) -> int:
        """Return how many further stages the clock asks while nobody has taken the case."""
        if now_s >= self._widened_until_s:
            clock, now = self.clock(begin), begin + timedelta(seconds=now_s)
            following = next_look(clock, now)
            self._widened_until_s = float("inf") if following is None else (following - begin).total_seconds()
            self._widened = stages_widened(clock, now)
        return self._widened

    def move(self, event: CaseEvent, actor: Actor) -> None:
        """Change the state as the table says; a change that it does not allow raises."""
        self.state = apply(self.state, event, actor)


def number_of(urgency: int) -> int:
    """Return the number of the case whose urgency it is."""
    return urgency & ((1 << _NUMBER_BITS) - 1)


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A physician who is asked under an agreement: one object for all tasks about which they are asked under it."""

    reader: Reader
    physician_id: str
    agreement_id: str


@dataclass(slots=True, eq=False)
class SimulatedTask:
    """A reading task with its offers; answers go on to the task that replaces it in its phase.

    Tens of thousands wait at once: one has nothing of its own that is empty.
    """

    case: SimulatedCase
    phase: Phase
    state: ReadingTaskState = ReadingTaskState.SCHEDULED
    asked: tuple[Asked, ...] = ()  # the open offers
    facts: CaseFacts | None = None  # as of the day on which they were asked for last
    declined: frozenset[str] = frozenset()
    let_pass: frozenset[str] = frozenset()
    parked_s: float | None = None  # since when nobody can be asked
    parked_reasons: Mapping[str, int] | None = None
    counted: dict[str, tuple[str, date]] | None = None  # offers that count in an agreement's day
    agreement_id: str | None = None  # under which it was claimed
    consult: SimulatedConsult | None = None  # the opinion that is being written: no reading task of the hub
    is_stat: bool = field(init=False)

    def __post_init__(self) -> None:
        self.is_stat = self.case.study.lane is Lane.STAT

    def move(self, event: ReadingTaskEvent, actor: Actor) -> None:
        """Change the state as the table says."""
        self.state = apply(self.state, event, actor)

    def replacement(self) -> SimulatedTask:
        """Return the scheduled task that takes this one's place in its phase."""
        return SimulatedTask(self.case, self.phase, declined=self.declined, let_pass=self.let_pass)


@dataclass(slots=True, eq=False)
class Work:
    """A claim: what is left of it, and since when it is being read; nobody reads what a stat case interrupts."""

    task: SimulatedTask
    remaining_s: float
    since_s: float | None = None


@dataclass(slots=True, eq=False)
class Reader:
    """A physician: `facts` are as the hub would load them now, with the current period of duty alone."""

    rostered: RosteredPhysician
    facts: PhysicianFacts
    duty_until_s: float | None = None
    claims: list[Work] = field(default_factory=list)  # the last one is being read
    offers: OfferQueue = field(default_factory=OfferQueue)
    stat_offers: int = 0  # open ones
    looks_at_s: float | None = None
    asking: dict[SimulatedConsult, None] = field(default_factory=dict)  # held while another hospital is asked
    on_hold: dict[SimulatedTask, None] = field(default_factory=dict)  # held while the site is asked
    consulted: int = 0
    turn: int = 0  # raised by every change of what is being read: older events are void
    interpreted: int = 0
    verified: int = 0
    declined: int = 0
    given_back: int = 0
    lapsed: int = 0  # held when duty ended, until the lease ran out
    busy_s: float = 0.0
    duty_s: float = 0.0
    on_change: Callable[[Reader], None] | None = None  # told after every change of the facts
    _answered: dict[tuple[bool, bool, bool], PhysicianFacts] = field(default_factory=dict)  # the facts with answers
    _asked: dict[str, Asked] = field(default_factory=dict)

    @property
    def physician_id(self) -> str:
        """Return who it is."""
        return self.facts.physician_id

    @property
    def holding(self) -> int:
        """Return how many reading tasks the physician holds."""
        return sum(work.task.consult is None for work in self.claims) + len(self.asking) + len(self.on_hold)

    @property
    def has_room(self) -> bool:
        """Return whether another claim is within the limit of work in progress."""
        return self.facts.work_in_progress < self.facts.work_in_progress_max

    @property
    def is_able(self) -> bool:
        """Return whether the physician is there and could take something now."""
        return bool(self.facts.duty) and self.has_room

    def under(self, agreement_id: str) -> Asked:
        """Return the physician as one who is asked under the agreement."""
        if agreement_id not in self._asked:
            self._asked[agreement_id] = Asked(self, self.physician_id, agreement_id)
        return self._asked[agreement_id]

    def facts_for(self, task: SimulatedTask, knows_patient: Set[str]) -> PhysicianFacts:
        """Return the facts with this task's answers."""
        own = self.facts.physician_id
        answers = (own in knows_patient, own in task.declined, own in task.let_pass)
        facts = self._answered.get(answers)
        if facts is None:
            read, declined, let_pass = answers
            facts = replace(self.facts, read_this_patient=read, declined=declined, let_pass=let_pass)
            self._answered[answers] = facts
        return facts

    def note(self, **changes: object) -> None:
        """Change the facts."""
        self.facts = replace(self.facts, **changes)  # type: ignore[arg-type]
        self._answered.clear()
        if self.on_change is not None:
            self.on_change(self)


@dataclass(slots=True, eq=False)
class SimulatedConsult:
    """A question to a hospital up the line about a case that its reader holds meanwhile."""

    task: SimulatedTask
    asker: Reader
    hospital_id: str
    asked_s: float
    due_s: float
    state: ConsultState = ConsultState.ASKED
    ended_s: float | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """A time in which nobody could be asked about a case, and why, by number of physicians."""

    case: SimulatedCase
    phase: Phase
    begin_s: float
    end_s: float | None  # None: it still waits at the end of the run
    reasons: Mapping[str, int]
