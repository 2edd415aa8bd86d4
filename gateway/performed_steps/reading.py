"""What a scanner says of an examination: the attribute lists of N-CREATE and N-SET (PS3.4 table F.7.2-1). Pure.

Strict where the standard says what must be there for the step to mean anything, lenient everywhere else: a scanner
whose report is refused stops the technician with an error that nobody there can mend.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta, timezone, tzinfo
from typing import Any, Final

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from gateway.performed_steps.progress import StepState
from storage.contract.identifiers import InvalidIdentifier, Uid, parse_uid
from storage.dicom.charsets import choose_character_set
from storage.dicom.headers import parse_date

INVALID_VALUE: Final = 0x0106
MISSING_ATTRIBUTE: Final = 0x0120
MISSING_VALUE: Final = 0x0121
RESOURCE_LIMITATION: Final = 0x0213

REFERENCES_MAX: Final = 100_000
SCHEDULED_STEPS_MAX: Final = 64
TEXT_BYTES_MAX: Final = 1024
REASON_CHARACTERS_MAX: Final = 200

_TIME: Final = re.compile(r"([0-9]{2})([0-9]{2})?([0-9]{2})?(?:\.([0-9]{1,6}))?")
_OFFSET: Final = re.compile(r"([+-])([0-9]{2})([0-9]{2})")


class ReportUnusable(Exception):
    """The report is refused. The message, at most 64 characters, quotes nothing."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True, slots=True)
class Begun:
    """An N-CREATE. `accession_numbers` are those of every order that is being done, as far as it names any."""

    study_uid: Uid
    accession_numbers: tuple[str, ...]
    patient_number: str
    started_at: datetime | None
    references: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Changed:
    """An N-SET. `references` are the instances made so far, None when it does not speak of them."""

    state: StepState | None
    ended_at: datetime | None
    references: frozenset[str] | None
    reason: str


def read_begun(dataset: Dataset, zone: tzinfo, asker_character_set: str | None) -> Begun:
    """Return what an N-CREATE says.

    Raises:
        ReportUnusable: its status is not IN PROGRESS, or what belongs to a beginning is missing.
    """
    state = _ascii(dataset, "PerformedProcedureStepStatus")
    if not state:
        raise ReportUnusable(MISSING_ATTRIBUTE, "Performed Procedure Step Status is missing")
    if state != StepState.IN_PROGRESS:
        raise ReportUnusable(INVALID_VALUE, "A performed step begins IN PROGRESS")
    scheduled = list(_items(dataset, "ScheduledStepAttributesSequence"))
    if not scheduled:
        raise ReportUnusable(MISSING_ATTRIBUTE, "Scheduled Step Attributes Sequence is missing")
    if len(scheduled) > SCHEDULED_STEPS_MAX:
        raise ReportUnusable(RESOURCE_LIMITATION, f"More than {SCHEDULED_STEPS_MAX} scheduled steps at once")
    study_uid = _ascii(scheduled[0], "StudyInstanceUID")
    if not study_uid:
        raise ReportUnusable(MISSING_VALUE, "Study Instance UID is missing")
    try:
        parsed = parse_uid(study_uid)
    except InvalidIdentifier:
        raise ReportUnusable(INVALID_VALUE, "Study Instance UID is no UID") from None
    if not _ascii(dataset, "PerformedProcedureStepStartDate"):
        raise ReportUnusable(MISSING_VALUE, "Performed Procedure Step Start Date is missing")
    return Begun(
        study_uid=parsed,
        accession_numbers=tuple(dict.fromkeys(_order_numbers(scheduled))),
        patient_number=_text(dataset, "PatientID", dataset, asker_character_set),
        started_at=_moment(dataset, "PerformedProcedureStepStart", zone),
        references=_references(dataset),
    )


def read_changed(dataset: Dataset, zone: tzinfo, asker_character_set: str | None) -> Changed:
    """Return what an N-SET says.

    Raises:
        ReportUnusable: its status is none of the standard's.
    """
    text = _ascii(dataset, "PerformedProcedureStepStatus")
    try:
        state = StepState(text) if text else None
    except ValueError:
        raise ReportUnusable(INVALID_VALUE, "Performed Procedure Step Status is none of the standard's") from None
    why = next(_items(dataset, "PerformedProcedureStepDiscontinuationReasonCodeSequence"), None)
    return Changed(
        state=state,
        ended_at=_moment(dataset, "PerformedProcedureStepEnd", zone),
        references=_references(dataset),
        reason=_printable(_text(why, "CodeMeaning", dataset, asker_character_set)) if why is not None else "",
    )


def _order_numbers(scheduled: Iterable[Dataset]) -> Iterator[str]:
    """Give what the steps say of their orders; our requested procedures and steps carry the accession number too."""
    for step in scheduled:
        for keyword in ("AccessionNumber", "RequestedProcedureID", "ScheduledProcedureStepID"):
            if number := _ascii(step, keyword):
                yield number
                break


def _references(dataset: Dataset) -> frozenset[str] | None:
    if "PerformedSeriesSequence" not in dataset:
        return None
    found: set[str] = set()
    for series in _items(dataset, "PerformedSeriesSequence"):
        for keyword in ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence"):
            for reference in _items(series, keyword):
                found.add(_ascii(reference, "ReferencedSOPInstanceUID"))
                if len(found) > REFERENCES_MAX:
                    raise ReportUnusable(RESOURCE_LIMITATION, f"More than {REFERENCES_MAX} instances in one step")
    return frozenset(found - {""})


def _items(dataset: Dataset, keyword: str) -> Iterator[Dataset]:
    if keyword in dataset:
        yield from dataset[keyword].value or ()


def _raw(dataset: Dataset, keyword: str) -> bytes:
    """Return a value's bytes: pydicom would quote in a warning what it finds odd in a value."""
    element: Any = dataset.get_item(keyword) if keyword in dataset else None
    if isinstance(element, RawDataElement):
        return element.value[:TEXT_BYTES_MAX] if isinstance(element.value, bytes) else b""
    return str(element.value).encode("utf-8") if element is not None and element.value is not None else b""


def _ascii(dataset: Dataset, keyword: str) -> str:
    return _raw(dataset, keyword).decode("ascii", "replace").strip(" \0")


def _text(dataset: Dataset, keyword: str, root: Dataset, asker_character_set: str | None) -> str:
    value = _raw(dataset, keyword)
    declared = _ascii(root, "SpecificCharacterSet") or asker_character_set or ""
    return choose_character_set(declared, [value]).decode(value)


def _printable(text: str) -> str:
    kept = "".join(character for character in text if character.isprintable() and character != "\\")
    return kept.strip()[:REASON_CHARACTERS_MAX]


def _moment(dataset: Dataset, stem: str, zone: tzinfo) -> datetime | None:
    """Return the date and time as one moment, None when there is no date of the calendar or no time of day."""
    day = parse_date(_ascii(dataset, f"{stem}Date"))
    match = _TIME.fullmatch(_ascii(dataset, f"{stem}Time").replace(":", ""))
    if day is None or match is None:
        return None
    try:
        of_day = time(int(match[1]), int(match[2] or 0), min(int(match[3] or 0), 59))  # 60 is a leap second
    except ValueError:
        return None
    return datetime.combine(day, of_day, _offset(_ascii(dataset, "TimezoneOffsetFromUTC")) or zone)


def _offset(text: str) -> tzinfo | None:
    match = _OFFSET.fullmatch(text)
    if match is None:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    if offset >= timedelta(hours=15):
        return None
    return timezone(-offset if match[1] == "-" else offset)
