"""One order as a worklist item: every return key of PS3.4 table K.6-1, with the value that an order has for it. Pure.

Values are Unicode text as DICOM writes it, numbers, or lists of nested items; None is an attribute without a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Any, Final

from gateway.query.matching import Kind
from storage.contract.lanes import Lane
from storage.contract.orders import Order, OrderState, Pregnancy

Item = Mapping[str, Any]

STEP_SEQUENCE: Final = "ScheduledProcedureStepSequence"
LO_CHARACTERS_MAX: Final = 64
LOCAL_CODES: Final = "L"  # Coding Scheme Designator of a site's own codes (PS3.16 section 8.2)

# What is matched and how; everything else that an item has is returned only.
ROOT_KEYS: Final[Mapping[str, Kind]] = {
    "PatientName": Kind.NAME,
    "PatientID": Kind.TEXT,
    "PatientBirthDate": Kind.DATE,
    "PatientSex": Kind.TEXT,
    "AccessionNumber": Kind.TEXT,
    "RequestedProcedureID": Kind.TEXT,
    "StudyInstanceUID": Kind.UID,
    "AdmissionID": Kind.TEXT,
    "ReferringPhysicianName": Kind.NAME,
    "RequestingPhysician": Kind.NAME,
    "RequestedProcedurePriority": Kind.TEXT,
}
STEP_KEYS: Final[Mapping[str, Kind]] = {
    "ScheduledStationAETitle": Kind.CODES,
    "Modality": Kind.CODES,
    "ScheduledProcedureStepStartDate": Kind.DATE,
    "ScheduledProcedureStepStartTime": Kind.TIME,
    "ScheduledProcedureStepID": Kind.TEXT,
    "ScheduledProcedureStepStatus": Kind.TEXT,
    "ScheduledPerformingPhysicianName": Kind.NAME,
}
_PRIORITIES: Final = {Lane.STAT: "STAT", Lane.URGENT: "HIGH", Lane.ROUTINE: "ROUTINE", Lane.BACKGROUND: "LOW"}
_PREGNANCY: Final = {Pregnancy.NO: 1, Pregnancy.POSSIBLE: 2, Pregnancy.YES: 3, Pregnancy.UNKNOWN: 4}
_STATUSES: Final = {OrderState.SCHEDULED: "SCHEDULED", OrderState.IN_PROGRESS: "STARTED"}


def make_item(order: Order, zone: tzinfo, station_ae_title: str) -> Item:
    """Return the order as a worklist item.

    `zone` is the clinic's: worklists have local times. `station_ae_title` is the scanner that
    asks, at which an order for any device of its modality may be done. Requested procedure and scheduled step are one
    to one with the order: their ids are its accession number.
    """
    physician = order.requesting_physician
    return {
        STEP_SEQUENCE: [_make_step(order, zone, station_ae_title)],
        "AccessionNumber": order.accession_number,
        "IssuerOfAccessionNumberSequence": [{"LocalNamespaceEntityID": order.site_id}],
        "RequestedProcedureID": order.accession_number,
        "RequestedProcedureDescription": order.procedure_name,
        "RequestedProcedureCodeSequence": _make_codes(order),
        "RequestedProcedurePriority": _PRIORITIES[order.lane],
        "RequestedProcedureComments": None,
        "ReasonForTheRequestedProcedure": _one_line(order.question),
        "StudyInstanceUID": order.study_uid,
        "StudyDate": None,
        "StudyTime": None,
        "ReferencedStudySequence": [],
        "PatientTransportArrangements": None,
        "RequestingPhysician": physician,
        "ReferringPhysicianName": physician,
        "RequestingService": order.requesting_department,
        "NamesOfIntendedRecipientsOfResults": physician,
        "AdmissionID": order.visit_number,
        "CurrentPatientLocation": order.requesting_department,
        "InstitutionName": None,
        "InstitutionalDepartmentName": None,
        "ReferencedPatientSequence": [],
        "PatientName": order.person_name(),
        "PatientID": order.patient_number,
        "IssuerOfPatientID": order.site_id,
        "OtherPatientIDs": None,  # an identity number is none of a scanner's business
        "OtherPatientIDsSequence": [],
        "PatientBirthDate": f"{order.birth_date:%Y%m%d}" if order.birth_date else None,
        "PatientSex": order.sex,
        "PatientAge": None,
        "PatientSize": None,
        "PatientWeight": None,
        "PatientComments": None,
        "PatientState": None,
        "PregnancyStatus": _PREGNANCY.get(order.pregnancy),
        "MedicalAlerts": None,
        "Allergies": _one_line(order.allergies),
        "AdditionalPatientHistory": order.history,
        "SpecialNeeds": None,
        "ConfidentialityConstraintOnPatientDataDescription": None,
        "EthnicGroup": None,
    }


def _make_step(order: Order, zone: tzinfo, station_ae_title: str) -> Item:
    begins = order.scheduled_at.astimezone(zone)
    return {
        "ScheduledStationAETitle": order.station_ae_title or station_ae_title,
        "ScheduledStationName": None,
        "ScheduledProcedureStepLocation": None,
        "ScheduledProcedureStepStartDate": f"{begins:%Y%m%d}",
        "ScheduledProcedureStepStartTime": f"{begins:%H%M%S}",
        "ScheduledProcedureStepEndDate": None,
        "ScheduledProcedureStepEndTime": None,
        "Modality": order.modality,
        "ScheduledPerformingPhysicianName": None,
        "ScheduledProcedureStepDescription": order.procedure_name,
        "ScheduledProtocolCodeSequence": _make_codes(order),
        "ScheduledProcedureStepID": order.accession_number,
        "ScheduledProcedureStepStatus": _STATUSES.get(order.state),
        "CommentsOnTheScheduledProcedureStep": order.body_part,
        "PreMedication": None,
        "RequestedContrastAgent": None,
    }


def _make_codes(order: Order) -> Sequence[Item]:
    if not order.procedure_code:
        return []
    code = {
        "CodeValue": order.procedure_code,
        "CodingSchemeDesignator": LOCAL_CODES,
        "CodingSchemeVersion": None,
        "CodeMeaning": order.procedure_name,
    }
    return [code]


def _one_line(text: str) -> str:
    """Return as much of a text as LO takes; the hub's desk shows all of it."""
    line = " ".join(text.replace("\\", "/").split())
    return line if len(line) <= LO_CHARACTERS_MAX else f"{line[: LO_CHARACTERS_MAX - 1]}…"
