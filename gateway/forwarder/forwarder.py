"""The threads that bring studies to the hub.

Durable: all progress, in the journal, after every step; a restart repeats at most the packs that were in flight.
Volatile: who is at work on what, the pace of polls, the measured line. One study's failure never holds up another: each
transfer waits for its own next attempt. Uploads have threads of their own, so that a stat study is declared while
routine packs fill the line, and goes next on it.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from gateway.forwarder.decision import ASKING_STEPS, LINE_STEPS, Step, Work, next_work
from gateway.forwarder.failures import Consequence, consequence_of
from gateway.forwarder.pace import Polls
from gateway.forwarder.steps import Outcome, TransferSteps
from gateway.hub import UploadAborted
from gateway.journal.database import Journal
from gateway.journal.transfers import (
    TransferKey,
    find_next_due_at,
    find_transfer,
    list_due,
    mark_undeclared,
    note_failure,
    return_packs_to_plan,
)

log = structlog.get_logger(__name__)

ASKING_THREADS: Final = 2
TRANSFERS_LOOKED_AT_MAX: Final = 32
IDLE_MAX_S: Final = 30.0  # a wake that got lost costs no more than this
AFTER_FAILURE_S: Final = 2.0
POLL_KEPT_IN_MEMORY_MAX_S: Final = 2.0


class Forwarder:
    """Moves every transfer of the journal towards its confirmation. `wake` when there is a new one."""

    def __init__(
        self,
        journal: Journal,
        steps: TransferSteps,
        *,
        upload_streams: int,
        retry_delay_max_s: float,
        clock: Callable[[], datetime],
        on_progress: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._steps = steps
        self._retry_delay_max_s = retry_delay_max_s
        self._clock = clock
        self._on_progress = on_progress
        self._changed = threading.Condition()
        self._busy: set[tuple[TransferKey, str]] = set()
        self._polls = Polls(time.monotonic)
        self._stopping = False
        self._threads = [self._thread(f"forward-ask-{n}", ASKING_STEPS) for n in range(ASKING_THREADS)]
        self._threads += [self._thread(f"forward-upload-{n}", LINE_STEPS) for n in range(upload_streams)]

    def start(self) -> None:
        """Begin with what the journal holds."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Look at the journal now: a study became ready."""
        with self._changed:
            self._changed.notify_all()

    def stop(self) -> None:
        """Begin no further step and break off uploads under way; returns at once."""
        self._steps.abort_uploads()
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def join(self, timeout_s: float) -> bool:
        """Wait for the threads; return whether all have ended."""
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _thread(self, name: str, steps: frozenset[Step]) -> threading.Thread:
        return threading.Thread(target=self._run, args=(steps,), name=name, daemon=True)

    def _run(self, steps: frozenset[Step]) -> None:
        while not self._stopping:
            work = None
            try:
                work = self._take(steps)
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
            self._changed.notify_all()

    def _take(self, steps: frozenset[Step]) -> Work | None:
        """Wait for something to do; None when the forwarder stops."""
        with self._changed:
            while not self._stopping:
                now = self._clock()
                transfers = list_due(self._journal, now, TRANSFERS_LOOKED_AT_MAX)
                work = next_work(transfers, frozenset(self._busy), steps, self._polls.resting(), now)
                if work is not None:
                    self._busy.add(work.slot)
                    return work
                self._changed.wait(self._idle_s(now))
            return None

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
            return_packs_to_plan(self._journal, work.key, work.pack_sha256s)
        log.warning("transfer_delayed", study_uid=work.key.study_uid, step=work.step, problem=failure.problem)
        note_failure(self._journal, work.key, failure.problem, now + timedelta(seconds=failure.delay_s))
