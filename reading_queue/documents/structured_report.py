"""The Basic Text SR of a signed report (PS3.3 section A.35.1, TID 2000 in PS3.16).

Pure: content and evidence in, a Part 10 file out; the same arguments give the same bytes. The words of the report
are the signed ones; nothing is added to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from pydicom.dataset import Dataset

from reading_queue.documents.headers import (
    SHORT_STRING_CHARACTERS_MAX,
    DocumentIdentity,
    datetime_text,
    line,
    new_document,
    person_name,
    to_part10,
)
from reading_queue.documents.words import amendment_line, finding_line, single_line
from reading_queue.domain.report import ReportContent, ReportedStudy, Signatory
from storage.contract.identifiers import Uid
from storage.contract.signed_report import ReportedFinding, ReportedOpinion
from storage.dicom.document_parts import EvidenceInstance, code, instance_reference, items, references

BASIC_TEXT_SR: Final = "1.2.840.10008.5.1.4.1.1.88.11"
SERIES_NUMBER: Final = 9901
LICENCE_SCHEME: Final = "99CNLICENCE"  # private: the number of a Chinese physician's licence

_TITLES: Final = {  # CID 7000, by modality; CR, DX and the like are X-ray
    "CT": ("25045-6", "CT Report"),
    "MR": ("25056-3", "MRI Report"),
    "US": ("25061-3", "Ultrasound Report"),
    "CR": ("43468-8", "X-Ray Report"),
    "DX": ("43468-8", "X-Ray Report"),
    "RG": ("43468-8", "X-Ray Report"),
}
_TITLE_OF_THE_REST: Final = ("11528-7", "Radiology Report")


def build_basic_text_sr(
    content: ReportContent,
    evidence: Sequence[EvidenceInstance],
    *,
    sop_instance_uid: Uid,
    series_uid: Uid,
    created_at: datetime,
    predecessor: EvidenceInstance | None = None,
) -> bytes:
    """Return the report as a verified Basic Text SR, Part 10.

    `evidence` is every image that was read, at least one. `created_at` is in the site's time zone. `predecessor` is
    the SR of the version before.

    Raises:
        ValueError: no evidence, or a later version without its predecessor: archives refuse such a document.
    """
    if not evidence:
        raise ValueError("a report without evidence cannot be opened beside its images")
    if (content.report_version > 1) != (predecessor is not None):
        raise ValueError("every version but the first names its predecessor")
    identity = DocumentIdentity(BASIC_TEXT_SR, sop_instance_uid, series_uid, SERIES_NUMBER, "SR", created_at)
    dataset = new_document(content, identity)
    dataset.SeriesDescription = "影像诊断报告"
    _add_document_general(dataset, content, created_at)
    answered = [*content.studies, *content.further_studies]  # each order has an item of its own
    dataset.ReferencedRequestSequence = items(*map(_request, answered))
    dataset.CurrentRequestedProcedureEvidenceSequence = items(*references(evidence))
    if predecessor is not None:
        dataset.PredecessorDocumentsSequence = items(*references([predecessor]))
    _add_tree(dataset, content, created_at)
    return to_part10(dataset)


def _add_document_general(dataset: Dataset, content: ReportContent, created_at: datetime) -> None:
    """Add the SR Document General module (PS3.3 section C.17.2): final, verified, who wrote and who verified."""
    dataset.CompletionFlag = "COMPLETE"
    dataset.PreliminaryFlag = "FINAL"
    dataset.VerificationFlag = "VERIFIED"
    dataset.ReferencedPerformedProcedureStepSequence = items()
    dataset.PerformedProcedureCodeSequence = items()
    dataset.AuthorObserverSequence = items(_author(content.author))
    verifier = Dataset()
    verifier.VerifyingOrganization = line(content.verifier.organisation_name)
    verifier.VerificationDateTime = datetime_text(content.signed_at, created_at)
    verifier.VerifyingObserverName = person_name(content.verifier.name)
    verifier.VerifyingObserverIdentificationCodeSequence = items(*_licence(content.verifier))
    dataset.VerifyingObserverSequence = items(verifier)


def _author(author: Signatory) -> Dataset:
    item = Dataset()
    item.ObserverType = "PSN"
    item.PersonName = person_name(author.name)
    item.PersonIdentificationCodeSequence = items(*_licence(author))
    item.InstitutionName = line(author.organisation_name)
    item.InstitutionCodeSequence = items()
    return item


def _licence(physician: Signatory) -> list[Dataset]:
    number = physician.licence_number
    if not number or len(number) > SHORT_STRING_CHARACTERS_MAX:
        return []
    return [code(number, LICENCE_SCHEME, line(physician.name))]


def _request(study: ReportedStudy) -> Dataset:
    """Return one item of (0040,A370); orders have no numbers of their own yet, so those stay empty."""
    item = Dataset()
    item.StudyInstanceUID = study.study_uid
    item.ReferencedStudySequence = items()
    item.AccessionNumber = line(study.accession_number, SHORT_STRING_CHARACTERS_MAX)
    item.PlacerOrderNumberImagingServiceRequest = ""
    item.FillerOrderNumberImagingServiceRequest = ""
    item.RequestedProcedureID = ""
    item.RequestedProcedureDescription = line(study.description)
    item.RequestedProcedureCodeSequence = items()
    return item


def _add_tree(dataset: Dataset, content: ReportContent, created_at: datetime) -> None:
    """Add the content tree: LOINC headings, DCM items below them (CID 7001 and 7002); empty parts are left out."""
    dataset.ValueType = "CONTAINER"
    dataset.ConceptNameCodeSequence = items(_title(content))
    dataset.ContinuityOfContent = "SEPARATE"
    template = Dataset()
    template.MappingResource = "DCMR"
    template.TemplateIdentifier = "2000"
    dataset.ContentTemplateSequence = items(template)
    dataset.ContentSequence = items(*_context(content), *_sections(content, created_at))


def _title(content: ReportContent) -> Dataset:
    modalities = {study.modality for study in content.studies}
    value, meaning = _TITLES.get(modalities.pop(), _TITLE_OF_THE_REST) if len(modalities) == 1 else _TITLE_OF_THE_REST
    return code(value, "LN", meaning)


def _context(content: ReportContent) -> list[Dataset]:
    language = _item("HAS CONCEPT MOD", "CODE", ("121049", "DCM", "Language of Content Item and Descendants"))
    language.ConceptCodeSequence = items(code("zh-CN", "RFC5646", "Chinese (China)"))
    return [language, *_observer(content.author)]


def _observer(physician: Signatory) -> list[Dataset]:
    kind = _item("HAS OBS CONTEXT", "CODE", ("121005", "DCM", "Observer Type"))
    kind.ConceptCodeSequence = items(code("121006", "DCM", "Person"))
    observer = _item("HAS OBS CONTEXT", "PNAME", ("121008", "DCM", "Person Observer Name"))
    observer.PersonName = person_name(physician.name)
    employer = _item("HAS OBS CONTEXT", "TEXT", ("121009", "DCM", "Person Observer's Organization Name"))
    employer.TextValue = line(physician.organisation_name)
    return [kind, observer, employer]


def _sections(content: ReportContent, created_at: datetime) -> list[Dataset]:
    procedures = "\n".join(f"{study.modality} {study.description}".strip() for study in content.studies)
    sections = [
        (("55111-9", "LN", "Current Procedure Descriptions"), ("121065", "DCM", "Procedure Description"), procedures),
        (("59776-5", "LN", "Findings"), ("121071", "DCM", "Finding"), content.findings),
        (("19005-8", "LN", "Impressions"), ("121073", "DCM", "Impression"), content.impression),
        (("18783-1", "LN", "Recommendations"), ("121075", "DCM", "Recommendation"), content.recommendation),
        (("55107-7", "LN", "Addendum"), ("121071", "DCM", "Finding"), amendment_line(content)),
        (("48767-8", "LN", "Annotation comment"), ("121106", "DCM", "Comment"), single_line(content)),
    ]
    written = [_section(heading, concept, text) for heading, concept, text in sections if text.strip()]
    return [
        *written,
        *_measurements(content),
        *_key_images(content),
        *(_opinion(one, created_at) for one in content.opinions),
    ]


def _opinion(opinion: ReportedOpinion, created_at: datetime) -> Dataset:
    """Return an opinion up the line as a section of its own, observed by who gave it (TID 1003) at its moment."""
    section = _item("CONTAINS", "CONTAINER", ("11488-4", "LN", "Consult note"))
    section.ContinuityOfContent = "SEPARATE"
    asked = _item("CONTAINS", "TEXT", ("121062", "DCM", "Request"))
    asked.TextValue = "\r\n".join(opinion.question.strip().splitlines())
    said = _item("CONTAINS", "TEXT", ("121077", "DCM", "Conclusion"))
    said.TextValue = "\r\n".join(opinion.opinion.strip().splitlines())
    said.ObservationDateTime = datetime_text(opinion.answered_at, created_at)
    section.ContentSequence = items(*_observer(opinion.consultant), asked, said)
    return section


def _measurements(content: ReportContent) -> list[Dataset]:
    """Return what was measured as findings, each inferred from its image; the numbers are in the SR of the evidence."""
    measured = content.measurements
    if not measured:
        return []
    section = _item("CONTAINS", "CONTAINER", ("59776-5", "LN", "Findings"))
    section.ContinuityOfContent = "SEPARATE"
    section.ContentSequence = items(*map(_measurement, measured))
    return [section]


def _measurement(finding: ReportedFinding) -> Dataset:
    paragraph = _item("CONTAINS", "TEXT", ("121071", "DCM", "Finding"))
    paragraph.TextValue = finding_line(finding)
    if finding.sop_class_uid:
        paragraph.ContentSequence = items(_image("INFERRED FROM", ("121112", "DCM", "Source of Measurement"), finding))
    return paragraph


def _key_images(content: ReportContent) -> list[Dataset]:
    marked = [finding for finding in content.key_images if finding.sop_class_uid]
    if not marked:
        return []
    section = _item("CONTAINS", "CONTAINER", ("55113-5", "LN", "Key Images"))
    section.ContinuityOfContent = "SEPARATE"
    illustration = ("121080", "DCM", "Best illustration of finding")
    section.ContentSequence = items(*(_image("CONTAINS", illustration, finding) for finding in marked))
    return [section]


def _image(relationship: str, concept: tuple[str, str, str], finding: ReportedFinding) -> Dataset:
    image = _item(relationship, "IMAGE", concept)
    reference = instance_reference(finding.sop_class_uid, finding.sop_instance_uid)
    if finding.frame is not None:
        reference.ReferencedFrameNumber = finding.frame
    image.ReferencedSOPSequence = items(reference)
    return image


def _section(heading: tuple[str, str, str], concept: tuple[str, str, str], text: str) -> Dataset:
    section = _item("CONTAINS", "CONTAINER", heading)
    section.ContinuityOfContent = "SEPARATE"
    paragraph = _item("CONTAINS", "TEXT", concept)
    paragraph.TextValue = "\r\n".join(text.strip().splitlines())
    section.ContentSequence = items(paragraph)
    return section


def _item(relationship: str, value_type: str, concept: tuple[str, str, str]) -> Dataset:
    item = Dataset()
    item.RelationshipType = relationship
    item.ValueType = value_type
    item.ConceptNameCodeSequence = items(code(*concept))
    return item
