"""PS3.4 Table CC.1.1-2, written down a second time, by hand, from the standard."""

from __future__ import annotations

import pytest

from reading_queue.domain.transitions import ReadingTaskState
from reading_queue.domain.workitems.states import Operation, judge

RIGHT, WRONG = "2.25.1", "2.25.2"
#                                        SCHEDULED  IN PROGRESS  COMPLETED  CANCELED
TABLE = {
    ("IN PROGRESS", "right"): ("0000", "C302", "C300", "C300"),
    ("IN PROGRESS", "wrong"): ("0000", "C301", "C301", "C301"),  # a scheduled one has none that it could differ from
    ("IN PROGRESS", "none"): ("C301", "C301", "C301", "C301"),
    ("SCHEDULED", "right"): ("C303", "C303", "C303", "C303"),
    ("SCHEDULED", "wrong"): ("C303", "C303", "C303", "C303"),
    ("SCHEDULED", "none"): ("C303", "C303", "C303", "C303"),
    ("COMPLETED", "right"): ("C310", "0000", "B306", "C300"),
    ("COMPLETED", "wrong"): ("C310", "C301", "C301", "C301"),
    ("COMPLETED", "none"): ("C301", "C301", "C301", "C301"),
    ("CANCELED", "right"): ("C310", "0000", "C300", "B304"),
    ("CANCELED", "wrong"): ("C310", "C301", "C301", "C301"),
    ("CANCELED", "none"): ("C301", "C301", "C301", "C301"),
    ("request cancel", "none"): ("0000", "0000", "C311", "B304"),
    ("update", "right"): ("C310", "0000", "C300", "C300"),
    ("update", "wrong"): ("C310", "C301", "C300", "C300"),
    ("update", "none"): ("0000", "C301", "C300", "C300"),  # CC.2.6.2: without one while it is scheduled
}
STATES = ("scheduled", "in_progress", "completed", "canceled")
CASES = [
    (operation, given, state, expected)
    for (operation, given), row in TABLE.items()
    for state, expected in zip(STATES, row, strict=True)
]


@pytest.mark.parametrize(("operation", "given", "state", "expected"), CASES)
def test_operation_is_answered_as_the_table_says(operation: str, given: str, state: str, expected: str) -> None:
    uid = {"right": RIGHT, "wrong": WRONG, "none": None}[given]
    recorded = None if state == "scheduled" else RIGHT
    assert judge(Operation(operation), ReadingTaskState(state), uid, recorded) == expected


def test_every_operation_is_in_the_table() -> None:
    assert {operation for operation, _ in TABLE} == {operation.value for operation in Operation}
