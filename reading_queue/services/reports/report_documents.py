"""The documents of signed reports, where they lie and how they are read. Reads only; `reports` makes them."""

from __future__ import annotations

from sqlalchemy import select

from reading_queue.db.tables import Document, Report
from reading_queue.errors import NotFound
from reading_queue.services.hub import Hub
from storage.contract.wire import DocumentKind


def object_key(report: Report, file_name: str) -> str:
    """Return where a document of this name lies in object storage."""
    return f"documents/{report.case_id}/{report.report_version}/{file_name}"


def report_document(hub: Hub, case_id: str, kind: DocumentKind) -> Document:
    """Return the document of this kind of the case's newest rendered report; the caller knows who may see it.

    Raises:
        NotFound: no report of the case is rendered yet.
    """
    newest = select(Document).join(Report, Report.report_id == Document.report_id)
    newest = newest.where(Document.case_id == case_id, Document.kind == kind)
    with hub.transaction() as session:
        found = session.scalars(newest.order_by(Report.report_version.desc()).limit(1)).one_or_none()
    if found is None:
        raise NotFound("the report of this case is not ready")
    return found


def find_pdf(hub: Hub, case_id: str) -> bytes | None:
    """Return the printable PDF of the case's newest rendered report, None before there is one."""
    newest = select(Report).where(Report.case_id == case_id, Report.rendered_at.is_not(None))
    with hub.transaction() as session:
        report = session.scalars(newest.order_by(Report.report_version.desc()).limit(1)).one_or_none()
    return None if report is None else hub.objects.read(object_key(report, "report.pdf"))
