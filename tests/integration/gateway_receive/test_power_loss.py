"""Power may go after any single operation on the disk: what was acknowledged is there when it comes back."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

from gateway.completeness import Patience
from gateway.completion import CompletionSettings, CompletionWatcher
from gateway.journal.database import Journal
from gateway.journal.instances import InstanceRow, find_instance, instances_of
from gateway.scp.publishing import Arrival, Publisher
from gateway.scp.reception import ArrivingObject, Reception
from gateway.scp.store import InstanceReceiver
from gateway.scp.upper_layer import StoreRequest
from gateway.spool import RealFiles, Spool, SpoolState
from gateway.spool.inspection import digest_file, inspect
from gateway.spool.rebuild import rebuild
from storage.contract.identifiers import Uid
from storage.dicom.part10 import file_meta_bytes
from tests.integration.gateway_receive.instances import CT, EXPLICIT_LITTLE, STUDY, dataset_bytes, instance_uid
from tests.integration.gateway_receive.receiving import utc_now
from tests.unit.gateway.spool.forgetful_files import ForgetfulFiles, PowerCut

OTHER_STUDY = f"{STUDY}.77"


class Clinic:
    """A gateway without a network: instances arrive, are handed over, one comes late, the first are confirmed."""

    def __init__(self, directory: Path, operations_left: int | None) -> None:
        directory.mkdir()
        self.directory = directory
        self.files = ForgetfulFiles(directory / "spool", operations_left)
        self.journal = Journal(directory / "journal.sqlite3")
        self.acknowledged: list[str] = []

    def live(self) -> None:
        self.spool = Spool(self.directory / "spool", self.files)
        with self.journal.transaction() as connection:
            connection.execute("INSERT INTO identity VALUES (1, 'g', 'site-1', 'Site', 'hub', 'k', 'p', '')")
        settings = CompletionSettings(Patience(3600, 3600))
        watcher = CompletionWatcher(self.spool, self.journal, settings, utc_now, lambda: None)
        for number in (1, 2, 3):
            self.receive(number)
        watcher.force(Uid(STUDY))
        watcher.evaluate_all()
        self.receive(4)
        with self.journal.transaction() as connection:
            connection.execute("UPDATE transfers SET state = 'confirmed' WHERE revision = 1")
        self.spool.move_to_sent(Uid(STUDY), 1)
        self.receive_together([(5, STUDY), (6, STUDY), (7, OTHER_STUDY)])

    def receive(self, number: int) -> None:
        receiver = InstanceReceiver(self.spool, self.journal, utc_now, on_instance=lambda _: None)
        uid = instance_uid(number)
        meta = file_meta_bytes(CT, uid, EXPLICIT_LITTLE, "CT1")
        arriving = ArrivingObject(self.spool.begin, meta, limit_bytes=2**30)
        arriving.write(dataset_bytes(number))
        reception = Reception("a1", "127.0.0.1", utc_now(), "CT1")
        if receiver.receive(reception, StoreRequest(1, 1, CT, uid, has_dataset=True), arriving).status == 0x0000:
            self.acknowledged.append(uid)

    def receive_together(self, numbers: list[tuple[int, str]]) -> None:
        """Have instances whose rows wait for each other become durable, as those of several associations do."""
        publisher = Publisher(self.spool, self.journal)
        arrivals = [self.seal(number, study) for number, study in numbers]
        for arrival in arrivals:
            self.spool.store_incoming(arrival.file, arrival.row.study_uid, arrival.row.sop_instance_uid)
        publisher._waiting += arrivals[1:]
        publisher._commit(arrivals[0])
        for arrival in arrivals:
            assert arrival.settled
            assert arrival.problem is None
            self.acknowledged.append(arrival.row.sop_instance_uid)

    def seal(self, number: int, study: str) -> Arrival:
        content = file_meta_bytes(CT, instance_uid(number, study), EXPLICIT_LITTLE, "CT1")
        file = self.spool.begin()
        file.write(content + dataset_bytes(number, study))
        file.seal()
        found = inspect(file.path)
        row = InstanceRow(
            sop_instance_uid=found.sop_instance_uid,
            study_uid=found.study_uid,
            series_uid=found.series_uid,
            sop_class_uid=found.sop_class_uid,
            transfer_syntax_uid=found.transfer_syntax_uid,
            received_sha256=(digests := digest_file(file.path)).received_sha256,
            stored_sha256=digests.stored_sha256,
            pixel_sha256=None,
            size_bytes=digests.size_bytes,
            received_at=utc_now(),
            calling_ae_title="CT1",
            association_id="a1",
            state=SpoolState.INCOMING,
            revision=None,
        )
        return Arrival(file, row, found.header)


def count_operations(directory: Path) -> int:
    clinic = Clinic(directory, None)
    clinic.live()
    assert len(clinic.acknowledged) == 7
    return clinic.files.operations


def cut_after(operations: int, directory: Path) -> Clinic:
    clinic = Clinic(directory, operations)
    ignore_power_cut(clinic.live)
    return clinic


def ignore_power_cut(action: Callable[[], None]) -> None:
    try:
        action()
    except PowerCut:
        return


def power_returns(clinic: Clinic, directory: Path) -> tuple[Spool, Journal]:
    directory.mkdir()
    clinic.files.leave_after_power_loss(directory / "spool")
    with sqlite3.connect(clinic.directory / "journal.sqlite3") as source:
        target = sqlite3.connect(directory / "journal.sqlite3")
        source.backup(target)
        target.close()
    source.close()
    spool, journal = Spool(directory / "spool", RealFiles()), Journal(directory / "journal.sqlite3")
    report = rebuild(spool, journal, utc_now)
    assert report.instances_missing == 0
    return spool, journal


def test_nothing_acknowledged_is_lost_wherever_power_goes(tmp_path: Path) -> None:
    total = count_operations(tmp_path / "whole")
    assert total > 30
    for operations in range(total + 1):
        before, after = tmp_path / "before", tmp_path / "after"
        clinic = cut_after(operations, before)
        spool, journal = power_returns(clinic, after)
        for uid in clinic.acknowledged:
            row = find_instance(journal, Uid(uid))
            assert row is not None, f"cut after {operations} operations: {uid} is lost"
            content = spool.path_of(row.sop_instance_uid, row.study_uid, row.revision, row.state).read_bytes()
            assert content.endswith(dataset_bytes(int(uid.rpartition(".")[2]), row.study_uid))
        transfers = journal.read("SELECT revision FROM transfers")
        ready_or_later = [row for row in instances_of(journal, Uid(STUDY)) if row.state is not SpoolState.INCOMING]
        assert bool(transfers) == bool(ready_or_later)
        shutil.rmtree(before)
        shutil.rmtree(after)
