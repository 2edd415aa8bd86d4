"""A reading task as a Unified Procedure Step in DICOM JSON, and what a performer says of it (PS3.3 C.30, PS3.4 CC.2.5).

Pure. The Transaction UID is never told: who knows it owns the workitem. What of a workitem is about the patient is
left out for those who may not follow its case any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final

from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.report import ReportText
from reading_queue.domain.workitems.attributes import PERFORMED_ATTRIBUTES
from reading_queue.domain.workitems.states import Status
from storage.contract.lanes import Lane

DicomJson = dict[str, Any]

UPS_PUSH: Final = "1.2.840.10008.5.1.4.34.6.1"
SCHEME: Final = "99COUNTERPART"  # of ids of this network
NETWORK_STATION: Final = "COUNTERPART"
DEPTH_MAX: Final = 16

# CID 9231 General Purpose Workitem Definition, by phase.
WORKITEM_CODES: Final[Mapping[str, tuple[str, str]]] = {
    "interpretation": ("110005", "Interpretation"),
    "verification": ("110007", "Report Verification"),
    "addendum": ("128001", "Add Addendum to Report"),
}
PRIORITIES: Final[Mapping[Lane, str]] = {
    Lane.STAT: "HIGH",
    Lane.URGENT: "HIGH",
    Lane.ROUTINE: "MEDIUM",
    Lane.BACKGROUND: "LOW",
}
# Elements by name, where they are read or written more than once.
SOP_INSTANCE_UID = "00080018"
TRANSACTION_UID, STATE = "00081195", "00741000"
PROGRESS, PROGRESS_PERCENT, PROGRESS_TEXT = "00741002", "00741004", "00741006"
DISCONTINUATION_CODE, CANCELLATION_REASON = "0074100E", "00741238"
PERFORMED = "00741216"
CODE, CODE_SCHEME, CODE_MEANING = "00080100", "00080102", "00080104"
STUDY_UID, SOP_CLASS, SOP_INSTANCE = "0020000D", "00081150", "00081155"
OUTPUTS = "00404033"

_CONTENT, _CONCEPT, _VALUE_TYPE, _TEXT_VALUE = "0040A730", "0040A043", "0040A040", "0040A160"
# Codes of the text items of a Basic Text SR (TID 2000): those of today, and DCM headings of older systems.
_PARTS: Final[Mapping[str, str]] = {
    "121071": "findings",
    "121070": "findings",
    "59776-5": "findings",
    "121073": "impression",
    "121072": "impression",
    "121076": "impression",
    "121077": "impression",
    "19005-8": "impression",
    "121075": "recommendation",
    "121074": "recommendation",
    "18783-1": "recommendation",
}


class NotUnderstood(ValueError):
    """What is said of a workitem makes no sense; the message says what and why, `status` the kind (PS3.7 annex C)."""

    def __init__(self, words: str, status: Status = Status.INVALID_VALUE) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True, slots=True)
class Performer:
    """A physician to whom the workitem is offered, or who holds it."""

    physician_id: str
    name: str
    organisation: str


@dataclass(frozen=True, slots=True)
class WorkitemPatient:
    """Whom it is about; `issuer` is the site, within which `number` is unique."""

    name: str
    number: str
    issuer: str
    birth_date: date | None
    sex: str


@dataclass(frozen=True, slots=True)
class WorkitemStudy:
    """One study that is read; `series` names each series with its SOP instances left out."""

    study_uid: str
    accession_number: str
    description: str
    modalities: Sequence[str]
    referring_physician: str
    retrieve_url: str


@dataclass(frozen=True, slots=True)
class Output:
    """A document that came of it."""

    study_uid: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Said:
    """What the performer has said so far of a workitem."""

    percent: str = ""
    text: str = ""
    performed: DicomJson = field(default_factory=dict)
    reason: str = ""  # a code of CID 9303


@dataclass(frozen=True, slots=True)
class WorkitemFacts:
    """All that a UPS tells of a reading task. `patient` is None for those who may not follow the case any more."""

    workitem_uid: str
    phase: str
    state: str  # of the reading task
    lane: Lane
    is_arriving: bool  # images are still on their way
    created_at: datetime
    due_at: datetime | None
    patient: WorkitemPatient | None
    studies: Sequence[WorkitemStudy]
    offered_to: Sequence[Performer]
    holder: Performer | None
    claimed_at: datetime | None
    ended_at: datetime | None
    cancel_reason: str
    replaces_uid: str
    outputs: Sequence[Output]
    said: Said


def workitem_json(facts: WorkitemFacts) -> DicomJson:
    """Return the workitem as a search and a retrieval give it."""
    found = _about_the_step(facts) | _about_the_patient(facts.patient) | _about_the_studies(facts.studies)
    return dict(sorted(found.items()))


def procedure_step_state(state: str) -> str:
    """Return the UPS state of a reading task's state."""
    return state.upper().replace("_", " ")


