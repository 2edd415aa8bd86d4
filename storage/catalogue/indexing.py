"""Writes what verified packs hold into the catalogue: patient, study, series, pack, instances.

Idempotent: indexing the same packs again changes nothing. Two packs of one study at once wait for each other at the
study's row. Raises before the transaction commits when an instance is held already with other contents. What is written
follows from the arguments and from what was written before alone: the same packs in the same order always make the same
catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import ColumnElement, case, exists, false, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session

from storage.catalogue.amendment_tables import Refiling
from storage.catalogue.counting import hide_rejected, is_rejected_in_part, recount
from storage.catalogue.filing import lock_surviving, refile, refresh_shown
from storage.catalogue.holdings import find_conflict, find_digests
from storage.catalogue.name_keys import keys_of_name
from storage.catalogue.pinyin import readings
from storage.catalogue.tables import UNKNOWN_SEXES, Instance, Pack, Patient, Series, Study
from storage.contract.identifiers import new_id
from storage.contract.manifest import InstanceEntry

FACTS_VERSION: Final = 1  # raise it when a fact is added below, or read from the bytes by another rule


class InstanceConflict(Exception):
    """The catalogue holds an instance of the pack already, with other contents or in another study."""

    def __init__(self, sop_instance_uid: str, reason: str) -> None:
        self.sop_instance_uid = sop_instance_uid
        self.reason = reason
        super().__init__(f"{sop_instance_uid}: {reason}")


@dataclass(frozen=True, slots=True)
class PatientFacts:
    """A patient as an instance's header names them."""

    number: str
    name: str
    birth_date: date | None
    sex: str


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What the first indexed instance says of its study."""

    study_uid: str
    accession_number: str
    study_number: str
    description: str
    body_part: str
    referring_physician: str
    study_date: date | None
    study_time: str
    exam_started_at: datetime | None
    character_set: str
    character_set_repair: str | None
    first_received_at: datetime


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """What the first indexed instance of a series says of it."""

    series_uid: str
    modality: str
    number: int | None
    description: str
    body_part: str
    performed_date: date | None
    performed_time: str
    requests: tuple[dict[str, str], ...]


@dataclass(frozen=True, slots=True)
class MemberFacts:
    """One instance of a pack: the declared entry that it proved, and where its bytes and frames lie."""

    entry: InstanceEntry
    series: SeriesFacts
    number: int | None
    rows: int | None
    columns: int | None
    bits_allocated: int | None
    frame_count: int
    offset_bytes: int
    frame_spans: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class PackFacts:
    """One verified pack and its members in the pack's order."""

    pack_sha256: str
    object_key: str
    headers_key: str
    size_bytes: int
    members: tuple[MemberFacts, ...]


@dataclass(frozen=True, slots=True)
class CatalogueStep:
    """Which step of the catalogue's growth a pack is, and the record in object storage that tells of it.

    `replaces`: instances whose bytes are damaged in the pack that holds them; they are this one's from now on.
    """

    number: int
    record_sha256: str | None
    replaces: frozenset[str] = frozenset()


def next_number(session: Session) -> int:
    """Return the number of the next step; none is ever given twice."""
    number: int = session.scalars(select(func.nextval(func.pg_get_serial_sequence("packs", "number")))).one()
    return number


def index_packs(
    session: Session,
    *,
    site_id: str,
    patient: PatientFacts,
    study: StudyFacts,
    packs: Sequence[PackFacts],
    now: datetime,
    is_prior: bool = False,
    steps: Mapping[str, CatalogueStep] = MappingProxyType({}),
) -> Study:
    """Write packs of one study into the site's catalogue and return the study, locked until the transaction ends.

    `steps` by pack: what a pack's record says of it. One without gets the next number; its record is written later.

    What an earlier study (`is_prior`) says of a patient who is known already does not change the record. Nor does what
    contradicts its birth date or sex: that marks it, and the study keeps what its own headers say.

    Raises:
        InstanceConflict: an instance is held already and is not the same.
    """
    members = [member for pack in packs for member in pack.members]
    patient_id, is_merged = _upsert_patient(session, site_id, patient, keep_known=is_prior)
    if is_merged:
        lock_surviving(session, patient_id)
    row = _lock_study(session, site_id, study, patient_id, patient, now)
    if session.get(Refiling, row.study_id) is None:  # else a person has said whose it is
        _note_contradiction(session, patient_id, patient, study.study_uid, now)
        if is_merged:
            refile(session, row)
    refresh_shown(session, patient_id, now)
    series_ids = _upsert_series(session, row.study_id, members)
    pack_ids = _upsert_packs(session, row.study_id, packs, now, steps)
    rows = [
        _instance_row(site_id, series_ids[member.series.series_uid], pack_ids[pack.pack_sha256], member)
        for pack in packs
        for member in pack.members
    ]
    replaced = frozenset[str]().union(*(step.replaces for step in steps.values()))
    if replaced:
        entries = [member.entry for member in members if member.entry.sop_instance_uid in replaced]
        _refuse_conflicts(session, site_id, study.study_uid, entries)
        _replace(session, site_id, rows, replaced)
    session.execute(insert(Instance).on_conflict_do_nothing(), rows)  # one statement, sent with all rows
    _refuse_conflicts(session, site_id, study.study_uid, [member.entry for member in members])
    if is_rejected_in_part(session, row):
        hide_rejected(session, row)
    recount(session, row)
    return row


