"""The signed report as it comes home: what physicians have signed, inside the envelope with their signatures. Pure.

The hub writes it as canonical JSON (RFC 8785) and never again; here it is only read. What other systems are told about
a report comes from this and from nothing else. A field that is not known makes the report unreadable, because it might
change the meaning of the others.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from datetime import date
from enum import StrEnum
from typing import Final, Literal

from pydantic import AwareDatetime, ValidationError

from storage.contract.lanes import Lane
from storage.contract.manifest import WireModel

ENVELOPE_FORMAT: Final = "counterpart-signed-report/1"
ReportFormat = Literal[
    "counterpart-report/1",
    "counterpart-report/2",
    "counterpart-report/3",
    "counterpart-report/4",
    "counterpart-report/5",
    "counterpart-report/6",
]
# As it stands on the documents of a report with `single_physician`.
SINGLE_PHYSICIAN_WORDS: Final = "本报告依结对协议由一位医师单独签发（单医师报告），未经第二位医师审核。"


class ReportUnreadable(ValueError):
    """The document is no signed report of a format that is known here; the text never quotes it."""


class PatientIdentity(WireModel):
    """The patient as the requesting site knew them at the moment of signing."""

    patient_number: str
    name: str
    sex: str  # DICOM (0010,0040): M, F, O or empty
    birth_date: date | None


class ReportedStudy(WireModel):
    """One study the report is about; its series and instances are the catalogue's to name."""

    study_uid: str
    accession_number: str
    description: str
    modality: str  # the case's reading modality, e.g. CT
    body_part: str
    study_date: date | None
    study_time: str  # DICOM TM as sent
    referring_physician: str


class Signatory(WireModel):
    """A physician as of the moment of signing."""

    physician_id: str
    name: str
    title: str  # reading_queue.domain.roles.Title
    licence_number: str
    organisation_id: str
    organisation_name: str


class AmendmentKind(StrEnum):
    """How a later version differs from the one before."""

    APPENDED = "appended"  # 补充: something is added, what was said stands
    CORRECTED = "corrected"  # 更正: something that was said was wrong


class ReportedFinding(WireModel):
    """One key image, or one measurement as a decimal text with its unit; where its image stands, as far as is known."""

    sop_class_uid: str = ""
    sop_instance_uid: str = ""  # of the image; empty where the document names none
    frame: int | None = None
    series_number: int | None = None
    instance_number: int | None = None
    concept: str = ""  # what was measured, in the words of the code; empty for a key image
    code: str = ""  # scheme and value, e.g. "SCT 410668003"
    value: str = ""
    unit: str = ""  # UCUM

    @property
    def is_measurement(self) -> bool:
        """Return whether this has a value."""
        return self.value != ""


class ReportedEvidence(WireModel):
    """One document of key images or measurements that a physician added: an instance of the report's studies."""

    study_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    findings: tuple[ReportedFinding, ...]


class ReportedOpinion(WireModel):
    """What a hospital up the line said when the holder of the case asked it (会诊); it is advice, no signature."""

    consult_id: str
    asked_by: str  # a name
    asked_at: AwareDatetime
    question: str
    consultant: Signatory  # who gave it, for the hospital that was asked
    answered_at: AwareDatetime
    opinion: str


class SinglePhysician(WireModel):
    """That one physician alone answers for the report, which they declared: under which version of which agreement."""

    agreement_id: str
    agreement_version: int  # 0: of an agreement without versions
    declared_at: AwareDatetime


class ReportedOrder(WireModel):
    """One order (申请单) that the report answers, with the study it was read by; as it was when it was signed."""

    order_id: str
    accession_number: str
    study_uid: str
    procedure_name: str
    question: str


class SignedReport(WireModel):
    """The final text, who stands for it, and the digest of the submission, as the verifier has signed it.

    Since format 2: `time_zone`, the site's, in which local times are written; and `critical`, whether a physician has
    flagged a critical value (危急值), None where nobody was asked. Since format 3: `evidence`, the key images and
    measurements that were signed with the text; and of a later version, whose text stands whole, how and why it differs
    from the one before. Since format 4: `opinions`, what other hospitals were asked about the case and said before it
    was signed. Since format 5: `single_physician`, of a report that its author signed alone; `verifier` is the author
    then. Since format 6: `orders`, all that the report answers, where the studies do not name them all. A report is
    written in the oldest format that can say everything, which older gateways read.
    """

    format: ReportFormat = "counterpart-report/2"
    report_id: str
    case_id: str
    report_version: int
    network_name: str
    site_id: str
    site_name: str
    organisation_id: str  # the requesting organisation
    organisation_name: str
    lane: Lane
    modality: str
    patient: PatientIdentity
    studies: tuple[ReportedStudy, ...]
    author: Signatory
    verifier: Signatory
    findings: str
    impression: str
    recommendation: str
    exam_started_at: AwareDatetime | None
    submitted_at: AwareDatetime
    signed_at: AwareDatetime
    submission_sha256: str
    time_zone: str = "Asia/Shanghai"  # IANA name; all sites of the first format lie there
    critical: bool | None = None
    evidence: tuple[ReportedEvidence, ...] = ()
    predecessor_id: str = ""  # the report before, empty of the first
    amendment_kind: AmendmentKind | None = None
    amendment_reason: str = ""
    opinions: tuple[ReportedOpinion, ...] = ()
    orders: tuple[ReportedOrder, ...] = ()
    single_physician: SinglePhysician | None = None

    @property
    def accession_numbers(self) -> list[str]:
        """Return the numbers of all examinations and orders that the report answers, each once, in their order."""
        of_studies = [study.accession_number for study in self.studies]
        numbers = [*of_studies, *(order.accession_number for order in self.orders)]
        return [number for number in dict.fromkeys(numbers) if number]

    @property
    def further_studies(self) -> list[ReportedStudy]:
        """Return once more each study that answers an order under another accession number, under that number."""
        studies = {study.study_uid: study for study in self.studies}
        numbers = {study.accession_number for study in self.studies}
        return [
            studies[order.study_uid].model_copy(
                update={"accession_number": order.accession_number, "description": order.procedure_name}
            )
            for order in self.orders
            if order.accession_number not in numbers and order.study_uid in studies
        ]

    @property
    def key_images(self) -> list[ReportedFinding]:
        """Return the images that physicians marked, each once, in their order."""
        marked = (finding for document in self.evidence for finding in document.findings)
        return list(dict.fromkeys(finding for finding in marked if not finding.is_measurement))

    @property
    def measurements(self) -> list[ReportedFinding]:
        """Return what physicians measured, in their order."""
        return [finding for document in self.evidence for finding in document.findings if finding.is_measurement]


def parse_signed_report(document: bytes) -> SignedReport:
    """Return the content of a document of kind REPORT_JSON whose bytes are proved.

    Raises:
        ReportUnreadable: another format, or content that has not the digest that stands beside it.
    """
    try:
        envelope = json.loads(document)
        if envelope["format"] != ENVELOPE_FORMAT:
            raise ReportUnreadable("the envelope has another format")
        text = envelope["content"]
        content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if hashlib.sha256(content).hexdigest() != envelope["content_sha256"]:
            raise ReportUnreadable("the content has not the digest that is signed")
        return SignedReport.model_validate_json(content)
    except (ValidationError, json.JSONDecodeError, binascii.Error, KeyError, TypeError, UnicodeDecodeError) as exc:
        raise ReportUnreadable(type(exc).__name__) from None
