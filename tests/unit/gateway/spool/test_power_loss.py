"""Documents, quarantine and the removal of confirmed studies, cut off by power loss after any single operation."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.clock import utc_now
from gateway.forwarder.keeper import Keeper
from gateway.journal.database import Journal
from gateway.journal.instances import instances_of
from gateway.returns.store import DocumentStore
from gateway.spool import QuarantineReason, RealFiles, Spool, SpoolState
from gateway.spool.rebuild import rebuild
from storage.contract.identifiers import Uid
from storage.contract.wire import DocumentDescriptor, DocumentKind
from tests.integration.gateway_receive.instances import STUDY
from tests.integration.gateway_receive.test_power_loss import Clinic
from tests.unit.gateway.spool.forgetful_files import ForgetfulFiles, PowerCut

DOCUMENT = DocumentDescriptor(
    document_id="d1",
    site_id="clinic-1",
    case_id="c1",
    report_version=1,
    study_uids=(Uid("1.2"),),
    kind=DocumentKind.PDF,
    media_type="application/dicom",
    sop_instance_uid=Uid("1.2.3"),
    sha256="0" * 64,
    size_bytes=7,
    created_at="",
)
REASON = QuarantineReason("not_dicom", "words", "remedy", "", None, None, "CT1")


def save_document(spool: Spool) -> None:
    DocumentStore(spool.root, spool.files).save_document(DOCUMENT, b"content")


def set_aside(spool: Spool) -> None:
    refused = spool.begin()
    refused.write(b"garbage")
    refused.seal()
    spool.quarantine(refused.path, REASON)


def left_after(directory: Path, action: Callable[[Spool], None], operations: int | None) -> tuple[Path, bool, int]:
    """Return what the disk holds after a cut, whether the action had returned before it, and all its operations."""
    directory.mkdir()
    files = ForgetfulFiles(directory / "live", operations)
    done = False
    try:
        action(Spool(directory / "live", files))
        done = True
    except PowerCut:
        pass
    files.leave_after_power_loss(directory / "left")
    return directory / "left", done, files.operations


@pytest.mark.parametrize("action", [save_document, set_aside])
def test_file_is_whole_or_absent_and_there_once_we_were_told(action: Callable[[Spool], None], tmp_path: Path) -> None:
    _, _, total = left_after(tmp_path / "whole", action, None)
    assert total > 8
    for operations in range(total + 1):
        left, done, _ = left_after(tmp_path / str(operations), action, operations)
        documents = [path.read_bytes() for path in left.glob("documents/*/*")]
        aside = sorted((left / "quarantine").glob("*.dcm")) if (left / "quarantine").is_dir() else []
        assert documents in ([], [b"content"])
        assert [path.read_bytes() for path in aside] in ([], [b"garbage"])
        assert all(json.loads(path.with_suffix(".json").read_text())["code"] == "not_dicom" for path in aside)
        assert len(documents) + len(aside) == 1 if done else True
        Spool(left, RealFiles())  # a start on what is left finds nothing in its way


def evict(clinic: Clinic) -> None:
    clinic.live()
    rebuild(clinic.spool, clinic.journal, utc_now)
    with clinic.journal.transaction() as connection:
        connection.execute("UPDATE transfers SET confirmed_at = completed_at WHERE state = 'confirmed'")
    clinic.before_eviction = clinic.files.operations
    Keeper(clinic.journal, clinic.spool, keep=timedelta(days=7), clock=utc_now).make_room(2**40)


def test_removal_of_a_confirmed_study_that_power_cuts_off_is_finished_and_the_others_stay(tmp_path: Path) -> None:
    whole = Clinic(tmp_path / "whole", None)
    evict(whole)
    assert list((whole.spool.root / SpoolState.SENT).iterdir()) == []
    total = whole.files.operations
    for operations in range(whole.before_eviction, total + 1):
        clinic = Clinic(tmp_path / f"{operations}", operations)
        with suppress(PowerCut):
            evict(clinic)
        clinic.files.leave_after_power_loss(tmp_path / f"{operations}-left")
        spool, journal = Spool(tmp_path / f"{operations}-left", RealFiles()), clinic.journal
        assert isinstance(journal, Journal)
        assert rebuild(spool, journal, utc_now).instances_missing == 0
        Keeper(journal, spool, keep=timedelta(0), clock=lambda: utc_now() + timedelta(days=1)).step()
        assert list((spool.root / SpoolState.SENT).iterdir()) == []
        left = instances_of(journal, Uid(STUDY))
        assert {row.state for row in left} == {SpoolState.INCOMING}, "what was not confirmed stays"
