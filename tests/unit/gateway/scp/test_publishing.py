"""Instances of many associations become durable together, and each fails or succeeds for itself."""

from __future__ import annotations

import errno
import hashlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.errors import DuplicateDiffers, SpoolFull
from gateway.journal.database import Journal
from gateway.journal.instances import InstanceRow, find_instance
from gateway.scp.publishing import Arrival, Publisher
from gateway.spool import RealFiles, Spool, SpoolState
from gateway.spool.inspection import inspect
from gateway.spool.turns import Turns
from storage.contract.identifiers import Sha256Hex, Uid
from storage.dicom.part10 import file_meta_bytes
from tests.integration.gateway_receive.instances import CT, EXPLICIT_LITTLE, STUDY, dataset_bytes, instance_uid
from tests.support.waiting import eventually

NOW = datetime(2025, 1, 1, tzinfo=UTC)


class TroubledFiles(RealFiles):
    """Refuses names, fails to sync directories, and tells of each sync before it happens."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.unsyncable: set[str] = set()  # once each
        self.before_sync: Callable[[Path], object] = lambda _path: None

    def rename(self, source: Path, target: Path) -> None:
        if target.name in self.refused:
            raise OSError(errno.ENOSPC, "no space left on device")
        super().rename(source, target)

    def fsync_directory(self, path: Path) -> None:
        self.before_sync(path)
        if path.name in self.unsyncable:
            self.unsyncable.remove(path.name)
            raise OSError(errno.EIO, "input/output error")
        super().fsync_directory(path)


class CountingJournal(Journal):
    """Counts transactions, and holds them until the test lets go."""

    transactions = 0

    def __init__(self, path: Path) -> None:
        self.may_begin = threading.Event()
        self.may_begin.set()
        self.beginning = threading.Event()
        super().__init__(path)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        self.beginning.set()
        assert self.may_begin.wait(60)
        self.transactions += 1
        with super().transaction() as connection:
            yield connection


class Desk:
    def __init__(self, directory: Path) -> None:
        self.files = TroubledFiles()
        self.spool = Spool(directory / "spool", self.files)
        self.journal = CountingJournal(directory / "journal.sqlite3")
        self.publisher = Publisher(self.spool, self.journal)

    def arrive(self, number: int, study: str = STUDY, **changed: str) -> Arrival:
        uid = instance_uid(number, study)
        content = file_meta_bytes(CT, uid, EXPLICIT_LITTLE, "CT1") + dataset_bytes(number, study, **changed)
        file = self.spool.begin()
        file.write(content)
        file.seal()
        found = inspect(file.path)
        digest = Sha256Hex(hashlib.sha256(content).hexdigest())
        row = InstanceRow(
            sop_instance_uid=found.sop_instance_uid,
            study_uid=found.study_uid,
            series_uid=found.series_uid,
            sop_class_uid=found.sop_class_uid,
            transfer_syntax_uid=found.transfer_syntax_uid,
            received_sha256=digest,
            stored_sha256=digest,
            pixel_sha256=None,
            size_bytes=len(content),
            received_at=NOW,
            calling_ae_title="CT1",
            association_id="a1",
            state=SpoolState.INCOMING,
            revision=None,
        )
        return Arrival(file, row, found.header)

    def publish_together(self, arrivals: list[Arrival], waiting: int | None = None) -> list[bool | Exception]:
        """Publish one more instance alone and, while its row is at it, let all (or `waiting`) of these queue up."""
        self.journal.may_begin.clear()
        self.journal.beginning.clear()
        with ThreadPoolExecutor(len(arrivals) + 1) as pool:
            first = pool.submit(self.publisher.publish, self.arrive(1000))
            assert self.journal.beginning.wait(60)
            rest = [pool.submit(self.publisher.publish, arrival) for arrival in arrivals]
            eventually(lambda: self._wait(len(arrivals) if waiting is None else waiting))
            self.journal.transactions = 0
            self.journal.may_begin.set()
            first.result()
            return [future.exception() or future.result() for future in rest]  # type: ignore[misc]

    def _wait(self, count: int) -> None:
        assert len(self.publisher._waiting) == count

    def holds(self, arrival: Arrival) -> bool:
        row = find_instance(self.journal, arrival.row.sop_instance_uid)
        path = self.spool.path_of(arrival.row.sop_instance_uid, arrival.row.study_uid, None, SpoolState.INCOMING)
        assert (row is not None) == path.exists()
        return row is not None


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_instances_that_wait_together_share_one_transaction(desk: Desk) -> None:
    arrivals = [desk.arrive(number) for number in range(1, 9)]
    assert desk.publish_together(arrivals) == [True] * 8
    assert all(desk.holds(arrival) for arrival in arrivals)
    assert desk.journal.transactions == 2  # the first one's, and one for all


def test_one_that_finds_no_room_fails_alone_and_stays_in_tmp(desk: Desk) -> None:
    arrivals = [desk.arrive(number) for number in range(1, 5)]
    desk.files.refused = {f"{arrivals[2].row.sop_instance_uid}.dcm"}
    outcomes = desk.publish_together(arrivals, waiting=3)
    assert isinstance(outcomes[2], SpoolFull)
    assert [outcome for number, outcome in enumerate(outcomes) if number != 2] == [True] * 3
    assert [desk.holds(arrival) for arrival in arrivals] == [True, True, False, True]
    assert arrivals[2].file.path.exists()


def test_one_that_the_journal_refuses_fails_alone_and_stays_in_tmp(desk: Desk) -> None:
    arrivals = [desk.arrive(number) for number in range(1, 4)]
    with desk.journal.transaction() as connection:
        connection.execute(
            "CREATE TRIGGER no_second BEFORE INSERT ON instances WHEN NEW.sop_instance_uid LIKE '%.2'"
            " BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        )
    outcomes = desk.publish_together(arrivals)
    assert isinstance(outcomes[1], sqlite3.Error)
    assert [outcomes[0], outcomes[2]] == [True, True]
    assert [desk.holds(arrival) for arrival in arrivals] == [True, False, True]
    assert arrivals[1].file.path.exists()


def test_same_instance_by_several_associations_at_once_is_stored_once(desk: Desk) -> None:
    same, again, other = desk.arrive(1), desk.arrive(1), desk.arrive(1, patient_name="OTHER^ONE")
    outcomes = desk.publish_together([same, again, other], waiting=1)
    assert [outcome for outcome in outcomes if outcome is True] == [True]
    assert sum(isinstance(outcome, DuplicateDiffers) for outcome in outcomes) >= 1
    assert desk.holds(same)


def test_instances_of_several_studies_are_published_together(desk: Desk) -> None:
    arrivals = [desk.arrive(1, f"{STUDY}.{number}") for number in range(1, 6)]
    assert desk.publish_together(arrivals) == [True] * 5
    assert all(desk.holds(arrival) for arrival in arrivals)
    assert desk.journal.transactions == 2
    studies = desk.journal.read("SELECT study_uid FROM series ORDER BY study_uid")
    assert [row["study_uid"] for row in studies] == sorted([STUDY, *(f"{STUDY}.{number}" for number in range(1, 6))])


@pytest.mark.parametrize("studies", [(STUDY, STUDY), (f"{STUDY}.1", f"{STUDY}.2")])
def test_directories_are_synced_by_all_who_bring_something_at_the_same_moment(
    desk: Desk, studies: tuple[str, str]
) -> None:
    for study in studies:
        assert desk.publisher.publish(desk.arrive(1000, study)) is not None  # makes the directories
    together = threading.Barrier(2)
    desk.files.before_sync = lambda _path: together.wait(60)
    with ThreadPoolExecutor(2) as pool:
        arrivals = [desk.arrive(number, study) for number, study in enumerate(studies, start=1)]
        assert list(pool.map(desk.publisher.publish, arrivals)) == [True, True]
    assert all(desk.holds(arrival) for arrival in arrivals)


def test_nobody_is_published_into_a_directory_whose_own_name_is_not_synced_yet(desk: Desk) -> None:
    syncing, may_sync = threading.Event(), threading.Event()
    named: list[str] = []

    def hold(path: Path) -> None:
        if path.name == SpoolState.INCOMING:
            syncing.set()
            assert may_sync.wait(60)
            named.extend(file.name for file in (path / STUDY).iterdir())

    desk.files.before_sync = hold
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(desk.publisher.publish, desk.arrive(1))
        assert syncing.wait(60)
        second = pool.submit(desk.publisher.publish, desk.arrive(2))
        eventually(lambda: _both_are_under_way(desk.publisher))
        may_sync.set()
        assert [first.result(), second.result()] == [True, True]
    assert named == []


def test_directory_that_fails_to_sync_leaves_its_instance_in_tmp_and_the_others_published(desk: Desk) -> None:
    arrivals = [desk.arrive(1, f"{STUDY}.{number}") for number in range(1, 6)]
    desk.files.unsyncable = {f"{STUDY}.3"}
    outcomes = desk.publish_together(arrivals, waiting=4)
    assert isinstance(outcomes[2], OSError)
    assert [desk.holds(arrival) for arrival in arrivals] == [True, True, False, True, True]
    assert arrivals[2].file.path.exists()
    assert desk.publisher.publish(arrivals[2]) is True


def test_study_is_not_moved_between_the_name_of_an_instance_and_its_row(desk: Desk) -> None:
    assert desk.publisher.publish(desk.arrive(1)) is True
    desk.journal.may_begin.clear()
    desk.journal.beginning.clear()
    late = desk.arrive(2)

    def move() -> None:
        with desk.spool.locked(Uid(STUDY)):
            desk.spool.move_to_ready(Uid(STUDY), 1, [Uid(instance_uid(1))])

    with ThreadPoolExecutor(2) as pool:
        arriving = pool.submit(desk.publisher.publish, late)
        assert desk.journal.beginning.wait(60)
        moving = pool.submit(move)
        turns = desk.spool._turns[hash(STUDY) % len(desk.spool._turns)]
        eventually(lambda: _one_waits(turns))
        desk.journal.may_begin.set()
        assert arriving.result() is True
        moving.result()
    assert desk.holds(late)


def test_held_already_is_told_apart_from_other_bytes(desk: Desk) -> None:
    assert desk.publisher.publish(desk.arrive(1)) is True
    assert desk.publisher.publish(desk.arrive(1)) is False
    with pytest.raises(DuplicateDiffers, match=str(Uid(instance_uid(1)))):
        desk.publisher.publish(desk.arrive(1, patient_name="OTHER^ONE"))


def _one_waits(turns: Turns) -> None:
    assert turns._movers_waiting == 1


def _both_are_under_way(publisher: Publisher) -> None:
    assert len(publisher._under_way) == 2
