"""Keeps the preliminary reports of emergencies here as the hub has them, within a moment of each change.

Durable: what was heard, in the journal. Volatile: the version that was heard last, so that after a restart all of them
are asked for again, and how often in a row it failed. The hub holds its answer back until something has changed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final

import structlog

from gateway.backoff import delay_s
from gateway.hub.client import HubClient
from gateway.hub.errors import HubError, HubRefused
from gateway.hub.telling import OLD_HUB_RETRY_S
from gateway.journal.database import Journal
from gateway.journal.preliminaries import take_over_preliminaries

log = structlog.get_logger(__name__)

PAUSE_S: Final = 0.5  # a hub that does not hold its answer back must not be asked in a circle


class PreliminarySync:
    """One step of a `Loop`. `on_new` is called when something came that the hub is to be told of."""

    def __init__(
        self,
        journal: Journal,
        client: HubClient,
        *,
        long_poll_s: int,
        retry_delay_max_s: float,
        clock: Callable[[], datetime],
        on_new: Callable[[], None] = lambda: None,
    ) -> None:
        self._journal = journal
        self._client = client
        self._long_poll_s = long_poll_s
        self._retry_delay_max_s = retry_delay_max_s
        self._clock = clock
        self._on_new = on_new
        self._known = ""
        self._failures = 0

    def step(self) -> float:
        """Ask once, and keep what has changed; return the seconds to wait."""
        try:
            answer = self._client.fetch_preliminaries(self._known, self._long_poll_s if self._known else 0)
        except HubRefused as exc:
            if exc.status == HTTPStatus.NOT_FOUND:
                return OLD_HUB_RETRY_S
            return self._later(exc)
        except HubError as exc:
            return self._later(exc)
        self._failures = 0
        if answer.reports is not None:
            if take_over_preliminaries(self._journal, answer.reports, self._clock()):
                self._on_new()
            self._known = answer.version
        return PAUSE_S

    def _later(self, exc: HubError) -> float:
        self._failures += 1
        log.info("preliminaries_delayed", reason=str(exc), failures=self._failures)
        return delay_s(self._failures, timedelta(0), random.random(), max_s=self._retry_delay_max_s)  # noqa: S311
