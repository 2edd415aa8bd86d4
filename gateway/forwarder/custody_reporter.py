"""Tells the hub the gateway's custody events, in order.

Durable: the events and how far the hub has accepted them, in the journal. Sending events again is harmless.
"""

from __future__ import annotations

import structlog

from gateway.hub import HubClient
from gateway.hub.exchange import HubExchange
from gateway.journal.custody import mark_reported, mark_unreported, unreported_custody
from gateway.journal.database import Journal
from storage.contract.wire import CUSTODY_EVENTS_PER_BATCH_MAX, CustodyBatch

log = structlog.get_logger(__name__)


class CustodyReporter(HubExchange):
    """Hands over what is unreported, then waits."""

    name = "custody"

    def __init__(self, journal: Journal, client: HubClient, *, every_s: float, retry_delay_max_s: float) -> None:
        super().__init__(journal, client, retry_delay_max_s=retry_delay_max_s)
        self._every_s = every_s

    def _exchange(self) -> float:
        while events := unreported_custody(self._journal, CUSTODY_EVENTS_PER_BATCH_MAX):
            answer = self._client.report_custody(CustodyBatch(events=tuple(events)))
            with self._journal.transaction() as connection:
                if answer.accepted_through < events[0].seq - 1:
                    log.warning("custody_lost_at_hub", accepted_through=answer.accepted_through)
                    mark_unreported(connection, answer.accepted_through)
                mark_reported(connection, min(answer.accepted_through, events[-1].seq))
            if answer.accepted_through < events[-1].seq:
                break
        return self._every_s
