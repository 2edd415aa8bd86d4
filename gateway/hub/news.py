"""Keeps what the console shows of the hub up to date: its events about this site's studies, and the accounts.

Durable: what was heard. Volatile: when accounts were last asked for.
Accounts are asked for only over a line that nobody can listen to.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import structlog

from gateway.hub.client import HubClient
from gateway.hub.errors import HubError, HubRefused
from gateway.journal import hub_news
from gateway.journal.accounts import confirm_accounts, take_over_accounts
from gateway.journal.database import Journal
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid

log = structlog.get_logger(__name__)

EVENTS_EVERY_S: Final = 10.0
EVENTS_IDLE_S: Final = 20.0  # no study of ours waits for its report
ACCOUNTS_EVERY: Final = timedelta(minutes=5)
HISTORY: Final = timedelta(days=30)  # what a new box asks for at first
OFFSET_CHANGE_S: Final = 2.0
SILENCE_RETRY_S: Final = 15.0


class HubNews:
    """One step of a `Loop`."""

    def __init__(
        self,
        journal: Journal,
        client: HubClient,
        hub_url: str,
        clock: Callable[[], datetime],
        give_again: Callable[[Uid], object],
    ) -> None:
        """`give_again` is told of a study of which the hub has lost something."""
        self._journal = journal
        self._give_again = give_again
        self._client = client
        self._accounts_may_travel = is_private_line(hub_url)
        self._clock = clock
        self._accounts_due_at: datetime | None = None

    def step(self) -> float:
        """Ask once; return the seconds to wait."""
        try:
            self._ask_events()
            self._ask_accounts()
        except HubRefused as exc:  # it answered: a hub of an earlier version, or a revoked key, which others report
            self._accounts_due_at = self._clock() + ACCOUNTS_EVERY
            log.info("hub_news_refused", code=exc.code)
        except HubError as exc:
            log.info("hub_news_delayed", reason=str(exc))
            return SILENCE_RETRY_S
        self._note_clock()
        return EVENTS_EVERY_S if self._something_is_awaited() else EVENTS_IDLE_S

    def _ask_events(self) -> None:
        more = True
        while more:
            since = hub_news.load_contact(self._journal).events_through or self._clock() - HISTORY
            answer = self._client.fetch_events(since)
            for event in answer.events:  # first done and then noted: what a crash cuts off is told again
                if event.hop == Hop.DAMAGED and not hub_news.is_known(self._journal, event):
                    self._give_again(event.study_uid)
            hub_news.add_hub_events(self._journal, answer.events, answer.through)
            more = answer.more and answer.through > since

    def _ask_accounts(self) -> None:
        now = self._clock()
        due_at = self._accounts_due_at
        asked_lately = due_at is not None and now < due_at <= now + ACCOUNTS_EVERY  # else the clock was set back
        if not self._accounts_may_travel or asked_lately:
            return
        answer = self._client.fetch_accounts(hub_news.load_contact(self._journal).accounts_version)
        if answer.accounts is not None:
            take_over_accounts(self._journal, answer.accounts, answer.version, now)
            log.info("accounts_synced", accounts=len(answer.accounts))
        else:
            confirm_accounts(self._journal, now)
        self._accounts_due_at = now + ACCOUNTS_EVERY

    def _note_clock(self) -> None:
        known, hub_time = hub_news.load_contact(self._journal).clock_offset_s, self._client.hub_time
        if hub_time is None:
            return
        offset_s = (self._clock() - hub_time).total_seconds()
        if known is None or abs(offset_s - known) > OFFSET_CHANGE_S:
            hub_news.note_clock_offset(self._journal, offset_s)

    def _something_is_awaited(self) -> bool:
        """Return whether a study is at the hub, or on its way there, and its report is not here."""
        rows = self._journal.read(
            "SELECT 1 FROM transfers t WHERE t.completed_at > ? AND NOT EXISTS (SELECT 1 FROM custody c"
            " WHERE c.study_uid = t.study_uid AND c.hop = 'fetched') LIMIT 1",
            ((self._clock() - HISTORY).isoformat(),),
        )
        return bool(rows)


def is_private_line(url: str) -> bool:
    """Return whether the line to this address is encrypted, or never leaves the machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" or parts.hostname == "localhost":
        return True
    try:
        return ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
