"""Reports into folders, and on the print page."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gateway.clock import utc_now
from gateway.journal import deliveries
from gateway.targets import FOLDER_MARKER
from storage.contract.identifiers import new_id
from storage.contract.wire import DocumentKind
from storage.hl7.message import parse_message
from tests.integration.gateway_link.conftest import Clinic
from tests.integration.gateway_link.documents import PDF, publish_signed
from tests.integration.gateway_link.hub_stand_in import HubStandIn
from tests.support.waiting import eventually


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "share"
    path.mkdir()
    (path / FOLDER_MARKER).touch()
    return path


def target(folder: Path, **changes: object) -> dict[str, object]:
    return {"name": "share", "kind": "folder", "path": str(folder), **changes}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {FOLDER_MARKER}


def problem(clinic: Clinic) -> str:
    rows = clinic.journal.read("SELECT problem FROM deliveries WHERE problem IS NOT NULL")
    return rows[0]["problem"] if rows else ""


def test_every_content_is_a_whole_file_named_by_ids(clinic: Clinic, hub: HubStandIn, folder: Path) -> None:
    clinic.connect(targets=[target(folder, contents=["pdf", "sr", "json", "hl7"])])
    report = publish_signed(hub)
    stem = f"{report.content.case_id}-v1"
    expected = {f"{stem}.pdf", f"{stem}.sr.dcm", f"{stem}.json", f"{stem}.hl7"}
    eventually(lambda: _is(names(folder), expected))
    assert (folder / f"{stem}.pdf").read_bytes() == PDF
    for kind, ending in ((DocumentKind.SR, "sr.dcm"), (DocumentKind.REPORT_JSON, "json")):
        assert (folder / f"{stem}.{ending}").read_bytes() == report.documents[kind][1]
    message = parse_message((folder / f"{stem}.hl7").read_bytes(), "UNICODE UTF-8")
    assert message.get("PID", 3) == "P20260001"
    assert (folder / f"{stem}.pdf").stat().st_mode & 0o777 == 0o640
    everything = ("report_json", "sr", "pdf")
    eventually(lambda: _is({r.takes for _, r in hub.receipts if r.step == "delivered"}, {everything}))


def test_names_may_say_more_and_stay_names(clinic: Clinic, hub: HubStandIn, folder: Path) -> None:
    pattern = "{accession_number} {patient_name}-{document_id}"
    clinic.connect(targets=[target(folder, file_name=pattern)])
    report = publish_signed(hub)
    eventually(lambda: _is(names(folder), {f"A2026-0001_张_三䶮-{report.document_id(DocumentKind.PDF)}.pdf"}))


def test_unmounted_share_is_named_and_its_mount_point_stays_empty(
    clinic: Clinic, hub: HubStandIn, folder: Path
) -> None:
    (folder / FOLDER_MARKER).unlink()
    clinic.connect(targets=[target(folder)])
    publish_signed(hub)
    eventually(lambda: _in("mount the share", problem(clinic)))
    assert names(folder) == set()
    (folder / FOLDER_MARKER).touch()
    eventually(lambda: _is(len(names(folder)), 1))


def test_missing_folder_is_named(clinic: Clinic, hub: HubStandIn, folder: Path) -> None:
    clinic.connect(targets=[target(folder / "gone")])
    publish_signed(hub)
    eventually(lambda: _in("does not exist", problem(clinic)))


def test_another_file_of_the_name_is_never_replaced_and_the_same_one_counts(
    clinic: Clinic, hub: HubStandIn, folder: Path
) -> None:
    case_id = new_id()
    taken = folder / f"{case_id}-v1.pdf"
    taken.write_bytes(b"somebody else's")
    clinic.connect(targets=[target(folder)])
    publish_signed(hub, case_id=case_id)
    eventually(lambda: _in("another file under the name", problem(clinic)))
    assert taken.read_bytes() == b"somebody else's"
    taken.write_bytes(PDF)  # as a gateway that was cut off after the rename would find it
    before = taken.stat().st_ino
    deliveries.requeue_target(clinic.journal, "folder:share", utc_now())
    clinic.disconnect()
    clinic.connect(targets=[target(folder)])
    eventually(lambda: _is(problem(clinic), ""))
    assert taken.stat().st_ino == before


def test_full_folder_is_named_and_leaves_no_half_file(
    clinic: Clinic, hub: HubStandIn, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync
    full = {"is": True}

    def fsync(descriptor: int) -> None:
        if full["is"] and Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(folder):
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    clinic.connect(targets=[target(folder)])
    publish_signed(hub)
    eventually(lambda: _in("is full", problem(clinic)))
    assert names(folder) == set()
    full["is"] = False
    eventually(lambda: _is(len(names(folder)), 1))


def test_report_is_at_home_when_a_person_has_opened_it(clinic: Clinic, hub: HubStandIn) -> None:
    clinic.connect(targets=[])  # no target at all: people read on the console
    report = publish_signed(hub)
    document_id = report.document_id(DocumentKind.REPORT_JSON)
    eventually(lambda: _is(len(deliveries.list_waiting(clinic.journal, "print:console", 10)), 1))
    assert not [r for _, r in hub.receipts if r.step == "delivered"]
    assert deliveries.mark_opened(clinic.journal, document_id, "account-1", "report_viewed", utc_now())
    assert not deliveries.mark_opened(clinic.journal, document_id, "account-2", "report_printed", utc_now())
    clinic.disconnect()
    clinic.connect(targets=[])
    eventually(lambda: _is([r.target for _, r in hub.receipts if r.step == "delivered"], ["print:console"]))
    hop = json.loads(clinic.journal.read("SELECT detail FROM custody WHERE hop = 'delivered'")[0]["detail"])
    assert (hop["how"], hop["by"]) == ("report_viewed", "account-1")


def test_opening_the_newer_version_settles_the_older_one(clinic: Clinic, hub: HubStandIn) -> None:
    clinic.connect(targets=[{"name": "desk", "kind": "print"}])
    case_id = new_id()
    publish_signed(hub, case_id=case_id)
    newer = publish_signed(hub, case_id=case_id, version=2)
    eventually(lambda: _is(len(deliveries.list_waiting(clinic.journal, "print:desk", 10)), 2))
    deliveries.mark_opened(
        clinic.journal, newer.document_id(DocumentKind.REPORT_JSON), "a1", "report_viewed", utc_now()
    )
    assert deliveries.list_waiting(clinic.journal, "print:desk", 10) == []


def _is(found: object, expected: object) -> None:
    assert found == expected


def _in(words: str, text: str) -> None:
    assert words in text
