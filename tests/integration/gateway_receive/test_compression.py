"""Images become smaller after they arrived, proved and without a moment in which power could take them."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from gateway.completeness import Patience
from gateway.completion import NOT_IN_TIME, CompletionSettings, CompletionWatcher
from gateway.compression import Compressor
from gateway.compression import compressor as compressor_module
from gateway.compression.replacing import settle_instance
from gateway.journal.database import Journal
from gateway.journal.instances import Compression, InstanceRow, find_instance
from gateway.scp.reception import ArrivingObject, Reception
from gateway.scp.store import InstanceReceiver
from gateway.scp.upper_layer import StoreRequest
from gateway.spool import RealFiles, Spool, SpoolState
from gateway.spool.durable import FileOperations
from gateway.spool.rebuild import rebuild
from gateway.stored_digests import take_stored_digests
from storage.contract.identifiers import Uid
from storage.dicom.elements import read_file_meta
from storage.dicom.part10 import file_meta_bytes
from storage.dicom.structure import check_structure
from storage.dicom.transcoding import prove_restorable, restored_dataset
from storage.dicom.transcoding.rewriting import to_implicit
from tests.integration.gateway_receive.instances import CT, EXPLICIT_LITTLE, STUDY, dataset_bytes, instance_uid
from tests.integration.gateway_receive.receiving import utc_now
from tests.integration.gateway_receive.test_power_loss import ignore_power_cut
from tests.support.waiting import eventually
from tests.unit.gateway.spool.forgetful_files import ForgetfulFiles

SIDE = 64
IMPLICIT = "1.2.840.10008.1.2"


def slice_bytes(number: int, noise: bool = False, **changed: str | int | bytes | None) -> bytes:
    """A slice that compresses well, or one of noise that does not."""
    pixels = np.indices((SIDE, SIDE)).sum(axis=0) + number
    if noise:
        pixels = np.random.default_rng(number).integers(0, 65536, (SIDE, SIDE))
        changed |= {"bits_stored": 16, "high_bit": 15}
    return dataset_bytes(number, rows=SIDE, columns=SIDE, pixels=pixels.astype("<u2").tobytes(), **changed)


class Box:
    """A spool and a journal into which instances come as if by C-STORE."""

    def __init__(self, directory: Path, files: FileOperations | None = None) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.journal = Journal(directory / "journal.sqlite3")
        self.files = files or RealFiles()

    def open(self) -> Box:
        self.spool = Spool(self.directory / "spool", self.files)
        return self

    def receive(self, number: int, dataset: bytes, syntax: str = EXPLICIT_LITTLE) -> int:
        receiver = InstanceReceiver(self.spool, self.journal, utc_now, on_instance=lambda _: None)
        uid = instance_uid(number)
        arriving = ArrivingObject(self.spool.begin, file_meta_bytes(CT, uid, syntax, "CT1"), limit_bytes=2**30)
        arriving.write(dataset)
        reception = Reception("a1", "127.0.0.1", utc_now(), "CT1")
        outcome = receiver.receive(reception, StoreRequest(1, 1, CT, uid, has_dataset=True), arriving)
        arriving.discard()
        return outcome.status

    def row(self, number: int) -> InstanceRow:
        row = find_instance(self.journal, Uid(instance_uid(number)))
        assert row is not None
        return row

    def path(self, number: int) -> Path:
        row = self.row(number)
        return self.spool.path_of(row.sop_instance_uid, row.study_uid, row.revision, row.state)

    def settle(self, number: int) -> Compression:
        return settle_instance(self.spool, self.journal, self.row(number), lambda: None)

    def received(self, number: int) -> bytes:
        """The dataset as it was received, out of whatever lies there now."""
        file = io.BytesIO(self.path(number).read_bytes())
        if self.row(number).received_transfer_syntax_uid is None:
            return file.getvalue()[read_file_meta(file).dataset_offset :]
        return b"".join(restored_dataset(file))


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path / "box").open()


def test_a_slice_becomes_smaller_and_the_journal_says_what_lies_there(box: Box) -> None:
    box.receive(1, slice_bytes(1))
    before = box.row(1)
    assert box.settle(1) is Compression.COMPRESSED
    row, file = box.row(1), box.path(1).read_bytes()
    assert row.compression is Compression.COMPRESSED
    assert row.received_transfer_syntax_uid == EXPLICIT_LITTLE
    assert row.received_sha256 == before.received_sha256 == prove_restorable(io.BytesIO(file)).received_sha256
    assert (row.stored_sha256, row.size_bytes) == (hashlib.sha256(file).hexdigest(), len(file))
    assert row.size_bytes < before.size_bytes / 2
    assert row.pixel_sha256 == hashlib.sha256(slice_bytes(1)[-2 * SIDE * SIDE :]).hexdigest()
    assert row.values_sha256
    assert box.received(1) == slice_bytes(1)
    assert list((box.spool.root / "tmp").iterdir()) == []


def test_what_does_not_shrink_stays_as_it_is_with_its_reason_and_digests(box: Box) -> None:
    box.receive(1, slice_bytes(1, noise=True))
    before = box.path(1).read_bytes()
    assert box.settle(1) is Compression.AS_IS
    row = box.row(1)
    assert row.compression_note is not None
    assert "smaller" in row.compression_note
    assert row.pixel_sha256
    assert row.values_sha256
    assert box.path(1).read_bytes() == before


def test_a_form_that_does_not_give_back_the_received_bytes_is_never_used(box: Box) -> None:
    box.receive(1, slice_bytes(1))
    before = box.path(1).read_bytes()
    with box.journal.transaction() as connection:
        connection.execute("UPDATE instances SET received_sha256 = ?", ("0" * 64,))
    assert box.settle(1) is Compression.AS_IS
    assert box.path(1).read_bytes() == before
    assert box.row(1).compression_note == "did not give back the received bytes"
    assert list((box.spool.root / "tmp").iterdir()) == []


def test_a_study_that_was_handed_over_meanwhile_keeps_the_file_that_its_manifest_names(box: Box) -> None:
    box.receive(1, slice_bytes(1))
    before = box.path(1).read_bytes()
    row = box.row(1)

    def handed_over() -> None:
        with box.journal.transaction() as connection:
            connection.execute("UPDATE instances SET compression = 'as_is', compression_note = ?", (NOT_IN_TIME,))

    settle_instance(box.spool, box.journal, row, handed_over)
    assert box.path(1).read_bytes() == before
    assert take_stored_digests(box.spool, box.journal, row.study_uid) == []
    assert box.row(1).stored_sha256 == hashlib.sha256(before).hexdigest()


def implicit(dataset: bytes) -> bytes:
    return to_implicit(dataset)


@pytest.mark.parametrize("settled", [True, False])
@pytest.mark.parametrize("state", [SpoolState.INCOMING, SpoolState.SENT])
def test_the_same_image_in_another_syntax_is_a_success_that_changes_nothing(
    box: Box, state: SpoolState, settled: bool
) -> None:
    box.receive(1, slice_bytes(1))
    if settled:
        box.settle(1)
    if state is SpoolState.SENT:
        box.spool.move_to_ready(Uid(STUDY), 1, [Uid(instance_uid(1))])
        box.spool.move_to_sent(Uid(STUDY), 1)
        with box.journal.transaction() as connection:
            connection.execute("UPDATE instances SET state = 'sent', revision = 1")
    before = box.row(1)
    assert box.receive(1, slice_bytes(1)) == 0x0000
    assert box.receive(1, implicit(slice_bytes(1)), IMPLICIT) == 0x0000
    assert box.row(1) == before
    assert list((box.spool.root / "quarantine").iterdir()) == []


@pytest.mark.parametrize("settled", [True, False])
@pytest.mark.parametrize(
    "other", [slice_bytes(1, patient_name="OTHER^NAME"), slice_bytes(2, sop_instance_uid=instance_uid(1))]
)
def test_another_image_under_the_same_uid_goes_to_quarantine(box: Box, other: bytes, settled: bool) -> None:
    box.receive(1, slice_bytes(1))
    if settled:
        box.settle(1)
    assert box.receive(1, other) != 0x0000
    assert box.receive(1, implicit(other), IMPLICIT) != 0x0000
    assert box.received(1) == slice_bytes(1)
    assert len(list((box.spool.root / "quarantine").glob("*.dcm"))) == 2


def test_the_index_is_made_again_from_compressed_files(box: Box, tmp_path: Path) -> None:
    for number in (1, 2):
        box.receive(number, slice_bytes(number))
    box.settle(1)
    before = box.row(1)
    again = Box(tmp_path / "again")
    shutil.copytree(box.spool.root, again.directory / "spool")
    again.open()
    rebuild(again.spool, again.journal, utc_now)
    row = again.row(1)
    for name in ("received_sha256", "stored_sha256", "pixel_sha256", "values_sha256", "compression"):
        assert getattr(row, name) == getattr(before, name), name
    assert row.received_transfer_syntax_uid == EXPLICIT_LITTLE
    assert again.row(2).compression is Compression.DUE


def live(box: Box) -> None:
    box.open()
    for number in (1, 2):
        box.receive(number, slice_bytes(number))
    box.settle(1)
    box.receive(3, slice_bytes(3))
    box.settle(3)


def test_power_may_go_at_any_operation_while_a_file_is_replaced(tmp_path: Path) -> None:
    def cut_after(operations: int | None, directory: Path) -> Box:
        directory.mkdir()
        box = Box(directory, ForgetfulFiles(directory / "spool", operations))
        ignore_power_cut(lambda: live(box))
        return box

    whole = cut_after(None, tmp_path / "whole").files
    assert isinstance(whole, ForgetfulFiles)
    assert whole.operations > 20
    outcomes = set()
    for operations in range(whole.operations + 1):
        before, after = tmp_path / "before", tmp_path / "after"
        cut = cut_after(operations, before)
        after.mkdir()
        assert isinstance(cut.files, ForgetfulFiles)
        cut.files.leave_after_power_loss(after / "spool")
        shutil.copy(before / "journal.sqlite3", after)
        for log in before.glob("journal.sqlite3-*"):
            shutil.copy(log, after)
        box = Box(after).open()
        report = rebuild(box.spool, box.journal, utc_now)
        assert report.instances_missing == 0
        assert take_stored_digests(box.spool, box.journal, Uid(STUDY)) == []
        assert not any("size" in line["reason"] for line in box.journal.read("SELECT reason FROM quarantine"))
        for row in box.journal.read("SELECT sop_instance_uid, stored_sha256, replacement FROM instances"):
            number = int(row["sop_instance_uid"].rpartition(".")[2])
            assert row["replacement"] is None
            assert hashlib.sha256(box.path(number).read_bytes()).hexdigest() == row["stored_sha256"]
            assert box.received(number) == slice_bytes(number), f"cut after {operations} operations"
            outcomes.add((number, box.row(number).compression))
        assert [file.name for file in (box.spool.root / "tmp").iterdir()] == []
        shutil.rmtree(before)
        shutil.rmtree(after)
    assert outcomes >= {(1, Compression.DUE), (1, Compression.COMPRESSED), (3, Compression.COMPRESSED)}


def watcher_of(box: Box, is_compressed: Callable[[Uid, str], bool]) -> CompletionWatcher:
    with box.journal.transaction() as connection:
        connection.execute("INSERT INTO identity VALUES (1, 'g', 'site-1', 'Site', 'hub', 'k', 'p', '')")
    settings = CompletionSettings(Patience(3600, 3600))
    return CompletionWatcher(box.spool, box.journal, settings, lambda: box.now, lambda: None, is_compressed)


def test_a_complete_study_is_handed_over_when_its_images_are_settled(box: Box) -> None:
    box.now = utc_now()
    for number in range(1, 9):
        box.receive(number, slice_bytes(number, noise=number == 2))
    compressor = Compressor(box.spool, box.journal, lambda: None)
    watcher = watcher_of(box, compressor.is_settled)
    watcher.force(Uid(STUDY))
    watcher.evaluate_all()
    assert box.row(1).state is SpoolState.INCOMING, "it waits for its compression"
    compressor.start()

    def handed_over() -> None:
        watcher.force(Uid(STUDY))
        watcher.evaluate_all()
        assert box.row(1).state is SpoolState.READY

    eventually(handed_over)
    compressor.stop()
    assert compressor.join(60)
    outcomes = {number: box.row(number).compression for number in range(1, 9)}
    assert outcomes == {n: Compression.AS_IS if n == 2 else Compression.COMPRESSED for n in range(1, 9)}
    manifest = box.journal.read("SELECT manifest FROM transfers")[0]["manifest"]
    assert box.row(1).stored_sha256 in manifest
    assert box.row(1).values_sha256 in manifest


def test_a_study_does_not_wait_for_a_compression_that_never_comes(box: Box) -> None:
    box.now = utc_now()
    box.receive(1, slice_bytes(1))
    watcher = watcher_of(box, lambda _study, _lane: False)
    for later in (timedelta(0), timedelta(seconds=890)):
        box.now += later
        watcher.force(Uid(STUDY))
        watcher.evaluate_all()
        assert box.row(1).state is SpoolState.INCOMING
    box.now += timedelta(seconds=20)
    watcher.evaluate_all()
    assert box.row(1).state is SpoolState.READY
    assert box.row(1).compression_note == NOT_IN_TIME


def test_receiving_comes_first_but_not_for_a_study_that_waits(box: Box) -> None:
    box.receive(1, slice_bytes(1))
    compressor = Compressor(box.spool, box.journal, lambda: None)
    compressor.notice_arrival()
    assert compressor._find() is None
    compressor.is_settled(Uid(STUDY), "routine")
    found = compressor._find()
    assert found is not None
    assert found.sop_instance_uid == instance_uid(1)


def test_compression_begins_when_an_association_has_ended(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REST_AFTER_ARRIVAL_S", "IDLE_S"):
        monkeypatch.setattr(compressor_module, name, 3600)
    box.receive(1, slice_bytes(1))
    compressor = Compressor(box.spool, box.journal, lambda: None)
    compressor.notice_arrival()
    compressor.start()
    compressor.notice_silence()

    def settled() -> None:
        assert box.row(1).compression is Compression.COMPRESSED

    eventually(settled)
    compressor.stop()
    assert compressor.join(60)


def test_a_small_study_does_not_wait_for_a_large_one_but_stat_goes_before_both(box: Box) -> None:
    for number, study in enumerate(["1.2.1", "1.2.1", "1.2.1", "1.2.2", "1.2.3", "1.2.3"], start=1):
        box.receive(number, slice_bytes(number, study_uid=study))
    compressor = Compressor(box.spool, box.journal, lambda: None)
    compressor.notice_arrival()
    found = []
    for study, lane in (("1.2.1", "routine"), ("1.2.2", "routine"), ("1.2.3", "stat")):
        compressor.is_settled(Uid(study), lane)
        row = compressor._find()
        assert row is not None
        found.append(row.study_uid)
    assert found == ["1.2.1", "1.2.2", "1.2.3"]


def test_a_failure_leaves_the_instance_as_it_is(box: Box) -> None:
    box.receive(1, slice_bytes(1))
    box.path(1).rename(box.directory / "gone")
    compressor = Compressor(box.spool, box.journal, lambda: None)
    compressor.start()

    def settled() -> None:
        assert box.row(1).compression is Compression.AS_IS

    eventually(settled)
    compressor.stop()
    assert compressor.join(60)


def test_frames_of_a_compressed_file_are_told_apart(box: Box) -> None:
    box.receive(1, slice_bytes(1))
    box.settle(1)
    with box.path(1).open("rb") as file:
        assert len(check_structure(file).frames) == 1
