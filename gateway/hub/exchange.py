"""One exchange with the hub, over and over, at longer pauses while it fails. Volatile: how often in a row it failed."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from datetime import timedelta
from http import HTTPStatus
from typing import ClassVar, Final

import structlog

from gateway.backoff import delay_s
from gateway.hub.client import HubClient
from gateway.hub.errors import HubError, HubRefused
from gateway.journal.database import Journal

log = structlog.get_logger(__name__)

OLD_HUB_RETRY_S: Final = 600.0


class HubExchange(ABC):
    """One step of a `Loop`. `wake` it when there is something to tell."""

    name: ClassVar[str]
    every_hub_knows: ClassVar[bool] = True  # else a hub of an earlier version answers 404, and is asked again seldom

    def __init__(self, journal: Journal, client: HubClient, *, retry_delay_max_s: float) -> None:
        self._journal = journal
        self._client = client
        self._retry_delay_max_s = retry_delay_max_s
        self._failures = 0

    def step(self) -> float:
        """Exchange once; return the seconds to wait."""
        try:
            wait_s = self._exchange()
        except HubError as exc:
            if not self.every_hub_knows and isinstance(exc, HubRefused) and exc.status == HTTPStatus.NOT_FOUND:
                return OLD_HUB_RETRY_S
            self._failures += 1
            log.info("exchange_delayed", about=self.name, reason=str(exc), failures=self._failures)
            return self._delay_s(self._failures)
        self._failures = 0
        return wait_s

    @abstractmethod
    def _exchange(self) -> float:
        """Tell what is due, ask what waits; return the seconds until the next time. Raises HubError."""

    def _delay_s(self, failures: int) -> float:
        return delay_s(failures, timedelta(0), random.random(), max_s=self._retry_delay_max_s)  # noqa: S311