def code_item(value: str, scheme: str, meaning: str) -> DicomJson:
    """Return one coded entry."""
    return {CODE: element("SH", value), CODE_SCHEME: element("SH", scheme), CODE_MEANING: element("LO", meaning)}


def element(vr: str, value: Any) -> DicomJson:
    """Return a value, several in a list, as an element; nothing, or an empty text, is an empty one."""
    if value is None or value in ("", []):
        return {"vr": vr}
    if vr == "PN":
        groups = zip(("Alphabetic", "Ideographic", "Phonetic"), value.split("="), strict=False)
        return {"vr": vr, "Value": [{group: text for group, text in groups if text}]}
    return {"vr": vr, "Value": list(value) if isinstance(value, list | tuple) else [value]}


def date_time(value: datetime | None) -> str:
    """Return a moment as DT, in UTC."""
    return value.astimezone(UTC).strftime("%Y%m%d%H%M%S.%f+0000") if value is not None else ""


def lacking(performed: DicomJson, *, needs_report: bool) -> list[str]:
    """Return in words what a completed workitem still needs of its performed procedure (PS3.4 Table CC.2.5-3).

    What has final state code P, but for the outputs: `needs_report` says that the phase needs a document with the
    report, otherwise the hub's own documents are the output. Who performed it (RC) the hub knows itself.
    """
    needed = [one for one in PERFORMED_ATTRIBUTES if one.final == "P" and one.tag != OUTPUTS]
    missing = [one.words for one in needed if not performed.get(one.tag, {}).get("Value")]
    if needs_report and not outputs_of(performed):
        missing.append("Output Information Sequence (0040,4033) with the structured report that was stored")
    return missing


def outputs_of(performed: DicomJson) -> list[Output]:
    """Return the documents that a performed procedure names as its output."""
    return [
        Output(text_of(item, STUDY_UID), text_of(reference, SOP_CLASS), text_of(reference, SOP_INSTANCE))
        for item in items_of(performed, OUTPUTS)
        for reference in items_of(item, "00081199")
        if text_of(reference, SOP_INSTANCE)
    ]


def report_text(document: DicomJson) -> ReportText:
    """Return findings, impression and recommendation of a structured report (TID 2000), in the order of its items."""
    found: dict[str, list[str]] = {"findings": [], "impression": [], "recommendation": []}
    for part, text in _texts(document, "", 0):
        found[part].append(text.strip().replace("\r\n", "\n"))
    return ReportText(**{part: "\n".join(texts) for part, texts in found.items()})


def items_of(item: DicomJson, tag: str) -> list[DicomJson]:
    """Return the items of a sequence; none where it is no sequence."""
    sequence = item.get(tag)
    values = sequence.get("Value") if isinstance(sequence, dict) else None
    return [one for one in values if isinstance(one, dict)] if isinstance(values, list) else []


def text_of(item: DicomJson, tag: str) -> str:
    """Return the first value of an element as text; empty where it is none."""
    found = item.get(tag)
    values = found.get("Value") if isinstance(found, dict) else None
    first = values[0] if isinstance(values, list) and values else ""
    return first if isinstance(first, str) else ""


def _about_the_step(facts: WorkitemFacts) -> DicomJson:
    code, meaning = WORKITEM_CODES[facts.phase]
    found = {
        "00080005": element("CS", "ISO_IR 192"),
        "00080016": element("UI", UPS_PUSH),
        "00080018": element("UI", facts.workitem_uid),
        "00404005": element("DT", date_time(facts.created_at)),
        "00404010": element("DT", date_time(facts.ended_at or facts.claimed_at or facts.created_at)),
        "00404011": element("DT", date_time(facts.due_at)),
        "00404018": element("SQ", [code_item(code, "DCM", meaning)]),
        "00404025": element("SQ", []),
        "00404034": element("SQ", [performer_item(one) for one in facts.offered_to]),
        "00404041": element("CS", "INCOMPLETE" if facts.is_arriving else "READY"),
        STATE: element("CS", procedure_step_state(facts.state)),
        PROGRESS: element("SQ", progress_items(facts)),
        "00741200": element("CS", PRIORITIES[facts.lane]),
        "00741202": element("LO", NETWORK_STATION),
        "00741204": element("LO", meaning),
        PERFORMED: element("SQ", _performed(facts)),
    }
    if facts.replaces_uid:
        replaced = {SOP_CLASS: element("UI", UPS_PUSH), SOP_INSTANCE: element("UI", facts.replaces_uid)}
        found["00741224"] = element("SQ", [replaced])
    return found


