"""Keeps copies of what the hospital's physicians hold, and of nothing else.

Durable: the journal before and after each step, the copies once they are proved. Volatile: nothing. After a restart a
pack that was under way is fetched anew, one that is here is not. What is no longer held is removed from this disk when
its keep period is over, or before when the disk needs the room, the longest ended first; the hospital's PACS keeps what
it was given, which no one can call back.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from sqlite3 import Row
from typing import Final

import structlog

from gateway.backoff import delay_s
from gateway.errors import SpoolFull
from gateway.hub import HubClient, HubError, HubRefused
from gateway.journal import reader_cases as journal_of
from gateway.journal.database import Journal, from_text
from gateway.reader.copies import PackNotUsable, WantedPack, copy_pack, remove_others
from gateway.reader.places import Places
from gateway.spool.spool import Spool
from storage.contract.wire import ReaderReceipt

log = structlog.get_logger(__name__)

FINAL: Final = frozenset({404, 422})  # a receipt that the hub will never take
LOOK_EVERY_S: Final = 15.0
REFUSED: Final = "pack_refused"
REFUSED_FIRST_S: Final = 60.0
REFUSED_MAX_S: Final = 3600.0
CASES_MAX: Final = 500  # the hub lists no more: then what is missing may still be held


class CaseKeeper:
    """One step of a `Loop`: ask the hub, fetch, remove, report.

    With nowhere to bring them nothing is copied. `make_room` may be called by any thread.
    """

    def __init__(
        self,
        journal: Journal,
        spool: Spool,
        client: HubClient,
        *,
        places: Places,
        keep: timedelta,
        retry_delay_max_s: float,
        clock: Callable[[], datetime],
        on_copied: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._spool = spool
        self._client = client
        self._places = places
        self._keep = keep
        self._removing = threading.Lock()
        self._retry_delay_max_s = retry_delay_max_s
        self._clock = clock
        self._on_copied = on_copied

    def step(self) -> float:
        """Do what is due; return the seconds until the hub is asked again."""
        wait_s = min(LOOK_EVERY_S, self._retry_delay_max_s)
        try:
            cases = self._client.fetch_reader_cases().cases
        except HubError as exc:
            log.warning("reader_cases_not_fetched", problem=str(exc))
            return wait_s
        if len(cases) >= CASES_MAX:
            log.warning("reader_cases_too_many", cases=len(cases))
            return wait_s
        if not self._places.has_any:
            cases = ()
        journal_of.note_held(self._journal, cases, self._places.pacs, self._clock())
        self._withdraw()
        began, is_cut_short = time.monotonic(), False
        for row in journal_of.due_packs(self._journal, self._clock()):
            is_cut_short = time.monotonic() - began > LOOK_EVERY_S  # what is held may have changed meanwhile
            if is_cut_short or not self._fetch(row):
                break
        self._report()
        return 0.0 if is_cut_short else wait_s

    def make_room(self, wanted_bytes: int) -> int:
        """Remove copies of ended claims, the longest ended first, until about so much is free; return the bytes."""
        freed_bytes = 0
        while freed_bytes < wanted_bytes and (ended_at := journal_of.find_oldest_ended(self._journal)) is not None:
            freed_bytes += self._remove_ended(ended_at)
        return freed_bytes

    def _withdraw(self) -> None:
        self._remove_ended(self._clock() - self._keep)
        room = self._spool.room.look()
        self.make_room(room.low_bytes - (room.free_bytes - room.promised_bytes))
        for task_id in journal_of.note_withdrawn(self._journal, self._clock()):
            log.info("reader_case_withdrawn", reading_task_id=task_id)

    def _remove_ended(self, before: datetime) -> int:
        """Remove the copies of claims that had ended by then, and what is left of others; return their bytes."""
        with self._removing:
            journal_of.forget_ended(self._journal, before)
            packs, size_bytes = remove_others(self._spool, journal_of.known_packs(self._journal))
        if packs:
            log.info("reader_copies_removed", packs=packs, size_bytes=size_bytes)
        return size_bytes

    def _fetch(self, row: Row) -> bool:
        """Copy one pack; return whether the line is worth trying for the next."""
        wanted = WantedPack(
            row["reading_task_id"], row["pack_id"], row["study_uid"], row["pack_sha256"], row["size_bytes"]
        )
        task_id, pack_id = wanted.reading_task_id, wanted.pack_id
        try:
            found = copy_pack(
                self._spool,
                wanted,
                lambda sink: self._client.fetch_reader_pack(task_id, pack_id, wanted.size_bytes, sink),
            )
            self._refuse_conflicts([(one.header.sop_instance_uid, one.stored_sha256) for one in found])
        except PackNotUsable as exc:
            self._fail(row, f"Pack {pack_id} is refused: {exc}. Nothing of it goes to the PACS.", REFUSED)
        except SpoolFull:
            self._fail(row, "The disk has no room for it: free some; it is fetched then.", "disk_full")
        except HubRefused as exc:
            self._fail(row, f"The hub does not give it: {exc}", "")
        except HubError as exc:
            self._fail(row, str(exc), "")
            return False
        else:
            journal_of.note_copied(self._journal, task_id, pack_id, found, self._clock())
            log.info("reader_pack_copied", reading_task_id=task_id, pack_id=pack_id, instances=len(found))
            self._on_copied()
        return True

    def _refuse_conflicts(self, found: list[tuple[str, str]]) -> None:
        for uid, digest in found:
            if journal_of.conflicting(self._journal, uid, digest):
                raise PackNotUsable(f"instance {uid} is already here from elsewhere; neither replaces the other")

    def _fail(self, row: Row, problem: str, code: str) -> None:
        now = self._clock()
        jitter = random.random()  # noqa: S311 -- no secret
        attempts = row["attempts"] + 1
        wait_s = delay_s(attempts, timedelta(0), jitter, max_s=self._retry_delay_max_s)
        if code == REFUSED:  # the same bytes would come again
            wait_s = delay_s(attempts, timedelta(0), jitter, first_s=REFUSED_FIRST_S, max_s=REFUSED_MAX_S)
        again = now + timedelta(seconds=wait_s)
        journal_of.note_pack_problem(self._journal, row["reading_task_id"], row["pack_id"], problem, again, code, now)
        log.warning("reader_pack_not_copied", reading_task_id=row["reading_task_id"], pack_id=row["pack_id"])

    def _report(self) -> None:
        for row in journal_of.due_receipts(self._journal):
            receipt = ReaderReceipt(step=row["step"], target=row["target"], at=from_text(row["at"]), code=row["code"])
            try:
                self._client.send_reader_receipt(row["reading_task_id"], receipt)
            except HubRefused as exc:
                log.warning("reader_receipt_refused", reading_task_id=row["reading_task_id"], code=exc.code)
                if exc.status not in FINAL:
                    return
            except HubError:
                return
            journal_of.note_reported(self._journal, row)
