"""Keys and their values as conditions on the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import ARRAY, ColumnElement, Text, any_, case, func, literal, or_, select, true
from sqlalchemy import column as sa_column
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import InstrumentedAttribute

from storage.catalogue.name_keys import keys_of_pattern, keys_of_search
from storage.catalogue.tables import Instance, Patient, Series, Study
from storage.dicomweb.searching.keys import Key, Matching
from storage.dicomweb.searching.values import (
    escaped,
    like_pattern,
    parse_dates,
    parse_number,
    parse_times,
    parse_uids,
    split_list,
)

Column = InstrumentedAttribute[Any] | ColumnElement[Any]
REQUEST_FIELDS: Final = {  # of an item of Series.requests
    "RequestAttributesSequence.ScheduledProcedureStepID": "step_id",
    "RequestAttributesSequence.RequestedProcedureID": "procedure_id",
}
PATIENT_NAME: Final = "PatientName"
NAME_GROUPS: Final = 3  # alphabetic, ideographic, phonetic (PS3.5 section 6.2)

COLUMNS: Final[Mapping[str, Column]] = {
    "StudyDate": Study.study_date,
    "StudyTime": Study.study_time,
    "AccessionNumber": Study.accession_number,
    "ModalitiesInStudy": Study.modalities,
    "ReferringPhysicianName": Study.referring_physician,
    "StudyDescription": Study.description,
    "PatientName": Study.patient_name,
    "PatientID": Patient.patient_number,
    "IssuerOfPatientID": Patient.site_id,
    "PatientBirthDate": Study.patient_birth_date,
    "PatientSex": Study.patient_sex,
    "StudyInstanceUID": Study.study_uid,
    "StudyID": Study.study_number,
    "Modality": Series.modality,
    "SeriesDescription": Series.description,
    "BodyPartExamined": Series.body_part,
    "SeriesInstanceUID": Series.series_uid,
    "SeriesNumber": Series.number,
    "PerformedProcedureStepStartDate": Series.performed_date,
    "PerformedProcedureStepStartTime": Series.performed_time,
    "RequestAttributesSequence.ScheduledProcedureStepID": Series.requests,
    "RequestAttributesSequence.RequestedProcedureID": Series.requests,
    "SOPClassUID": Instance.sop_class_uid,
    "SOPInstanceUID": Instance.sop_instance_uid,
    "InstanceNumber": Instance.number,
}


def condition_of(key: Key, value: str, *, is_fuzzy: bool = False, column: Column | None = None) -> ColumnElement[bool]:
    """Return the condition that a row has this value under the key.

    `column` stands for the key's own one, where a query has it from elsewhere. A fuzzy search finds a patient by the
    keys of their name: characters, letters, pinyin and initials.

    Raises:
        BadQuery: the key cannot have this value.
    """
    if is_fuzzy and key.keyword == PATIENT_NAME:
        return _has_keys(keys_of_search(value))
    return _CONDITIONS[key.matching](COLUMNS[key.keyword] if column is None else column, value, key.keyword)


def _uids(column: Column, value: str, keyword: str) -> ColumnElement[bool]:
    wanted = parse_uids(value, keyword)
    if len(wanted) == 1:
        return column == wanted[0]
    return column == any_(literal(wanted, ARRAY(Text)))


def _text(column: Column, value: str, _keyword: str) -> ColumnElement[bool]:
    pattern = like_pattern(value)
    return column == value if pattern is None else column.like(pattern, escape="\\")


def _code(column: Column, value: str, keyword: str) -> ColumnElement[bool]:
    values = split_list(value, keyword)
    if column is Study.modalities:
        return or_(*(_holds(column, one) for one in values))
    return or_(*(_text(column, one, keyword) for one in values))


def _holds(column: Column, value: str) -> ColumnElement[bool]:
    """Return the condition that one of the values of a JSON array matches."""
    pattern = like_pattern(value)
    if pattern is None:
        return column.contains([value])
    each = func.jsonb_array_elements_text(column).table_valued("value").render_derived()
    return select(1).select_from(each).where(each.c.value.like(pattern, escape="\\")).exists()


def _request(column: Column, value: str, keyword: str) -> ColumnElement[bool]:
    """Return the condition that one item of the sequence matches."""
    name, pattern = REQUEST_FIELDS[keyword], like_pattern(value)
    if pattern is None:
        return column.contains([{name: value}])
    each = func.jsonb_array_elements(column).table_valued(sa_column("value", JSONB)).render_derived()
    return select(1).select_from(each).where(each.c.value[name].as_string().like(pattern, escape="\\")).exists()


def _name(column: Column, value: str, _keyword: str) -> ColumnElement[bool]:
    """A value without `=` is looked for in each component group, one with it is the whole name; case is no matter."""
    pattern = like_pattern(value) or escaped(value.rstrip("^="))
    if "=" in value:
        return func.rtrim(column, "^=").ilike(pattern, escape="\\")
    groups = (func.rtrim(func.split_part(column, "=", number), "^") for number in range(1, NAME_GROUPS + 1))
    matches = or_(*(group.ilike(pattern, escape="\\") for group in groups))
    if column is not Study.patient_name:
        return matches
    return _has_keys(keys_of_pattern(value)) & matches  # the keys are for the index, which knows no pattern


def _has_keys(keys: list[str]) -> ColumnElement[bool]:
    return Study.name_keys.contains(keys) if keys else true()


def _date(column: Column, value: str, keyword: str) -> ColumnElement[bool]:
    days = parse_dates(value, keyword)
    if days.first == days.last:
        return column == days.first
    return _between(column, days.first, days.last)


def _time(column: Column, value: str, keyword: str) -> ColumnElement[bool]:
    times = parse_times(value, keyword)
    plain = func.replace(column, ":", "")  # as it was written before DICOM 3.0
    earliest = case((func.length(plain) < 6, func.rpad(plain, 6, "0")), else_=plain).collate("C")
    return (column != "") & _between(earliest, times.first, times.last)


def _number(column: Column, value: str, keyword: str) -> ColumnElement[bool]:
    return column == parse_number(value, keyword)


def _between(column: Column, first: object, last: object) -> ColumnElement[bool]:
    condition: ColumnElement[bool] = column.is_not(None)
    if first is not None:
        condition = condition & (column >= first)
    if last is not None:
        condition = condition & (column <= last)
    return condition


_CONDITIONS: Final[Mapping[Matching, Callable[[Column, str, str], ColumnElement[bool]]]] = {
    Matching.UID: _uids,
    Matching.TEXT: _text,
    Matching.NAME: _name,
    Matching.CODE: _code,
    Matching.DATE: _date,
    Matching.TIME: _time,
    Matching.NUMBER: _number,
    Matching.REQUEST: _request,
}
