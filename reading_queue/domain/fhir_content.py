"""Orders, cases, studies, signed reports and patients as FHIR R4.

Pure. ServiceRequest, Task, ImagingStudy, DiagnosticReport, Patient. Practitioners and organisations are logical
references (identifier and name), and so is a patient of whom nothing but an order has come.
The states of a case map as reference norms of the field say; a national ID is never given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

from reading_queue.domain.canonical import canonical_bytes
from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.transitions import CaseState
from storage.contract.lanes import Lane
from storage.contract.orders import Order, OrderState
from storage.contract.signed_report import AmendmentKind, SignedReport

Resource = dict[str, Any]

VERSION: Final = "4.0.1"
DICOM_CODES: Final = "http://dicom.nema.org/resources/ontology/DCM"
DICOM_UID: Final = "urn:dicom:uid"
IDENTIFIER_TYPES: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
SYSTEM: Final = "urn:counterpart"  # of ids of this network
PRIORITIES: Final[Mapping[Lane, str]] = {
    Lane.STAT: "stat",
    Lane.URGENT: "urgent",
    Lane.ROUTINE: "routine",
    Lane.BACKGROUND: "routine",
}
_S: Final = CaseState
# Task.status by the state of the case; the state itself is Task.businessStatus. What was returned was rejected
# when nobody had begun to read it, and failed otherwise.
TASK_STATUS: Final[Mapping[CaseState, str]] = {
    _S.RECEIVING: "draft",
    _S.READY: "ready",
    _S.OFFERED: "requested",
    _S.READING: "in-progress",
    _S.ON_HOLD: "on-hold",
    _S.PENDING_REVIEW: "in-progress",
    _S.REVIEWING: "in-progress",
    _S.FINAL: "completed",
    _S.DELIVERED: "completed",
    _S.ACKNOWLEDGED: "completed",
    _S.AMENDING: "in-progress",
    _S.AMENDMENT_PENDING: "in-progress",
    _S.AMENDMENT_REVIEWING: "in-progress",
    _S.RETURNED: "rejected",
    _S.CANCELLED: "cancelled",
    _S.ENTERED_IN_ERROR: "entered-in-error",
}
ORDER_STATUS: Final[Mapping[OrderState, str]] = {
    OrderState.SCHEDULED: "active",
    OrderState.IN_PROGRESS: "active",
    OrderState.DONE: "completed",
    OrderState.DISCONTINUED: "revoked",
    OrderState.CANCELLED: "revoked",
}
# What a search can include (FHIR R4 3.1.1.5.4), by type: the parameter, the element that refers, and to what type.
INCLUDES: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "DiagnosticReport": {
        "DiagnosticReport:based-on": ("basedOn", "ServiceRequest"),
        "DiagnosticReport:patient": ("subject", "Patient"),
    },
    "ImagingStudy": {"ImagingStudy:patient": ("subject", "Patient")},
    "ServiceRequest": {"ServiceRequest:patient": ("subject", "Patient")},
    "Task": {
        "Task:based-on": ("basedOn", "ServiceRequest"),
        "Task:focus": ("focus", "ImagingStudy"),
        "Task:patient": ("for", "Patient"),
    },
}
# The same the other way round: by the type that is searched, what refers to its resources, and by which element.
REVINCLUDES: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    target: {
        name: (element, source)
        for source, names in INCLUDES.items()
        for name, (element, referred_type) in names.items()
        if referred_type == target
    }
    for target in ("ImagingStudy", "Patient", "ServiceRequest")
}
REPRESENTATION: Final = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"
GENDERS: Final[Mapping[str, str]] = {"M": "male", "F": "female", "O": "other"}


@dataclass(frozen=True, slots=True)
class Subject:
    """The patient as the site knows them; `number` is unique within the site, empty when the images gave none.

    `patient_id` is that of the hub's own record, empty where there is none.
    """

    site_id: str
    number: str
    name: str
    patient_id: str = ""


@dataclass(frozen=True, slots=True)
class PersonFacts:
    """A patient's record; what images contradict is left out of it."""

    subject: Subject
    birth_date: date | None
    sex: str
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """A case with what it reads and who holds it."""

    case_id: str
    state: CaseState
    lane: Lane
    site_id: str
    organisation_id: str
    was_begun: bool
    created_at: datetime
    changed_at: datetime
    claimed_at: datetime | None
    signed_at: datetime | None
    due_at: datetime | None
    return_code: str
    subject: Subject | None
    study_ids: Sequence[str]
    order_ids: Sequence[str]
    holder: tuple[str, str] | None  # id and name of the physician


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """A study of the catalogue."""

    study_id: str
    study_uid: str
    accession_number: str
    description: str
    modalities: Sequence[str]
    subject: Subject
    study_date: date | None
    started_at: datetime | None
    series_count: int
    instance_count: int
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Found:
    """One page of what a search found; `included` are resources that the matches refer to, `total` counts all pages."""

    matches: Sequence[Resource]
    included: Sequence[Resource] = ()
    total: int | None = None


