"""The disk may be full from any single operation on: nothing acknowledged is lost, all goes on once there is room."""

from __future__ import annotations

import errno
import shutil
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from gateway.completeness import Patience
from gateway.completion import CompletionSettings, CompletionWatcher
from gateway.errors import SpoolFull
from gateway.forwarder.keeper import Keeper
from gateway.journal.database import Journal
from gateway.journal.instances import find_instance
from gateway.scp.reception import ArrivingObject, Reception
from gateway.scp.store import InstanceReceiver
from gateway.scp.upper_layer import StoreRequest
from gateway.spool import RealFiles, Spool, SpoolState
from gateway.spool.rebuild import rebuild
from storage.contract.identifiers import Uid
from storage.dicom.part10 import file_meta_bytes
from tests.integration.gateway_receive.instances import CT, EXPLICIT_LITTLE, STUDY, dataset_bytes, instance_uid
from tests.integration.gateway_receive.receiving import utc_now

NUMBERS = (1, 2, 3, 4)


class FilledFiles(RealFiles):
    """Every operation that needs room fails once `operations_left` of them are done; None: there is room."""

    def __init__(self, operations_left: int | None) -> None:
        self.operations_left = operations_left
        self.operations = 0

    def _need_room(self) -> None:
        if self.operations_left is not None and self.operations >= self.operations_left:
            raise OSError(errno.ENOSPC, "no space left on device")
        self.operations += 1

    def open_new(self, path: Path) -> int:
        self._need_room()
        return super().open_new(path)

    def write(self, descriptor: int, data: bytes) -> None:
        self._need_room()
        super().write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        self._need_room()
        super().fsync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        self._need_room()
        super().rename(source, target)

    def make_directory(self, path: Path) -> None:
        self._need_room()
        super().make_directory(path)


class Clinic:
    """A gateway without a network on one directory."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.files = FilledFiles(None)
        self.spool = Spool(directory / "spool", self.files)
        self.journal = Journal(directory / "journal.sqlite3")
        with self.journal.transaction() as connection:
            connection.execute("INSERT INTO identity VALUES (1, 'g', 'site-1', 'Site', 'hub', 'k', 'p', '')")
        self.watcher = CompletionWatcher(
            self.spool, self.journal, CompletionSettings(Patience(3600, 3600)), utc_now, lambda: None
        )

    def live(self) -> list[int]:
        """Receive, hand over, confirm and clear out; return the numbers of the instances that were acknowledged."""
        acknowledged = [number for number in NUMBERS[:3] if self.receive(number)]
        self.watcher.force(Uid(STUDY))
        self.watcher.evaluate_all()
        acknowledged += [number for number in NUMBERS[3:] if self.receive(number)]
        with suppress(SpoolFull, OSError):
            self.confirm()
        return acknowledged

    def receive(self, number: int) -> bool:
        receiver = InstanceReceiver(self.spool, self.journal, utc_now, on_instance=lambda _: None)
        uid = instance_uid(number)
        meta = file_meta_bytes(CT, uid, EXPLICIT_LITTLE, "CT1")
        arriving = ArrivingObject(self.spool.begin, meta, limit_bytes=2**30)
        arriving.write(dataset_bytes(number))
        reception = Reception("a1", "127.0.0.1", utc_now(), "CT1")
        answer = receiver.receive(reception, StoreRequest(1, 1, CT, uid, has_dataset=True), arriving)
        arriving.discard()
        assert answer.status in (0x0000, 0xA700), f"{answer.status:04x}"
        return answer.status == 0x0000

    def confirm(self) -> None:
        with self.journal.transaction() as connection:
            connection.execute("UPDATE transfers SET state = 'confirmed', confirmed_at = completed_at")
        for row in self.journal.read("SELECT revision FROM transfers"):
            self.spool.move_to_sent(Uid(STUDY), row["revision"])
        rebuild(self.spool, self.journal, utc_now)

    def assert_holds(self, numbers: list[int]) -> None:
        for number in numbers:
            row = find_instance(self.journal, Uid(instance_uid(number)))
            assert row is not None, number
            path = self.spool.path_of(row.sop_instance_uid, row.study_uid, row.revision, row.state)
            assert path.read_bytes().endswith(dataset_bytes(number))


def test_disk_that_fills_up_at_any_operation_loses_nothing_and_everything_arrives_later(tmp_path: Path) -> None:
    whole = Clinic(tmp_path / "whole")
    assert whole.live() == list(NUMBERS)
    assert whole.files.operations > 15
    for operations in range(whole.files.operations):
        clinic = Clinic(tmp_path / "clinic")
        clinic.files.operations = 0
        clinic.files.operations_left = operations
        acknowledged = clinic.live()
        clinic.files.operations_left = None
        report = rebuild(clinic.spool, clinic.journal, utc_now)
        assert report.instances_missing == 0, f"full after {operations} operations"
        clinic.assert_holds(acknowledged)
        for number in NUMBERS:
            assert clinic.receive(number), f"full after {operations} operations"
        clinic.assert_holds(list(NUMBERS))
        assert list((clinic.spool.root / "tmp").iterdir()) == []
        shutil.rmtree(tmp_path / "clinic")


def test_journal_that_cannot_grow_refuses_and_goes_on_once_it_can(tmp_path: Path) -> None:
    clinic = Clinic(tmp_path / "clinic")
    pages = clinic.journal.read("PRAGMA page_count")[0][0]
    clinic.journal.read(f"PRAGMA max_page_count = {pages}")
    acknowledged = clinic.live()
    while len(acknowledged) < len(NUMBERS):
        clinic.assert_holds(acknowledged)
        assert list((clinic.spool.root / "tmp").iterdir()) == []
        pages += 1
        clinic.journal.read(f"PRAGMA max_page_count = {pages}")
        acknowledged += [number for number in NUMBERS if number not in acknowledged and clinic.receive(number)]
    rebuild(clinic.spool, clinic.journal, utc_now)
    clinic.assert_holds(list(NUMBERS))


def test_room_is_made_by_the_oldest_confirmed_study_and_never_by_one_that_is_not(tmp_path: Path) -> None:
    clinic = Clinic(tmp_path / "clinic")
    assert clinic.receive(1)
    clinic.watcher.force(Uid(STUDY))
    clinic.watcher.evaluate_all()
    assert clinic.receive(2)
    clinic.watcher.force(Uid(STUDY))
    clinic.watcher.evaluate_all()
    with clinic.journal.transaction() as connection:
        connection.execute("UPDATE transfers SET state = 'confirmed', confirmed_at = completed_at WHERE revision = 1")
    clinic.spool.move_to_sent(Uid(STUDY), 1)
    rebuild(clinic.spool, clinic.journal, utc_now)
    keeper = Keeper(clinic.journal, clinic.spool, keep=timedelta(days=7), clock=utc_now)
    assert keeper.make_room(0) == 0
    assert keeper.make_room(2**40) > 0
    assert keeper.make_room(2**40) == 0
    assert list((clinic.spool.root / SpoolState.SENT).iterdir()) == []
    clinic.assert_holds([2])
