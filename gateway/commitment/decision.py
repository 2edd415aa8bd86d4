"""Whether an instance is committed. Pure: what is known of it is an argument.

Only the hub's confirmation commits. Failure reasons are those of PS3.3 section C.14.1.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.journal.commitments import Known, Reference

PROCESSING_FAILURE: Final = 0x0110
NO_SUCH_INSTANCE: Final = 0x0112
CLASS_CONFLICT: Final = 0x0119
SEVERAL: Final = 2

WHY: Final = {
    "unconfirmed": "the hub has not confirmed them in time",
    "quarantine": "they lie in quarantine",
    "unknown": "this gateway never took them",
    "class": "they are held under another SOP class",
}
REMEDY: Final = {
    "unconfirmed": "Mend the line to the hub; the images are safe here and still go. Let the device ask again then.",
    "quarantine": "Look at the reasons in quarantine, correct the images on the device and send them again.",
    "unknown": "Send the images again from the device, then let it ask for storage commitment.",
    "class": "The device mixes up its instances; ask its vendor.",
}


@dataclass(frozen=True, slots=True)
class Committed:
    """The hub holds it."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It is not committed; `why` is a key of WHY."""

    reason: int
    why: str


@dataclass(frozen=True, slots=True)
class Pending:
    """The gateway holds it, the hub has not confirmed it yet."""


Outcome = Committed | Failed | Pending


def judge(reference: Reference, known: Known, *, overdue: bool) -> Outcome:
    """Return the outcome for one instance; `overdue`: nobody waits any longer."""
    if known.sop_class_uid is None:
        if known.in_quarantine:
            return Failed(PROCESSING_FAILURE, "quarantine")
        return Failed(NO_SUCH_INSTANCE, "unknown")
    if known.sop_class_uid != reference.sop_class_uid:
        return Failed(CLASS_CONFLICT, "class")
    if known.is_confirmed:
        return Committed()
    return Failed(PROCESSING_FAILURE, "unconfirmed") if overdue else Pending()


def count_expected(known: Sequence[Known], arrived: Callable[[str], int]) -> tuple[str, int] | None:
    """Return the study that a request is about, and how many of its instances are to arrive in all.

    `arrived` counts those of a study that wait here. Only a request that names several instances of one study, and all
    of it that has arrived, says something about the whole: many devices ask for each image or series as it is sent.
    Instances that are not known yet are taken to belong to the study too; those that went on their way with an earlier
    transfer are not awaited again.
    """
    studies = {one.study_uid for one in known if one.study_uid is not None}
    if len(studies) != 1 or len(known) < SEVERAL:
        return None
    (study_uid,) = studies
    arriving = sum(1 for one in known if one.is_arriving)
    if not arriving or arriving < arrived(study_uid):
        return None
    return study_uid, arriving + sum(1 for one in known if one.sop_class_uid is None)
