"""In which lane a study travels, and who says so. `choose_lane` is pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.journal.controls import find_control
from gateway.journal.database import Journal
from gateway.journal.orders import find_for_study
from storage.contract.identifiers import Uid
from storage.contract.lanes import Lane
from storage.contract.orders import OrderState


def choose_lane(
    *, person: Lane | None = None, order: Lane | None = None, worklist: Lane | None = None, rule: Lane | None = None
) -> Lane:
    """Return the lane of a study.

    What a person chose for this very study counts over everything, then its order, its worklist item, the rule for its
    scanner; without any of them it is routine.
    """
    return next((lane for lane in (person, order, worklist, rule) if lane is not None), Lane.ROUTINE)


@dataclass(frozen=True, slots=True)
class Requested:
    """What the request for a study says about its lane, where there is one."""

    order: Lane | None = None
    worklist: Lane | None = None


def nothing_requested(_journal: Journal, _study_uid: Uid) -> Requested:
    """Return that no request is known."""
    return Requested()


def requested_by_order(journal: Journal, study_uid: Uid) -> Requested:
    """Return what the study's order says, found by accession number, else by Study Instance UID.

    Also where the patients differ: an emergency never waits for that to be cleared up.
    """
    row = find_for_study(journal, study_uid)
    if row is None or row.order.state is OrderState.CANCELLED:
        return Requested()
    return Requested(order=row.order.lane)


def is_more_urgent(one: Lane, other: Lane) -> bool:
    """Return whether what travels in the first lane goes before what travels in the second."""
    lanes = list(Lane)
    return lanes.index(one) < lanes.index(other)


@dataclass(frozen=True, slots=True)
class LaneRules:
    """`of_scanner` names the lane of each calling AE title that has one; `requested` looks for the study's request."""

    of_scanner: Mapping[str, Lane] = field(default_factory=dict)
    requested: Callable[[Journal, Uid], Requested] = nothing_requested

    def lane_of(self, journal: Journal, study_uid: Uid, calling_ae_title: str, *, prior: Lane | None = None) -> Lane:
        """Return the lane in which the study travels. `prior`: that of an earlier study, which has no other rule."""
        if prior is not None:
            return find_control(journal, study_uid).lane or prior
        asked = self.requested(journal, study_uid)
        return choose_lane(
            person=find_control(journal, study_uid).lane,
            order=asked.order,
            worklist=asked.worklist,
            rule=self.of_scanner.get(calling_ae_title),
        )
