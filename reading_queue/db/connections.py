"""Connections of the pool that a restart of the database has cut: found before they are used, and replaced.

SQLAlchemy's own `pool_pre_ping` asks before every transaction, which costs a busy hub a fifth of its round trips. A
connection that was in use a moment ago is trusted instead; if the database died in just that moment, the transaction
fails as the one before it, and the pool throws all its connections away.
"""

from __future__ import annotations

import time
from typing import Any, Final

import psycopg
from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError, InvalidatePoolError

PING_AFTER_IDLE_S: Final = 1.0
_RESTING_SINCE: Final = "resting_since"
_OF_CONNECTIONS: Final = ("08", "57P")  # connection exceptions; shut down, crashed or starting (SQLSTATE)


def ping_after_rest(engine: Engine, *, after_s: float = PING_AFTER_IDLE_S) -> None:
    """Let the pool ask a connection that has rested for `after_s` whether it lives, before it hands it out."""

    def rest(_connection: Any, record: Any) -> None:
        record.info[_RESTING_SINCE] = time.monotonic()

    def ask(connection: Any, record: Any, _proxy: Any) -> None:
        since = record.info.pop(_RESTING_SINCE, None)
        if since is None or time.monotonic() - since < after_s:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as exc:
            raise InvalidatePoolError from exc

    event.listen(engine, "checkin", rest)
    event.listen(engine, "checkout", ask)


def is_away(failure: BaseException) -> bool:
    """Return whether the database was not there: it stopped, it starts, or it cannot be reached.

    That is told in one line and passes by itself; what a statement was refused for is not.
    """
    if not isinstance(failure, DBAPIError):
        return False
    sqlstate = getattr(failure.orig, "sqlstate", None)
    if sqlstate is None:  # said by the client, which has had no answer
        return failure.connection_invalidated or isinstance(failure.orig, psycopg.OperationalError)
    return str(sqlstate).startswith(_OF_CONNECTIONS)
