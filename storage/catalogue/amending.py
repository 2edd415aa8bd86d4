"""What a correction does to the catalogue: the same when a person makes it and when a new catalogue repeats it.

Durable with the caller's transaction. Originals are never touched.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from storage.catalogue.amendment_records import (
    AmendmentRecord,
    Identity,
    KnownPatient,
    PatientMerge,
    Rejection,
    StudyMove,
    Withdrawal,
)
from storage.catalogue.amendment_tables import Amendment, Refiling, RejectedInstance
from storage.catalogue.counting import hide_rejected, recount
from storage.catalogue.filing import file_under, find_following, find_merged, lock_surviving, refile
from storage.catalogue.indexing import PatientFacts, contradicts, find_study_locked
from storage.catalogue.tables import UNKNOWN_SEXES, Patient, Study
from storage.contract.identifiers import new_id

NOTHING_KNOWN: Final = KnownPatient(name="", birth_date=None, sex="")


class NothingToAmend(Exception):
    """What the correction is about is not in the catalogue; the message is words without UIDs."""


def next_amendment_number(session: Session, site_id: str, study_uid: str | None) -> int:
    """Return the next number of the study, or of the site's patients; the caller is alone with them."""
    of_scope = (Amendment.site_id == site_id) & (Amendment.study_uid == (study_uid or ""))
    return (session.scalar(select(func.max(Amendment.number)).where(of_scope)) or 0) + 1


def write_amendment(session: Session, record: AmendmentRecord, *, is_recorded: bool) -> list[Study]:
    """Write the correction and what follows from it; return the studies that are shown otherwise now, locked.

    Raises:
        NothingToAmend: its study, or what it withdraws, is not there.
    """
    session.add(
        Amendment(
            amendment_id=record.amendment_id,
            site_id=record.site_id,
            study_uid=record.study_uid or "",
            number=record.number,
            step=record.step,
            kind=record.about.kind,
            content=record.about.model_dump(mode="json"),
            reason=record.reason,
            made_by=record.made_by,
            made_at=record.made_at,
            withdrawn_by_id=None,
            is_recorded=is_recorded,
        )
    )
    session.flush()
    match record.about:
        case PatientMerge():
            return _merge(session, record.site_id, record.about)
        case StudyMove():
            return _move(session, record, record.about)
        case Rejection():
            return _reject(session, record, record.about)
        case Identity():
            return _settle(session, record.site_id, record.about)
        case Withdrawal():
            return _withdraw(session, record, record.about.amendment_id)


def find_patient(session: Session, site_id: str, number: str) -> Patient | None:
    """Return the site's record of this number."""
    of_number = (Patient.site_id == site_id) & (Patient.patient_number == number)
    return session.scalars(select(Patient).where(of_number)).one_or_none()


def _lock_patient(session: Session, site_id: str, number: str, known: KnownPatient = NOTHING_KNOWN) -> Patient:
    """Return the record, made of what is known when there is none: what it stood for may have been deleted since."""
    values = {"patient_id": new_id(), "site_id": site_id, "patient_number": number, **known.model_dump()}
    session.execute(insert(Patient).values(values).on_conflict_do_nothing())
    of_number = (Patient.site_id == site_id) & (Patient.patient_number == number)
    query = select(Patient).where(of_number).with_for_update().execution_options(populate_existing=True)
    return session.scalars(query).one()


def _merge(session: Session, site_id: str, merge: PatientMerge) -> list[Study]:
    numbers = sorted((merge.from_number, merge.into_number))
    found = {number: _lock_patient(session, site_id, number) for number in numbers}
    merged = found[merge.from_number]
    merged.merged_into_id = found[merge.into_number].patient_id
    return _refile_all(session, merged)


def _refile_all(session: Session, patient: Patient) -> list[Study]:
    session.flush()
    lock_surviving(session, patient.patient_id)
    studies = find_following(session, find_merged(session, patient.patient_id))
    for study in studies:
        refile(session, study)
    return studies


def _move(session: Session, record: AmendmentRecord, move: StudyMove | None) -> list[Study]:
    """Let the study be where the move puts it, or, with None, where its headers do."""
    patient = None if move is None else _lock_patient(session, record.site_id, move.to_number, move.patient)
    study = _get_study(session, record)
    left_id = study.patient_id
    file_under(session, study, None if patient is None else patient.patient_id)
    session.flush()
    _clear_if_settled(session, left_id)
    return [study]


