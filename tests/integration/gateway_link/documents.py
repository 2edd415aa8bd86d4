"""Whole signed reports on the stand-in hub: the signed JSON, the SR and the PDF of one version."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from reading_queue.documents.envelope import build_signed_report
from reading_queue.domain.report import ReportContent
from storage.contract.identifiers import Uid, new_id, new_uid
from storage.contract.wire import DocumentDescriptor, DocumentKind
from tests.integration.gateway_link.hub_stand_in import SITE_ID, HubStandIn
from tests.integration.gateway_link.pacs_stand_in import BASIC_TEXT_SR, ENCAPSULATED_PDF
from tests.support.reports import report_content

PDF = b"%PDF-1.7 \xe4\xb8\xad and an odd number of bytes"


@dataclass(frozen=True)
class Published:
    """The three documents by kind, and what was signed."""

    content: ReportContent
    documents: dict[DocumentKind, tuple[DocumentDescriptor, bytes]]

    def document_id(self, kind: DocumentKind) -> str:
        return self.documents[kind][0].document_id


def publish_signed(
    hub: HubStandIn, *, case_id: str | None = None, version: int = 1, only: set[DocumentKind] | None = None
) -> Published:
    """Announce a signed report, or those of its documents that are named."""
    case = case_id or new_id()
    content = report_content(case_id=case, site_id=SITE_ID, report_version=version)
    study_uid = Uid(content.studies[0].study_uid)
    files = {
        DocumentKind.REPORT_JSON: build_signed_report(content.canonical(), []),
        DocumentKind.SR: _part10(BASIC_TEXT_SR, study_uid, None),
        DocumentKind.PDF: _part10(ENCAPSULATED_PDF, study_uid, PDF),
    }
    documents = {kind: (_describe(kind, data, case, version, study_uid), data) for kind, data in files.items()}
    published = Published(content, documents)
    for kind in only if only is not None else documents:
        publish(hub, published, kind)
    return published


def publish(hub: HubStandIn, report: Published, kind: DocumentKind) -> None:
    hub.publish(*report.documents[kind])


def _describe(kind: DocumentKind, data: bytes, case_id: str, version: int, study_uid: Uid) -> DocumentDescriptor:
    return DocumentDescriptor(
        document_id=new_id(),
        site_id=SITE_ID,
        case_id=case_id,
        report_version=version,
        study_uids=(study_uid,),
        kind=kind,
        media_type="application/json" if kind is DocumentKind.REPORT_JSON else "application/dicom",
        sop_instance_uid=None if kind is DocumentKind.REPORT_JSON else new_uid(),
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        created_at="2026-03-02T01:00:00Z",
    )


def _part10(sop_class: str, study_uid: str, pdf: bytes | None) -> bytes:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, new_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, new_uid()
    dataset.PatientName, dataset.PatientID = "Zhang^San=张^三䶮", "P20260001"
    if pdf is not None:
        dataset.EncapsulatedDocumentLength = len(pdf)
        dataset.EncapsulatedDocument = pdf + b"\x00" * (len(pdf) % 2)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
