"""Tells the hub how far each document came, in order.

Durable: the receipts and which of them the hub has, in the journal. Sending a receipt again is harmless.
"""

from __future__ import annotations

from typing import Final

import structlog

from gateway.hub import HubRefused
from gateway.hub.exchange import HubExchange
from gateway.journal.returns import list_owed_receipts, mark_receipt_sent

log = structlog.get_logger(__name__)

RECEIPTS_AT_ONCE_MAX: Final = 100
IDLE_S: Final = 30.0
GONE: Final = frozenset({404, 410, 422})  # the hub will never take this one; those behind it must not wait


class ReceiptSender(HubExchange):
    """Sends what is owed."""

    name = "receipts"

    def _exchange(self) -> float:
        while owed := list_owed_receipts(self._journal, RECEIPTS_AT_ONCE_MAX):
            for one in owed:
                try:
                    self._client.send_receipt(one.document_id, one.receipt)
                except HubRefused as exc:
                    if exc.status not in GONE:
                        raise
                    log.error("receipt_refused", document_id=one.document_id, seq=one.receipt.seq, reason=str(exc))
                mark_receipt_sent(self._journal, one.receipt.seq)
        return IDLE_S
