"""Two threads that compress what has arrived. Receiving comes first: they rest while images arrive, unless a complete
study waits for them, and run at a lower priority than everything else.

Durable: what became of each instance, in its row. Volatile: which studies wait, and the work under way; after a stop an
instance that was not settled is due again. One large instance is worked on at a time, so that a study of small ones
never waits behind it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

import structlog

from gateway.compression.replacing import settle_instance
from gateway.journal.compression import count_due, find_due, leave_as_is
from gateway.journal.database import Journal
from gateway.journal.instances import InstanceRow
from gateway.loops import join_threads
from gateway.spool.spool import Spool
from storage.contract.identifiers import Uid
from storage.contract.lanes import Lane

THREADS: Final = 2
NICENESS: Final = 10  # of 19
REST_AFTER_ARRIVAL_S: Final = 0.5
IDLE_S: Final = 1.0
LARGE_BYTES: Final = 64 * 1024 * 1024
FAILED: Final = "its compression failed; the log has the reason"

log = structlog.get_logger(__name__)


class Stopped(Exception):
    """The gateway stops; the instance stays due."""


class Compressor:
    """`start`, then `stop` once. Methods may be called from every thread."""

    def __init__(self, spool: Spool, journal: Journal, on_study_settled: Callable[[], None]) -> None:
        self._spool = spool
        self._journal = journal
        self._on_study_settled = on_study_settled
        self._changed = threading.Condition()
        self._wanted: dict[Uid, tuple[bool, int]] = {}  # complete studies, as they are worth: not stat, instances due
        self._busy: dict[Uid, InstanceRow] = {}
        self._arrived_at = float("-inf")
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._run, name=f"compressor-{n}", daemon=True) for n in range(THREADS)
        ]

    def start(self) -> None:
        """Begin with what is due from before."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the work under way between two frames; returns at once."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def join(self, timeout_s: float) -> bool:
        """Wait for the threads; return whether they ended in time."""
        return join_threads(self._threads, timeout_s)

    def notice_arrival(self) -> None:
        """An instance has just arrived; cheap."""
        self._arrived_at = time.monotonic()

    def notice_silence(self) -> None:
        """An association has ended; unless others go on, nothing will arrive for a while."""
        with self._changed:
            self._arrived_at = float("-inf")
            self._changed.notify_all()

    def is_settled(self, study_uid: Uid, lane: str) -> bool:
        """Return whether none of the study's instances is due; if some are, work on them now and tell when it is done.

        A study of the stat lane goes before all others, and one of few instances before one of many.
        """
        due = count_due(self._journal, study_uid)
        with self._changed:
            if due:
                self._wanted[study_uid] = (lane != Lane.STAT, due)
                self._changed.notify_all()
            else:
                self._wanted.pop(study_uid, None)
        return due == 0

    def _run(self) -> None:
        with suppress(OSError, AttributeError):  # not every system has priorities of threads
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while not self._stopping:
            try:
                row = self._claim()
                if row is not None:
                    self._settle(row)
            except Exception:  # the border of a thread: it must live on, and the log has the traceback
                log.exception("compressor_failed")
                self._wait(IDLE_S)

    def _claim(self) -> InstanceRow | None:
        """Return the next instance to work on, or wait for one and return None."""
        with self._changed:
            row = self._find()
            if row is not None:
                self._busy[row.sop_instance_uid] = row
            elif not self._stopping:
                self._changed.wait(self._seconds_to_rest() or IDLE_S)
            return row

    def _find(self) -> InstanceRow | None:
        skipping = frozenset(self._busy)
        large_is_busy = any(row.size_bytes > LARGE_BYTES for row in self._busy.values())
        wanted = sorted(self._wanted, key=self._wanted.__getitem__)
        for study_uid in [*wanted, *([None] if not self._seconds_to_rest() else [])]:
            row = find_due(
                self._journal, study_uid, skipping=skipping, bytes_max=LARGE_BYTES if large_is_busy else None
            )
            if row is not None:
                return row
        return None

    def _seconds_to_rest(self) -> float:
        return max(0.0, self._arrived_at + REST_AFTER_ARRIVAL_S - time.monotonic())

    def _settle(self, row: InstanceRow) -> None:
        try:
            settle_instance(self._spool, self._journal, row, partial(self._between_frames, row))
        except Stopped:
            return
        except Exception:
            log.exception("compression_failed", sop_instance_uid=row.sop_instance_uid, study_uid=row.study_uid)
            with self._journal.transaction() as connection:
                leave_as_is(connection, row.sop_instance_uid, FAILED)
        finally:
            with self._changed:
                self._busy.pop(row.sop_instance_uid, None)
                self._changed.notify_all()
        if row.study_uid in self._wanted and count_due(self._journal, row.study_uid) == 0:
            with self._changed:
                self._wanted.pop(row.study_uid, None)
            self._on_study_settled()

    def _between_frames(self, row: InstanceRow) -> None:
        while not self._stopping and row.study_uid not in self._wanted and self._seconds_to_rest():
            self._wait(self._seconds_to_rest())
        if self._stopping:
            raise Stopped

    def _wait(self, seconds: float) -> None:
        with self._changed:
            if not self._stopping:
                self._changed.wait(seconds)
