"""What a change of a workitem's state is answered with: PS3.4 Table CC.1.1-2, as data.

Pure. A workitem is a reading task seen from outside; whether the person behind a request may do it is another
question, and asked after this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from reading_queue.domain.transitions import ReadingTaskState


class Operation(StrEnum):
    """What a request wants of a workitem; the values are those of Procedure Step State, but for the last two."""

    SCHEDULE = "SCHEDULED"
    CLAIM = "IN PROGRESS"
    COMPLETE = "COMPLETED"
    CANCEL = "CANCELED"
    REQUEST_CANCEL = "request cancel"  # by somebody who does not hold it
    UPDATE = "update"


class Status(StrEnum):
    """The status of the DIMSE operation that this is (PS3.4 section CC.2); its words are `WORDS`."""

    SUCCESS = "0000"
    INVALID_VALUE = "0106"
    DUPLICATE = "0111"
    INVALID_ARGUMENT = "0115"
    MISSING_ATTRIBUTE = "0120"
    MISSING_VALUE = "0121"
    NOT_AUTHORIZED = "0124"
    NO_LONGER_UPDATED = "C300"
    TRANSACTION_UID_INCORRECT = "C301"
    ALREADY_IN_PROGRESS = "C302"
    SCHEDULED_BY_CREATION_ONLY = "C303"
    FINAL_STATE_REQUIREMENTS = "C304"
    NOT_CREATED_SCHEDULED = "C309"
    NOT_IN_PROGRESS = "C310"
    ALREADY_COMPLETED = "C311"
    IS_CANCELED = "B304"
    IS_COMPLETED = "B306"


WARNINGS: Final = frozenset({Status.IS_CANCELED, Status.IS_COMPLETED})
WORDS: Final[Mapping[Status, str]] = {
    Status.INVALID_VALUE: "An attribute has a value that it cannot have.",
    Status.INVALID_ARGUMENT: "There is no such state.",
    Status.MISSING_ATTRIBUTE: "A required attribute is missing.",
    Status.MISSING_VALUE: "A required attribute has no value.",
    Status.NOT_AUTHORIZED: "This is the network's own to say.",
    Status.NOT_CREATED_SCHEDULED: "The provided value of UPS State was not SCHEDULED.",
    Status.DUPLICATE: "There is a workitem of this UID already.",
    Status.NO_LONGER_UPDATED: "The workitem has ended; it may no longer be updated.",
    Status.TRANSACTION_UID_INCORRECT: "The Transaction UID is not that of the claim.",
    Status.ALREADY_IN_PROGRESS: "The workitem is in progress already.",
    Status.SCHEDULED_BY_CREATION_ONLY: "A workitem is scheduled when it is created; cancel it, and another follows.",
    Status.FINAL_STATE_REQUIREMENTS: "The workitem lacks what its final state needs.",
    Status.NOT_IN_PROGRESS: "The workitem is not in progress yet; claim it first.",
    Status.ALREADY_COMPLETED: "The workitem is completed; a signed report is never cancelled.",
    Status.IS_CANCELED: "The UPS is already in the requested state of CANCELED.",
    Status.IS_COMPLETED: "The UPS is already in the requested state of COMPLETED.",
}

_S, _O, _A = ReadingTaskState, Operation, Status
_STATES: Final = (_S.SCHEDULED, _S.IN_PROGRESS, _S.COMPLETED, _S.CANCELED)
# One row for each operation that bears the right Transaction UID, or needs none; columns as _STATES.
_RIGHT: Final[Mapping[Operation, tuple[Status, ...]]] = {
    _O.SCHEDULE: (_A.SCHEDULED_BY_CREATION_ONLY,) * 4,
    _O.CLAIM: (_A.SUCCESS, _A.ALREADY_IN_PROGRESS, _A.NO_LONGER_UPDATED, _A.NO_LONGER_UPDATED),
    _O.COMPLETE: (_A.NOT_IN_PROGRESS, _A.SUCCESS, _A.IS_COMPLETED, _A.NO_LONGER_UPDATED),
    _O.CANCEL: (_A.NOT_IN_PROGRESS, _A.SUCCESS, _A.NO_LONGER_UPDATED, _A.IS_CANCELED),
    _O.REQUEST_CANCEL: (_A.SUCCESS, _A.SUCCESS, _A.ALREADY_COMPLETED, _A.IS_CANCELED),
    _O.UPDATE: (_A.NOT_IN_PROGRESS, _A.SUCCESS, _A.NO_LONGER_UPDATED, _A.NO_LONGER_UPDATED),
}
_NEEDS_NO_UID: Final = frozenset({_O.SCHEDULE, _O.REQUEST_CANCEL})


def judge(operation: Operation, state: ReadingTaskState, given: str | None, recorded: str | None) -> Status:
    """Return how a request is answered that bears the Transaction UID `given`; `recorded` is that of the claim.

    A scheduled workitem has no Transaction UID, so that each one is right for a claim. An update of it bears none
    (section CC.2.6.2), and one of what has ended is refused whatever it bears (CC.2.6.3).
    """
    if operation is Operation.UPDATE and state is not ReadingTaskState.IN_PROGRESS:
        is_plan = state is ReadingTaskState.SCHEDULED and not given
        return Status.SUCCESS if is_plan else _RIGHT[operation][_STATES.index(state)]
    if operation not in _NEEDS_NO_UID:
        if not given:
            return Status.TRANSACTION_UID_INCORRECT
        if state is not ReadingTaskState.SCHEDULED and given != recorded:
            return Status.TRANSACTION_UID_INCORRECT
    return _RIGHT[operation][_STATES.index(state)]
