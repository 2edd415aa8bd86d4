"""Power may go after any single operation on the disk: what was acknowledged is there when it comes back."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

from gateway.completeness import Patience
from gateway.completion import CompletionSettings, CompletionWatcher
from gateway.journal.database import Journal
from gateway.journal.instances import find_instance, instances_of
from gateway.scp.reception import ArrivingObject, Reception
from gateway.scp.store import InstanceReceiver, StoreCommand
from gateway.spool import RealFiles, Spool, SpoolState
from gateway.spool.rebuild import rebuild
from storage.contract.identifiers import Uid
from storage.dicom.part10 import file_meta_bytes
from tests.integration.gateway_receive.instances import CT, EXPLICIT_LITTLE, STUDY, dataset_bytes, instance_uid
from tests.integration.gateway_receive.receiving import utc_now
from tests.unit.gateway.spool.forgetful_files import ForgetfulFiles, PowerCut


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

    def receive(self, number: int) -> None:
        receiver = InstanceReceiver(self.spool, self.journal, utc_now, on_instance=lambda _: None)
        uid = instance_uid(number)
        meta = file_meta_bytes(CT, uid, EXPLICIT_LITTLE, "CT1")
        arriving = ArrivingObject(self.spool.begin, meta, limit_bytes=2**30)
        arriving.write(dataset_bytes(number))
        reception = Reception("a1", "127.0.0.1", utc_now(), "CT1")
        if receiver.receive(reception, StoreCommand(uid, CT), arriving) == 0x0000:
            self.acknowledged.append(uid)


def count_operations(directory: Path) -> int:
    clinic = Clinic(directory, None)
    clinic.live()
    assert len(clinic.acknowledged) == 4
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
            assert content.endswith(dataset_bytes(int(uid.rpartition(".")[2])))
        transfers = journal.read("SELECT revision FROM transfers")
        ready_or_later = [row for row in instances_of(journal, Uid(STUDY)) if row.state is not SpoolState.INCOMING]
        assert bool(transfers) == bool(ready_or_later)
        shutil.rmtree(before)
        shutil.rmtree(after)
