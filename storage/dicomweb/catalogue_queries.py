"""Reads of the catalogue for DICOMweb. Every one of them passes the caller's right as a condition of the query."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from storage.catalogue.holdings import is_damaged
from storage.catalogue.shown import NONE, Also, has_shown, is_shown
from storage.catalogue.tables import Instance, Pack, Patient, Series, Study
from storage.contract.identifiers import InvalidIdentifier, Uid, parse_uid
from storage.dicomweb.errors import InstanceDamaged, StudyAmbiguous, StudyNotFound

# The caller's right, from whoever knows about accounts: (site column, study UID column) → condition.
MaySee = Callable[[InstrumentedAttribute[str], InstrumentedAttribute[str]], ColumnElement[bool]]


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A study with its patient."""

    study: Study
    patient: Patient


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """An instance and the object in which it lies."""

    instance: Instance
    object_key: str


def get_study(session: Session, may_see: MaySee, study_uid: str, also: Also = NONE) -> StudyRow:
    """Return the one study under this UID that the caller may see, if anything of it is shown.

    Raises:
        StudyNotFound: none.
        StudyAmbiguous: more than one site's.
    """
    uid = parse_address_uid(study_uid)
    statement = select(Study, Patient).join(Patient, Patient.patient_id == Study.patient_id)
    statement = statement.where(Study.study_uid == uid, may_see(Study.site_id, Study.study_uid), has_shown(also))
    rows = [StudyRow(*row) for row in session.execute(statement.limit(2))]
    if not rows:
        raise StudyNotFound
    if len(rows) > 1:
        raise StudyAmbiguous
    return rows[0]


def get_instance(
    session: Session, study: Study, series_uid: str, sop_instance_uid: str, also: Also = NONE
) -> StoredInstance:
    """Return one instance of the study and where it lies. Raises StudyNotFound and InstanceDamaged."""
    statement = (
        select(Instance, Pack.object_key, is_damaged())
        .join(Series, Series.series_id == Instance.series_id)
        .join(Pack, Pack.pack_id == Instance.pack_id)
        .where(
            Series.study_id == study.study_id,
            Series.series_uid == parse_address_uid(series_uid),
            Instance.sop_instance_uid == parse_address_uid(sop_instance_uid),
            is_shown(also),
        )
    )
    row = session.execute(statement).one_or_none()
    if row is None:
        raise StudyNotFound
    instance, object_key, damaged = row
    if damaged:
        raise InstanceDamaged
    return StoredInstance(instance, object_key)


def parse_address_uid(text: str) -> Uid:
    """Return a UID of an address; what cannot be one names nothing: raises StudyNotFound."""
    try:
        return parse_uid(text)
    except InvalidIdentifier as exc:
        raise StudyNotFound from exc
