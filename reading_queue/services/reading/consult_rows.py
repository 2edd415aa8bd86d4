"""Consultations as rows: the open one of a case, its end with the claim that asked, all of them for a page.

The caller has locked the case.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session, aliased

from reading_queue.db.consult_tables import Consult
from reading_queue.db.tables import Account, Case, Organisation, Physician
from reading_queue.domain.consults import ConsultState
from reading_queue.domain.escalation import OF_CONSULTS, Escalation
from reading_queue.domain.roles import Title
from reading_queue.services.cases.casework import record_custody
from reading_queue.services.routing.escalating import end_escalations
from storage.contract.hops import Hop
from storage.contract.signed_report import ReportedOpinion, Signatory

# Made once: what is made anew with each query costs more than the query.
_ASKER: Final = aliased(Account, name="asker")
_CONSULTANT: Final = aliased(Account, name="consultant")
_ASKING: Final = aliased(Physician, name="asking")
_ANSWERING: Final = aliased(Physician, name="answering")


@dataclass(frozen=True, slots=True)
class ConsultView:
    """One consultation as both ends see it; `words` is the opinion, or why there is none."""

    consult_id: str
    case_id: str
    state: ConsultState
    hospital: str  # who is asked, a name
    asked_by: str  # a name
    asked_by_id: str  # physicians
    accepted_by_id: str | None
    question: str
    asked_at: datetime
    due_at: datetime
    consultant: str  # a name, empty until one has accepted
    consultant_title: Title | None
    ended_at: datetime | None
    words: str

    @property
    def is_open(self) -> bool:
        """Return whether an opinion may still come."""
        return self.ended_at is None


def find_open_consult(session: Session, case_id: str) -> Consult | None:
    """Return what a hospital is asked now, if anything."""
    return session.scalars(select(Consult).where(Consult.case_id == case_id, Consult.ended_at.is_(None))).one_or_none()


def end_consult_of(session: Session, case: Case, now: datetime) -> None:
    """End what was asked, because the claim that asked ends; the case is locked."""
    end_escalations(session, case.case_id, OF_CONSULTS, now)
    consult = find_open_consult(session, case.case_id)
    if consult is None:
        return
    consult.state, consult.ended_at = ConsultState.WITHDRAWN, now
    session.flush()
    record_consult(session, case, consult, Hop.CONSULT_ENDED, now)


def record_consult(
    session: Session, case: Case, consult: Consult, hop: Hop, now: datetime, actor: str | None = None
) -> dict[str, str]:
    """Write into the ledger what became of a consultation, and return it; nobody waits for one that has ended."""
    about = {"consult_id": consult.consult_id, "organisation_id": consult.organisation_id, "outcome": consult.state}
    record_custody(session, case, hop, f"{hop}:{consult.consult_id}", now, actor=actor, detail=about)
    if consult.ended_at is not None:
        end_escalations(session, case.case_id, frozenset({Escalation.CONSULT_WAITS}), now)
    return about


def join_report(session: Session, case_id: str, report_id: str) -> None:
    """Write into the opinions of a case with which version of its report they were signed."""
    given = update(Consult).where(Consult.case_id == case_id, Consult.report_id.is_(None))
    session.execute(given.where(Consult.state == ConsultState.ANSWERED).values(report_id=report_id))


def load_opinions(session: Session, case_id: str) -> tuple[ReportedOpinion, ...]:
    """Return every opinion on a case in the form in which it is signed with the report, oldest first."""
    given = (
        select(Consult, Organisation.name, _ASKER.display_name, _CONSULTANT.display_name, _ANSWERING)
        .join(Organisation, Organisation.organisation_id == Consult.organisation_id)
        .join(_ASKING, _ASKING.physician_id == Consult.asked_by)
        .join(_ASKER, _ASKER.account_id == _ASKING.account_id)
        .join(_ANSWERING, _ANSWERING.physician_id == Consult.accepted_by)
        .join(_CONSULTANT, _CONSULTANT.account_id == _ANSWERING.account_id)
        .where(Consult.case_id == case_id, Consult.state == ConsultState.ANSWERED)
        .order_by(Consult.ended_at, Consult.consult_id)
    )
    return tuple(
        ReportedOpinion(
            consult_id=row.consult_id,
            asked_by=asked_by,
            asked_at=row.asked_at,
            question=row.question,
            consultant=Signatory(
                physician_id=physician.physician_id,
                name=name,
                title=physician.title,
                licence_number=physician.licence_number,
                organisation_id=row.organisation_id,
                organisation_name=hospital,
            ),
            answered_at=row.ended_at,
            opinion=row.words,
        )
        for row, hospital, asked_by, name, physician in session.execute(given)
    )


def list_consults(session: Session, language: str, *conditions: object) -> tuple[ConsultView, ...]:
    """Return the consultations that fulfil the conditions, newest first; each names its people and its hospital."""
    query = (
        select(Consult, Organisation, _ASKER.display_name, _CONSULTANT.display_name, _ANSWERING.title)
        .join(Organisation, Organisation.organisation_id == Consult.organisation_id)
        .join(_ASKING, _ASKING.physician_id == Consult.asked_by)
        .join(_ASKER, _ASKER.account_id == _ASKING.account_id)
        .outerjoin(_ANSWERING, _ANSWERING.physician_id == Consult.accepted_by)
        .outerjoin(_CONSULTANT, _CONSULTANT.account_id == _ANSWERING.account_id)
        .where(*conditions)  # type: ignore[arg-type]
        .order_by(Consult.asked_at.desc(), Consult.consult_id)
    )
    return tuple(
        ConsultView(
            consult_id=row.consult_id,
            case_id=row.case_id,
            state=ConsultState(row.state),
            hospital=(hospital.name_en or hospital.name) if language == "en" else hospital.name,
            asked_by=asked_by,
            asked_by_id=row.asked_by,
            accepted_by_id=row.accepted_by,
            question=row.question,
            asked_at=row.asked_at,
            due_at=row.due_at,
            consultant=answered_by or "",
            consultant_title=Title(title) if row.accepted_by is not None else None,
            ended_at=row.ended_at,
            words=row.words,
        )
        for row, hospital, asked_by, answered_by, title in session.execute(query)
    )