def _clear_if_settled(session: Session, patient_id: str) -> None:
    """Let a record from which a study was taken be contradicted no more, when no study that is left contradicts it."""
    patient = session.get_one(Patient, patient_id, populate_existing=True)
    if patient.contradicted_at is None:
        return
    of_record = contradicts(_facts(patient), Study.patient_birth_date, Study.patient_sex)
    if not session.scalar(select(select(Study.study_id).where(Study.patient_id == patient_id, of_record).exists())):
        patient.contradicted_at = None


def _facts(patient: Patient) -> PatientFacts:
    return PatientFacts(patient.patient_number, patient.name, patient.birth_date, patient.sex)


def _reject(session: Session, record: AmendmentRecord, rejection: Rejection) -> list[Study]:
    named = dict.fromkeys(rejection.sop_instance_uids, False) | {rejection.note_uid: True}
    row = {"site_id": record.site_id, "study_uid": record.study_uid, "code": rejection.code}
    rows = [
        {**row, "amendment_id": record.amendment_id, "sop_instance_uid": uid, "is_note": is_note}
        for uid, is_note in named.items()
    ]
    study = _get_study(session, record)
    session.execute(insert(RejectedInstance), rows)
    _show_unrejected(session, study)
    return [study]


def _show_unrejected(session: Session, study: Study) -> None:
    """Hide what notes name and nothing else; images that no revision counts yet stay uncounted."""
    before = study.instance_count
    hide_rejected(session, study)
    recount(session, study)
    if study.revision > 0:
        study.revision_instance_count = max(0, study.revision_instance_count + study.instance_count - before)


def _settle(session: Session, site_id: str, identity: Identity) -> list[Study]:
    patient = _lock_patient(session, site_id, identity.patient_number)
    if identity.keep == "new":
        _take_facts(session, patient, identity.contradicting_study_uid)
    patient.contradicted_at = None
    session.flush()
    of_record = contradicts(_facts(patient), Study.patient_birth_date, Study.patient_sex)
    query = select(Study).where(Study.patient_id == patient.patient_id, of_record)
    studies = session.scalars(query.order_by(Study.study_id).with_for_update()).all()
    for study in studies:
        file_under(session, study, patient.patient_id)
    return list(studies)


def _take_facts(session: Session, patient: Patient, study_uid: str) -> None:
    """Let the record say what this study's own headers say."""
    study = find_study_locked(session, patient.site_id, study_uid)
    if study is None:
        raise NothingToAmend("the study that contradicted the record is not there")
    own = session.get(Refiling, study.study_id)
    birth_date = study.patient_birth_date if own is None else own.own_birth_date
    sex = study.patient_sex if own is None else own.own_sex
    patient.name = (study.patient_name if own is None else own.own_name) or patient.name
    patient.birth_date = birth_date or patient.birth_date
    patient.sex = patient.sex if sex in UNKNOWN_SEXES else sex


def _withdraw(session: Session, record: AmendmentRecord, amendment_id: str) -> list[Study]:
    row = session.get(Amendment, amendment_id, with_for_update=True)
    if row is None or (row.site_id, row.study_uid) != (record.site_id, record.study_uid or ""):
        raise NothingToAmend("what is to be withdrawn is not there")
    row.withdrawn_by_id = record.amendment_id
    session.flush()
    match row.kind:
        case "merge":
            merged = _lock_patient(session, record.site_id, row.content["from_number"])
            merged.merged_into_id = None
            return _refile_all(session, merged)
        case "move":
            return _move(session, record, _find_last_move(session, record))
        case "rejection":
            study = _get_study(session, record)
            of_note = (RejectedInstance.amendment_id == amendment_id) & ~RejectedInstance.is_note
            session.execute(delete(RejectedInstance).where(of_note))
            _show_unrejected(session, study)
            return [study]
        case _:
            raise NothingToAmend("this is nothing that can be withdrawn")


def _find_last_move(session: Session, record: AmendmentRecord) -> StudyMove | None:
    """Return the last move of the study that counts."""
    moves = (
        select(Amendment.content)
        .where(Amendment.site_id == record.site_id, Amendment.study_uid == record.study_uid)
        .where(Amendment.kind == "move", Amendment.withdrawn_by_id.is_(None))
    )
    content = session.scalars(moves.order_by(Amendment.number.desc()).limit(1)).one_or_none()
    return None if content is None else StudyMove.model_validate(content)


def _get_study(session: Session, record: AmendmentRecord) -> Study:
    study = find_study_locked(session, record.site_id, record.study_uid or "")
    if study is None:
        raise NothingToAmend("the study is not there")
    return study
