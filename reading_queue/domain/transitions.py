"""The states of a case and of a reading task, and every legal change of them: two tables, as data.

Pure. Permissions, the events a page offers and the diagram in ARCHITECTURE.md are derived from the tables and
typed nowhere else. A reading task is a DICOM UPS workitem: it never goes back to scheduled (PS3.4 Table CC.1.1-2),
so a claim that ends without its work cancels the task and mints a replacement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeVar, overload


class Actor(StrEnum):
    """Who causes an event.

    `PHYSICIAN` is one to whom the reading task is offered, `HOLDER` who holds it, `LEAD` a senior physician of the
    holder's hospital, `SIGNATORY` who wrote or verified the signed report.
    """

    SYSTEM = "system"
    TECHNICIAN = "technician"
    PHYSICIAN = "physician"
    HOLDER = "holder"
    LEAD = "lead"
    SIGNATORY = "signatory"
    COORDINATOR = "coordinator"
    ADMINISTRATOR = "administrator"


class CaseState(StrEnum):
    """Where a case stands."""

    RECEIVING = "receiving"  # declared; some instance is not verified yet
    READY = "ready"  # complete; offered to nobody
    OFFERED = "offered"  # shown to physicians for interpretation
    READING = "reading"  # one physician holds the interpretation
    ON_HOLD = "on_hold"  # its holder has asked the site for something, and waits
    PENDING_REVIEW = "pending_review"  # the author signed; waits for a second physician
    REVIEWING = "reviewing"  # a second physician holds the verification
    FINAL = "final"  # both signed, or one alone where that is agreed; the report never changes
    DELIVERED = "delivered"  # the clinic's own systems hold the documents
    ACKNOWLEDGED = "acknowledged"  # the clinic confirmed
    AMENDING = "amending"  # signed; an addendum or correction is being written, or waits for who writes it
    AMENDMENT_PENDING = "amendment_pending"  # its author signed; waits for a second physician
    AMENDMENT_REVIEWING = "amendment_reviewing"  # a second physician holds the verification of the amendment
    RETURNED = "returned"  # sent back to the site: not readable as it is
    CANCELLED = "cancelled"  # withdrawn before anybody signed it
    ENTERED_IN_ERROR = "entered_in_error"  # signed about the wrong patient; two people have said so


class CaseEvent(StrEnum):
    """What can happen to a case."""

    SERIES_VERIFIED = "series_verified"
    IMAGES_VERIFIED = "images_verified"
    OFFER = "offer"
    OFFERS_EXHAUSTED = "offers_exhausted"
    CLAIM = "claim"
    RELEASE = "release"
    LEASE_EXPIRED = "lease_expired"
    DECLINE = "decline"
    SUBMIT = "submit"
    CLAIM_REVIEW = "claim_review"
    RELEASE_REVIEW = "release_review"
    REVIEW_LEASE_EXPIRED = "review_lease_expired"
    RETURN_TO_AUTHOR = "return_to_author"
    SIGN = "sign"
    SIGN_ALONE = "sign_alone"  # one physician stands for the report; the agreement allows it (single_physician.py)
    DELIVER = "deliver"
    ACKNOWLEDGE = "acknowledge"
    RETURN_TO_SITE = "return_to_site"
    RESUBMIT = "resubmit"
    HOLD = "hold"
    RESUME = "resume"
    HOLD_EXPIRED = "hold_expired"
    TAKE_OVER = "take_over"
    WITHDRAW = "withdraw"
    JOIN = "join"  # its studies are read with those of another case
    ACCEPT_WITHDRAWAL = "accept_withdrawal"
    AMEND = "amend"
    NOTHING_TO_AMEND = "nothing_to_amend"
    ENTER_IN_ERROR = "enter_in_error"


class ReadingTaskState(StrEnum):
    """Where a reading task stands; the values are UPS procedure step states in lower case."""

    SCHEDULED = "scheduled"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELED = "canceled"


class ReadingTaskEvent(StrEnum):
    """What can happen to a reading task."""

    CLAIM = "claim"
    COMPLETE = "complete"
    CANCEL = "cancel"


class EventNotAllowed(ValueError):
    """The event has no meaning in this state."""

    def __init__(self, state: StrEnum, event: StrEnum) -> None:
        self.state = state
        self.event = event
        super().__init__(f"{event} is not possible while {state}")


class ActorNotAllowed(ValueError):
    """The event is possible in this state, but not for this actor."""

    def __init__(self, state: StrEnum, event: StrEnum, actor: Actor) -> None:
        self.state = state
        self.event = event
        self.actor = actor
        super().__init__(f"{event} while {state} is not for a {actor}")


StateT = TypeVar("StateT", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Transition(Generic[StateT]):
    """Where an event leads, and who may cause it."""

    to: StateT
    by: frozenset[Actor]


def _to(state: StateT, *by: Actor) -> Transition[StateT]:
    return Transition(to=state, by=frozenset(by))


_S, _E, _A = CaseState, CaseEvent, Actor
_MAY_VOID: Final = (Actor.SIGNATORY, Actor.LEAD, Actor.COORDINATOR)  # the second of two people who say so
_MAY_AMEND: Final = (Actor.SIGNATORY, Actor.LEAD, Actor.SYSTEM)  # the system: images came after the signature

CASE_TRANSITIONS: Final[Mapping[tuple[CaseState, CaseEvent], Transition[CaseState]]] = {
    (_S.RECEIVING, _E.IMAGES_VERIFIED): _to(_S.READY, _A.SYSTEM),
    (_S.RECEIVING, _E.SERIES_VERIFIED): _to(_S.READY, _A.SYSTEM),  # of an emergency; the rest is still arriving
    (_S.RECEIVING, _E.WITHDRAW): _to(_S.CANCELLED, _A.TECHNICIAN, _A.COORDINATOR),
    (_S.READY, _E.OFFER): _to(_S.OFFERED, _A.SYSTEM, _A.COORDINATOR),
    (_S.READY, _E.RETURN_TO_SITE): _to(_S.RETURNED, _A.COORDINATOR, _A.SYSTEM),  # all its images were rejected
    (_S.READY, _E.WITHDRAW): _to(_S.CANCELLED, _A.TECHNICIAN, _A.COORDINATOR),
    (_S.READY, _E.JOIN): _to(_S.CANCELLED, _A.SYSTEM, _A.TECHNICIAN, _A.COORDINATOR),
    (_S.OFFERED, _E.OFFER): _to(_S.OFFERED, _A.SYSTEM, _A.COORDINATOR),  # to further physicians
    (_S.OFFERED, _E.DECLINE): _to(_S.OFFERED, _A.PHYSICIAN),
    (_S.OFFERED, _E.OFFERS_EXHAUSTED): _to(_S.READY, _A.SYSTEM),
    (_S.OFFERED, _E.CLAIM): _to(_S.READING, _A.PHYSICIAN),
    (_S.OFFERED, _E.RETURN_TO_SITE): _to(_S.RETURNED, _A.COORDINATOR, _A.SYSTEM),
    (_S.OFFERED, _E.WITHDRAW): _to(_S.CANCELLED, _A.TECHNICIAN, _A.COORDINATOR),
    (_S.OFFERED, _E.JOIN): _to(_S.CANCELLED, _A.SYSTEM, _A.TECHNICIAN, _A.COORDINATOR),
    (_S.READING, _E.SUBMIT): _to(_S.PENDING_REVIEW, _A.HOLDER),
    (_S.READING, _E.SIGN_ALONE): _to(_S.FINAL, _A.HOLDER),
    (_S.READING, _E.RELEASE): _to(_S.READY, _A.HOLDER, _A.COORDINATOR),
    (_S.READING, _E.LEASE_EXPIRED): _to(_S.READY, _A.SYSTEM),
    (_S.READING, _E.RETURN_TO_SITE): _to(_S.RETURNED, _A.HOLDER, _A.COORDINATOR),
    (_S.READING, _E.HOLD): _to(_S.ON_HOLD, _A.HOLDER),
    (_S.READING, _E.TAKE_OVER): _to(_S.READING, _A.LEAD),
    (_S.READING, _E.ACCEPT_WITHDRAWAL): _to(_S.CANCELLED, _A.HOLDER),  # the site may only ask while it is read
    (_S.ON_HOLD, _E.RESUME): _to(_S.READING, _A.HOLDER, _A.TECHNICIAN, _A.COORDINATOR),
    (_S.ON_HOLD, _E.RELEASE): _to(_S.READY, _A.HOLDER, _A.COORDINATOR),
    (_S.ON_HOLD, _E.HOLD_EXPIRED): _to(_S.READY, _A.SYSTEM),
    (_S.ON_HOLD, _E.TAKE_OVER): _to(_S.READING, _A.LEAD),
    (_S.ON_HOLD, _E.RETURN_TO_SITE): _to(_S.RETURNED, _A.HOLDER, _A.COORDINATOR),
    (_S.ON_HOLD, _E.ACCEPT_WITHDRAWAL): _to(_S.CANCELLED, _A.HOLDER),
    (_S.PENDING_REVIEW, _E.OFFER): _to(_S.PENDING_REVIEW, _A.SYSTEM, _A.COORDINATOR),
    (_S.PENDING_REVIEW, _E.DECLINE): _to(_S.PENDING_REVIEW, _A.PHYSICIAN),
    (_S.PENDING_REVIEW, _E.OFFERS_EXHAUSTED): _to(_S.PENDING_REVIEW, _A.SYSTEM),
    (_S.PENDING_REVIEW, _E.CLAIM_REVIEW): _to(_S.REVIEWING, _A.PHYSICIAN),
    (_S.REVIEWING, _E.SIGN): _to(_S.FINAL, _A.HOLDER),
    (_S.REVIEWING, _E.RETURN_TO_AUTHOR): _to(_S.OFFERED, _A.HOLDER),  # to the author, before anybody else
    (_S.REVIEWING, _E.RELEASE_REVIEW): _to(_S.PENDING_REVIEW, _A.HOLDER, _A.COORDINATOR),
    (_S.REVIEWING, _E.REVIEW_LEASE_EXPIRED): _to(_S.PENDING_REVIEW, _A.SYSTEM),
    (_S.REVIEWING, _E.TAKE_OVER): _to(_S.REVIEWING, _A.LEAD),
    (_S.REVIEWING, _E.ACCEPT_WITHDRAWAL): _to(_S.CANCELLED, _A.HOLDER),
    (_S.FINAL, _E.DELIVER): _to(_S.DELIVERED, _A.SYSTEM),
    (_S.FINAL, _E.AMEND): _to(_S.AMENDING, *_MAY_AMEND),
    (_S.FINAL, _E.ENTER_IN_ERROR): _to(_S.ENTERED_IN_ERROR, *_MAY_VOID),
    (_S.DELIVERED, _E.ACKNOWLEDGE): _to(_S.ACKNOWLEDGED, _A.SYSTEM, _A.TECHNICIAN),
    (_S.DELIVERED, _E.AMEND): _to(_S.AMENDING, *_MAY_AMEND),
    (_S.DELIVERED, _E.ENTER_IN_ERROR): _to(_S.ENTERED_IN_ERROR, *_MAY_VOID),
    (_S.ACKNOWLEDGED, _E.AMEND): _to(_S.AMENDING, *_MAY_AMEND),
    (_S.ACKNOWLEDGED, _E.ENTER_IN_ERROR): _to(_S.ENTERED_IN_ERROR, *_MAY_VOID),
    (_S.AMENDING, _E.OFFER): _to(_S.AMENDING, _A.SYSTEM, _A.COORDINATOR),
    (_S.AMENDING, _E.DECLINE): _to(_S.AMENDING, _A.PHYSICIAN),
    (_S.AMENDING, _E.OFFERS_EXHAUSTED): _to(_S.AMENDING, _A.SYSTEM),
    (_S.AMENDING, _E.CLAIM): _to(_S.AMENDING, _A.PHYSICIAN, _A.SIGNATORY),
    (_S.AMENDING, _E.RELEASE): _to(_S.AMENDING, _A.HOLDER, _A.COORDINATOR),
    (_S.AMENDING, _E.LEASE_EXPIRED): _to(_S.AMENDING, _A.SYSTEM),
    (_S.AMENDING, _E.TAKE_OVER): _to(_S.AMENDING, _A.LEAD),
    (_S.AMENDING, _E.SUBMIT): _to(_S.AMENDMENT_PENDING, _A.HOLDER),
    (_S.AMENDING, _E.NOTHING_TO_AMEND): _to(_S.FINAL, _A.HOLDER),  # and on, as far as it had come
    (_S.AMENDING, _E.ENTER_IN_ERROR): _to(_S.ENTERED_IN_ERROR, *_MAY_VOID),  # what was signed still counts till then
    (_S.AMENDMENT_PENDING, _E.OFFER): _to(_S.AMENDMENT_PENDING, _A.SYSTEM, _A.COORDINATOR),
    (_S.AMENDMENT_PENDING, _E.DECLINE): _to(_S.AMENDMENT_PENDING, _A.PHYSICIAN),
    (_S.AMENDMENT_PENDING, _E.OFFERS_EXHAUSTED): _to(_S.AMENDMENT_PENDING, _A.SYSTEM),
    (_S.AMENDMENT_PENDING, _E.CLAIM_REVIEW): _to(_S.AMENDMENT_REVIEWING, _A.PHYSICIAN),
    (_S.AMENDMENT_PENDING, _E.ENTER_IN_ERROR): _to(_S.ENTERED_IN_ERROR, *_MAY_VOID),
    (_S.AMENDMENT_REVIEWING, _E.SIGN): _to(_S.FINAL, _A.HOLDER),
    (_S.AMENDMENT_REVIEWING, _E.RETURN_TO_AUTHOR): _to(_S.AMENDING, _A.HOLDER),
    (_S.AMENDMENT_REVIEWING, _E.RELEASE_REVIEW): _to(_S.AMENDMENT_PENDING, _A.HOLDER, _A.COORDINATOR),
    (_S.AMENDMENT_REVIEWING, _E.REVIEW_LEASE_EXPIRED): _to(_S.AMENDMENT_PENDING, _A.SYSTEM),
    (_S.AMENDMENT_REVIEWING, _E.TAKE_OVER): _to(_S.AMENDMENT_REVIEWING, _A.LEAD),
    (_S.AMENDMENT_REVIEWING, _E.ENTER_IN_ERROR): _to(_S.ENTERED_IN_ERROR, *_MAY_VOID),
    (_S.RETURNED, _E.IMAGES_VERIFIED): _to(_S.READY, _A.SYSTEM),  # the site sent what was missing
    (_S.RETURNED, _E.RESUBMIT): _to(_S.READY, _A.TECHNICIAN, _A.COORDINATOR),  # or said what was missing
    (_S.RETURNED, _E.WITHDRAW): _to(_S.CANCELLED, _A.TECHNICIAN, _A.COORDINATOR),
}

_TS, _TE = ReadingTaskState, ReadingTaskEvent

READING_TASK_TRANSITIONS: Final[Mapping[tuple[ReadingTaskState, ReadingTaskEvent], Transition[ReadingTaskState]]] = {
    (_TS.SCHEDULED, _TE.CLAIM): _to(_TS.IN_PROGRESS, _A.PHYSICIAN, _A.LEAD, _A.SIGNATORY),
    (_TS.SCHEDULED, _TE.CANCEL): _to(_TS.CANCELED, _A.SYSTEM, _A.TECHNICIAN, _A.COORDINATOR),
    (_TS.IN_PROGRESS, _TE.COMPLETE): _to(_TS.COMPLETED, _A.HOLDER),
    (_TS.IN_PROGRESS, _TE.CANCEL): _to(_TS.CANCELED, _A.SYSTEM, _A.HOLDER, _A.LEAD, _A.COORDINATOR),
}

# Nothing more needs to happen. A signed report is never cancelled, so no signed state is among the ways to CANCELLED.
CASE_ENDS: Final = frozenset({CaseState.ACKNOWLEDGED, CaseState.CANCELLED, CaseState.ENTERED_IN_ERROR})
# A report was signed, and the case is over or on its way home, or its report is being amended.
SIGNED: Final = frozenset({_S.FINAL, _S.DELIVERED, _S.ACKNOWLEDGED})
AMENDED: Final = frozenset({_S.AMENDING, _S.AMENDMENT_PENDING, _S.AMENDMENT_REVIEWING})
# A physician has taken the case and it is not signed.
BEING_READ: Final = frozenset({_S.READING, _S.ON_HOLD, _S.PENDING_REVIEW, _S.REVIEWING})
# A scheduled reading task waits for somebody to take it.
ROUTABLE: Final = frozenset({_S.READY, _S.OFFERED, _S.PENDING_REVIEW, _S.AMENDING, _S.AMENDMENT_PENDING})
READING_TASK_ENDS: Final = frozenset({ReadingTaskState.COMPLETED, ReadingTaskState.CANCELED})


@overload
def apply(state: CaseState, event: CaseEvent, actor: Actor) -> CaseState: ...
@overload
def apply(state: ReadingTaskState, event: ReadingTaskEvent, actor: Actor) -> ReadingTaskState: ...
def apply(
    state: CaseState | ReadingTaskState, event: CaseEvent | ReadingTaskEvent, actor: Actor
) -> CaseState | ReadingTaskState:
    """Return the state after `event` caused by `actor`.

    Raises:
        EventNotAllowed: the event has no meaning in this state.
        ActorNotAllowed: it has, but not for this actor.
    """
    transition: Transition[CaseState] | Transition[ReadingTaskState] | None
    if isinstance(state, CaseState) and isinstance(event, CaseEvent):
        transition = CASE_TRANSITIONS.get((state, event))
    elif isinstance(state, ReadingTaskState) and isinstance(event, ReadingTaskEvent):
        transition = READING_TASK_TRANSITIONS.get((state, event))
    else:
        raise TypeError(f"{event!r} is not an event of {type(state).__name__}")
    if transition is None:
        raise EventNotAllowed(state, event)
    if actor not in transition.by:
        raise ActorNotAllowed(state, event, actor)
    return transition.to


def events_open_to(state: CaseState, *actors: Actor) -> frozenset[CaseEvent]:
    """Return what somebody who is all of `actors` may do to a case in this state: the buttons of a page."""
    return frozenset(
        event
        for (source, event), transition in CASE_TRANSITIONS.items()
        if source is state and transition.by.intersection(actors)
    )


def diagram() -> str:
    """Return the case's table as a Mermaid state diagram, for ARCHITECTURE.md."""
    lines = ["stateDiagram-v2", f"    [*] --> {CaseState.RECEIVING}"]
    lines += [f"    {source} --> {step.to}: {event}" for (source, event), step in CASE_TRANSITIONS.items()]
    lines += [f"    {end} --> [*]" for end in CaseState if end in CASE_ENDS]
    return "\n".join(lines) + "\n"
