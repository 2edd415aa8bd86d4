"""Keeps the preliminary reports of emergencies here as the hub has them, within a moment of each change.

Durable: what was heard, in the journal. Volatile: the version that was heard last, so that after a restart all of them
are asked for again. The hub holds its answer back until something has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from gateway.hub.client import HubClient
from gateway.hub.exchange import HubExchange
from gateway.journal.database import Journal
from gateway.journal.preliminaries import take_over_preliminaries

PAUSE_S: Final = 0.5  # a hub that does not hold its answer back must not be asked in a circle


class PreliminarySync(HubExchange):
    """`on_new` is called when something came that the hub is to be told of."""

    name = "preliminaries"
    every_hub_knows = False

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
        super().__init__(journal, client, retry_delay_max_s=retry_delay_max_s)
        self._long_poll_s = long_poll_s
        self._clock = clock
        self._on_new = on_new
        self._known = ""

    def _exchange(self) -> float:
        answer = self._client.fetch_preliminaries(self._known, self._long_poll_s if self._known else 0)
        if answer.reports is not None:
            if take_over_preliminaries(self._journal, answer.reports, self._clock()):
                self._on_new()
            self._known = answer.version
        return PAUSE_S
