"""Reads of the catalogue for DICOMweb. Every one of them passes the caller's right as a condition of the query."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy import ColumnElement, Select, false, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from storage.catalogue.tables import Instance, Pack, Patient, Series, Study
from storage.contract.identifiers import InvalidIdentifier, Uid, parse_uid
from storage.dicomweb.errors import BadQuery, StudyAmbiguous, StudyNotFound

# The caller's right, from whoever knows about accounts: (site column, study UID column) → condition.
MaySee = Callable[[InstrumentedAttribute[str], InstrumentedAttribute[str]], ColumnElement[bool]]

RESULTS_MAX: Final = 200
KEYWORDS: Final = {  # the study keys that can be searched, by keyword and by tag (PS3.18 table 10.6.1-5)
    "StudyInstanceUID": "0020000D",
    "PatientID": "00100020",
    "IssuerOfPatientID": "00100021",  # the site: a Patient ID is unique only within it
    "PatientName": "00100010",
    "AccessionNumber": "00080050",
    "StudyDate": "00080020",
    "ModalitiesInStudy": "00080061",
    "StudyID": "00200010",
}
IGNORED: Final = frozenset({"includefield", "fuzzymatching", "limit", "offset"})


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A study with its patient, as a search answers it."""

    study: Study
    patient: Patient


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """An instance and the object in which it lies."""

    instance: Instance
    object_key: str


def find_studies(session: Session, may_see: MaySee, query: Mapping[str, str]) -> list[StudyRow]:
    """Return the studies that match, newest first.

    Raises:
        BadQuery: a key that is not searchable, or a value that is none.
    """
    statement = select(Study, Patient).join(Patient, Patient.patient_id == Study.patient_id)
    statement = statement.where(may_see(Study.site_id, Study.study_uid))
    for key, value in query.items():
        if key not in IGNORED and value:
            statement = statement.where(_condition(_keyword_of(key), value))
    statement = statement.order_by(Study.study_date.desc().nulls_last(), Study.study_uid)
    return [StudyRow(*row) for row in session.execute(_page(statement, query))]


def get_study(session: Session, may_see: MaySee, study_uid: str) -> StudyRow:
    """Return the one study under this UID that the caller may see.

    Raises:
        StudyNotFound: none.
        StudyAmbiguous: more than one site's.
    """
    rows = find_studies(session, may_see, {"StudyInstanceUID": _uid(study_uid)})
    if not rows:
        raise StudyNotFound
    if len(rows) > 1:
        raise StudyAmbiguous
    return rows[0]


def series_of(session: Session, study: Study) -> list[Series]:
    """Return the study's series by number."""
    statement = select(Series).where(Series.study_id == study.study_id)
    return list(session.scalars(statement.order_by(Series.number.nulls_last(), Series.series_uid)))


def instances_of(session: Session, study: Study, series_uid: str | None = None) -> list[tuple[Series, Instance]]:
    """Return the instances of the study, or of one of its series, by number."""
    statement = select(Series, Instance).join(Instance, Instance.series_id == Series.series_id)
    statement = statement.where(Series.study_id == study.study_id)
    if series_uid is not None:
        statement = statement.where(Series.series_uid == _uid(series_uid))
    statement = statement.order_by(Series.number, Instance.number.nulls_last(), Instance.sop_instance_uid)
    return [(series, instance) for series, instance in session.execute(statement)]


def get_instance(session: Session, study: Study, series_uid: str, sop_instance_uid: str) -> StoredInstance:
    """Return one instance of the study and where it lies. Raises StudyNotFound."""
    statement = (
        select(Instance, Pack.object_key)
        .join(Series, Series.series_id == Instance.series_id)
        .join(Pack, Pack.pack_id == Instance.pack_id)
        .where(
            Series.study_id == study.study_id,
            Series.series_uid == _uid(series_uid),
            Instance.sop_instance_uid == _uid(sop_instance_uid),
        )
    )
    row = session.execute(statement).one_or_none()
    if row is None:
        raise StudyNotFound
    return StoredInstance(*row)


def headers_keys_of(session: Session, study: Study) -> list[str]:
    """Return the keys of the prepared headers of all the study's packs."""
    statement = select(Pack.headers_key).where(Pack.study_id == study.study_id).order_by(Pack.pack_sha256)
    return list(session.scalars(statement))


def _uid(text: str) -> Uid:
    try:
        return parse_uid(text)
    except InvalidIdentifier as exc:
        raise StudyNotFound from exc


def _keyword_of(key: str) -> str:
    for keyword, tag in KEYWORDS.items():
        if key in (keyword, tag) or key.upper() == tag:
            return keyword
    raise BadQuery(f"studies cannot be searched by {key[:64]}; searchable: {', '.join(KEYWORDS)}")


def _condition(keyword: str, value: str) -> ColumnElement[bool]:
    match keyword:
        case "StudyInstanceUID":
            wanted = [part for part in value.replace("\\", ",").split(",") if part]
            return Study.study_uid.in_(wanted)
        case "StudyDate":
            return _date_condition(value)
        case "ModalitiesInStudy":
            return Study.modalities.contains([value])
        case "PatientName":
            return _text_condition(Patient.name, value)
        case "PatientID":
            return _text_condition(Patient.patient_number, value)
        case "IssuerOfPatientID":
            return _text_condition(Patient.site_id, value)
        case "StudyID":
            return _text_condition(Study.study_number, value)
        case _:
            return _text_condition(Study.accession_number, value)


def _text_condition(column: InstrumentedAttribute[str], value: str) -> ColumnElement[bool]:
    """Return an exact match, or one by the wildcards `*` and `?` (PS3.4 section C.2.2.2.4)."""
    if "*" not in value and "?" not in value:
        return column == value
    pattern = value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%").replace("?", "_")
    return column.ilike(pattern, escape="\\")


def _date_condition(value: str) -> ColumnElement[bool]:
    start, dash, end = value.partition("-")
    if not dash:
        return Study.study_date == _date(start)
    condition: ColumnElement[bool] = Study.study_date.is_not(None)
    if start:
        condition = condition & (Study.study_date >= _date(start))
    if end:
        condition = condition & (Study.study_date <= _date(end))
    return condition if start or end else false()


def _date(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007 -- DICOM DA is a local day
    except ValueError as exc:
        raise BadQuery("StudyDate is YYYYMMDD or a range YYYYMMDD-YYYYMMDD") from exc


def _page(statement: Select[Study, Patient], query: Mapping[str, str]) -> Select[Study, Patient]:
    try:
        limit, offset = int(query.get("limit") or RESULTS_MAX), int(query.get("offset") or 0)
    except ValueError as exc:
        raise BadQuery("limit and offset are whole numbers") from exc
    if limit < 0 or offset < 0:
        raise BadQuery("limit and offset are not negative")
    return statement.limit(min(limit, RESULTS_MAX)).offset(offset)
