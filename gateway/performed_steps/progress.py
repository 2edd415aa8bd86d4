"""What an examination's steps mean for its order. Pure.

The scanner's word counts over paper: an order that was cancelled and examined all the same was examined.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from storage.contract.orders import Order, OrderState

EARLIEST_BEFORE_RECEIPT: Final = timedelta(days=7)  # a scanner may have been without its network for so long
LATEST_AFTER_RECEIPT: Final = timedelta(hours=1)  # its clock may be a little ahead


class StepState(StrEnum):
    """Performed Procedure Step Status (0040,0252)."""

    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"


# What an N-SET may make of a step (PS3.4 section F.7.2.2.2): after its end nothing changes any more.
CHANGES: Final[dict[StepState, frozenset[StepState]]] = {
    StepState.IN_PROGRESS: frozenset(StepState),
    StepState.COMPLETED: frozenset(),
    StepState.DISCONTINUED: frozenset(),
}
# The first of these that some step is in says where the order stands.
_ORDER_STATES: Final = (
    (StepState.IN_PROGRESS, OrderState.IN_PROGRESS),
    (StepState.COMPLETED, OrderState.DONE),
    (StepState.DISCONTINUED, OrderState.DISCONTINUED),
)


@dataclass(frozen=True, slots=True)
class PerformedStep:
    """One step. `instances`: those it made, as far as it said; times None where they are not plausible."""

    step_uid: str
    state: StepState
    study_uid: str
    accession_number: str
    started_at: datetime | None
    ended_at: datetime | None
    instances: frozenset[str] = frozenset()
    reason: str = ""

    @property
    def expected(self) -> int | None:
        """Return how many instances it made, None where it named none."""
        return len(self.instances) or None


def plausible(moment: datetime | None, received_at: datetime) -> datetime | None:
    """Return the scanner's time, None when its clock cannot be right: nobody is measured by a clock that was reset."""
    if moment is None or not -EARLIEST_BEFORE_RECEIPT <= moment - received_at <= LATEST_AFTER_RECEIPT:
        return None
    return moment


def advance(order: Order, steps: Sequence[PerformedStep], now: datetime) -> Order | None:
    """Return the order's next version after these steps, all that there are of it, None when nothing changes."""
    if not steps:
        return None
    states = {step.state for step in steps}
    state = next(of_order for of_step, of_order in _ORDER_STATES if of_step in states)
    started_at = min(_known(step.started_at for step in steps), default=None)
    ended_at = (
        max(_known(step.ended_at for step in steps), default=None) if state is not OrderState.IN_PROGRESS else None
    )
    if started_at is not None and ended_at is not None and ended_at < started_at:
        ended_at = None
    counts = [step.expected for step in steps if step.expected is not None]
    changes: dict[str, Any] = {
        "state": state,
        "state_reason": _reason(steps) if state is OrderState.DISCONTINUED else "",
        "exam_started_at": started_at,
        "exam_ended_at": ended_at,
        "expected_instances": sum(counts) if counts else None,
    }
    if all(getattr(order, name) == value for name, value in changes.items()):
        return None
    return Order.model_validate(order.model_dump() | changes | {"version": order.version + 1, "changed_at": now})


def count_awaited(referenced: frozenset[str], held: dict[str, bool]) -> int | None:
    """Return how many instances shall wait here before the study is complete, None when nothing is awaited.

    `held` says of each instance of the study that is here whether it still waits. What is here already and is not named
    by the step waits too; what has been handed on is not waited for again.
    """
    awaited = {uid for uid in referenced if held.get(uid, True)} | {uid for uid, waits in held.items() if waits}
    return len(awaited) or None


def _known(moments: Iterable[datetime | None]) -> list[datetime]:
    return [moment for moment in moments if moment is not None]


def _reason(steps: Sequence[PerformedStep]) -> str:
    return next((step.reason for step in steps if step.reason), "discontinued at the scanner")
