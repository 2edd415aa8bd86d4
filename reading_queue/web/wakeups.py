"""PostgreSQL notifications, brought to the coroutines of one process that wait for them.

Volatile, and only ever a hint: a notification that is lost while the connection is down costs a little time, never a
document. Whoever waits looks at the database before and after, and looks again after a while in any case. After every
(re)connect all who wait are woken.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final

import psycopg
import structlog
from psycopg import sql
from sqlalchemy import URL

RECONNECT_AFTER_S: Final = 0.5

_log = structlog.get_logger(__name__)


class Wakeups:
    """Listens on `channels` with one connection; wakes by channel and payload (an id, never content)."""

    def __init__(self, url: URL, channels: tuple[str, ...]) -> None:
        self._url = url
        self._channels = channels
        self._waiting: defaultdict[tuple[str, str], set[asyncio.Event]] = defaultdict(set)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen while the block runs."""
        task = asyncio.create_task(self._listen(), name="wakeups")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    @contextmanager
    def subscribed(self, channel: str, payload: str) -> Iterator[asyncio.Event]:
        """Give an event that is set by each notification of `payload` on `channel`; the waiter clears it."""
        event = asyncio.Event()
        key = channel, payload
        self._waiting[key].add(event)
        try:
            yield event
        finally:
            self._waiting[key].discard(event)
            if not self._waiting[key]:
                del self._waiting[key]

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except psycopg.OperationalError as exc:
                _log.warning("wakeups_disconnected", failure=type(exc).__name__)
            await asyncio.sleep(RECONNECT_AFTER_S)

    async def _listen_once(self) -> None:
        _, parameters = self._url.get_dialect()().create_connect_args(self._url)
        async with await psycopg.AsyncConnection.connect(autocommit=True, **parameters) as connection:
            for channel in self._channels:
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            self._wake_all()
            async for notification in connection.notifies():
                self._wake(notification.channel, notification.payload)

    def _wake(self, channel: str, payload: str) -> None:
        for event in self._waiting.get((channel, payload), ()):
            event.set()

    def _wake_all(self) -> None:
        for events in self._waiting.values():
            for event in events:
                event.set()
