"""Makes instances durable: each association's thread its own file, and the journal's rows of all together.

Promise: when `publish` returns, the file stands under its final name, its directory and its journal row are synced, and
so would be all of that after a power cut. Files and directories are synced by the threads that bring them, at the same
moment: the file system brings them to the medium together. Rows that come while a transaction is on its way to the
medium share the next one. Nobody's answer comes before its own commit; what fails in a shared transaction is tried
again alone, so that no instance fails for its neighbour.

Volatile: the queue. What waits in it was not answered, and what a stop leaves in `incoming` without a row is indexed by
the start-up scan.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from gateway.errors import DuplicateDiffers
from gateway.journal.database import Journal
from gateway.journal.instances import InstanceRow, add_instances, find_received_digests
from gateway.journal.studies import add_study, find_unknown_series
from gateway.spool.durable import DurableFile
from gateway.spool.spool import Spool
from storage.contract.identifiers import Uid
from storage.dicom.headers import InstanceHeader

BATCH_INSTANCES_MAX = 64


@dataclass(slots=True)
class Arrival:
    """A file in tmp with what the journal will say of it, and what became of its row."""

    file: DurableFile
    row: InstanceRow
    header: InstanceHeader
    problem: BaseException | None = None
    settled: bool = False
    turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))


class Publisher:
    """Shared by all associations. Whoever comes while nobody commits does it for all that wait by then."""

    def __init__(self, spool: Spool, journal: Journal) -> None:
        self._spool = spool
        self._journal = journal
        self._lock = threading.Lock()
        self._waiting: list[Arrival] = []
        self._committing = False
        self._under_way: set[Uid] = set()
        self._one_less_under_way = threading.Condition()

    def publish(self, arrival: Arrival) -> bool:
        """Make the instance durable and return True, or return False when the same bytes are held already.

        Raises:
            DuplicateDiffers: the UID is held with other bytes.
            SpoolFull, OSError, sqlite3.Error: the disk or the journal failed; the file is in tmp.
        """
        row = arrival.row
        with self._spool.arriving(row.study_uid), self._alone(row.sop_instance_uid):
            if self._is_held(row):
                return False
            try:
                self._spool.store_incoming(arrival.file, row.study_uid, row.sop_instance_uid)
                self._commit(arrival)
            except Exception:
                self._spool.withdraw_incoming(arrival.file, row.study_uid, row.sop_instance_uid)
                raise
        return True

    @contextmanager
    def _alone(self, sop_instance_uid: Uid) -> Iterator[None]:
        """Have the same instance of another association wait: it must find the row, or its absence."""
        with self._one_less_under_way:
            while sop_instance_uid in self._under_way:
                self._one_less_under_way.wait()
            self._under_way.add(sop_instance_uid)
        try:
            yield
        finally:
            with self._one_less_under_way:
                self._under_way.remove(sop_instance_uid)
                self._one_less_under_way.notify_all()

    def _is_held(self, row: InstanceRow) -> bool:
        held = find_received_digests(self._journal, [row.sop_instance_uid])
        digest = held.get(row.sop_instance_uid)
        if digest is not None and digest != row.received_sha256:
            raise DuplicateDiffers(f"instance {row.sop_instance_uid} is held with other bytes")
        return digest is not None

    def _commit(self, arrival: Arrival) -> None:
        """Return once the row is on the medium, alone or with others'; raise what came in its way."""
        with self._lock:
            self._waiting.append(arrival)
            must_wait, self._committing = self._committing, True
        if must_wait:
            arrival.turn.acquire()
        while not arrival.settled:
            self._lead()
        if arrival.problem is not None:
            raise arrival.problem

    def _lead(self) -> None:
        """Commit for all that wait; then wake them, and one of those that came meanwhile to go on."""
        with self._lock:
            batch, self._waiting = self._waiting[:BATCH_INSTANCES_MAX], self._waiting[BATCH_INSTANCES_MAX:]
        try:
            self._settle(batch)
        except BaseException as exc:
            for arrival in batch:
                arrival.problem = arrival.problem or exc
            raise
        finally:
            with self._lock:
                next_leader = self._waiting[0] if self._waiting else None
                self._committing = next_leader is not None
            for arrival in batch:
                arrival.settled = True
                arrival.turn.release()
            if next_leader is not None:
                next_leader.turn.release()

    def _settle(self, batch: Sequence[Arrival]) -> None:
        """Commit all, or, when that fails, each alone; never raises an Exception."""
        try:
            self._add_rows(batch)
        except Exception as exc:  # noqa: BLE001 -- each association's own border tells the modality
            if len(batch) == 1:
                batch[0].problem = exc
                return
            for arrival in batch:
                self._settle([arrival])

    def _add_rows(self, fresh: Sequence[Arrival]) -> None:
        with self._journal.transaction() as connection:
            add_instances(connection, [arrival.row for arrival in fresh])
            first_of_series = {arrival.row.series_uid: arrival for arrival in reversed(fresh)}
            for series_uid in find_unknown_series(connection, list(first_of_series)):
                arrival = first_of_series[series_uid]
                add_study(connection, arrival.header, arrival.row.received_at)
