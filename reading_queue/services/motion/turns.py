"""Whose turn it is to work on something: locks by name in the database, which go with the connection of who is killed.

Nothing here is durable. No transaction is open while a turn is had, for the object store may be slow; one connection
holds all the locks of one turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, func, select

from reading_queue.services.hub import Hub


class Turn:
    """A connection that holds locks."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextmanager
    def also(self, *names: str) -> Iterator[None]:
        """Wait for further locks, in this order, and give them back at the end. Everybody keeps the same order."""
        taken: list[str] = []
        try:
            for name in names:
                self._connection.execute(select(func.pg_advisory_lock(func.hashtextextended(name, 0))))
                taken.append(name)
            yield
        finally:
            for name in reversed(taken):
                self._connection.execute(select(func.pg_advisory_unlock(func.hashtextextended(name, 0))))


def name_of_study(site_id: str, study_uid: str) -> str:
    """Return the lock of a study's place in the catalogue; taken before that of a patient, never after."""
    return f"study:{site_id}/{study_uid}"


def name_of_patient(site_id: str, patient_number: str) -> str:
    """Return the lock of a patient's record."""
    return f"patient:{site_id}/{patient_number}"


@contextmanager
def alone_with(hub: Hub, name: str) -> Iterator[Turn]:
    """Let one process at a time work on what is named; the others wait."""
    with _turn(hub) as turn, turn.also(name):
        yield turn


@contextmanager
def alone_if_free(hub: Hub, name: str) -> Iterator[Turn | None]:
    """Take the lock of `alone_with` if nobody has it, None if somebody has; never waits."""
    lock = func.hashtextextended(name, 0)
    with hub.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        free = bool(connection.scalar(select(func.pg_try_advisory_lock(lock))))
        try:
            yield Turn(connection) if free else None
        finally:
            if free:
                connection.execute(select(func.pg_advisory_unlock(lock)))


@contextmanager
def _turn(hub: Hub) -> Iterator[Turn]:
    with hub.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        yield Turn(connection)