def _about_the_patient(patient: WorkitemPatient | None) -> DicomJson:
    found = {"00380010": element("LO", None)}  # Admission ID: not known here
    if patient is None:
        return found
    return found | {
        "00100010": element("PN", patient.name),
        "00100020": element("LO", patient.number),
        "00100021": element("LO", patient.issuer if patient.number else ""),
        "00100030": element("DA", patient.birth_date.strftime("%Y%m%d") if patient.birth_date else ""),
        "00100040": element("CS", patient.sex),
    }


def _about_the_studies(studies: Sequence[WorkitemStudy]) -> DicomJson:
    found = {
        "00404021": element("SQ", [_input(study) for study in studies]),
        "0040A370": element("SQ", [_request(study) for study in studies]),
    }
    if len(studies) != 1:
        return found
    (study,) = studies
    return found | {
        STUDY_UID: element("UI", study.study_uid),
        "00081030": element("LO", study.description),
        "00080061": element("CS", study.modalities),
    }


def _input(study: WorkitemStudy) -> DicomJson:
    return {
        "0040E020": element("CS", "DICOM"),
        STUDY_UID: element("UI", study.study_uid),
        "0040E025": element("SQ", [{"00081190": element("UR", study.retrieve_url)}]),
    }


def _request(study: WorkitemStudy) -> DicomJson:
    return {
        STUDY_UID: element("UI", study.study_uid),
        "00080050": element("SH", study.accession_number),
        "00080090": element("PN", study.referring_physician),
        "00321060": element("LO", study.description),
        "00321064": element("SQ", []),
        "00401001": element("SH", None),
        "00402016": element("LO", None),
        "00402017": element("LO", None),
    }


def performer_item(performer: Performer) -> DicomJson:
    """Return a physician as one item of a sequence of human performers."""
    return {
        "00404009": element("SQ", [code_item(performer.physician_id, SCHEME, performer.name)]),
        "00404036": element("LO", performer.organisation),
        "00404037": element("PN", performer.name),
    }


def progress_items(facts: WorkitemFacts) -> list[DicomJson]:
    """Return the one item of the progress, none where nothing was said."""
    found: DicomJson = {}
    if facts.said.percent:
        found[PROGRESS_PERCENT] = element("DS", float(facts.said.percent))
    if facts.said.text:
        found[PROGRESS_TEXT] = element("ST", facts.said.text)
    if facts.cancel_reason:
        found["00404052"] = element("DT", date_time(facts.ended_at))
        found[DISCONTINUATION_CODE] = element("SQ", [reason_item(facts.cancel_reason)])
    return [found] if found else []


def reason_item(code: str) -> DicomJson:
    """Return a reason of CID 9303 as one coded entry."""
    meaning = DiscontinuationReason(code).name.replace("_", " ").capitalize()
    return code_item(code, "DCM", meaning)


def _performed(facts: WorkitemFacts) -> list[DicomJson]:
    """Return the performed procedure: what the hub knows itself, and what only the performer said."""
    if facts.holder is None or facts.claimed_at is None:
        return []
    code, meaning = WORKITEM_CODES[facts.phase]
    known = {
        "00404019": element("SQ", [code_item(code, "DCM", meaning)]),
        "00404028": element("SQ", [code_item(NETWORK_STATION, SCHEME, "Counterpart")]),
        "00404035": element("SQ", [performer_item(facts.holder)]),
        "00404050": element("DT", date_time(facts.claimed_at)),
    }
    if facts.ended_at is not None:
        known["00404051"] = element("DT", date_time(facts.ended_at))
    if facts.outputs:
        known[OUTPUTS] = element("SQ", [_output(one) for one in facts.outputs])
    return [facts.said.performed | known]


def _output(output: Output) -> DicomJson:
    reference = {SOP_CLASS: element("UI", output.sop_class_uid), SOP_INSTANCE: element("UI", output.sop_instance_uid)}
    return {
        "0040E020": element("CS", "DICOM"),
        STUDY_UID: element("UI", output.study_uid),
        "00081199": element("SQ", [reference]),
    }


def _texts(item: DicomJson, part: str, depth: int) -> Iterable[tuple[str, str]]:
    """Yield each text below an item with the part of the report that it, or the heading above it, belongs to."""
    for child in items_of(item, _CONTENT) if depth <= DEPTH_MAX else ():
        code = text_of(next(iter(items_of(child, _CONCEPT)), {}), CODE)
        own = _PARTS.get(code, part)
        if own and text_of(child, _VALUE_TYPE) == "TEXT":
            yield own, text_of(child, _TEXT_VALUE)
        yield from _texts(child, own, depth + 1)
