"""Where a study is on its road, and when it will be at the hub. Pure.

The gateway's own facts come first: what is not safe at the hub is here. After that the hub's events say who has it, as
far as they have been heard; the report's arrival here ends the road.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from storage.contract.hops import Hop


class Stage(StrEnum):
    """Where a study is, in the order of its road."""

    ARRIVING = "arriving"
    WAITING = "waiting"
    UPLOADING = "uploading"
    CHECKING = "checking"
    AT_HUB = "at_hub"
    NOBODY = "nobody"
    OFFERED = "offered"
    READING = "reading"
    ON_HOLD = "on_hold"
    RETURNED = "returned"
    REVIEW = "review"
    REVIEWING = "reviewing"
    SIGNED = "signed"
    REPORT_HERE = "report_here"
    DELIVERED = "delivered"
    AMENDING = "amending"
    CANCELLED = "cancelled"
    WITHDRAWN = "withdrawn"
    VOIDED = "voided"


class Progress(StrEnum):
    """What a list is asked for: several stages in one word."""

    HERE = "here"
    AT_HUB = "at_hub"
    REPORTED = "reported"
    CANCELLED = "cancelled"


STEPS: Final = (
    Stage.ARRIVING,
    Stage.WAITING,
    Stage.UPLOADING,
    Stage.CHECKING,
    Stage.AT_HUB,
    Stage.READING,
    Stage.REVIEWING,
    Stage.SIGNED,
    Stage.REPORT_HERE,
    Stage.DELIVERED,
)
_BESIDE: Final = {
    Stage.NOBODY: Stage.AT_HUB,
    Stage.OFFERED: Stage.AT_HUB,
    Stage.ON_HOLD: Stage.READING,
    Stage.RETURNED: Stage.AT_HUB,
    Stage.REVIEW: Stage.READING,
    Stage.AMENDING: Stage.REPORT_HERE,
}
_OF_TRANSFER: Final = {
    "ready": Stage.WAITING,
    "declared": Stage.UPLOADING,
    "uploaded": Stage.CHECKING,
    "confirmed": Stage.AT_HUB,
}
_AFTER_HOP: Final = {
    Hop.OFFERED: Stage.OFFERED,
    Hop.CLAIMED: Stage.READING,
    Hop.RELEASED: Stage.AT_HUB,
    Hop.HELD: Stage.ON_HOLD,
    Hop.HOLD_ENDED: Stage.READING,
    Hop.RETURNED_TO_SITE: Stage.RETURNED,
    Hop.RESUBMITTED: Stage.AT_HUB,
    Hop.WITHDRAWN: Stage.WITHDRAWN,
    Hop.UNROUTABLE: Stage.NOBODY,
    Hop.SUBMITTED: Stage.REVIEW,
    Hop.REVIEW_OFFERED: Stage.REVIEW,
    Hop.REVIEW_CLAIMED: Stage.REVIEWING,
    Hop.RETURNED_TO_AUTHOR: Stage.READING,
    Hop.SIGNED: Stage.SIGNED,
    Hop.RENDERED: Stage.SIGNED,
}
_IN_PROGRESS: Final = {
    Progress.HERE: (Stage.ARRIVING, Stage.WAITING, Stage.UPLOADING, Stage.CHECKING),
    Progress.AT_HUB: (
        Stage.AT_HUB,
        Stage.NOBODY,
        Stage.OFFERED,
        Stage.READING,
        Stage.ON_HOLD,
        Stage.RETURNED,
        Stage.REVIEW,
        Stage.REVIEWING,
        Stage.SIGNED,
    ),
    Progress.REPORTED: (Stage.REPORT_HERE, Stage.DELIVERED, Stage.AMENDING, Stage.VOIDED),
    Progress.CANCELLED: (Stage.CANCELLED, Stage.WITHDRAWN),
}


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What the journal knows of one study. `hub_hops`: the hub's events in order, as heard.

    `transfers`: the state of each of its transfers. `report_delivered`: every target of the newest report has it.
    """

    arriving: int
    transfers: Sequence[str]
    hub_hops: Sequence[str]
    report_here: bool
    report_delivered: bool
    cancelled: bool


def stage_of(facts: StudyFacts) -> Stage:
    """Return where the study is."""
    if facts.cancelled and any(state != "confirmed" for state in facts.transfers):
        return Stage.CANCELLED
    if facts.arriving:
        return Stage.ARRIVING
    under_way = [_OF_TRANSFER[state] for state in facts.transfers if state != "confirmed"]
    if under_way:
        return min(under_way, key=STEPS.index)
    if Hop.VOIDED in facts.hub_hops:
        return Stage.VOIDED
    if facts.report_here:
        if _is_amended(facts.hub_hops):
            return Stage.AMENDING
        return Stage.DELIVERED if facts.report_delivered else Stage.REPORT_HERE
    stage = Stage.AT_HUB
    for hop in facts.hub_hops:
        stage = _after(stage, hop)
    return stage


def _after(stage: Stage, hop: str) -> Stage:
    """Return the stage after one more of the hub's events; one that this gateway does not know changes nothing."""
    if stage is Stage.ON_HOLD and hop == Hop.TAKEN_OVER:
        return Stage.READING
    if stage is Stage.RETURNED and hop == Hop.CATALOGUED:  # other images have come
        return Stage.AT_HUB
    return _AFTER_HOP[Hop(hop)] if hop in _AFTER_HOP else stage


def _is_amended(hops: Sequence[str]) -> bool:
    """Return whether the newest report is being written again."""
    told = [hop for hop in hops if hop in (Hop.AMENDMENT_OPENED, Hop.AMENDMENT_CLOSED, Hop.SIGNED)]
    return bool(told) and told[-1] == Hop.AMENDMENT_OPENED


def step_of(stage: Stage) -> int:
    """Return how many of STEPS the study has behind it, itself included; 0 for a cancelled one."""
    stage = _BESIDE.get(stage, stage)
    return STEPS.index(stage) + 1 if stage in STEPS else 0


def is_in(stage: Stage, progress: Progress) -> bool:
    """Return whether a list of this progress holds studies of this stage."""
    return stage in _IN_PROGRESS[progress]


def seconds_left(bytes_left: int, bytes_before: int, bytes_per_s: float | None) -> float | None:
    """Return when a study will be uploaded, after `bytes_before` of more urgent or older ones; None: not known."""
    if not bytes_per_s or bytes_left <= 0:
        return None
    return (bytes_left + bytes_before) / bytes_per_s
