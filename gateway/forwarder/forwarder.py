"""The threads that bring studies to the hub.

Durable: all progress, in the journal, after every step; a restart repeats at most the packs that were in flight.
Volatile: who is at work on what, the pace of polls, the measured line. One study's failure never holds up another: each
transfer waits for its own next attempt, which comes at once when a line that was gone comes back. Uploads have threads
of their own, so that a stat study is declared while routine packs fill the line, and twice as many as streams fill it,
so that an urgent pack finds one while the packs that it overtakes yield.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Hashable
from datetime import datetime, timedelta
from typing import Final

import structlog

from gateway.forwarder.decision import LineView, OnLine, Step, Work, next_question, next_upload
from gateway.forwarder.failures import Consequence, consequence_of
from gateway.forwarder.pace import Polls
from gateway.forwarder.steps import Outcome, TransferSteps
from gateway.hub import HubUnreachable
from gateway.journal.database import Journal
from gateway.journal.transfer_changes import hurry_after_outage
from gateway.journal.transfers import (
    TransferKey,
    TransferRow,
    find_next_due_at,
    find_transfer,
    list_due,
    mark_undeclared,
    note_failure,
    return_packs_to_plan,
)
from gateway.line.budget import LineBudget, UploadAborted
from gateway.line.watch import LineWatch
from gateway.loops import join_threads
from storage.contract.lanes import Lane

log = structlog.get_logger(__name__)

ASKING_THREADS: Final = 3
TRANSFERS_LOOKED_AT_MAX: Final = 500
PACKS_AHEAD: Final = 1  # beside one for each stream
DUE_KEPT_S: Final = 0.05
HOST_TROUBLED_S: Final = 60.0
IDLE_MAX_S: Final = 30.0  # a wake that got lost costs no more than this
AFTER_FAILURE_S: Final = 2.0
POLL_KEPT_IN_MEMORY_MAX_S: Final = 2.0


class Forwarder:
    """Moves every transfer of the journal towards its confirmation. `wake` when there is a new one."""

    def __init__(
        self,
        journal: Journal,
        steps: TransferSteps,
        budget: LineBudget,
        line: LineWatch,
        *,
        streams_max: int,
        retry_delay_max_s: float,
        clock: Callable[[], datetime],
        on_progress: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._steps = steps
        self._budget = budget
        self._line = line
        self._retry_delay_max_s = retry_delay_max_s
        self._clock = clock
        self._on_progress = on_progress
        self._changed = threading.Condition()
        self._busy: set[tuple[TransferKey, str]] = set()
        self._beginning: dict[Hashable, OnLine] = {}
        self._troubled_until: dict[str, float] = {}
        self._polls = Polls(time.monotonic)
        self._due: tuple[float, list[TransferRow]] | None = None  # what the last thread has read
        self._stopping = False
        self._threads = [self._thread(f"forward-ask-{n}", self._find_question) for n in range(ASKING_THREADS)]
        self._threads += [self._thread(f"forward-upload-{n}", self._find_upload) for n in range(2 * streams_max)]

    def start(self) -> None:
        """Begin with what the journal holds."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Look at the journal now: a study became ready."""
        with self._changed:
            self._due = None
            self._changed.notify_all()

    def line_came_back(self) -> None:
        """Try now what failed because the hub could not be reached."""
        with self._changed:
            self._troubled_until.clear()
        log.info("line_came_back", transfers=hurry_after_outage(self._journal, self._clock()))
        self.wake()

    def stop(self) -> None:
        """Begin no further step and break off uploads under way; returns at once."""
        self._budget.close()
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def join(self, timeout_s: float) -> bool:
        """Wait for the threads; return whether all have ended."""
        return join_threads(self._threads, timeout_s)

    def _thread(self, name: str, find: Callable[[datetime], Work | None]) -> threading.Thread:
        return threading.Thread(target=self._run, args=(find,), name=name, daemon=True)

    def _run(self, find: Callable[[datetime], Work | None]) -> None:
        while not self._stopping:
            work = None
            try:
                work = self._take(find)
                if work is not None:
                    self._do(work)
            except Exception:  # the border of a thread: the journal itself failed, which may pass (a full disk)
                log.exception("forwarder_thread_failed", step=work.step if work else None)
                with self._changed:
                    self._changed.wait(AFTER_FAILURE_S)
            finally:
                if work is not None:
                    self._release(work)

    def _release(self, work: Work) -> None:
        with self._changed:
            self._busy.discard(work.slot)
            self._beginning.pop(work.slot, None)
            self._due = None
            self._changed.notify_all()

    def _take(self, find: Callable[[datetime], Work | None]) -> Work | None:
        """Wait for something to do; None when the forwarder stops."""
        with self._changed:
            while not self._stopping:
                now = self._clock()
                work = find(now)
                if work is not None:
                    self._busy.add(work.slot)
                    return work
                self._changed.wait(self._idle_s(now))
            return None

    def _find_question(self, now: datetime) -> Work | None:
        transfers = self._list_due(now)
        ahead = self._line.streams + PACKS_AHEAD
        return next_question(transfers, frozenset(self._busy), self._polls.resting(), now, packs_ahead=ahead)

    def _find_upload(self, now: datetime) -> Work | None:
        view = self._line_view()
        if not any(view.has_room_for(lane) for lane in Lane):
            return None
        work = next_upload(self._list_due(now), frozenset(self._busy), view, now)
        if work is not None:
            self._beginning[work.slot] = OnLine(work.lane, work.host)
        return work

    def _list_due(self, now: datetime) -> list[TransferRow]:
        """Read the journal once for all threads that were woken together."""
        if self._due is None or time.monotonic() - self._due[0] > DUE_KEPT_S:
            self._due = (time.monotonic(), list_due(self._journal, now, TRANSFERS_LOOKED_AT_MAX))
        return self._due[1]

    def _line_view(self) -> LineView:
        running = time.monotonic()
        on_line: dict[Hashable, OnLine] = {**self._beginning}
        for upload in self._budget.on_line():
            on_line[upload.what] = OnLine(upload.lane, upload.host, upload.yields)
        return LineView(
            on_line=list(on_line.values()),
            streams=self._line.streams,
            limits=self._budget.limits,
            troubled_hosts=frozenset(host for host, until in self._troubled_until.items() if until > running),
        )

    def _idle_s(self, now: datetime) -> float:
        waits = [IDLE_MAX_S]
        due_at = find_next_due_at(self._journal, now)
        if due_at is not None:
            waits.append((due_at - now).total_seconds())
        poll = self._polls.next_due_in_s()
        if poll is not None:
            waits.append(poll)
        return max(min(waits), 0.01)

    def _do(self, work: Work) -> None:
        try:
            outcome = self._steps.run(work)
        except UploadAborted:
            return
        except Exception as exc:  # noqa: BLE001 -- every failure becomes words at its transfer; unforeseen ones are logged
            self._note_failure(work, exc)
            return
        with self._changed:
            if work.step is Step.UPLOAD:
                self._troubled_until.pop(work.host, None)
            if outcome is Outcome.WAITING:
                delay_s = self._polls.in_vain(work.key)
            else:
                self._polls.forget(work.key)
                delay_s = 0.0
        if delay_s > POLL_KEPT_IN_MEMORY_MAX_S:
            self._steps.postpone(work.key, delay_s)
        if outcome is not Outcome.WAITING:
            self._on_progress()

    def _note_failure(self, work: Work, exc: Exception) -> None:
        with self._changed:
            self._polls.forget(work.key)
            if work.step is Step.UPLOAD and isinstance(exc, HubUnreachable):
                self._troubled_until[work.host] = time.monotonic() + HOST_TROUBLED_S
        transfer = find_transfer(self._journal, work.key)
        if transfer is None:
            return
        now = self._clock()
        failure = consequence_of(
            exc,
            work.step,
            attempts=transfer.attempts + 1,
            in_queue=now - transfer.completed_at,
            jitter=random.random(),  # noqa: S311 -- spreads retries, protects nothing
            max_s=self._retry_delay_max_s,
        )
        if failure.consequence is Consequence.UNFORESEEN:
            log.error("forwarder_step_failed", study_uid=work.key.study_uid, step=work.step, exc_info=exc)
        elif failure.consequence is Consequence.DECLARE_AGAIN:
            mark_undeclared(self._journal, work.key)
        elif failure.consequence is Consequence.GRANT_AGAIN:
            return_packs_to_plan(self._journal, work.key, work.pack_sha256s, work.parts)
        log.warning("transfer_delayed", study_uid=work.key.study_uid, step=work.step, problem=failure.problem)
        note_failure(
            self._journal,
            work.key,
            failure.problem,
            now + timedelta(seconds=failure.delay_s),
            waits_for_line=isinstance(exc, HubUnreachable),
        )