def find_study_locked(session: Session, site_id: str, study_uid: str) -> Study | None:
    """Return the site's study as it now is, locked until the transaction ends."""
    query = select(Study).where(Study.site_id == site_id, Study.study_uid == study_uid).with_for_update()
    return session.scalars(query.execution_options(populate_existing=True)).one_or_none()


def find_pack(session: Session, site_id: str, study_uid: str, pack_sha256: str) -> Pack | None:
    """Return the verified pack of a site's study, if the catalogue has it."""
    query = (
        select(Pack)
        .join(Study, Study.study_id == Pack.study_id)
        .where(Study.site_id == site_id, Study.study_uid == study_uid, Pack.pack_sha256 == pack_sha256)
    )
    return session.scalars(query).one_or_none()


def raise_revision(study: Study, now: datetime) -> bool:
    """Let the study's revision rise when its set of instances changed since it last did; return whether it did."""
    if study.instance_count == study.revision_instance_count:
        return False
    study.revision += 1
    study.revision_instance_count = study.instance_count
    study.catalogued_at = now
    return True


def _upsert_patient(session: Session, site_id: str, patient: PatientFacts, *, keep_known: bool) -> tuple[str, bool]:
    """Return the id of the patient's record, locked, and whether it was merged into another one.

    The record has the newest name, and the first birth date and sex that were said.

    Facts that contradict the record change nothing of it.
    """
    facts = {"name": patient.name, "birth_date": patient.birth_date, "sex": patient.sex}
    statement = insert(Patient).values(patient_id=new_id(), site_id=site_id, patient_number=patient.number, **facts)
    said = statement.excluded
    filled: dict[str, Any] = {
        "name": said.name,
        "birth_date": func.coalesce(Patient.birth_date, said.birth_date),
        "sex": case((Patient.sex.in_(UNKNOWN_SEXES), said.sex), else_=Patient.sex),
    }
    statement = statement.on_conflict_do_update(
        index_elements=["site_id", "patient_number"],
        set_={"name": Patient.name} if keep_known else filled,  # even what changes nothing locks the row
        where=~contradicts(patient, Patient.birth_date, Patient.sex),
    )
    session.execute(statement)
    of_number = (Patient.site_id == site_id) & (Patient.patient_number == patient.number)
    patient_id, merged_into_id = session.execute(
        select(Patient.patient_id, Patient.merged_into_id).where(of_number)
    ).one()
    return patient_id, merged_into_id is not None


def _note_contradiction(
    session: Session, patient_id: str, patient: PatientFacts, study_uid: str, now: datetime
) -> None:
    """Mark the record when another birth date or sex has been said of it; once for each study that does."""
    other = exists().where(
        Study.patient_id == patient_id, contradicts(patient, Study.patient_birth_date, Study.patient_sex)
    )
    session.execute(
        update(Patient)
        .where(
            Patient.patient_id == patient_id,
            Patient.contradicting_study_uid != study_uid,
            or_(contradicts(patient, Patient.birth_date, Patient.sex), other),
        )
        .values(contradicted_at=now, contradicting_study_uid=study_uid)
        .execution_options(synchronize_session=False)
    )


def contradicts(
    patient: PatientFacts, birth_date: InstrumentedAttribute[date | None], sex: InstrumentedAttribute[str]
) -> ColumnElement[bool]:
    """Return the condition that a row says another birth date or sex; what one does not say contradicts nothing."""
    other_date: ColumnElement[bool] = false()
    other_sex: ColumnElement[bool] = false()
    if patient.birth_date is not None:
        other_date = birth_date.is_not(None) & (birth_date != patient.birth_date)
    if patient.sex not in UNKNOWN_SEXES:
        other_sex = sex.not_in((*UNKNOWN_SEXES, patient.sex))
    return or_(other_date, other_sex)


