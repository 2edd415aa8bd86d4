"""Asks the hub for documents, proves them and keeps them.

Durable: each announcement, each document and what became of it. On restart announced documents
are fetched, and the hub is asked from the last cursor on. One document that cannot be fetched or does not prove never
holds up another.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog

from gateway.backoff import delay_s
from gateway.errors import SpoolFull
from gateway.hub import HubClient, HubError
from gateway.hub.exchange import HubExchange
from gateway.journal import returns
from gateway.journal.database import Journal
from gateway.journal.identity import Identity
from gateway.journal.returns import DocumentRow
from gateway.returns.proof import DocumentAltered, DocumentUntrusted, verify_announcement, verify_content
from gateway.returns.store import DocumentNameUnsafe, DocumentStore
from gateway.targets import Target
from storage.contract.delivery import DeliveryFailure, DeliveryFault
from storage.contract.wire import SignedDescriptor

log = structlog.get_logger(__name__)

DOCUMENTS_AT_ONCE_MAX: Final = 50
DOCUMENT_BYTES_MAX: Final = 128 * 1024 * 1024
EMPTY_PAGE_PAUSE_S: Final = 0.5  # a hub that does not hold its answer back must not be asked in a circle
UNTRUSTED_FIRST_S: Final = 5.0
UNTRUSTED_MAX_S: Final = 900.0


class DocumentFetcher(HubExchange):
    """Fetches what is due, then waits at the hub for news."""

    name = "documents"

    def __init__(  # noqa: PLR0913 -- what it stands on
        self,
        journal: Journal,
        store: DocumentStore,
        client: HubClient,
        identity: Identity,
        *,
        targets: Sequence[Target],
        long_poll_s: int,
        retry_delay_max_s: float,
        clock: Callable[[], datetime],
        on_fetched: Callable[[], None],
        pace: Callable[[int], int],
    ) -> None:
        super().__init__(journal, client, retry_delay_max_s=retry_delay_max_s)
        self._store = store
        self._identity = identity
        self._targets = tuple(targets)
        self._long_poll_s = long_poll_s
        self._clock = clock
        self._on_fetched = on_fetched
        self._pace = pace

    def _exchange(self) -> float:
        self._fetch_due()
        page = self._client.fetch_documents(returns.last_cursor(self._journal), self._wait_s())
        for signed in page.documents:
            self._announce(signed)
        self._fetch_due()
        return 0.0 if page.documents else EMPTY_PAGE_PAUSE_S

    def _wait_s(self) -> int:
        """Return how long the hub may hold its answer: no longer than until a document is tried again."""
        due_at = returns.find_next_document_at(self._journal)
        if due_at is None:
            return self._long_poll_s
        return max(0, min(self._long_poll_s, int((due_at - self._clock()).total_seconds()) + 1))

    def _announce(self, signed: SignedDescriptor) -> None:
        now = self._clock()
        try:
            descriptor = verify_announcement(signed, self._identity)
            self._store.path_of(descriptor)
        except (DocumentUntrusted, DocumentNameUnsafe) as exc:
            log.error("document_announcement_untrusted", cursor=signed.cursor, reason=str(exc))
            self._store.set_aside(f"{returns.UNVERIFIED}-{signed.cursor}", signed.model_dump_json().encode(), str(exc))
            returns.announce_unverified(self._journal, signed, str(exc), now + timedelta(seconds=UNTRUSTED_FIRST_S))
            return
        returns.announce(self._journal, signed, descriptor, now)

    def _fetch_due(self) -> None:
        for document in returns.list_due_documents(self._journal, self._clock(), DOCUMENTS_AT_ONCE_MAX):
            try:
                self._fetch(document)
            except HubError as exc:
                self._note_failure(document, str(exc))
            except (SpoolFull, OSError) as exc:
                log.exception("document_not_stored", document_id=document.document_id)
                full = isinstance(exc, SpoolFull)
                error = "the disk is full" if full else getattr(exc, "strerror", None) or type(exc).__name__
                self._note_damaged(document, DeliveryFailure.of(DeliveryFault.DOCUMENT_NOT_STORED, error=error))

    def _fetch(self, document: DocumentRow) -> None:
        if document.descriptor is None:
            self._ask_again(document)
            return
        descriptor = document.descriptor
        size_max = min(descriptor.size_bytes, DOCUMENT_BYTES_MAX)
        content = self._client.fetch_content(descriptor.document_id, size_max=size_max, pace=self._pace)
        try:
            verify_content(descriptor, content)
        except DocumentAltered as exc:
            log.error("document_untrusted", document_id=descriptor.document_id, code=str(exc.failure.code))
            self._store.set_aside(descriptor.document_id, content, str(exc))
            self._note_damaged(document, exc.failure)
            return
        self._store.save_document(descriptor, content)
        targets = [target.target for target in self._targets if descriptor.kind in target.takes]
        returns.mark_fetched(self._journal, descriptor, targets, self._clock())
        log.info("document_fetched", document_id=descriptor.document_id, case_id=descriptor.case_id)
        self._on_fetched()

    def _ask_again(self, document: DocumentRow) -> None:
        """Fetch an announcement again that did not prove."""
        page = self._client.fetch_documents(document.cursor - 1, 0)
        signed = next((one for one in page.documents if one.cursor == document.cursor), None)
        if signed is None:
            self._note_failure(document, "the hub no longer announces this document")
            return
        try:
            descriptor = verify_announcement(signed, self._identity)
            self._store.path_of(descriptor)
        except (DocumentUntrusted, DocumentNameUnsafe) as exc:
            next_attempt_at = self._clock() + timedelta(seconds=self._untrusted_delay_s(document))
            returns.note_document_failure(self._journal, document, str(exc), next_attempt_at)
            return
        returns.announce(self._journal, signed, descriptor, self._clock())

    def _note_damaged(self, document: DocumentRow, failure: DeliveryFailure) -> None:
        now = self._clock()
        next_attempt_at = now + timedelta(seconds=self._untrusted_delay_s(document))
        returns.note_document_damaged(self._journal, document, failure, now, next_attempt_at)
        self._on_fetched()

    def _note_failure(self, document: DocumentRow, problem: str) -> None:
        next_attempt_at = self._clock() + timedelta(seconds=self._delay_s(document.attempts + 1))
        returns.note_document_failure(self._journal, document, problem, next_attempt_at)

    def _untrusted_delay_s(self, document: DocumentRow) -> float:
        return delay_s(
            document.attempts + 1,
            timedelta(0),
            random.random(),  # noqa: S311
            first_s=UNTRUSTED_FIRST_S,
            max_s=UNTRUSTED_MAX_S,
        )
