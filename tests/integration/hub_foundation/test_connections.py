"""A connection that was cut while it rested is replaced unseen; one that was just used is not asked first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from reading_queue.db.connections import PING_AFTER_IDLE_S, ping_after_rest

pytestmark = pytest.mark.postgres

CUT_ALL = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture
def engine(database_url: sa.URL) -> Iterator[sa.Engine]:
    engine = sa.create_engine(database_url)
    yield engine
    engine.dispose()


def ask(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()


def count_pings(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    pings: list[object] = []
    ping = engine.dialect.do_ping

    def counted(connection: object) -> bool:
        pings.append(connection)
        return ping(connection)

    monkeypatch.setattr(engine.dialect, "do_ping", counted)
    return pings


def test_a_connection_that_was_cut_at_rest_is_replaced(engine: sa.Engine, database: sa.Engine) -> None:
    ping_after_rest(engine, after_s=0.0)
    before = ask(engine)
    with database.connect() as connection:
        assert connection.execute(sa.text(CUT_ALL)).scalar_one() >= 1
    assert ask(engine) != before


def test_a_connection_that_rested_is_asked_first(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    ping_after_rest(engine, after_s=0.0)
    pings = count_pings(engine, monkeypatch)
    assert ask(engine) == ask(engine)
    assert len(pings) == 1


def test_a_connection_in_steady_use_is_not_asked(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    ping_after_rest(engine, after_s=PING_AFTER_IDLE_S)
    pings = count_pings(engine, monkeypatch)
    assert ask(engine) == ask(engine) == ask(engine)
    assert pings == []
