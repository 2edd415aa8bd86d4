"""Writes what a verified pack holds into the catalogue: patient, study, series, pack, instances.

Idempotent: indexing the same pack again changes nothing. Two packs of one study at once wait for each other at the
study's row. Raises before the transaction commits when an instance is held already with other contents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from storage.catalogue.holdings import find_conflict, find_digests
from storage.catalogue.tables import Instance, Pack, Patient, Series, Study
from storage.contract.identifiers import new_id
from storage.contract.manifest import InstanceEntry

INSERT_ROWS_MAX = 500


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


@dataclass(frozen=True, slots=True)
class MemberFacts:
    """One instance of a pack: the declared entry that it proved, and where its bytes and frames lie."""

    entry: InstanceEntry
    series: SeriesFacts
    number: int | None
    rows: int | None
    columns: int | None
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


def index_pack(
    session: Session, *, site_id: str, patient: PatientFacts, study: StudyFacts, pack: PackFacts, now: datetime
) -> Study:
    """Write a pack into the site's catalogue and return its study, locked until the transaction ends.

    Raises:
        InstanceConflict: an instance is held already and is not the same.
    """
    row = _lock_study(session, site_id, study, _upsert_patient(session, site_id, patient), now)
    series_ids = _upsert_series(session, row.study_id, pack.members)
    pack_id = _upsert_pack(session, row.study_id, pack, now)
    rows = [_instance_row(site_id, series_ids[member.series.series_uid], pack_id, member) for member in pack.members]
    for start in range(0, len(rows), INSERT_ROWS_MAX):
        session.execute(insert(Instance).values(rows[start : start + INSERT_ROWS_MAX]).on_conflict_do_nothing())
    _refuse_conflicts(session, site_id, study.study_uid, [member.entry for member in pack.members])
    _recount(session, row)
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


def _upsert_patient(session: Session, site_id: str, patient: PatientFacts) -> str:
    facts = {"name": patient.name, "birth_date": patient.birth_date, "sex": patient.sex}
    statement = insert(Patient).values(patient_id=new_id(), site_id=site_id, patient_number=patient.number, **facts)
    statement = statement.on_conflict_do_update(index_elements=["site_id", "patient_number"], set_=facts)
    return session.scalars(statement.returning(Patient.patient_id)).one()


def _lock_study(session: Session, site_id: str, study: StudyFacts, patient_id: str, now: datetime) -> Study:
    values: dict[str, Any] = {
        "study_id": new_id(),
        "site_id": site_id,
        "study_uid": study.study_uid,
        "patient_id": patient_id,
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
            "instance_count": 0,
        }
        for series in facts.values()
    ]
    session.execute(insert(Series).values(rows).on_conflict_do_nothing(index_elements=["study_id", "series_uid"]))
    query = select(Series.series_uid, Series.series_id).where(Series.study_id == study_id)
    return {series_uid: series_id for series_uid, series_id in session.execute(query) if series_uid in facts}


def _upsert_pack(session: Session, study_id: str, pack: PackFacts, now: datetime) -> str:
    values = {
        "pack_id": new_id(),
        "study_id": study_id,
        "pack_sha256": pack.pack_sha256,
        "object_key": pack.object_key,
        "headers_key": pack.headers_key,
        "size_bytes": pack.size_bytes,
        "verified_at": now,
    }
    session.execute(insert(Pack).values(values).on_conflict_do_nothing(index_elements=["study_id", "pack_sha256"]))
    query = select(Pack.pack_id).where(Pack.study_id == study_id, Pack.pack_sha256 == pack.pack_sha256)
    return session.scalars(query).one()


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
        "frame_count": member.frame_count,
        "offset_bytes": member.offset_bytes,
        "size_bytes": member.entry.size_bytes,
        "frame_spans": member.frame_spans,
        "received_sha256": member.entry.received_sha256,
        "stored_sha256": member.entry.stored_sha256,
        "pixel_sha256": member.entry.pixel_sha256,
    }


def _refuse_conflicts(session: Session, site_id: str, study_uid: str, entries: Sequence[InstanceEntry]) -> None:
    held = find_digests(session, site_id, [entry.sop_instance_uid for entry in entries])
    for entry in entries:
        reason = find_conflict(entry, study_uid, held[entry.sop_instance_uid])
        if reason is not None:
            raise InstanceConflict(entry.sop_instance_uid, reason)


def _recount(session: Session, study: Study) -> None:
    """Set the counts of the study and its series from what is there."""
    query = (
        select(Series, func.count(Instance.instance_id), func.coalesce(func.sum(Instance.size_bytes), 0))
        .outerjoin(Instance, Instance.series_id == Series.series_id)
        .where(Series.study_id == study.study_id)
        .group_by(Series.series_id)
    )
    counted = session.execute(query).all()
    for series, instance_count, _ in counted:
        series.instance_count = instance_count
    study.modalities = sorted({series.modality for series, _, _ in counted})
    study.series_count = len(counted)
    study.instance_count = sum(instance_count for _, instance_count, _ in counted)
    study.size_bytes = sum(int(size_bytes) for _, _, size_bytes in counted)
    session.flush()
