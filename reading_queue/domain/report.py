"""What a report says: the content that physicians sign, and what is checked before they may.

Pure. `SubmissionContent` is what the author signs, `ReportContent` what the verifier signs; the latter names the
SHA-256 of the former, so the verifier's signature covers both. `canonical()` gives the signed bytes; they are
stored as signed and never serialised again, `from_json` only reads them.
"""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import AwareDatetime

from reading_queue.domain.canonical import canonical_bytes
from storage.contract.manifest import WireModel
from storage.contract.signed_report import (
    AmendmentKind,
    PatientIdentity,
    ReportedOpinion,
    ReportedStudy,
    ReportFormat,
    Signatory,
    SignedReport,
)

__all__ = [
    "PatientIdentity",
    "ReportContent",
    "ReportText",
    "ReportedOpinion",
    "ReportedStudy",
    "Signatory",
    "SignedContent",
    "SubmissionContent",
]


SINCE_FORMAT_3: Final = frozenset({"evidence", "predecessor_id", "amendment_kind", "amendment_reason"})
SINCE_FORMAT_4: Final = frozenset({"opinions"})
SINCE_FORMAT_5: Final = frozenset({"single_physician"})
SINCE_FORMAT_6: Final = frozenset({"orders"})
NOT_YET: Final[dict[ReportFormat, frozenset[str]]] = {  # fields that a format does not have
    "counterpart-report/1": SINCE_FORMAT_3 | SINCE_FORMAT_4 | SINCE_FORMAT_5 | SINCE_FORMAT_6,
    "counterpart-report/2": SINCE_FORMAT_3 | SINCE_FORMAT_4 | SINCE_FORMAT_5 | SINCE_FORMAT_6,
    "counterpart-report/3": SINCE_FORMAT_4 | SINCE_FORMAT_5 | SINCE_FORMAT_6,
    "counterpart-report/4": SINCE_FORMAT_5 | SINCE_FORMAT_6,
    "counterpart-report/5": SINCE_FORMAT_6,
    "counterpart-report/6": frozenset(),
}


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


class SubmissionContent(SignedContent):
    """What the author signs. Since format 2, of a later version: how and why it differs from the one before."""

    format: Literal["counterpart-submission/1", "counterpart-submission/2"] = "counterpart-submission/1"
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
    predecessor_id: str = ""
    amendment_kind: AmendmentKind | None = None
    amendment_reason: str = ""

    def canonical(self) -> bytes:
        """Return the RFC 8785 bytes; a format has only the fields that it began with."""
        newer = set(SINCE_FORMAT_3) if self.format == "counterpart-submission/1" else set()
        return canonical_bytes(self.model_dump(mode="json", exclude=newer))

    def text(self) -> ReportText:
        """Return the three parts the author wrote."""
        return ReportText(findings=self.findings, impression=self.impression, recommendation=self.recommendation)


class ReportContent(SignedReport, SignedContent):
    """What the verifier signs: the final text, who stands for it, and the digest of the submission."""

    def canonical(self) -> bytes:
        """Return the RFC 8785 bytes; a format has only the fields that it began with, so that its readers read on."""
        return canonical_bytes(self.model_dump(mode="json", exclude=set(NOT_YET[self.format])))

    def text(self) -> ReportText:
        """Return the three parts of the final text."""
        return ReportText(findings=self.findings, impression=self.impression, recommendation=self.recommendation)


def report_format(
    *, says_more: bool, has_opinions: bool = False, is_single: bool = False, names_orders: bool = False
) -> ReportFormat:
    """Return the oldest format that can say everything: gateways of every age read it.

    `says_more`: it has evidence, or amends a report before it. `has_opinions`: another hospital was asked and answered.
    `is_single`: one physician signs it alone. `names_orders`: it answers orders that its studies do not name.
    """
    if names_orders:
        return "counterpart-report/6"
    if is_single:
        return "counterpart-report/5"
    if has_opinions:
        return "counterpart-report/4"
    return "counterpart-report/3" if says_more else "counterpart-report/2"
