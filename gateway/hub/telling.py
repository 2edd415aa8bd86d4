"""One exchange with the hub over and over: tell it what people here did, fetch what waits for them.

Durable: what the hub has not answered, and what it last said, in the journal. A hub of an earlier version knows nothing
of the exchange: then nothing is shown, and what is to be told waits.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable
from typing import Final

import structlog

from gateway.hub.errors import HubError
from gateway.hub.exchange import HubExchange
from storage.contract.course import SiteActsAnswer

log = structlog.get_logger(__name__)

FETCH_EVERY_S: Final = 10.0


class TellingSync(HubExchange):
    """What people here do is told first, so that what is fetched knows of it."""

    every_hub_knows = False

    def _exchange(self) -> float:
        self._report()
        self._fetch()
        return FETCH_EVERY_S

    @abstractmethod
    def _report(self) -> None:
        """Tell the hub everything that is due and record what became of it."""

    @abstractmethod
    def _fetch(self) -> None:
        """Ask the hub what waits and keep it."""


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
