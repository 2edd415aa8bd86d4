"""From a signed report to stored and announced documents, on a real database and store."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydicom import dcmread
from sqlalchemy import select

from reading_queue.db.tables import Document, Report
from reading_queue.errors import NotFound
from reading_queue.services.access.keys import hub_key
from reading_queue.services.hub import Hub
from reading_queue.services.reports.report_documents import find_pdf, report_document
from reading_queue.services.reports.reports import DOCUMENTS_CHANNEL, render
from storage.catalogue.tables import Instance, Series, Study
from storage.contract.wire import DocumentDescriptor, DocumentKind
from storage.ledger.tables import CustodyEvent
from storage.objects.protocol import ObjectStore, StoreUnavailable
from tests.integration.hub_documents.conftest import SignedCase, add_image
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres


def documents_of(hub: Hub, case: SignedCase) -> list[Document]:
    with hub.transaction() as session:
        return list(session.scalars(select(Document).where(Document.case_id == case.case_id).order_by(Document.cursor)))


def custody_of(hub: Hub, case: SignedCase) -> list[CustodyEvent]:
    with hub.transaction() as session:
        return list(session.scalars(select(CustodyEvent).where(CustodyEvent.case_id == case.case_id)))


def test_each_document_is_stored_with_the_hash_that_is_announced(
    hub: Hub, signed_case: SignedCase, fonts_dir: Path
) -> None:
    render(hub, signed_case.report_id, fonts_dir)
    documents = documents_of(hub, signed_case)
    assert [document.kind for document in documents] == ["report_json", "sr", "pdf"]
    for document in documents:
        stored = hub.objects.read(document.object_key)
        assert hashlib.sha256(stored).hexdigest() == document.sha256
        assert len(stored) == document.size_bytes
        assert document.object_key.startswith(f"documents/{signed_case.case_id}/1/report.")


def test_the_hub_signs_what_it_says_about_each_document(hub: Hub, signed_case: SignedCase, fonts_dir: Path) -> None:
    render(hub, signed_case.report_id, fonts_dir)
    key_id, public_key = hub_key(hub)
    verifier = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(public_key + "="))
    for document in documents_of(hub, signed_case):
        assert document.hub_key_id == key_id
        verifier.verify(base64.urlsafe_b64decode(document.signature + "=="), document.canonical.encode())
        descriptor = DocumentDescriptor.model_validate_json(document.canonical)
        assert (descriptor.document_id, descriptor.sha256) == (document.document_id, document.sha256)
        assert descriptor.study_uids == (signed_case.study_uid,)
        assert descriptor.report_version == 1


def test_the_delivered_json_carries_the_signed_bytes_untouched(
    hub: Hub, signed_case: SignedCase, fonts_dir: Path
) -> None:
    render(hub, signed_case.report_id, fonts_dir)
    document = report_document(hub, signed_case.case_id, DocumentKind.REPORT_JSON)
    envelope = json.loads(hub.objects.read(document.object_key))
    padding = "=" * (-len(envelope["content"]) % 4)
    assert base64.urlsafe_b64decode(envelope["content"] + padding) == signed_case.content.canonical()


def test_the_structured_report_names_the_images_that_were_there_when_it_was_signed(
    hub: Hub, signed_case: SignedCase, fonts_dir: Path, hub_clock: SteerableClock
) -> None:
    with hub.transaction() as session:
        read = set(session.scalars(select(Instance.sop_instance_uid)))
        series = session.scalars(select(Series)).one()
        hub_clock.advance(60)
        late = add_image(session, hub, signed_case.site_id, series.series_id, series.study_id)
    render(hub, signed_case.report_id, fonts_dir)
    sr = dcmread(io.BytesIO(hub.objects.read(report_document(hub, signed_case.case_id, DocumentKind.SR).object_key)))
    references = sr.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    named = {reference.ReferencedSOPInstanceUID for reference in references}
    assert named == read
    assert late not in named


def test_the_printable_pdf_is_there_for_the_desks(hub: Hub, signed_case: SignedCase, fonts_dir: Path) -> None:
    assert find_pdf(hub, signed_case.case_id) is None
    with pytest.raises(NotFound):
        report_document(hub, signed_case.case_id, DocumentKind.PDF)
    render(hub, signed_case.report_id, fonts_dir)
    pdf = find_pdf(hub, signed_case.case_id)
    assert pdf is not None
    assert pdf.startswith(b"%PDF-")
    encapsulated = hub.objects.read(report_document(hub, signed_case.case_id, DocumentKind.PDF).object_key)
    dataset = dcmread(io.BytesIO(encapsulated))
    assert dataset.EncapsulatedDocument[: dataset.EncapsulatedDocumentLength] == pdf


def test_rendered_twice_there_is_one_set_and_one_line_in_the_ledger(
    hub: Hub, signed_case: SignedCase, fonts_dir: Path
) -> None:
    render(hub, signed_case.report_id, fonts_dir)
    first = [(document.document_id, document.sha256) for document in documents_of(hub, signed_case)]
    render(hub, signed_case.report_id, fonts_dir)
    assert [(document.document_id, document.sha256) for document in documents_of(hub, signed_case)] == first
    assert [(event.hop, event.study_uid) for event in custody_of(hub, signed_case)] == [
        ("rendered", signed_case.study_uid)
    ]


def test_two_workers_at_once_announce_one_set(hub: Hub, signed_case: SignedCase, fonts_dir: Path) -> None:
    with ThreadPoolExecutor(4) as workers:
        for work in [workers.submit(render, hub, signed_case.report_id, fonts_dir) for _ in range(4)]:
            work.result()
    assert len(documents_of(hub, signed_case)) == 3
    assert len(custody_of(hub, signed_case)) == 1


class FailsAt:
    """The store of the hub, that cannot be reached for one object."""

    def __init__(self, objects: ObjectStore, file_name: str) -> None:
        self._objects = objects
        self._file_name = file_name

    def __getattr__(self, name: str) -> object:
        return getattr(self._objects, name)

    def put(self, key: str, body: bytes, size_bytes: int) -> None:
        if key.endswith(self._file_name):
            raise StoreUnavailable(key)
        self._objects.put(key, body, size_bytes)


def test_what_a_lost_store_interrupted_is_finished_later_with_the_same_bytes(
    hub: Hub, signed_case: SignedCase, fonts_dir: Path
) -> None:
    with pytest.raises(StoreUnavailable):
        render(
            dataclasses.replace(hub, objects=FailsAt(hub.objects, "report.pdf.dcm")), signed_case.report_id, fonts_dir
        )
    assert documents_of(hub, signed_case) == []
    with hub.transaction() as session:
        assert session.get_one(Report, signed_case.report_id).rendered_at is None
    half = hub.objects.read(f"documents/{signed_case.case_id}/1/report.sr.dcm")
    render(hub, signed_case.report_id, fonts_dir)
    assert hub.objects.read(report_document(hub, signed_case.case_id, DocumentKind.SR).object_key) == half
    with hub.transaction() as session:
        assert session.get_one(Report, signed_case.report_id).rendered_at == hub.clock()


def test_those_who_wait_for_the_site_are_woken(
    hub: Hub, database_url: sa.URL, signed_case: SignedCase, fonts_dir: Path
) -> None:
    parts = database_url.translate_connect_args(username="user", database="dbname")
    with psycopg.connect(**parts, **dict(database_url.query), autocommit=True) as listener:
        listener.execute(f"LISTEN {DOCUMENTS_CHANNEL}")
        render(hub, signed_case.report_id, fonts_dir)
        heard = list(listener.notifies(timeout=5, stop_after=1))
    assert [notice.payload for notice in heard] == [signed_case.site_id]


def test_a_correction_names_the_structured_report_before_it(
    hub: Hub, signed_case: SignedCase, sign_case: Callable[..., SignedCase], fonts_dir: Path
) -> None:
    render(hub, signed_case.report_id, fonts_dir)
    before = report_document(hub, signed_case.case_id, DocumentKind.SR)
    correction = sign_case(after=signed_case)
    render(hub, correction.report_id, fonts_dir)
    after = report_document(hub, signed_case.case_id, DocumentKind.SR)
    assert after.sop_instance_uid != before.sop_instance_uid
    sr = dcmread(io.BytesIO(hub.objects.read(after.object_key)))
    series = sr.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == before.sop_instance_uid


def test_the_documents_lie_in_the_study_and_in_the_time_zone_of_the_site(
    hub: Hub, signed_case: SignedCase, fonts_dir: Path
) -> None:
    render(hub, signed_case.report_id, fonts_dir)
    with hub.transaction() as session:
        study = session.scalars(select(Study)).one()
    for kind in (DocumentKind.SR, DocumentKind.PDF):
        dataset = dcmread(io.BytesIO(hub.objects.read(report_document(hub, signed_case.case_id, kind).object_key)))
        assert dataset.StudyInstanceUID == study.study_uid
        assert (dataset.TimezoneOffsetFromUTC, dataset.ContentTime) == ("+0800", "090000")


def test_an_unknown_report_is_refused(hub: Hub, fonts_dir: Path) -> None:
    with pytest.raises(NotFound):
        render(hub, "0" * 32, fonts_dir)
