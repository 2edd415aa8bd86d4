"""The questions to a case's site as rows: the open one, its end, all of them. The caller has locked the case."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.db.course_tables import InformationRequest
from reading_queue.db.tables import Account, Case
from reading_queue.domain.information import Outcome, Wanted
from reading_queue.services.cases.waiting import end_wait
from reading_queue.services.reading.consult_rows import end_consult_of


@dataclass(frozen=True, slots=True)
class InformationRequestView:
    """One question to the site, as both ends see it."""

    request_id: str
    case_id: str
    wants: tuple[Wanted, ...]
    question: str
    asked_by: str  # a name
    asked_at: datetime
    ended_at: datetime | None
    outcome: Outcome | None
    answer: str


def find_open_request(session: Session, case_id: str) -> InformationRequest | None:
    """Return what the site is asked now, if anything."""
    asked = select(InformationRequest).where(
        InformationRequest.case_id == case_id, InformationRequest.ended_at.is_(None)
    )
    return session.scalars(asked).one_or_none()


def end_request(case: Case, request: InformationRequest, outcome: Outcome, now: datetime) -> None:
    """End the question; the time that it took moves the limit."""
    request.ended_at = now
    request.outcome = outcome
    end_wait(case, request.asked_at, now)


def end_question(session: Session, case: Case, now: datetime) -> None:
    """End what is asked of the site or of another hospital, because the claim that asked ends; the case is locked."""
    end_consult_of(session, case, now)
    request = find_open_request(session, case.case_id)
    if request is not None:
        end_request(case, request, Outcome.LEFT, now)
        session.flush()


def list_requests(session: Session, case_id: str) -> tuple[InformationRequestView, ...]:
    """Return what was asked of the site in this case, newest first."""
    rows = session.execute(
        select(InformationRequest, Account.display_name)
        .join(Account, Account.account_id == InformationRequest.asked_by)
        .where(InformationRequest.case_id == case_id)
        .order_by(InformationRequest.asked_at.desc())
    )
    return tuple(
        InformationRequestView(
            request_id=row.request_id,
            case_id=row.case_id,
            wants=tuple(Wanted(one) for one in row.wants),
            question=row.question,
            asked_by=name,
            asked_at=row.asked_at,
            ended_at=row.ended_at,
            outcome=Outcome(row.outcome) if row.outcome is not None else None,
            answer=row.answer,
        )
        for row, name in rows
    )
