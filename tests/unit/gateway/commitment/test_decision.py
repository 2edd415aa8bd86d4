"""What commits an instance, and what a request says about its study: tables written independently of the code."""

from __future__ import annotations

import pytest

from gateway.commitment.decision import Committed, Failed, Outcome, Pending, count_expected, judge
from gateway.journal.commitments import Known, Reference
from storage.contract.identifiers import Uid

CT, MR = Uid("1.2.840.10008.5.1.4.1.1.2"), Uid("1.2.840.10008.5.1.4.1.1.4")
ASKED = Reference(CT, Uid("1.2.3"))
UNKNOWN = Known()
QUARANTINED = Known(in_quarantine=True)
ARRIVING = Known(CT, "s1", is_here=True, is_arriving=True)
ON_ITS_WAY = Known(CT, "s1", is_here=True)
CONFIRMED = Known(CT, "s1", is_here=True, is_confirmed=True)
REMOVED = Known(CT, "s1", is_confirmed=True)
OTHER_CLASS = Known(MR, "s1", is_here=True, is_confirmed=True)
SECOND_IN_QUARANTINE = Known(CT, "s1", is_here=True, is_confirmed=True, in_quarantine=True)


@pytest.mark.parametrize(
    ("known", "in_time", "overdue"),
    [
        (UNKNOWN, Failed(0x0112, "unknown"), Failed(0x0112, "unknown")),
        (QUARANTINED, Failed(0x0110, "quarantine"), Failed(0x0110, "quarantine")),
        (ARRIVING, Pending(), Failed(0x0110, "unconfirmed")),
        (ON_ITS_WAY, Pending(), Failed(0x0110, "unconfirmed")),
        (CONFIRMED, Committed(), Committed()),
        (REMOVED, Committed(), Committed()),
        (OTHER_CLASS, Failed(0x0119, "class"), Failed(0x0119, "class")),
        (SECOND_IN_QUARANTINE, Committed(), Committed()),
    ],
)
def test_only_the_hubs_confirmation_commits(known: Known, in_time: Outcome, overdue: Outcome) -> None:
    assert judge(ASKED, known, overdue=False) == in_time
    assert judge(ASKED, known, overdue=True) == overdue


@pytest.mark.parametrize(
    ("known", "arrived", "expected"),
    [
        ([ARRIVING], 1, None),  # devices that ask for each image would cut the study into pieces
        ([ARRIVING, ARRIVING], 2, ("s1", 2)),
        ([ARRIVING, ARRIVING], 5, None),  # a series, while the next one arrives
        ([ARRIVING, UNKNOWN, UNKNOWN], 1, ("s1", 3)),
        ([ON_ITS_WAY, CONFIRMED, ARRIVING, UNKNOWN], 1, ("s1", 2)),
        ([ON_ITS_WAY, UNKNOWN], 0, None),
        ([UNKNOWN, UNKNOWN], 0, None),
        ([ARRIVING, Known(CT, "s2", is_here=True, is_arriving=True)], 1, None),
        ([], 0, None),
    ],
)
def test_what_a_request_says_of_its_study(known: list[Known], arrived: int, expected: tuple[str, int] | None) -> None:
    assert count_expected(known, lambda _study: arrived) == expected
