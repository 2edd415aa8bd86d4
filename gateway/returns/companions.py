"""What stands beside a document for targets that put several things into one: the other documents of the same report
version, and the site's orders that it answers. Reads only.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from io import BytesIO
from typing import Final

from pydicom import dcmread

from gateway.hl7.oru import Placer
from gateway.journal.database import Journal
from gateway.journal.hub_news import find_void_since
from gateway.journal.order_messages import find_placer
from gateway.journal.orders import find_by_accession, find_by_study_uid
from gateway.journal.returns import find_fetched
from gateway.returns.proof import DocumentAltered, verify_content
from gateway.returns.store import DocumentStore
from storage.contract.identifiers import Uid
from storage.contract.orders import Order
from storage.contract.signed_report import ReportUnreadable, SignedReport, parse_signed_report
from storage.contract.wire import DocumentDescriptor, DocumentKind

EVER: Final = datetime.min.replace(tzinfo=UTC)


class Companions:
    """Finds what was fetched of one report version."""

    def __init__(self, journal: Journal, store: DocumentStore) -> None:
        self._journal = journal
        self._store = store

    def find(self, beside: DocumentDescriptor, kind: DocumentKind) -> bytes | None:
        """Return the proved bytes of the document of this kind, None while it is not here or no longer whole."""
        found = find_fetched(self._journal, beside.case_id, beside.report_version, kind)
        if found is None:
            return None
        try:
            content = self._store.path_of(found[0]).read_bytes()
            verify_content(found[0], content)
        except (FileNotFoundError, DocumentAltered):
            return None
        return content

    def find_pdf(self, beside: DocumentDescriptor) -> bytes | None:
        """Return the printable PDF itself, out of its DICOM object."""
        content = self.find(beside, DocumentKind.PDF)
        return None if content is None else pdf_of(content)

    def find_void(self, report: SignedReport) -> bool:
        """Return whether the hub has declared the report void."""
        return find_void_since(self._journal, [study.study_uid for study in report.studies], report.signed_at)

    def find_void_of(self, beside: DocumentDescriptor) -> bool:
        """Return whether the hub has declared the report of this document void.

        Where its signed text is not here, when the document was made stands for when it was signed.
        """
        if not find_void_since(self._journal, beside.study_uids, EVER):
            return False
        content = self.find(beside, DocumentKind.REPORT_JSON)
        with suppress(ReportUnreadable):
            if content is not None:
                return self.find_void(parse_signed_report(content))
        return find_void_since(self._journal, beside.study_uids, datetime.fromisoformat(beside.created_at))

    def find_orders(self, report: SignedReport) -> dict[str, Order]:
        """Return the site's orders that the report answers, by study UID; one of another patient is none.

        Further ones, which the studies do not name, are by accession number.
        """
        found: dict[str, Order] = {}
        for study in report.studies:
            row = find_by_accession(self._journal, study.accession_number) if study.accession_number else None
            row = row or find_by_study_uid(self._journal, Uid(study.study_uid))
            if row is not None and row.order.patient_number == report.patient.patient_number:
                found[study.study_uid] = row.order
        for study in report.further_studies:
            row = find_by_accession(self._journal, study.accession_number)
            if row is not None and row.order.patient_number == report.patient.patient_number:
                found[study.accession_number] = row.order
        return found

    def find_placers(self, orders: Mapping[str, Order]) -> dict[str, Placer]:
        """Return what the HIS calls those of the orders that it sent, by order id."""
        ids = dict.fromkeys(order.order_id for order in orders.values())
        return {one: Placer(*placer) for one in ids if (placer := find_placer(self._journal, one)) is not None}


def pdf_of(part10: bytes) -> bytes:
    """Return the PDF inside an Encapsulated PDF object, without the pad byte (PS3.3 section C.24.2)."""
    dataset = dcmread(BytesIO(part10))
    data = bytes(dataset.EncapsulatedDocument)
    return data[: int(dataset.get("EncapsulatedDocumentLength", len(data)))]
