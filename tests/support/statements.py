"""What reaches the database, so that a test can say how much it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from reading_queue.services.hub import Hub


@contextmanager
def statements(hub: Hub) -> Iterator[list[str]]:
    """Record the statements that reach the database."""
    said: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        said.append(statement)

    sa.event.listen(hub.engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        sa.event.remove(hub.engine, "before_cursor_execute", note)
