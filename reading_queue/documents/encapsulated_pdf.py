"""The PDF of a signed report as a DICOM object (PS3.3 section A.45.1).

Pure: the same arguments give the same bytes, and the PDF comes out again exactly as it went in.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from reading_queue.documents.headers import DocumentIdentity, new_document, to_part10
from reading_queue.documents.structured_report import BASIC_TEXT_SR
from reading_queue.domain.report import ReportContent
from storage.contract.identifiers import Uid
from storage.dicom.document_parts import code, instance_reference, items

ENCAPSULATED_PDF: Final = "1.2.840.10008.5.1.4.1.1.104.1"
SERIES_NUMBER: Final = 9902


def build_encapsulated_pdf(
    content: ReportContent,
    pdf: bytes,
    *,
    sop_instance_uid: Uid,
    series_uid: Uid,
    source_sr_uid: Uid,
    created_at: datetime,
) -> bytes:
    """Return `pdf` as a verified Encapsulated PDF, Part 10, that names the SR it says the same as.

    Burned In Annotation is YES: the pages show who the patient is.
    """
    identity = DocumentIdentity(ENCAPSULATED_PDF, sop_instance_uid, series_uid, SERIES_NUMBER, "DOC", created_at)
    dataset = new_document(content, identity)
    dataset.SeriesDescription = "影像诊断报告书 PDF"
    dataset.ConversionType = "WSD"
    dataset.AcquisitionDateTime = ""
    dataset.BurnedInAnnotation = "YES"
    dataset.DocumentTitle = "影像诊断报告书"
    dataset.ConceptNameCodeSequence = items(code("11528-7", "LN", "Radiology Report"))
    dataset.VerificationFlag = "VERIFIED"
    dataset.SourceInstanceSequence = items(instance_reference(BASIC_TEXT_SR, source_sr_uid))
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocumentLength = len(pdf)
    dataset.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return to_part10(dataset)
