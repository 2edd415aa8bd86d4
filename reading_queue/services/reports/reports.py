"""From a signed report to its documents: the signed JSON, the Basic Text SR, the PDF.

Durable: the objects under `documents/<case>/<version>/`, and then, in one transaction, the rows that announce them.
A restart in between renders again; names and bytes are derived from the report, so it writes the same documents.
A document once announced is never replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from reading_queue.db.tables import CaseEvidence, Document, Report
from reading_queue.documents import identity
from reading_queue.documents.encapsulated_pdf import build_encapsulated_pdf
from reading_queue.documents.envelope import build_signed_report
from reading_queue.documents.pdf import RenderedPdf, render_pdf
from reading_queue.documents.structured_report import BASIC_TEXT_SR, build_basic_text_sr
from reading_queue.domain.canonical import canonical_bytes, sha256_hex
from reading_queue.domain.report import ReportContent
from reading_queue.errors import NotFound
from reading_queue.services.access.keys import sign_as_hub
from reading_queue.services.cases.casework import get_case_locked, record_custody
from reading_queue.services.hub import Hub
from reading_queue.services.reports.report_documents import object_key
from storage.catalogue.amendment_tables import Amendment, RejectedInstance
from storage.catalogue.tables import Instance, Pack, Series, Study
from storage.contract.hops import Hop
from storage.contract.identifiers import Sha256Hex, SiteId, Uid
from storage.contract.wire import DocumentDescriptor, DocumentKind
from storage.dicom.document_parts import EvidenceInstance
from storage.ledger.tables import Site

DOCUMENTS_CHANNEL: Final = "documents"  # NOTIFY with the site's id wakes its long polls; the rows are what counts
DICOM_MEDIA_TYPE: Final = "application/dicom"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Signed:
    """A signed report and what its documents need beside it; `signed_at` is in the site's time zone."""

    report: Report
    content: ReportContent
    evidence: tuple[EvidenceInstance, ...]
    predecessor: EvidenceInstance | None
    signed_at: datetime


@dataclass(frozen=True, slots=True)
class _Built:
    """One document as it will lie in object storage."""

    kind: DocumentKind
    file_name: str
    media_type: str
    sop_instance_uid: Uid | None
    data: bytes


def render(hub: Hub, report_id: str, fonts_dir: Path) -> None:
    """Make, store and announce the documents of a signed report; harmless when they are announced already.

    Never call it in a process that forks afterwards (see `reading_queue.documents.pdf`).

    Raises:
        NotFound: there is no such report.
        FontsUnusable, ReportNotTypeset: the PDF could not be made.
        StoreUnavailable: object storage did not answer; try again.
    """
    signed = _load_unrendered(hub, report_id)
    if signed is None:
        return
    pdf = render_pdf(
        signed.content, content_sha256=signed.report.content_sha256, fonts_dir=fonts_dir, created_at=signed.signed_at
    )
    built = _build(signed, pdf.pdf)
    for document in built:
        hub.objects.put(object_key(signed.report, document.file_name), document.data, len(document.data))
    hub.objects.put(object_key(signed.report, "report.pdf"), pdf.pdf, len(pdf.pdf))
    if pdf.replaced or pdf.remarks:
        _log.warning("pdf_imperfect", report_id=report_id, replaced=len(pdf.replaced), remarks=pdf.remarks)
    _announce(hub, signed, [_described(hub, signed, document) for document in built], pdf)


def _load_unrendered(hub: Hub, report_id: str) -> _Signed | None:
    """Return the report with its evidence, None when its documents are announced already."""
    with hub.transaction() as session:
        report = session.get(Report, report_id)
        if report is None:
            raise NotFound("there is no such report")
        if report.rendered_at is not None:
            return None
        content = ReportContent.from_json(report.content)
        site = session.get_one(Site, content.site_id)
        return _Signed(
            report=report,
            content=content,
            evidence=_evidence(session, content),
            predecessor=_predecessor(session, report, content),
            signed_at=content.signed_at.astimezone(ZoneInfo(site.time_zone)),
        )


def _evidence(session: Session, content: ReportContent) -> tuple[EvidenceInstance, ...]:
    """Return every instance that could be read when the report was signed.

    What came later is not its evidence; nor is what was rejected before, or taken out of the report by its physicians.
    """
    rejected = (
        select(RejectedInstance.sop_instance_uid)
        .join(Amendment, Amendment.amendment_id == RejectedInstance.amendment_id)
        .where(RejectedInstance.site_id == Instance.site_id)
        .where(RejectedInstance.sop_instance_uid == Instance.sop_instance_uid)
        .where(Amendment.made_at <= content.signed_at, Instance.rejection.is_not(None))
    )
    removed = select(CaseEvidence.sop_instance_uid).where(
        CaseEvidence.case_id == content.case_id, CaseEvidence.removed_at <= content.signed_at
    )
    instances = (
        select(Study.study_uid, Series.series_uid, Instance.sop_class_uid, Instance.sop_instance_uid)
        .join(Series, Series.series_id == Instance.series_id)
        .join(Study, Study.study_id == Series.study_id)
        .join(Pack, Pack.pack_id == Instance.pack_id)
        .where(Study.site_id == content.site_id)
        .where(Study.study_uid.in_([study.study_uid for study in content.studies]))
        .where(Pack.verified_at <= content.signed_at)
        .where(Instance.sop_instance_uid.not_in(removed))
    )
    shown = session.execute(instances.where(~rejected.exists())).all()
    return tuple(EvidenceInstance(*row) for row in shown or session.execute(instances).all())


