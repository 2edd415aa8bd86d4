"""The preliminary report of an emergency: what its author signed, for the clinic, before the second physician does.

Reads only. It is no report: it bears no second signature, no document is made of it, and the report takes its place.
Where the second physician gave the text back, it is shown no more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.db.course_tables import PreliminaryAcknowledgement
from reading_queue.db.tables import Account, Case, Submission
from reading_queue.domain.report import ReportText, SubmissionContent
from reading_queue.domain.transitions import CaseState
from storage.contract.lanes import Lane
from storage.contract.signed_report import Signatory

PUBLISHED_IN: Final = frozenset({Lane.STAT, Lane.URGENT})
WAITS_FOR_SECOND: Final = frozenset({CaseState.PENDING_REVIEW, CaseState.REVIEWING})


@dataclass(frozen=True, slots=True)
class PreliminaryView:
    """What the author of an emergency's report has signed, and when."""

    submission_id: str
    text: ReportText
    author: Signatory
    submitted_at: datetime
    seen_by: str = ""  # the name of who has said at the site that they have seen it
    seen_at: datetime | None = None
    told: str = ""  # whom they have told


def find_preliminary(session: Session, case: Case) -> PreliminaryView | None:
    """Return what stands of an emergency until the second physician signs, None of every other case."""
    if Lane(case.lane) not in PUBLISHED_IN or CaseState(case.state) not in WAITS_FOR_SECOND:
        return None
    standing = select(Submission).where(Submission.case_id == case.case_id, Submission.returned_at.is_(None))
    row = session.scalars(standing.order_by(Submission.submitted_at.desc()).limit(1)).one_or_none()
    if row is None:
        return None
    content = SubmissionContent.from_json(row.content)
    seen = session.execute(
        select(PreliminaryAcknowledgement, Account.display_name)
        .join(Account, Account.account_id == PreliminaryAcknowledgement.account_id)
        .where(PreliminaryAcknowledgement.submission_id == row.submission_id)
    ).one_or_none()
    view = PreliminaryView(row.submission_id, content.text(), content.author, row.submitted_at)
    return view if seen is None else replace(view, seen_by=seen[1], seen_at=seen[0].at, told=seen[0].told)
