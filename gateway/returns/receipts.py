"""Tells the hub how far each document came, in order.

Durable: the receipts and which of them the hub has, in the journal. Volatile: how often in a row it failed. Sending a
receipt again is harmless.
"""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Final

import structlog

from gateway.backoff import delay_s
from gateway.hub import HubClient, HubError, HubRefused
from gateway.journal.database import Journal
from gateway.journal.returns import list_owed_receipts, mark_receipt_sent

log = structlog.get_logger(__name__)

RECEIPTS_AT_ONCE_MAX: Final = 100
IDLE_S: Final = 30.0
GONE: Final = frozenset({404, 410, 422})  # the hub will never take this one; those behind it must not wait


class ReceiptSender:
    """One step of a `Loop`: sends what is owed."""

    def __init__(self, journal: Journal, client: HubClient, *, retry_delay_max_s: float) -> None:
        self._journal = journal
        self._client = client
        self._retry_delay_max_s = retry_delay_max_s
        self._failures = 0

    def step(self) -> float:
        """Send until nothing is owed; return the seconds to wait."""
        try:
            while owed := list_owed_receipts(self._journal, RECEIPTS_AT_ONCE_MAX):
                for one in owed:
                    try:
                        self._client.send_receipt(one.document_id, one.receipt)
                    except HubRefused as exc:
                        if exc.status not in GONE:
                            raise
                        log.error("receipt_refused", document_id=one.document_id, seq=one.receipt.seq, reason=str(exc))
                    mark_receipt_sent(self._journal, one.receipt.seq)
        except HubError as exc:
            self._failures += 1
            log.info("receipts_delayed", reason=str(exc), failures=self._failures)
            return delay_s(self._failures, timedelta(0), random.random(), max_s=self._retry_delay_max_s)  # noqa: S311
        self._failures = 0
        return IDLE_S