def task(facts: CaseFacts) -> Resource:
    """Return a case as a Task."""
    status = TASK_STATUS[facts.state]
    if facts.state is CaseState.RETURNED and facts.was_begun:
        status = "failed"
    found = _resource("Task", facts.case_id, facts.changed_at) | {
        "identifier": [{"system": f"{SYSTEM}:case", "value": facts.case_id}],
        "basedOn": [{"reference": f"ServiceRequest/{order_id}"} for order_id in facts.order_ids],
        "status": status,
        "statusReason": _reason(facts.return_code),
        "businessStatus": {"coding": [{"system": f"{SYSTEM}:case-state", "code": facts.state.value}]},
        "intent": "order",
        "priority": PRIORITIES[facts.lane],
        "code": {"coding": [{"system": DICOM_CODES, "code": "110005", "display": "Interpretation"}]},
        "focus": {"reference": f"ImagingStudy/{facts.study_ids[0]}"} if facts.study_ids else None,
        "for": _subject(facts.subject),
        "authoredOn": instant(facts.created_at),
        "lastModified": instant(facts.changed_at),
        "requester": {"identifier": {"system": f"{SYSTEM}:organisation", "value": facts.organisation_id}},
        "owner": _practitioner(facts.holder),
        "executionPeriod": _period(facts.claimed_at, facts.signed_at),
        "restriction": {"period": {"end": instant(facts.due_at)}} if facts.due_at else None,
        "input": [
            {"type": {"text": "study"}, "valueReference": {"reference": f"ImagingStudy/{study_id}"}}
            for study_id in facts.study_ids
        ],
    }
    return _without_nothing(found)


def imaging_study(facts: StudyFacts) -> Resource:
    """Return a study as an ImagingStudy; its series and instances are asked for over DICOMweb."""
    started = instant(facts.started_at) if facts.started_at else facts.study_date and facts.study_date.isoformat()
    found = _resource("ImagingStudy", facts.study_id, facts.changed_at) | {
        "identifier": [
            {"system": DICOM_UID, "value": f"urn:oid:{facts.study_uid}"},
            *_accession(facts.accession_number, facts.subject.site_id),
        ],
        "status": "available",
        "modality": [{"system": DICOM_CODES, "code": one} for one in facts.modalities],
        "subject": _subject(facts.subject),
        "started": started,
        "numberOfSeries": facts.series_count,
        "numberOfInstances": facts.instance_count,
        "description": facts.description,
    }
    return _without_nothing(found)


def patient_record(facts: PersonFacts) -> Resource:
    """Return a patient's record, with the name in each of its representations."""
    subject = facts.subject
    groups = zip(("ABC", "IDE", "SYL"), subject.name.split("="), strict=False)
    found = _resource("Patient", subject.patient_id, facts.changed_at) | {
        "identifier": [_patient_number(subject)] if subject.number else None,
        "name": [_human_name(group, representation) for representation, group in groups if group.strip("^ ")],
        "gender": GENDERS.get(facts.sex),
        "birthDate": facts.birth_date.isoformat() if facts.birth_date else None,
        "managingOrganization": {"identifier": {"system": f"{SYSTEM}:site", "value": subject.site_id}},
    }
    return _without_nothing(found)


def report_status(report: SignedReport, state: CaseState) -> str:
    """Return the DiagnosticReport.status of the newest signed version of a case in this state."""
    if state is CaseState.ENTERED_IN_ERROR:
        return "entered-in-error"
    if report.amendment_kind is None:
        return "final"
    return "corrected" if report.amendment_kind is AmendmentKind.CORRECTED else "appended"


def diagnostic_report(
    report: SignedReport,
    state: CaseState,
    *,
    patient_id: str,
    study_ids: Sequence[str],
    order_ids: Sequence[str],
    pdf_url: str,
) -> Resource:
    """Return a case's newest signed report as a DiagnosticReport; its text stands whole in every version."""
    readers = (report.author,) if report.single_physician is not None else (report.author, report.verifier)
    found = _resource("DiagnosticReport", report.report_id, report.signed_at) | {
        "identifier": [{"system": f"{SYSTEM}:report", "value": report.report_id}],
        "basedOn": [{"reference": f"ServiceRequest/{order_id}"} for order_id in order_ids],
        "status": report_status(report, state),
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD"}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "18748-4", "display": "Diagnostic imaging study"}]},
        "subject": _subject(Subject(report.site_id, report.patient.patient_number, report.patient.name, patient_id)),
        "effectiveDateTime": instant(report.exam_started_at) if report.exam_started_at else None,
        "issued": instant(report.signed_at),
        "performer": [
            {"type": "Organization", "identifier": {"system": f"{SYSTEM}:organisation", "value": one}}
            for one in dict.fromkeys(reader.organisation_id for reader in readers)
        ],
        "resultsInterpreter": [_practitioner((reader.physician_id, reader.name)) for reader in readers],
        "imagingStudy": [{"reference": f"ImagingStudy/{study_id}"} for study_id in study_ids],
        "conclusion": report.impression,
        "presentedForm": [{"contentType": "application/pdf", "url": pdf_url}],
    }
    return _without_nothing(found)


