"""Documents from a real HTTP peer into a real DICOM listener."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from gateway.clock import utc_now
from gateway.operations import Asker, limit_line
from storage.contract.identifiers import Uid, new_id, new_uid
from storage.contract.wire import DocumentDescriptor, DocumentKind, ReceiptStep
from tests.integration.gateway_link.conftest import Clinic
from tests.integration.gateway_link.hub_stand_in import SITE_ID, Fault, HubStandIn
from tests.integration.gateway_link.pacs_stand_in import BASIC_TEXT_SR, ENCAPSULATED_PDF, IMPLICIT, PacsStandIn
from tests.support.folders import files_under
from tests.support.waiting import eventually

# pynetdicom leaves a socket to the garbage collector when a peer cannot be reached.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")

SOP_CLASSES = {DocumentKind.SR: BASIC_TEXT_SR, DocumentKind.PDF: ENCAPSULATED_PDF}


@pytest.fixture
def pacs() -> Iterator[PacsStandIn]:
    listener = PacsStandIn()
    listener.start()
    yield listener
    listener.stop()


def make_document(kind: DocumentKind, study_uid: Uid, case_id: str) -> tuple[DocumentDescriptor, bytes]:
    uid = new_uid()
    content = b'{"report":"..."}' if kind is DocumentKind.REPORT_JSON else part10(SOP_CLASSES[kind], uid, study_uid)
    descriptor = DocumentDescriptor(
        document_id=new_id(),
        site_id=SITE_ID,
        case_id=case_id,
        report_version=1,
        study_uids=(study_uid,),
        kind=kind,
        media_type="application/json" if kind is DocumentKind.REPORT_JSON else "application/dicom",
        sop_instance_uid=None if kind is DocumentKind.REPORT_JSON else uid,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        created_at="2026-03-02T01:00:00Z",
    )
    return descriptor, content


def part10(sop_class: str, uid: str, study_uid: str) -> bytes:
    dataset = Dataset()
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = uid
    dataset.StudyInstanceUID = study_uid
    dataset.PatientName = "测试^患者"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def publish_report(hub: HubStandIn, study_uid: Uid) -> list[tuple[DocumentDescriptor, bytes]]:
    case_id = new_id()
    documents = [make_document(kind, study_uid, case_id) for kind in DocumentKind]
    for descriptor, content in documents:
        hub.publish(descriptor, content)
    return documents


def steps(hub: HubStandIn, document_id: str) -> list[tuple[str, str]]:
    with hub.lock:
        return [(str(r.step), r.target) for about, r in hub.receipts if about == document_id]


def test_report_is_kept_delivered_and_receipted(clinic: Clinic, hub: HubStandIn, pacs: PacsStandIn) -> None:
    clinic.connect(targets=[pacs.target()])
    study = new_uid()
    report, structured, pdf = publish_report(hub, study)

    def home() -> None:
        assert steps(hub, report[0].document_id) == [("fetched", "spool")]
        for descriptor, _ in (structured, pdf):
            assert steps(hub, descriptor.document_id) == [("fetched", "spool"), ("delivered", "pacs:main")]
        assert sorted(hub.hops()) == ["delivered"] * 2 + ["fetched"] * 3

    eventually(home)
    assert [r.seq for _, r in hub.receipts] == sorted(r.seq for _, r in hub.receipts)
    for descriptor, content in (structured, pdf):
        assert descriptor.sop_instance_uid is not None
        assert content.endswith(pacs.received[descriptor.sop_instance_uid])  # the very bytes that were signed
        kept = clinic.spool_dir / "documents" / descriptor.case_id / f"{descriptor.document_id}.dcm"
        assert kept.read_bytes() == content


def test_limit_of_the_line_counts_for_documents_too(clinic: Clinic, hub: HubStandIn) -> None:
    limit_line(clinic.journal, Asker("technician-1", utc_now()), 2.0)
    descriptor, _ = make_document(DocumentKind.REPORT_JSON, new_uid(), new_id())
    content = os.urandom(300_000)
    larger = descriptor.model_copy(update={"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    clinic.connect()
    hub.publish(larger, content)
    started = time.monotonic()
    eventually(lambda: _assert(steps(hub, larger.document_id) == [("fetched", "spool")]))
    assert time.monotonic() - started > 0.9 * len(content) / 250_000


def test_pacs_down_then_up_gets_everything_and_the_failure_is_told_once(
    clinic: Clinic, hub: HubStandIn, pacs: PacsStandIn
) -> None:
    pacs.stop()
    clinic.connect(targets=[pacs.target()])
    _, structured, _ = publish_report(hub, new_uid())

    def tried_more_than_once() -> None:
        row = clinic.journal.read(
            "SELECT attempts, problem FROM deliveries WHERE document_id = ?", (structured[0].document_id,)
        )
        assert row
        assert row[0]["attempts"] >= 2
        assert "cannot be reached" in row[0]["problem"]

    eventually(tried_more_than_once)
    pacs.start()
    eventually(lambda: _assert(len(pacs.received) == 2))
    expected = [("fetched", "spool"), ("failed", "pacs:main"), ("delivered", "pacs:main")]
    eventually(lambda: _assert(steps(hub, structured[0].document_id) == expected))


@pytest.mark.parametrize(("status", "words"), [(0xA700, "out of resources"), (0xC001, "cannot understand")])
def test_pacs_that_refuses_is_named_and_asked_again(
    clinic: Clinic, hub: HubStandIn, pacs: PacsStandIn, status: int, words: str
) -> None:
    pacs.status = status
    clinic.connect(targets=[pacs.target()])
    _, structured, _ = publish_report(hub, new_uid())

    def refused() -> None:
        reasons = [r.reason for d, r in hub.receipts if d == structured[0].document_id and r.step is ReceiptStep.FAILED]
        assert len(reasons) == 1
        assert words in reasons[0]

    eventually(refused)
    pacs.status = 0x0000
    with clinic.journal.transaction() as connection:
        connection.execute("UPDATE deliveries SET next_attempt_at = '2000-01-01T00:00:00.000000+00:00'")
    clinic.disconnect()
    clinic.connect(targets=[pacs.target()])
    eventually(lambda: _assert(len(pacs.received) == 2))


def test_warning_counts_as_delivered(clinic: Clinic, hub: HubStandIn, pacs: PacsStandIn) -> None:
    pacs.status = 0xB000
    clinic.connect(targets=[pacs.target()])
    _, structured, _ = publish_report(hub, new_uid())
    eventually(lambda: _assert(("delivered", "pacs:main") in steps(hub, structured[0].document_id)))


def test_pacs_that_does_not_know_us_is_named(clinic: Clinic, hub: HubStandIn, pacs: PacsStandIn) -> None:
    pacs.stop()
    pacs.allowed_calling = ["SOMEBODY"]
    pacs.start()
    clinic.connect(targets=[pacs.target()])
    publish_report(hub, new_uid())

    def named() -> None:
        rows = clinic.journal.read("SELECT problem FROM deliveries WHERE problem IS NOT NULL")
        assert rows
        assert "does not know our AE title" in rows[0]["problem"]

    eventually(named)


def test_old_pacs_that_takes_only_implicit_vr_gets_it(clinic: Clinic, hub: HubStandIn) -> None:
    pacs = PacsStandIn(syntax=IMPLICIT)
    pacs.start()
    try:
        clinic.connect(targets=[pacs.target()])
        _, structured, _ = publish_report(hub, new_uid())
        eventually(lambda: _assert(len(pacs.received) == 2))
        got = dcmread(BytesIO(pacs.received[str(structured[0].sop_instance_uid)]), force=True)
        assert str(got.PatientName) == "测试^患者"
    finally:
        clinic.disconnect()
        pacs.stop()


def test_altered_bytes_are_never_delivered_and_kept_aside(clinic: Clinic, hub: HubStandIn, pacs: PacsStandIn) -> None:
    clinic.connect(targets=[pacs.target()])
    descriptor, content = make_document(DocumentKind.SR, new_uid(), new_id())
    altered = content[:-1] + bytes([content[-1] ^ 1])
    hub.publish(descriptor, altered)
    sound, sound_content = make_document(DocumentKind.SR, new_uid(), new_id())
    hub.publish(sound, sound_content)
    eventually(lambda: _assert(sound.sop_instance_uid in pacs.received))
    eventually(lambda: _assert(steps(hub, descriptor.document_id) == [("failed", "spool")]))
    assert descriptor.sop_instance_uid not in pacs.received
    aside = list((clinic.spool_dir / "quarantine").glob("*.document"))
    assert [path.read_bytes() for path in aside] == [altered]
    assert not [path for path in files_under(clinic.spool_dir / "documents") if descriptor.document_id in path.name]


def test_forged_or_misaddressed_announcements_are_not_fetched(
    clinic: Clinic, hub: HubStandIn, pacs: PacsStandIn
) -> None:
    clinic.connect(targets=[pacs.target()])
    forged, content = make_document(DocumentKind.SR, new_uid(), new_id())
    hub.publish(forged, content, signature="A" * 86)
    elsewhere, content = make_document(DocumentKind.SR, new_uid(), new_id())
    hub.publish(elsewhere.model_copy(update={"site_id": "clinic-b"}), content)
    climber, content = make_document(DocumentKind.SR, new_uid(), new_id())
    hub.publish(climber.model_copy(update={"case_id": "../../x"}), content)
    sound, content = make_document(DocumentKind.SR, new_uid(), new_id())
    hub.publish(sound, content)
    eventually(lambda: _assert(list(pacs.received) == [sound.sop_instance_uid]))
    rows = clinic.journal.read("SELECT problem FROM documents WHERE kind = 'unverified' ORDER BY cursor")
    assert [row["problem"] for row in rows] == [
        "the hub's signature over the document does not verify",
        "the document is addressed to another site",
        "the id of the case or of the document has characters that no id has",
    ]
    assert not (clinic.spool_dir.parent / "x").exists()


def test_documents_come_through_a_line_that_breaks(clinic: Clinic, hub: HubStandIn, pacs: PacsStandIn) -> None:
    hub.faults += [
        Fault("GET /gateway/v1/documents\\?", status=502),
        Fault("GET /gateway/v1/documents\\?", status=200),
        Fault("GET /gateway/v1/documents/.*/content", drop_after_bytes=0),
        Fault("POST /gateway/v1/documents/.*/receipts", status=500),
    ]
    clinic.connect(targets=[pacs.target()])
    _, structured, pdf = publish_report(hub, new_uid())
    expected = [("fetched", "spool"), ("delivered", "pacs:main")]
    for descriptor, _ in (structured, pdf):
        eventually(lambda about=descriptor: _assert(steps(hub, about.document_id) == expected))


def _assert(condition: bool) -> None:
    assert condition
