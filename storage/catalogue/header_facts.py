"""What the catalogue takes from the prepared header of an instance (DICOM JSON, PS3.18 annex F). Pure, and lenient:
what is odd there is absent here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # the scheduler need not load what reads headers
    from storage.dicom.json_model import DicomJson

PERFORMED_DATE: Final = "00400244"
PERFORMED_TIME: Final = "00400245"
REQUEST_ATTRIBUTES: Final = "00400275"
SCHEDULED_STEP_ID: Final = "00400009"
REQUESTED_PROCEDURE_ID: Final = "00401001"
BITS_ALLOCATED: Final = "00280100"
PATIENT_ID: Final = "00100020"
OTHER_PATIENT_IDS: Final = "00101000"
OTHER_PATIENT_IDS_SEQUENCE: Final = "00101002"
PATIENT_IDS_MAX: Final = 16  # of one patient
REQUESTS_MAX: Final = 16  # a series answers few requests
TEXT_CHARACTERS_MAX: Final = 64  # of SH, LO and TM, generously


def text_of(dataset: DicomJson, tag: str) -> str:
    """Return the first value of an element as text, empty when it has none."""
    value = _first(dataset, tag)
    return value.replace("\0", "").strip()[:TEXT_CHARACTERS_MAX] if isinstance(value, str) else ""


def unsigned_of(dataset: DicomJson, tag: str) -> int | None:
    """Return the first value of an element as a number from 0 on."""
    value = _first(dataset, tag)
    return value if isinstance(value, int) and value >= 0 else None


def requests_of(dataset: DicomJson) -> tuple[dict[str, str], ...]:
    """Return what was asked for: `step_id` and `procedure_id` of each item of Request Attributes (0040,0275)."""
    items = dataset.get(REQUEST_ATTRIBUTES, {}).get("Value", ())
    named = (
        {"step_id": text_of(item, SCHEDULED_STEP_ID), "procedure_id": text_of(item, REQUESTED_PROCEDURE_ID)}
        for item in items[:REQUESTS_MAX]
        if isinstance(item, dict)
    )
    return tuple(request for request in named if any(request.values()))


def patient_ids_of(dataset: DicomJson) -> tuple[str, ...]:
    """Return Patient ID and all Other Patient IDs (PS3.3 section C.7.1.1), whoever issued them."""
    items = dataset.get(OTHER_PATIENT_IDS_SEQUENCE, {}).get("Value", ())
    held = (dataset, *(item for item in items[:PATIENT_IDS_MAX] if isinstance(item, dict)))
    values = [value for one in held for value in one.get(PATIENT_ID, {}).get("Value", ())]
    values += dataset.get(OTHER_PATIENT_IDS, {}).get("Value", ())
    texts = (value.replace("\0", "").strip()[:TEXT_CHARACTERS_MAX] for value in values if isinstance(value, str))
    return tuple(dict.fromkeys(text for text in texts if text))[:PATIENT_IDS_MAX]


def _first(dataset: DicomJson, tag: str) -> Any:
    values = dataset.get(tag, {}).get("Value", ())
    return values[0] if values else None
