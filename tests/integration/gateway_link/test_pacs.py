"""One PACS: what it refuses, what it breaks off, what an old one can read; each document for itself."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom import AE, evt

from gateway.journal.hub_news import add_hub_events
from gateway.returns.void_note import KEY_OBJECT_SELECTION
from storage.contract.hops import Hop
from storage.contract.wire import DocumentKind, HubEvent
from tests.integration.gateway_link.conftest import Clinic
from tests.integration.gateway_link.documents import PDF, publish_signed
from tests.integration.gateway_link.hub_stand_in import HubStandIn
from tests.integration.gateway_link.pacs_stand_in import BASIC_TEXT_SR, ENCAPSULATED_PDF, EXPLICIT, PacsStandIn
from tests.support.storescp import running_storescp
from tests.support.waiting import eventually

pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")


def codes(hub: HubStandIn, document_id: str) -> list[str]:
    with hub.lock:
        return [r.code or str(r.step) for about, r in hub.receipts if about == document_id and r.target != "spool"]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (0xA700, "pacs_out_of_resources"),
        (0xA9FF, "pacs_data_set_mismatch"),
        (0xC000, "pacs_cannot_understand"),
        (0x0124, "pacs_refused"),
    ],
)
def test_each_class_of_refusal_has_its_code(clinic: Clinic, hub: HubStandIn, status: int, code: str) -> None:
    pacs = PacsStandIn()
    pacs.status = status
    pacs.start()
    try:
        clinic.connect(targets=[pacs.target()])
        report = publish_signed(hub)
        eventually(lambda: _is(codes(hub, report.document_id(DocumentKind.SR)), [code]))
        receipt = next(r for _, r in hub.receipts if r.code == code)
        assert receipt.params["status"] == f"{status:04X}"
        assert f"{status:04X}" in receipt.reason
    finally:
        clinic.disconnect()
        pacs.stop()


def test_a_document_that_breaks_the_association_does_not_hold_up_those_behind_it(
    clinic: Clinic, hub: HubStandIn
) -> None:
    stored: list[str] = []

    def store(event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        if uid == poison:
            event.assoc.abort()
        stored.append(uid)
        return 0

    entity = AE(ae_title="PACS")
    for sop_class in (BASIC_TEXT_SR, ENCAPSULATED_PDF):
        entity.add_supported_context(sop_class, EXPLICIT)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    reports = [publish_signed(hub) for _ in range(3)]
    poison = str(dcmread(BytesIO(reports[0].documents[DocumentKind.SR][1])).SOPInstanceUID)
    try:
        port = server.server_address[1]
        clinic.connect(
            targets=[{"name": "main", "host": "127.0.0.1", "port": port, "ae_title": "PACS", "timeout_s": 30}]
        )
        for report in reports[1:]:
            eventually(lambda about=report: _is(codes(hub, about.document_id(DocumentKind.SR)), ["delivered"]))
        eventually(lambda: _is(codes(hub, reports[0].document_id(DocumentKind.PDF)), ["delivered"]))
        eventually(lambda: _is(codes(hub, reports[0].document_id(DocumentKind.SR)), ["pacs_no_answer"]))
    finally:
        clinic.disconnect()
        server.shutdown()


@pytest.mark.services
@pytest.mark.parametrize("character_set", ["GB18030", "ISO 2022 IR 58", "ISO_IR 192"])
def test_an_old_pacs_reads_the_same_values_under_the_same_uid(
    clinic: Clinic, hub: HubStandIn, tmp_path: Path, character_set: str
) -> None:
    with running_storescp(tmp_path / "pacs") as pacs:
        clinic.connect(targets=[pacs.target(character_set=character_set)])
        report = publish_signed(hub)
        eventually(lambda: _is(len(codes(hub, report.document_id(DocumentKind.PDF))), 1))
        eventually(lambda: _is(len(codes(hub, report.document_id(DocumentKind.SR))), 1))
        got = {str(dcmread(path).SOPClassUID): dcmread(path) for path in pacs.files()}
        clinic.disconnect()
    for kind, sop_class in ((DocumentKind.SR, BASIC_TEXT_SR), (DocumentKind.PDF, ENCAPSULATED_PDF)):
        signed = dcmread(BytesIO(report.documents[kind][1]))
        assert got[sop_class].SOPInstanceUID == signed.SOPInstanceUID
        assert str(got[sop_class].PatientName) == str(signed.PatientName) == "Zhang^San=张^三䶮"
    assert bytes(got[ENCAPSULATED_PDF].EncapsulatedDocument)[: len(PDF)] == PDF
    # 䶮 is in GB18030 and not in GB 2312: what the old set cannot say goes as it was signed.
    declared = "GB18030" if character_set == "GB18030" else "ISO_IR 192"
    assert {str(one.SpecificCharacterSet) for one in got.values()} == {declared}
    kept = clinic.spool_dir / "documents" / report.content.case_id / f"{report.document_id(DocumentKind.SR)}.dcm"
    assert kept.read_bytes() == report.documents[DocumentKind.SR][1]


@pytest.mark.services
@pytest.mark.parametrize("character_set", ["GB18030", "ISO_IR 192"])
def test_a_report_that_is_declared_void_is_rejected_at_the_pacs_once_for_each_object(
    clinic: Clinic, hub: HubStandIn, tmp_path: Path, character_set: str
) -> None:
    with running_storescp(tmp_path / "pacs") as pacs:
        clinic.connect(targets=[pacs.target(character_set=character_set)])
        report = publish_signed(hub)
        for kind in (DocumentKind.SR, DocumentKind.PDF):
            eventually(lambda kind=kind: _is(codes(hub, report.document_id(kind)), ["delivered"]))
        study_uid, signed_at = report.content.studies[0].study_uid, report.content.signed_at
        void_at = signed_at + timedelta(hours=1)
        voided = HubEvent(event_id=7, study_uid=study_uid, hop=Hop.VOIDED, at=void_at, actor_name="")
        for _ in range(2):  # told twice it is void once
            add_hub_events(clinic.journal, [voided], voided.at)
            clinic.disconnect()
            clinic.connect(targets=[pacs.target(character_set=character_set)])
            eventually(lambda: _is(len(pacs.files()), 4))
        clinic.disconnect()
        told = {path: dcmread(path) for path in pacs.files()}
    notes = {path: one for path, one in told.items() if one.SOPClassUID == KEY_OBJECT_SELECTION}
    rejected = {one.ContentSequence[1].ReferencedSOPSequence[0].ReferencedSOPInstanceUID for one in notes.values()}
    assert rejected == {one.SOPInstanceUID for one in told.values()} - {one.SOPInstanceUID for one in notes.values()}
    for path, note in notes.items():
        assert note.ConceptNameCodeSequence[0].CodeValue == "113037"
        assert (note.StudyInstanceUID, str(note.PatientName)) == (study_uid, "Zhang^San=张^三䶮")
        read = subprocess.run(["dsrdump", path], capture_output=True, check=True)  # another maker's reading
        assert b"Rejected for Patient Safety Reasons" in read.stdout


def test_pacs_that_gets_only_the_sr_is_all_the_home_it_says_it_is(clinic: Clinic, hub: HubStandIn) -> None:
    pacs = PacsStandIn()
    pacs.start()
    try:
        clinic.connect(targets=[pacs.target() | {"documents": ["sr"]}])
        report = publish_signed(hub)
        eventually(lambda: _is(codes(hub, report.document_id(DocumentKind.SR)), ["delivered"]))
        assert codes(hub, report.document_id(DocumentKind.PDF)) == []
        assert [r.takes for _, r in hub.receipts if r.step == "delivered"] == [("sr",)]
    finally:
        clinic.disconnect()
        pacs.stop()


def test_document_that_the_disk_has_altered_goes_nowhere(clinic: Clinic, hub: HubStandIn) -> None:
    pacs = PacsStandIn()
    pacs.status = 0xA700
    pacs.start()
    try:
        clinic.connect(targets=[pacs.target()])
        report = publish_signed(hub)
        sr = report.document_id(DocumentKind.SR)
        eventually(lambda: _is(codes(hub, sr), ["pacs_out_of_resources"]))
        clinic.disconnect()
        path = clinic.spool_dir / "documents" / report.content.case_id / f"{sr}.dcm"
        path.write_bytes(path.read_bytes()[:-1] + b"!")
        pacs.status = 0
        with clinic.journal.transaction() as connection:
            connection.execute("UPDATE deliveries SET next_attempt_at = '2000-01-01T00:00:00.000000+00:00'")
        clinic.connect(targets=[pacs.target()])
        eventually(lambda: _is(codes(hub, sr)[-1], "document_other_digest"))
        eventually(lambda: _is(codes(hub, report.document_id(DocumentKind.PDF))[-1], "delivered"))
        assert len(pacs.received) == 1
    finally:
        clinic.disconnect()
        pacs.stop()


def _is(found: object, expected: object) -> None:
    assert found == expected