def _lock_study(
    session: Session, site_id: str, study: StudyFacts, patient_id: str, patient: PatientFacts, now: datetime
) -> Study:
    values: dict[str, Any] = {
        "study_id": new_id(),
        "site_id": site_id,
        "study_uid": study.study_uid,
        "patient_id": patient_id,
        "patient_name": patient.name,
        "name_keys": keys_of_name(patient.name, readings),
        "patient_birth_date": patient.birth_date,
        "patient_sex": patient.sex,
        "accession_number": study.accession_number,
        "study_number": study.study_number,
        "description": study.description,
        "body_part": study.body_part,
        "referring_physician": study.referring_physician,
        "study_date": study.study_date,
        "study_time": study.study_time,
        "exam_started_at": study.exam_started_at,
        "character_set": study.character_set,
        "character_set_repair": study.character_set_repair,
        "modalities": [],
        "series_count": 0,
        "instance_count": 0,
        "size_bytes": 0,
        "revision": 0,
        "first_received_at": study.first_received_at,
        "catalogued_at": now,
    }
    session.execute(insert(Study).values(values).on_conflict_do_nothing(index_elements=["site_id", "study_uid"]))
    row = find_study_locked(session, site_id, study.study_uid)
    if row is None:
        raise LookupError(f"study {study.study_uid} vanished while it was indexed")
    row.first_received_at = min(row.first_received_at, study.first_received_at)
    return row


def _upsert_series(session: Session, study_id: str, members: Sequence[MemberFacts]) -> dict[str, str]:
    facts = {member.series.series_uid: member.series for member in reversed(members)}
    rows = [
        {
            "series_id": new_id(),
            "study_id": study_id,
            "series_uid": series.series_uid,
            "modality": series.modality,
            "number": series.number,
            "description": series.description,
            "body_part": series.body_part,
            "performed_date": series.performed_date,
            "performed_time": series.performed_time,
            "requests": list(series.requests),
            "instance_count": 0,
        }
        for series in facts.values()
    ]
    session.execute(insert(Series).values(rows).on_conflict_do_nothing(index_elements=["study_id", "series_uid"]))
    query = select(Series.series_uid, Series.series_id).where(Series.study_id == study_id)
    return {series_uid: series_id for series_uid, series_id in session.execute(query) if series_uid in facts}


def _upsert_packs(
    session: Session, study_id: str, packs: Sequence[PackFacts], now: datetime, steps: Mapping[str, CatalogueStep]
) -> dict[str, str]:
    taken = {pack.pack_sha256: steps.get(pack.pack_sha256) or _unrecorded(session) for pack in packs}
    rows = [
        {
            "pack_id": new_id(),
            "study_id": study_id,
            "pack_sha256": pack.pack_sha256,
            "object_key": pack.object_key,
            "headers_key": pack.headers_key,
            "size_bytes": pack.size_bytes,
            "verified_at": now,
            "number": taken[pack.pack_sha256].number,
            "record_sha256": taken[pack.pack_sha256].record_sha256,
            "checked_at": now,
        }
        for pack in packs
    ]
    session.execute(insert(Pack).values(rows).on_conflict_do_nothing(index_elements=["study_id", "pack_sha256"]))
    query = select(Pack.pack_sha256, Pack.pack_id).where(Pack.study_id == study_id)
    return {row.pack_sha256: row.pack_id for row in session.execute(query)}


def _unrecorded(session: Session) -> CatalogueStep:
    return CatalogueStep(next_number(session), None)


def _replace(session: Session, site_id: str, rows: Sequence[dict[str, Any]], uids: frozenset[str]) -> None:
    """Let these instances lie where the rows say instead of in their damaged packs."""
    for row in rows:
        uid = row["sop_instance_uid"]
        if uid in uids:
            values = {name: value for name, value in row.items() if name != "instance_id"}
            of_uid = (Instance.site_id == site_id) & (Instance.sop_instance_uid == uid)
            session.execute(update(Instance).where(of_uid).values(values).execution_options(synchronize_session=False))


def _instance_row(site_id: str, series_id: str, pack_id: str, member: MemberFacts) -> dict[str, Any]:
    return {
        "instance_id": new_id(),
        "site_id": site_id,
        "series_id": series_id,
        "pack_id": pack_id,
        "sop_instance_uid": member.entry.sop_instance_uid,
        "sop_class_uid": member.entry.sop_class_uid,
        "transfer_syntax_uid": member.entry.transfer_syntax_uid,
        "number": member.number,
        "rows": member.rows,
        "columns": member.columns,
        "bits_allocated": member.bits_allocated,
        "frame_count": member.frame_count,
        "offset_bytes": member.offset_bytes,
        "size_bytes": member.entry.size_bytes,
        "frame_spans": member.frame_spans,
        "received_sha256": member.entry.received_sha256,
        "stored_sha256": member.entry.stored_sha256,
        "pixel_sha256": member.entry.pixel_sha256,
        "values_sha256": member.entry.values_sha256,
        "received_transfer_syntax_uid": member.entry.received_transfer_syntax_uid,
    }


def _refuse_conflicts(session: Session, site_id: str, study_uid: str, entries: Sequence[InstanceEntry]) -> None:
    held = find_digests(session, site_id, [entry.sop_instance_uid for entry in entries])
    for entry in entries:
        row = held.get(entry.sop_instance_uid)
        reason = None if row is None else find_conflict(entry, study_uid, row)
        if reason is not None:
            raise InstanceConflict(entry.sop_instance_uid, reason)