def _predecessor(session: Session, report: Report, content: ReportContent) -> EvidenceInstance | None:
    """Return the SR of the version before, None for the first."""
    before = select(Report.report_id).where(
        Report.case_id == report.case_id, Report.report_version == report.report_version - 1
    )
    report_id = session.scalar(before)
    if report_id is None:
        return None
    return EvidenceInstance(
        study_uid=content.studies[0].study_uid,
        series_uid=identity.series_uid(report_id, DocumentKind.SR),
        sop_class_uid=BASIC_TEXT_SR,
        sop_instance_uid=identity.instance_uid(report_id, DocumentKind.SR),
    )


def _build(signed: _Signed, pdf: bytes) -> tuple[_Built, ...]:
    """Return the three documents in the order in which the site shall see them."""
    report_id, content = signed.report.report_id, signed.content
    sr_uid = identity.instance_uid(report_id, DocumentKind.SR)
    pdf_uid = identity.instance_uid(report_id, DocumentKind.PDF)
    envelope = build_signed_report(signed.report.content, signed.report.signatures)
    sr = build_basic_text_sr(
        content,
        signed.evidence,
        sop_instance_uid=sr_uid,
        series_uid=identity.series_uid(report_id, DocumentKind.SR),
        created_at=signed.signed_at,
        predecessor=signed.predecessor,
    )
    encapsulated = build_encapsulated_pdf(
        content,
        pdf,
        sop_instance_uid=pdf_uid,
        series_uid=identity.series_uid(report_id, DocumentKind.PDF),
        source_sr_uid=sr_uid,
        created_at=signed.signed_at,
    )
    return (
        _Built(DocumentKind.REPORT_JSON, "report.json", "application/json", None, envelope),
        _Built(DocumentKind.SR, "report.sr.dcm", DICOM_MEDIA_TYPE, sr_uid, sr),
        _Built(DocumentKind.PDF, "report.pdf.dcm", DICOM_MEDIA_TYPE, pdf_uid, encapsulated),
    )


def _described(hub: Hub, signed: _Signed, built: _Built) -> Document:
    """Return the row that announces the document, its descriptor signed by the hub."""
    now = hub.clock()
    descriptor = DocumentDescriptor(
        document_id=identity.document_id(signed.report.report_id, built.kind),
        site_id=SiteId(signed.content.site_id),
        case_id=signed.report.case_id,
        report_version=signed.report.report_version,
        study_uids=tuple(Uid(study.study_uid) for study in signed.content.studies),
        kind=built.kind,
        media_type=built.media_type,
        sop_instance_uid=built.sop_instance_uid,
        sha256=Sha256Hex(sha256_hex(built.data)),
        size_bytes=len(built.data),
        created_at=now.isoformat(),
    )
    canonical = canonical_bytes(descriptor.model_dump(mode="json"))
    hub_key_id, signature = sign_as_hub(hub, canonical)
    return Document(
        document_id=descriptor.document_id,
        report_id=signed.report.report_id,
        case_id=descriptor.case_id,
        site_id=descriptor.site_id,
        kind=descriptor.kind,
        media_type=descriptor.media_type,
        sop_instance_uid=descriptor.sop_instance_uid,
        object_key=object_key(signed.report, built.file_name),
        sha256=descriptor.sha256,
        size_bytes=descriptor.size_bytes,
        created_at=now,
        canonical=canonical.decode(),
        hub_key_id=hub_key_id,
        signature=signature,
    )


def _announce(hub: Hub, signed: _Signed, documents: list[Document], pdf: RenderedPdf) -> None:
    """Insert the rows, unless another worker was first.

    The site's row stays locked until the commit, so the cursors of one site are visible in the order of their numbers
    and a gateway that asks "after N" never misses a document. The lock lets others refer to the site meanwhile.
    """
    with hub.transaction() as session:
        case = get_case_locked(session, signed.report.case_id)
        report = session.get_one(Report, signed.report.report_id)
        if report.rendered_at is not None:
            return
        session.execute(
            select(Site.site_id).where(Site.site_id == signed.content.site_id).with_for_update(key_share=True)
        )
        for document in documents:
            session.add(document)
            session.flush()
        now = hub.clock()
        report.rendered_at = now
        detail = {"replaced_characters": len(pdf.replaced)} if pdf.replaced else {}
        record_custody(session, case, Hop.RENDERED, f"rendered:{report.report_id}", now, detail=detail)
        session.execute(
            text("SELECT pg_notify(:channel, :site_id)"),
            {"channel": DOCUMENTS_CHANNEL, "site_id": signed.content.site_id},
        )
