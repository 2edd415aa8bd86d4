"""How links of a patient record come to be looked for: asked in the transaction that changed something of it."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from reading_queue.services.hub import launch
from storage.catalogue.link_tables import PatientMatching
from storage.catalogue.tables import Patient

LINK_JOB: Final = "patients.link"


def ask(session: Session, now: datetime, patient_id: str) -> None:
    """Have the record's links looked for once the transaction commits. Cheap; asking twice looks once."""
    values = {"patient_id": patient_id, "asked": 1, "asked_at": now}
    again = {"asked": PatientMatching.asked + 1, "asked_at": now}
    asked = insert(PatientMatching).values(values).on_conflict_do_update(index_elements=["patient_id"], set_=again)
    row = session.execute(asked.returning(PatientMatching.asked, PatientMatching.done)).one()
    if row.asked == row.done + 1:
        launch(session, now, LINK_JOB, patient_id=patient_id)


def ask_for_all(session: Session, now: datetime) -> int:
    """Have the links of every record looked for, as fast as the scheduler launches that; return of how many."""
    unknown = select(Patient.patient_id, literal(0), literal(now))
    known = insert(PatientMatching).from_select(["patient_id", "asked", "asked_at"], unknown)
    session.execute(known.on_conflict_do_nothing())
    session.execute(update(PatientMatching).values(asked=PatientMatching.asked + 1, asked_at=now))
    return session.scalars(select(func.count()).select_from(PatientMatching)).one()


def ask_for_number(session: Session, now: datetime, site_id: str, patient_number: str) -> None:
    """Have the links of a site's record looked for, when images have made it already."""
    of_number = (Patient.site_id == site_id) & (Patient.patient_number == patient_number)
    patient_id = session.scalar(select(Patient.patient_id).where(of_number))
    if patient_id is not None:
        ask(session, now, patient_id)
