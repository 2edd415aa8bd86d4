"""The preliminary report of an emergency: what its author signed, for the clinic, before the second physician does.

Reads only. It is no report: it bears no second signature, no document is made of it, and the report takes its place.
Where the second physician gave the text back, it is shown no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.db.tables import Case, Submission
from reading_queue.domain.report import ReportText, SubmissionContent
from reading_queue.domain.transitions import CaseState
from storage.contract.lanes import Lane
from storage.contract.signed_report import Signatory

PUBLISHED_IN: Final = frozenset({Lane.STAT, Lane.URGENT})
WAITS_FOR_SECOND: Final = frozenset({CaseState.PENDING_REVIEW, CaseState.REVIEWING})


@dataclass(frozen=True, slots=True)
class PreliminaryView:
    """What the author of an emergency's report has signed, and when."""

    text: ReportText
    author: Signatory
    submitted_at: datetime


def find_preliminary(session: Session, case: Case) -> PreliminaryView | None:
    """Return what stands of an emergency until the second physician signs, None of every other case."""
    if Lane(case.lane) not in PUBLISHED_IN or CaseState(case.state) not in WAITS_FOR_SECOND:
        return None
    standing = select(Submission).where(Submission.case_id == case.case_id, Submission.returned_at.is_(None))
    row = session.scalars(standing.order_by(Submission.submitted_at.desc()).limit(1)).one_or_none()
    if row is None:
        return None
    content = SubmissionContent.from_json(row.content)
    return PreliminaryView(content.text(), content.author, row.submitted_at)
