"""By what workitems can be searched, and what a query means (PS3.18 section 11.9, PS3.4 section CC.2.8).

One table of keys: queries are read by it, and the conformance statement is compared with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, exists, false, or_, true
from sqlalchemy.orm import InstrumentedAttribute, aliased

from reading_queue.db.tables import Case, CaseStudy, Offer, ReadingTask
from reading_queue.domain.transitions import CaseState, ReadingTaskState
from reading_queue.domain.workitems.content import NETWORK_STATION, PRIORITIES, WORKITEM_CODES, procedure_step_state
from reading_queue.domain.workitems.creation import parse_date_time
from reading_queue.domain.workitems.listing import EVERYTHING, KNOWN, Path
from storage.catalogue.tables import Patient, Study
from storage.dicomweb.errors import BadQuery
from storage.dicomweb.searching.conditions import condition_of
from storage.dicomweb.searching.keys import KEYS
from storage.dicomweb.searching.parsing import split_parameters
from storage.dicomweb.searching.values import parse_uids, split_list

LIMIT_MAX: Final = 200  # workitems of one answer
KEYS_MAX: Final = 32
_ALL: Final = "all"
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_KEYS_OF_STUDIES: Final = {key.keyword: key for key in KEYS}
Condition = Callable[[str, str], ColumnElement[bool]]


@dataclass(frozen=True, slots=True)
class WorkitemKey:
    """One key: its keyword and tag as they may stand in a query, dotted inside a sequence."""

    keyword: str
    tag: str
    condition: Condition
    about_patient: bool = False


@dataclass(frozen=True, slots=True)
class WorkitemQuery:
    """A query that was understood; `about_patient` when a key asks for what only those who follow a case may know."""

    conditions: tuple[ColumnElement[bool], ...] = ()
    keywords: tuple[str, ...] = ()
    about_patient: bool = False
    limit: int = LIMIT_MAX
    offset: int = 0
    told: tuple[Path, ...] = ()  # what the answer has beside what it always has

    @property
    def untold(self) -> list[str]:
        """What of it no workitem ever has."""
        return sorted({".".join(path) for path in self.told if path and path[0] not in KNOWN})


def parse_workitem_query(pairs: Iterable[tuple[str, str]]) -> WorkitemQuery:
    """Return what the names and values of a query string ask for; an empty value asks for nothing.

    Parameters are read as those of QIDO-RS.

    Raises:
        BadQuery: a key that is not searchable, or is given twice, a value that makes no sense, or a field that is no
            attribute of DICOM.
    """
    said, asked = split_parameters(pairs, LIMIT_MAX)
    keys: dict[WorkitemKey, str] = {}
    for name, value in asked:
        key = find_workitem_key(name)
        if key is None:
            raise BadQuery(f"workitems are not searched by {name[:64]!r}; they are by {', '.join(_BY_NAME)}"[:2000])
        if key in keys or len(keys) >= KEYS_MAX:
            raise BadQuery(f"{key.keyword} is given twice, or there are more than {KEYS_MAX} keys")
        keys[key] = value
    return WorkitemQuery(
        conditions=tuple(_condition(key, value, is_fuzzy=said.is_fuzzy) for key, value in keys.items()),
        keywords=tuple(key.keyword for key in keys),
        about_patient=any(key.about_patient for key in keys),
        limit=said.limit,
        offset=said.offset,
        told=(*(tuple(key.tag.split(".")) for key in keys), *map(_field, said.fields)),
    )


def find_workitem_key(name: str) -> WorkitemKey | None:
    """Return the key that a query calls so, by keyword or by tag."""
    return _BY_NAME.get(name) or _BY_TAG.get(name.upper())


def _field(name: str) -> Path:
    """Return the path of an attribute that `includefield` names by keywords, tags or both. Raises BadQuery."""
    if name == _ALL:
        return EVERYTHING
    from pydicom.datadict import dictionary_has_tag, tag_for_keyword  # loaded when somebody asks for more fields

    path = []
    for part in name.split("."):
        tag = int(part, 16) if _TAG.fullmatch(part) else tag_for_keyword(part)
        if tag is None or not dictionary_has_tag(tag):
            raise BadQuery(f"includefield names attributes of DICOM by keyword or by tag, or says all: not {name!r}")
        path.append(f"{tag:08X}")
    return tuple(path)


def _condition(key: WorkitemKey, value: str, *, is_fuzzy: bool) -> ColumnElement[bool]:
    if is_fuzzy and key.keyword == "PatientName":
        return _of_study("PatientName", is_fuzzy=True)(value, key.keyword)
    return key.condition(value, key.keyword)


def _uids(value: str, keyword: str) -> ColumnElement[bool]:
    return ReadingTask.workitem_uid.in_(parse_uids(value, keyword))


def _states(value: str, keyword: str) -> ColumnElement[bool]:
    return ReadingTask.state.in_(_words(value, keyword, {procedure_step_state(one): one for one in ReadingTaskState}))


def _priorities(value: str, keyword: str) -> ColumnElement[bool]:
    wanted = split_list(value, keyword)
    if unknown := [one for one in wanted if one not in PRIORITIES.values()]:
        raise BadQuery(f"{keyword} is HIGH, MEDIUM or LOW, not {unknown[0][:16]!r}")
    return Case.lane.in_([lane for lane, priority in PRIORITIES.items() if priority in wanted])


def _readiness(value: str, keyword: str) -> ColumnElement[bool]:
    arriving = or_(Case.state == CaseState.RECEIVING, Case.still_arriving)
    conditions = {"INCOMPLETE": arriving, "READY": ~arriving, "UNAVAILABLE": false()}
    if value not in conditions:
        raise BadQuery(f"{keyword} is {', '.join(conditions)}")
    return conditions[value]


def _phases(value: str, keyword: str) -> ColumnElement[bool]:
    wanted = split_list(value, keyword)
    return ReadingTask.phase.in_([phase for phase, (code, _) in WORKITEM_CODES.items() if code in wanted])


def _labels(value: str, _keyword: str) -> ColumnElement[bool]:
    labels = {phase: meaning for phase, (_, meaning) in WORKITEM_CODES.items()}
    return ReadingTask.phase.in_([phase for phase, label in labels.items() if _matches(label, value)])


def _worklists(value: str, _keyword: str) -> ColumnElement[bool]:
    return true() if _matches(NETWORK_STATION, value) else false()


def _nothing(value: str, _keyword: str) -> ColumnElement[bool]:
    """Of what no workitem here has a value: only a universal match finds it."""
    return _worklists(value, _keyword) if not value.strip("*") else false()


def _replaced(value: str, keyword: str) -> ColumnElement[bool]:
    before = aliased(ReadingTask)
    uids = before.workitem_uid.in_(parse_uids(value, keyword))
    return exists().where(before.reading_task_id == ReadingTask.replaces_id, uids)


def _matches(text: str, pattern: str) -> bool:
    """Return whether a text is matched by a value with wildcards (PS3.4 section C.2.2.2.4)."""
    parts = {"*": ".*", "?": "."}
    return re.fullmatch("".join(parts.get(one, re.escape(one)) for one in pattern), text, re.DOTALL) is not None


def _offered_to(value: str, _keyword: str) -> ColumnElement[bool]:
    return exists().where(
        Offer.reading_task_id == ReadingTask.reading_task_id, Offer.physician_id == value, Offer.state == "open"
    )


def _between(column: InstrumentedAttribute[Any]) -> Condition:
    def condition(value: str, keyword: str) -> ColumnElement[bool]:
        first, dash, last = (part.strip() for part in value.partition("-"))
        if not (first or last):
            raise BadQuery(f"{keyword} is YYYYMMDDHHMMSS+ZZXX, or a range of two")
        after = column >= _moment(first, keyword)[0] if first else true()
        before = column < _moment(last if dash else first, keyword)[1] if last or not dash else true()
        return and_(column.is_not(None), after, before)

    return condition


def _moment(text: str, keyword: str) -> tuple[datetime, datetime]:
    """Return the first moment that a DT means, and the first after it."""
    try:
        return parse_date_time(text)
    except ValueError as exc:
        raise BadQuery(f"{keyword} is YYYYMMDDHHMMSS+ZZXX, a moment that there is, or a range of two") from exc


def _words(value: str, keyword: str, words: Mapping[str, str]) -> list[str]:
    wanted = split_list(value, keyword)
    if unknown := [one for one in wanted if one not in words]:
        raise BadQuery(f"{keyword} is one of {', '.join(words)}, not {unknown[0][:16]!r}")
    return [words[one] for one in wanted]


def _of_study(keyword: str, *, is_fuzzy: bool = False) -> Condition:
    """Return the condition that a study of the case has a value under a key of QIDO-RS."""
    key = _KEYS_OF_STUDIES[keyword]

    def condition(value: str, _keyword: str) -> ColumnElement[bool]:
        return exists().where(
            CaseStudy.case_id == ReadingTask.case_id,
            Study.site_id == CaseStudy.site_id,
            Study.study_uid == CaseStudy.study_uid,
            Patient.patient_id == Study.patient_id,
            condition_of(key, value, is_fuzzy=is_fuzzy),
        )

    return condition


_REQUEST, _INPUT = "ReferencedRequestSequence", "InputInformationSequence"
_REPLACED = "ReplacedProcedureStepSequence"
_STATION = "ScheduledStation"
_PERFORMERS = "ScheduledHumanPerformersSequence.HumanPerformerCodeSequence"
WORKITEM_KEYS: Final = (
    WorkitemKey("SOPInstanceUID", "00080018", _uids),
    WorkitemKey("ProcedureStepState", "00741000", _states),
    WorkitemKey("ScheduledProcedureStepPriority", "00741200", _priorities),
    WorkitemKey("InputReadinessState", "00404041", _readiness),
    WorkitemKey("ScheduledWorkitemCodeSequence.CodeValue", "00404018.00080100", _phases),
    WorkitemKey("ScheduledProcedureStepStartDateTime", "00404005", _between(ReadingTask.created_at)),
    WorkitemKey("ExpectedCompletionDateTime", "00404011", _between(Case.due_at)),
    WorkitemKey(f"{_PERFORMERS}.CodeValue", "00404034.00404009.00080100", _offered_to),
    WorkitemKey("ProcedureStepLabel", "00741204", _labels),
    WorkitemKey("WorklistLabel", "00741202", _worklists),
    WorkitemKey(f"{_REPLACED}.ReferencedSOPInstanceUID", "00741224.00081155", _replaced),
    # Keys that are required, of what this network does not have: stations, admissions, a request's own numbers.
    *(
        WorkitemKey(name, tag, _nothing)
        for name, tag in (
            (f"{_STATION}NameCodeSequence.CodeValue", "00404025.00080100"),
            (f"{_STATION}ClassCodeSequence.CodeValue", "00404026.00080100"),
            (f"{_STATION}GeographicLocationCodeSequence.CodeValue", "00404027.00080100"),
            ("AdmissionID", "00380010"),
            (f"{_REQUEST}.RequestedProcedureID", "0040A370.00401001"),
            (f"{_REQUEST}.RequestingService", "0040A370.00321033"),
        )
    ),
    *(
        WorkitemKey(name, tag, _of_study(name), about_patient=True)
        for name, tag in (
            ("PatientName", "00100010"),
            ("PatientID", "00100020"),
            ("IssuerOfPatientID", "00100021"),
            ("PatientBirthDate", "00100030"),
            ("PatientSex", "00100040"),
            ("StudyInstanceUID", "0020000D"),
            ("ModalitiesInStudy", "00080061"),
            ("StudyDescription", "00081030"),
            ("AccessionNumber", "00080050"),
        )
    ),
    WorkitemKey(f"{_REQUEST}.AccessionNumber", "0040A370.00080050", _of_study("AccessionNumber"), about_patient=True),
    WorkitemKey(f"{_REQUEST}.StudyInstanceUID", "0040A370.0020000D", _of_study("StudyInstanceUID"), about_patient=True),
    WorkitemKey(f"{_INPUT}.StudyInstanceUID", "00404021.0020000D", _of_study("StudyInstanceUID"), about_patient=True),
)
_BY_NAME: Final = {key.keyword: key for key in WORKITEM_KEYS}
_BY_TAG: Final = {key.tag: key for key in WORKITEM_KEYS}
