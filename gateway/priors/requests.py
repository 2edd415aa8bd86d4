"""Hears from the hub which earlier studies it wants, and tells it what became of that. One step of a `Loop`.

Durable: requests and outcomes, in the journal, before anything is fetched. Works again by itself after days without a
line. That it asks tells the hub that this gateway can fetch.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

import structlog

from gateway.hub import HubClient, HubError, HubRefused
from gateway.journal.database import Journal
from gateway.journal.priors import add_request, drop_request, note_reported, unreported_outcomes

log = structlog.get_logger(__name__)

ASK_EVERY_S: Final = 15.0
SILENCE_RETRY_S: Final = 30.0
OUTCOMES_PER_STEP: Final = 200


class PriorRequests:
    """`on_heard` is called when there is something to fetch."""

    def __init__(
        self, journal: Journal, client: HubClient, clock: Callable[[], datetime], on_heard: Callable[[], None]
    ) -> None:
        self._journal = journal
        self._client = client
        self._clock = clock
        self._on_heard = on_heard

    def step(self) -> float:
        """Tell, then ask; return the seconds to wait."""
        try:
            self._tell()
            page = self._client.fetch_prior_requests(0)  # what is taken is in no later page
            for request in page.requests:
                add_request(self._journal, request, self._clock())
            self._tell()
        except HubRefused as exc:  # a hub of an earlier version, or a revoked key, which others report
            log.info("prior_requests_refused", code=exc.code)
            return SILENCE_RETRY_S
        except HubError as exc:
            log.info("prior_requests_delayed", reason=str(exc))
            return SILENCE_RETRY_S
        return ASK_EVERY_S

    def _tell(self) -> None:
        told = 0
        for request_id, outcome in unreported_outcomes(self._journal, OUTCOMES_PER_STEP):
            try:
                self._client.send_prior_outcome(request_id, outcome)
            except HubRefused as exc:
                if exc.code not in ("taken_elsewhere", "not_found"):
                    raise
                drop_request(self._journal, request_id)
                log.info("prior_request_dropped", request_id=request_id, code=exc.code)
            else:
                note_reported(self._journal, request_id, outcome)
                told += 1
        if told:
            self._on_heard()
