"""A notification wakes whoever waits for it, also after the connection was lost."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import Engine, text

from reading_queue.web.wakeups import Wakeups

pytestmark = pytest.mark.postgres

CHANNEL = "documents"
LISTENERS = "FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"


def notify(database: Engine, payload: str) -> None:
    with database.begin() as connection:
        connection.execute(text("SELECT pg_notify(:channel, :payload)"), {"channel": CHANNEL, "payload": payload})


def cut_listeners(database: Engine) -> None:
    with database.begin() as connection:
        assert connection.execute(text(f"SELECT pg_terminate_backend(pid) {LISTENERS}")).all()


def test_only_those_who_wait_for_this_payload_are_woken(database: Engine) -> None:
    async def scenario() -> None:
        wakeups = Wakeups(database.url, (CHANNEL,))
        with wakeups.subscribed(CHANNEL, "qinghe") as mine, wakeups.subscribed(CHANNEL, "baishan") as other:
            async with wakeups.running():
                await asyncio.wait_for(mine.wait(), 60)  # everybody is woken once it listens
                mine.clear()
                other.clear()
                notify(database, "qinghe")
                await asyncio.wait_for(mine.wait(), 60)
                assert not other.is_set()

    asyncio.run(scenario())


def test_lost_connection_is_made_again_and_everybody_looks_once_more(database: Engine) -> None:
    async def scenario() -> None:
        wakeups = Wakeups(database.url, (CHANNEL,))
        with wakeups.subscribed(CHANNEL, "qinghe") as mine:
            async with wakeups.running():
                await asyncio.wait_for(mine.wait(), 60)
                mine.clear()
                cut_listeners(database)
                await asyncio.wait_for(mine.wait(), 60)
                mine.clear()
                notify(database, "qinghe")
                await asyncio.wait_for(mine.wait(), 60)

    asyncio.run(scenario())
