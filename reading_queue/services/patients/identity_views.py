"""What desks show of the doubts about a case: both sides beside each other, and how it ended. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.db.identity_tables import IdentityConflict
from reading_queue.db.tables import Account, Case, ClinicOrder
from reading_queue.domain.identity import Mismatch, Settlement, may_wait
from storage.catalogue.patient_facts import facts_of
from storage.catalogue.tables import Patient, Study
from storage.contract.national_id import IdentityKind
from storage.contract.orders import Order
from storage.dicom.person_name import display_name, patient_display_name

SHOWN_FIRST, SHOWN_LAST = 6, 4  # characters of an identity number: enough to compare, too few to use
HIDDEN: Final = "*"


@dataclass(frozen=True, slots=True)
class PersonSaid:
    """Who one side says the patient is. `identity_number` is masked."""

    patient_number: str
    name: str
    birth_date: date | None
    sex: str
    written_name: str = ""  # in the order, as people write it, without its pinyin
    identity_kind: IdentityKind = IdentityKind.NONE
    identity_number: str = ""


@dataclass(frozen=True, slots=True)
class DoubtView:
    """One doubt; open while `ended_at` is None. `in_order` is None where the images contradict themselves."""

    conflict_id: str
    study_uid: str
    order_id: str
    accession_number: str
    mismatches: tuple[Mismatch, ...]
    found_at: datetime
    in_images: PersonSaid
    in_order: PersonSaid | None
    holds: bool  # the case is offered to nobody before this is settled
    ended_at: datetime | None
    ended_by: str  # a name
    settlement: Settlement | None
    reason: str


def list_doubts(session: Session, case: Case, language: str) -> tuple[DoubtView, ...]:
    """Return the case's doubts, open ones first, then the newest."""
    rows = session.execute(
        select(IdentityConflict, Study, Patient, ClinicOrder, Account.display_name)
        .join(Study, (Study.site_id == case.site_id) & (Study.study_uid == IdentityConflict.study_uid))
        .join(Patient, Patient.patient_id == Study.patient_id)
        .outerjoin(ClinicOrder, ClinicOrder.order_id == IdentityConflict.order_id)
        .outerjoin(Account, Account.account_id == IdentityConflict.ended_by)
        .where(IdentityConflict.case_id == case.case_id)
        .order_by(IdentityConflict.ended_at.is_not(None), IdentityConflict.found_at.desc())
    )
    return tuple(_view(case, *row, language) for row in rows)


def mask(number: str) -> str:
    """Return an identity number of which a person can see that it is the one they know."""
    hidden = len(number) - SHOWN_FIRST - SHOWN_LAST
    return number if hidden <= 0 else number[:SHOWN_FIRST] + HIDDEN * hidden + number[-SHOWN_LAST:]


def _view(
    case: Case,
    row: IdentityConflict,
    study: Study,
    patient: Patient,
    order_row: ClinicOrder | None,
    ended_by: str | None,
    language: str,
) -> DoubtView:
    facts = facts_of(study, patient)
    order = Order.model_validate(order_row.content) if order_row is not None else None
    return DoubtView(
        conflict_id=row.conflict_id,
        study_uid=row.study_uid,
        order_id=row.order_id,
        accession_number=order.accession_number if order is not None else study.accession_number,
        mismatches=tuple(Mismatch(one) for one in row.mismatches),
        found_at=row.found_at,
        in_images=PersonSaid(facts.number, patient_display_name(facts.name, language), facts.birth_date, facts.sex),
        in_order=_view_order(order, language) if order is not None else None,
        holds=row.ended_at is None and may_wait(case.lane),
        ended_at=row.ended_at,
        ended_by=ended_by or "",
        settlement=Settlement(row.settlement) if row.settlement is not None else None,
        reason=row.reason,
    )


def _view_order(order: Order, language: str) -> PersonSaid:
    return PersonSaid(
        patient_number=order.patient_number,
        name=patient_display_name(order.person_name(), language),
        birth_date=order.birth_date,
        sex=order.sex,
        written_name=display_name(order.patient_name),
        identity_kind=order.identity_kind,
        identity_number=mask(order.identity_number),
    )
