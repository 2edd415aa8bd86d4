"""Tells the hub the gateway's custody events, in order.

Durable: the events and how far the hub has accepted them, in the journal. Volatile: how often in a row the hub could
not be told. Sending events again is harmless.
"""

from __future__ import annotations

import random
from datetime import timedelta

import structlog

from gateway.backoff import delay_s
from gateway.hub import HubClient, HubError
from gateway.journal.custody import mark_reported, mark_unreported, unreported_custody
from gateway.journal.database import Journal
from storage.contract.wire import CUSTODY_EVENTS_PER_BATCH_MAX, CustodyBatch

log = structlog.get_logger(__name__)


class CustodyReporter:
    """One step of a `Loop`: hands over what is unreported, then waits."""

    def __init__(self, journal: Journal, client: HubClient, *, every_s: float, retry_delay_max_s: float) -> None:
        self._journal = journal
        self._client = client
        self._every_s = every_s
        self._retry_delay_max_s = retry_delay_max_s
        self._failures = 0

    def step(self) -> float:
        """Report until nothing is left; return the seconds to wait."""
        try:
            while events := unreported_custody(self._journal, CUSTODY_EVENTS_PER_BATCH_MAX):
                answer = self._client.report_custody(CustodyBatch(events=tuple(events)))
                with self._journal.transaction() as connection:
                    if answer.accepted_through < events[0].seq - 1:
                        log.warning("custody_lost_at_hub", accepted_through=answer.accepted_through)
                        mark_unreported(connection, answer.accepted_through)
                    mark_reported(connection, min(answer.accepted_through, events[-1].seq))
                if answer.accepted_through < events[-1].seq:
                    break
        except HubError as exc:
            self._failures += 1
            log.info("custody_report_delayed", reason=str(exc), failures=self._failures)
            return delay_s(
                self._failures,
                timedelta(0),
                random.random(),  # noqa: S311 -- spreads retries, protects nothing
                max_s=self._retry_delay_max_s,
            )
        self._failures = 0
        return self._every_s
