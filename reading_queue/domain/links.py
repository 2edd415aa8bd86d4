"""What persons may do with a link between patient records of two sites. Pure: one table."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class LinkState(StrEnum):
    """What two records are to each other."""

    SUGGESTED = "suggested"  # somebody must look
    LINKED = "linked"  # one person
    REFUSED = "refused"  # two persons, and nobody is asked again


class LinkAct(StrEnum):
    """What a person does."""

    ACCEPT = "accept"
    REFUSE = "refuse"
    UNDO = "undo"  # of a link or of a refusal: to be looked at anew, by a person


TRANSITIONS: Final = {
    (LinkState.SUGGESTED, LinkAct.ACCEPT): LinkState.LINKED,
    (LinkState.SUGGESTED, LinkAct.REFUSE): LinkState.REFUSED,
    (LinkState.LINKED, LinkAct.REFUSE): LinkState.REFUSED,
    (LinkState.LINKED, LinkAct.UNDO): LinkState.SUGGESTED,
    (LinkState.REFUSED, LinkAct.UNDO): LinkState.SUGGESTED,
}


def find_next(state: LinkState, act: LinkAct) -> LinkState | None:
    """Return the state that follows; None where this act is not possible."""
    return TRANSITIONS.get((state, act))


def acts_open(state: LinkState) -> tuple[LinkAct, ...]:
    """Return what may be done in this state."""
    return tuple(act for before, act in TRANSITIONS if before is state)
