"""What a new workitem must say, and what it cannot say yet: PS3.4 Table CC.2.5-3, its column N-CREATE.

Pure. Type 1 attributes must have a value. Those of type 2 may be empty, and one that is left out counts as empty: the
hub takes them from the study, as it takes everything else that a new workitem says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from reading_queue.domain.workitems.attributes import ATTRIBUTES, BY_TAG, Attribute
from reading_queue.domain.workitems.content import (
    CODE,
    CODE_SCHEME,
    SOP_INSTANCE_UID,
    STATE,
    STUDY_UID,
    UPS_PUSH,
    WORKITEM_CODES,
    DicomJson,
    NotUnderstood,
    items_of,
    text_of,
)
from reading_queue.domain.workitems.states import Status
from storage.contract.lanes import Lane

# Stat is for who stands beside the patient: nobody asks for it from a distance.
_LANES: Final = {"HIGH": Lane.URGENT, "MEDIUM": Lane.ROUTINE, "LOW": Lane.BACKGROUND}
_PRIORITY, _START, _READINESS, _INPUT = "00741200", "00404005", "00404041", "00404021"
_SOP_CLASS_UID, _WORKITEM_CODE, _PATIENT_ID = "00080016", "00404018", "00100020"
_READY: Final = ("INCOMPLETE", "READY", "UNAVAILABLE")
_NEEDED: Final = [one for one in ATTRIBUTES if one.create == "1"]
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    _SOP_CLASS_UID: (UPS_PUSH,),
    _PRIORITY: tuple(_LANES),
    _READINESS: _READY,
}
_MOMENT: Final = re.compile(
    r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:\.\d{1,6})?)?)?)?(?:([+-])(\d\d)(\d\d))?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Creation:
    """What somebody asks to have read; `workitem_uid` and `patient_number` are empty where they are not said."""

    workitem_uid: str
    study_uid: str
    patient_number: str
    lane: Lane


def parse_creation(dataset: DicomJson, workitem_uid: str = "") -> Creation:
    """Return what a new workitem asks for; `workitem_uid` is that of the address, if it names one.

    Raises:
        NotUnderstood: attributes or values are missing, or cannot be those of a new workitem.
    """
    _require(Status.MISSING_ATTRIBUTE, [one for one in _NEEDED if one.tag not in dataset])
    _require(Status.MISSING_VALUE, [one for one in _NEEDED if not text_of(dataset, one.tag)])
    if text_of(dataset, STATE) != "SCHEDULED":
        raise NotUnderstood(f"{BY_TAG[STATE].words} of a new workitem is SCHEDULED", Status.NOT_CREATED_SCHEDULED)
    filled = [one.words for one in ATTRIBUTES if one.is_created_empty and dataset.get(one.tag, {}).get("Value")]
    if filled:
        raise NotUnderstood(f"a new workitem has no value yet of {', '.join(filled)}")
    for tag, choices in _CHOICES.items():
        if text_of(dataset, tag) not in ("", *choices):
            raise NotUnderstood(f"{BY_TAG[tag].words} is one of {', '.join(choices)}")
    try:
        parse_date_time(text_of(dataset, _START))
    except ValueError as exc:
        raise NotUnderstood(f"{BY_TAG[_START].words} is a moment that there is, YYYYMMDDHHMMSS+ZZXX") from exc
    codes = [(text_of(item, CODE), text_of(item, CODE_SCHEME)) for item in items_of(dataset, _WORKITEM_CODE)]
    if codes not in ([], [(WORKITEM_CODES["interpretation"][0], "DCM")]):
        raise NotUnderstood("Scheduled Workitem Code Sequence (0040,4018) is DCM 110005; other phases follow from it")
    studies = {text_of(item, STUDY_UID) for item in items_of(dataset, _INPUT)} | {text_of(dataset, STUDY_UID)}
    studies.discard("")
    if len(studies) != 1:
        raise NotUnderstood("Input Information Sequence (0040,4021) names exactly one study by Study Instance UID")
    named = text_of(dataset, SOP_INSTANCE_UID)
    if workitem_uid and named not in ("", workitem_uid):
        raise NotUnderstood("SOP Instance UID (0008,0018) is not the UID of the workitem in the address")
    return Creation(
        workitem_uid or named, studies.pop(), text_of(dataset, _PATIENT_ID), _LANES[text_of(dataset, _PRIORITY)]
    )


def parse_date_time(text: str) -> tuple[datetime, datetime]:
    """Return the first moment that a DT means, and the first after it; without an offset it is UTC.

    Raises:
        ValueError: it is no DT of at least a day, or names a day or time that there is not.
    """
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise ValueError("no DT")
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    offset = timedelta(hours=int(match[8] or 0), minutes=int(match[9] or 0)) * (-1 if match[7] == "-" else 1)
    length = timedelta(
        days=match[4] is None,
        hours=match[4] is not None and match[5] is None,
        minutes=match[5] is not None and match[6] is None,
        seconds=match[6] is not None,
    )
    try:
        start = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=timezone(offset) if offset else UTC)
        return start, start + length
    except OverflowError as exc:
        raise ValueError("beyond the calendar") from exc


def _require(status: Status, lacking: list[Attribute]) -> None:
    if lacking:
        raise NotUnderstood(f"a new workitem needs {', '.join(one.words for one in lacking)}", status)
