"""One exchange with the hub over and over: tell it what people here did, fetch what waits for them.

Durable: what the hub has not answered, and what it last said, in the journal. A hub of an earlier version knows nothing
of the exchange: then nothing is shown, and what is to be told waits. Volatile: how often in a row it failed.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from datetime import timedelta
from http import HTTPStatus
from typing import ClassVar, Final

import structlog

from gateway.backoff import delay_s
from gateway.hub.client import HubClient
from gateway.hub.errors import HubError, HubRefused
from gateway.journal.database import Journal
from storage.contract.course import SiteActsAnswer

log = structlog.get_logger(__name__)

FETCH_EVERY_S: Final = 10.0
OLD_HUB_RETRY_S: Final = 600.0


class TellingSync(ABC):
    """One step of a `Loop`. `wake` it when somebody acted."""

    name: ClassVar[str]

    def __init__(self, journal: Journal, client: HubClient, *, retry_delay_max_s: float) -> None:
        self._journal = journal
        self._client = client
        self._retry_delay_max_s = retry_delay_max_s
        self._failures = 0

    def step(self) -> float:
        """Report what is due, fetch what waits; return the seconds to wait."""
        try:
            self._report()
            self._fetch()
        except HubRefused as exc:
            if exc.status == HTTPStatus.NOT_FOUND:
                return OLD_HUB_RETRY_S
            return self._later(exc)
        except HubError as exc:
            return self._later(exc)
        self._failures = 0
        return FETCH_EVERY_S

    @abstractmethod
    def _report(self) -> None:
        """Tell the hub everything that is due and record what became of it."""

    @abstractmethod
    def _fetch(self) -> None:
        """Ask the hub what waits and keep it."""

    def _later(self, exc: HubError) -> float:
        self._failures += 1
        log.info("telling_delayed", about=self.name, reason=str(exc), failures=self._failures)
        return delay_s(self._failures, timedelta(0), random.random(), max_s=self._retry_delay_max_s)  # noqa: S311


def require_told(answer: SiteActsAnswer, act_ids: Iterable[str]) -> None:
    """Let pass an answer that says what became of something: else the same would be sent for ever.

    Raises:
        HubError: it says nothing of these acts.
    """
    told: Collection[str] = {*answer.done, *(one.act_id for one in answer.refused)}
    if not any(act_id in told for act_id in act_ids):
        raise HubError("the hub said nothing of the acts that it was given")
    for refusal in answer.refused:
        log.warning("site_act_refused", act_id=refusal.act_id, code=refusal.code)
