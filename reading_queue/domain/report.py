"""What a report says: the content that physicians sign, and what is checked before they may.

Pure. `SubmissionContent` is what the author signs, `ReportContent` what the verifier signs; the latter names the
SHA-256 of the former, so the verifier's signature covers both. `canonical()` gives the signed bytes; they are
stored as signed and never serialised again, `from_json` only reads them.
"""

from __future__ import annotations

from datetime import date
from typing import Literal, Self

from pydantic import AwareDatetime

from reading_queue.domain.canonical import canonical_bytes
from storage.contract.lanes import Lane
from storage.contract.manifest import WireModel


class SignedContent(WireModel):
    """Content with a canonical form: times become ISO 8601 text with their offset, dates `YYYY-MM-DD`."""

    def canonical(self) -> bytes:
        """Return the RFC 8785 bytes of this content."""
        return canonical_bytes(self.model_dump(mode="json"))

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Return the content that `data` holds; raises pydantic.ValidationError when it is another format."""
        return cls.model_validate_json(data)


class ReportText(WireModel):
    """The three parts a physician writes."""

    findings: str = ""
    impression: str = ""
    recommendation: str = ""


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


class SubmissionContent(SignedContent):
    """What the author signs."""

    format: Literal["counterpart-submission/1"] = "counterpart-submission/1"
    submission_id: str
    case_id: str
    reading_task_id: str
    site_id: str
    patient: PatientIdentity
    studies: tuple[ReportedStudy, ...]
    author: Signatory
    findings: str
    impression: str
    recommendation: str
    submitted_at: AwareDatetime

    def text(self) -> ReportText:
        """Return the three parts the author wrote."""
        return ReportText(findings=self.findings, impression=self.impression, recommendation=self.recommendation)


class ReportContent(SignedContent):
    """What the verifier signs: the final text, who stands for it, and the digest of the submission."""

    format: Literal["counterpart-report/1"] = "counterpart-report/1"
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

    def text(self) -> ReportText:
        """Return the three parts of the final text."""
        return ReportText(findings=self.findings, impression=self.impression, recommendation=self.recommendation)
