"""Delivers documents to one PACS of the clinic.

Durable: what is due and what the PACS has stored, in the journal, after each document. A document
whose answer got lost is sent again, which a PACS takes as the same object. Volatile: nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import structlog

from gateway.backoff import delay_s
from gateway.journal import returns
from gateway.journal.database import Journal
from gateway.journal.returns import DeliveryRow
from gateway.returns.pacs import PacsUnavailable, Stored, store_files
from gateway.returns.store import DocumentStore
from gateway.settings import TargetSettings

log = structlog.get_logger(__name__)

DOCUMENTS_PER_ASSOCIATION_MAX: Final = 50
IDLE_S: Final = 60.0
REFUSED_FIRST_S: Final = 5.0
REFUSED_MAX_S: Final = 600.0


class Deliverer:
    """One step of a `Loop` for one target: gives it what is due over one association."""

    def __init__(
        self,
        journal: Journal,
        store: DocumentStore,
        target: TargetSettings,
        *,
        calling_ae_title: str,
        retry_delay_max_s: float,
        clock: Callable[[], datetime],
        on_progress: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._store = store
        self._target = target
        self._calling_ae_title = calling_ae_title
        self._retry_delay_max_s = retry_delay_max_s
        self._clock = clock
        self._on_progress = on_progress

    def step(self) -> float:
        """Deliver what is due; return the seconds until something is due again."""
        name = self._target.target
        due = returns.list_due_deliveries(self._journal, name, self._clock(), DOCUMENTS_PER_ASSOCIATION_MAX)
        waiting = {self._store.path_of(delivery.descriptor): delivery for delivery in due}
        for path in [path for path in waiting if not path.exists()]:
            self._note_failure(waiting.pop(path), "the document's file is missing in the spool", REFUSED_FIRST_S)
        if waiting:
            self._deliver(waiting)
            self._on_progress()
        next_at = returns.find_next_delivery_at(self._journal, [name])
        if next_at is None:
            return IDLE_S
        return min(max((next_at - self._clock()).total_seconds(), 0.0), IDLE_S)

    def _deliver(self, waiting: dict[Path, DeliveryRow]) -> None:
        def note(stored: Stored) -> None:
            self._note_answer(waiting.pop(stored.path), stored)

        try:
            store_files(self._target, self._calling_ae_title, list(waiting), note)
        except PacsUnavailable as exc:
            for delivery in waiting.values():
                self._note_failure(delivery, str(exc), None)

    def _note_answer(self, delivery: DeliveryRow, stored: Stored) -> None:
        if stored.problem:
            self._note_failure(delivery, stored.problem, REFUSED_FIRST_S)
            return
        returns.mark_delivered(self._journal, delivery, self._clock(), stored.status)
        log.info("document_delivered", document_id=delivery.descriptor.document_id, target=delivery.target)

    def _note_failure(self, delivery: DeliveryRow, problem: str, refused_first_s: float | None) -> None:
        now = self._clock()
        limits = (
            {"max_s": self._retry_delay_max_s}
            if refused_first_s is None
            else {"first_s": refused_first_s, "max_s": REFUSED_MAX_S}
        )
        wait_s = delay_s(delivery.attempts + 1, timedelta(0), random.random(), **limits)  # noqa: S311
        log.warning(
            "delivery_failed", document_id=delivery.descriptor.document_id, target=delivery.target, reason=problem
        )
        returns.note_delivery_failure(self._journal, delivery, problem, now, now + timedelta(seconds=wait_s))
