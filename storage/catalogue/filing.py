"""With which patient a study is shown: its own, unless a person moved it or merged patient records.

What is shown follows from what the headers say, from moves and merges and from the record of the patient it is shown
with, whichever of them came first.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, aliased

from storage.catalogue.amendment_tables import Refiling
from storage.catalogue.name_keys import keys_of_name
from storage.catalogue.pinyin import readings
from storage.catalogue.tables import Patient, Study


def lock_surviving(session: Session, patient_id: str) -> Patient:
    """Return the record that stands for this one after all merges, locked until the transaction ends."""
    while True:
        one = select(Patient).where(Patient.patient_id == patient_id).with_for_update()
        patient = session.scalars(one.execution_options(populate_existing=True)).one()
        if patient.merged_into_id is None:
            return patient
        patient_id = patient.merged_into_id


def find_merged(session: Session, patient_id: str) -> list[str]:
    """Return the id of the record, and of all that were merged into it."""
    into = select(Patient.patient_id).where(Patient.patient_id == patient_id).cte("into", recursive=True)
    other = aliased(Patient)
    into = into.union(select(other.patient_id).join(into, other.merged_into_id == into.c.patient_id))
    return sorted(session.scalars(select(into.c.patient_id)))


def find_following(session: Session, patient_ids: Iterable[str]) -> list[Study]:
    """Return the studies that are filed under one of these records, before any merge; locked, in the order of ids."""
    ids = list(patient_ids)
    refiled = select(Refiling.study_id).where(
        or_(Refiling.filed_under_id.in_(ids), Refiling.filed_under_id.is_(None) & Refiling.own_patient_id.in_(ids))
    )
    own = select(Study.study_id).where(
        Study.patient_id.in_(ids), ~select(Refiling.study_id).where(Refiling.study_id == Study.study_id).exists()
    )
    query = select(Study).where(Study.study_id.in_(refiled.union(own))).order_by(Study.study_id).with_for_update()
    return list(session.scalars(query.execution_options(populate_existing=True)))


def refile(session: Session, study: Study) -> None:
    """Let the study be shown with the patient it belongs to now; its row and that patient's are locked."""
    refiling = session.get(Refiling, study.study_id)
    own_id = study.patient_id if refiling is None else refiling.own_patient_id
    filed_under_id = None if refiling is None else refiling.filed_under_id
    patient = lock_surviving(session, filed_under_id or own_id)
    if filed_under_id is None and patient.patient_id == own_id:
        if refiling is not None:
            _show_own(study, refiling)
            session.delete(refiling)
        return
    if refiling is None:
        refiling = _keep_own(study)
        session.add(refiling)
    _show_with(study, patient, refiling)


def file_under(session: Session, study: Study, patient_id: str | None) -> None:
    """File the study under another record than its headers name, or, with None, under its own again."""
    refiling = session.get(Refiling, study.study_id)
    if refiling is None:
        refiling = _keep_own(study)
        session.add(refiling)
    refiling.filed_under_id = patient_id
    session.flush()
    refile(session, study)


def refresh_shown(session: Session, patient_id: str, now: datetime) -> None:
    """Show the record, which may just have changed, in the studies that are not its own; it is locked."""
    query = select(Study, Refiling).join(Refiling, Refiling.study_id == Study.study_id)
    query = query.where(Study.patient_id == patient_id).order_by(Study.study_id).with_for_update(of=Study)
    for study, refiling in session.execute(query).all():
        patient = session.get_one(Patient, patient_id, populate_existing=True)
        before = study.patient_name, study.patient_birth_date, study.patient_sex
        _show_with(study, patient, refiling)
        if before != (study.patient_name, study.patient_birth_date, study.patient_sex):
            note_changed(study, now)


def note_changed(study: Study, now: datetime) -> None:
    """Let the study, if its images are whole, have a new revision with new metadata; its set of images is the same."""
    if study.revision > 0:
        study.revision += 1
        study.metadata_due_at = now


def _keep_own(study: Study) -> Refiling:
    return Refiling(
        study_id=study.study_id,
        filed_under_id=None,
        own_patient_id=study.patient_id,
        own_name=study.patient_name,
        own_birth_date=study.patient_birth_date,
        own_sex=study.patient_sex,
    )


def _show_own(study: Study, own: Refiling) -> None:
    study.patient_id = own.own_patient_id
    study.patient_birth_date, study.patient_sex = own.own_birth_date, own.own_sex
    _name(study, own.own_name)


def _show_with(study: Study, patient: Patient, own: Refiling) -> None:
    """Show what the record says; what it does not say, a study that was not moved says of the same person."""
    is_same_person = own.filed_under_id is None
    study.patient_id = patient.patient_id
    study.patient_birth_date = patient.birth_date or (own.own_birth_date if is_same_person else None)
    study.patient_sex = patient.sex or (own.own_sex if is_same_person else "")
    _name(study, patient.name or (own.own_name if is_same_person else ""))


def _name(study: Study, name: str) -> None:
    study.patient_name, study.name_keys = name, keys_of_name(name, readings)
