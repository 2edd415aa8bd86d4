"""Who and what a signature is about, as of the moment of signing, from the database. Reads only."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.db.network_tables import AgreementVersion
from reading_queue.db.tables import Account, Case, CaseStudy, Offer, Organisation, Physician
from reading_queue.domain.report import PatientIdentity, ReportedStudy, Signatory
from reading_queue.errors import WrongState
from reading_queue.services.orders.orders import orders_by_study
from storage.catalogue.patient_facts import facts_of
from storage.catalogue.tables import Patient, Study
from storage.contract.orders import Order
from storage.contract.signed_report import ReportedOrder


def load_signatory(session: Session, physician_id: str, reading_task_id: str) -> Signatory:
    """Return who the physician is now, and for which of their hospitals they did the reading task."""
    physician, account = session.execute(
        select(Physician, Account)
        .join(Account, Account.account_id == Physician.account_id)
        .where(Physician.physician_id == physician_id)
    ).one()
    organisation = session.get_one(Organisation, hospital_of(session, physician, reading_task_id))
    return Signatory(
        physician_id=physician_id,
        name=account.display_name,
        title=physician.title,
        licence_number=physician.licence_number,
        organisation_id=organisation.organisation_id,
        organisation_name=organisation.name,
    )


def hospital_of(session: Session, physician: Physician, reading_task_id: str) -> str:
    """Return the hospital under whose agreement the task was given to a physician of several; else their own."""
    if physician.also_at:
        of_its_day = (AgreementVersion.agreement_id == Offer.agreement_id) & (
            AgreementVersion.number == Offer.agreement_version
        )
        given = select(AgreementVersion.assisting_organisation_id).join(Offer, of_its_day)
        given = given.where(Offer.reading_task_id == reading_task_id, Offer.physician_id == physician.physician_id)
        hospital = session.scalar(given)
        if hospital in physician.also_at:
            return str(hospital)
    return physician.organisation_id


def load_subject(session: Session, case: Case) -> tuple[PatientIdentity, tuple[ReportedStudy, ...]]:
    """Return whom the case is about and its studies, as the catalogue has them now.

    Raises:
        WrongState: the studies are not those of one patient, so nobody may sign about them.
    """
    rows = session.execute(
        select(Study, Patient)
        .join(Patient, Patient.patient_id == Study.patient_id)
        .join(CaseStudy, (CaseStudy.site_id == Study.site_id) & (CaseStudy.study_uid == Study.study_uid))
        .where(CaseStudy.case_id == case.case_id)
        .order_by(Study.study_uid)
    ).all()
    if len({patient.patient_id for _, patient in rows}) != 1:
        raise WrongState("the case's studies do not belong to exactly one patient; it cannot be signed")
    patient = facts_of(*rows[0])
    identity = PatientIdentity(
        patient_number=patient.number,
        name=patient.name,
        sex=patient.sex,
        birth_date=patient.birth_date,
    )
    return identity, tuple(_describe(study, case) for study, _ in rows)


def load_orders(session: Session, case: Case, studies: Sequence[ReportedStudy]) -> tuple[ReportedOrder, ...]:
    """Return the orders that the report answers; none where the accession numbers of its studies name them all."""
    named = {study.accession_number for study in studies}
    found = [
        ReportedOrder(
            order_id=order.order_id,
            accession_number=order.accession_number,
            study_uid=study_uid,
            procedure_name=order.procedure_name,
            question=order.question,
        )
        for study_uid, row in orders_by_study(session, case.case_id)
        for order in (Order.model_validate(row.content),)
    ]
    return tuple(found) if any(order.accession_number not in named for order in found) else ()


def _describe(study: Study, case: Case) -> ReportedStudy:
    return ReportedStudy(
        study_uid=study.study_uid,
        accession_number=study.accession_number,
        description=study.description,
        modality=case.modality,
        body_part=study.body_part,
        study_date=study.study_date,
        study_time=study.study_time,
        referring_physician=study.referring_physician,
    )