def service_request(order: Order, received_at: datetime, patient_id: str) -> Resource:
    """Return the newest version of an order as a ServiceRequest."""
    found = _resource("ServiceRequest", order.order_id, received_at) | {
        "identifier": _accession(order.accession_number, order.site_id),
        "status": ORDER_STATUS[order.state],
        "intent": "order",
        "category": [{"coding": [{"system": "http://snomed.info/sct", "code": "363679005", "display": "Imaging"}]}],
        "priority": PRIORITIES[order.lane],
        "code": {"text": order.procedure_name},
        "subject": _subject(Subject(order.site_id, order.patient_number, order.patient_name, patient_id)),
        "occurrenceDateTime": instant(order.scheduled_at),
        "authoredOn": instant(received_at),
        "requester": {"display": order.requesting_physician} if order.requesting_physician else None,
        "reasonCode": [{"text": order.question}] if order.question else None,
        "bodySite": [{"text": order.body_part}] if order.body_part else None,
        "note": [{"text": order.history}] if order.history else None,
    }
    return _without_nothing(found)


def versioned(resource: Resource) -> Resource:
    """Return the resource with its version: another one for other content, whatever changed it."""
    version_id = hashlib.sha256(canonical_bytes(resource)).hexdigest()[:32]
    return resource | {"meta": resource["meta"] | {"versionId": version_id}}


def referred(resources: Iterable[Resource], element: str) -> list[str]:
    """Return the ids that an element of the resources refers to, each once."""
    held = (resource.get(element, []) for resource in resources)
    references = (one for found in held for one in (found if isinstance(found, list) else [found]))
    return sorted({one["reference"].partition("/")[2] for one in references if "reference" in one})


def bundle(found: Found, base: str, this: str, following: str | None) -> Resource:
    """Return what a search found as one page; `this` and `following` are the addresses of this page and the next."""
    links = [{"relation": "self", "url": this}]
    if following is not None:
        links.append({"relation": "next", "url": following})
    entries = [
        {
            "fullUrl": f"{base}/{resource['resourceType']}/{resource['id']}",
            "resource": resource,
            "search": {"mode": mode},
        }
        for mode, resources in (("match", found.matches), ("include", found.included))
        for resource in resources
    ]
    page = {"resourceType": "Bundle", "type": "searchset", "total": found.total, "link": links, "entry": entries}
    return _without_nothing(page)


def outcome(code: str, words: str) -> Resource:
    """Return a refusal; `code` is one of FHIR's issue types."""
    return {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": code, "diagnostics": words}],
    }


def instant(moment: datetime) -> str:
    """Return a moment as FHIR writes it, in UTC."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _resource(kind: str, resource_id: str, changed_at: datetime) -> Resource:
    return {"resourceType": kind, "id": resource_id, "meta": {"lastUpdated": instant(changed_at)}}


def _subject(subject: Subject | None) -> Resource | None:
    if subject is None:
        return None
    return _without_nothing(
        {
            "reference": f"Patient/{subject.patient_id}" if subject.patient_id else None,
            "type": "Patient",
            "identifier": _patient_number(subject) if subject.number else None,
            "display": _plain_name(subject.name.split("=")[0]),
        }
    )


def _patient_number(subject: Subject) -> Resource:
    return {"system": f"{SYSTEM}:site:{subject.site_id}:patient", "value": subject.number}


def _plain_name(group: str) -> str:
    return " ".join(part for part in group.split("^") if part)


def _human_name(group: str, representation: str) -> Resource:
    family, *given = group.split("^")
    parts = {"family": family, "given": [part for part in given[:2] if part]} if given else {}
    kind = {"url": REPRESENTATION, "valueCode": representation}
    return _without_nothing({"extension": [kind], "text": _plain_name(group), **parts})


def _practitioner(holder: tuple[str, str] | None) -> Resource | None:
    if holder is None:
        return None
    physician_id, name = holder
    identifier = {"system": f"{SYSTEM}:physician", "value": physician_id}
    return {"type": "Practitioner", "identifier": identifier, "display": name}


def _accession(number: str, site_id: str) -> list[Resource]:
    if not number:
        return []
    kind = {"coding": [{"system": IDENTIFIER_TYPES, "code": "ACSN"}]}
    return [{"type": kind, "system": f"{SYSTEM}:site:{site_id}:accession", "value": number}]


def _reason(code: str) -> Resource | None:
    if not code:
        return None
    display = DiscontinuationReason(code).name.replace("_", " ").capitalize()
    return {"coding": [{"system": DICOM_CODES, "code": code, "display": display}]}


def _period(start: datetime | None, end: datetime | None) -> Resource | None:
    if start is None:
        return None
    return {"start": instant(start)} | ({"end": instant(end)} if end is not None else {})


def _without_nothing(found: Resource) -> Resource:
    """FHIR has no empty elements."""
    return {name: value for name, value in found.items() if value not in (None, "", [], {})}
