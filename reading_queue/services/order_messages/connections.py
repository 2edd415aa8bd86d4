"""Connections for order messages that were refused: counted by address and reason, shown to administrators.

Durable: the counts, once written; those of the last few seconds before a listener is killed are lost, its log has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from reading_queue.db.message_tables import RefusedConnection
from reading_queue.domain.roles import Role
from reading_queue.services.access.visibility import Viewer, require
from reading_queue.services.hub import Hub

KEPT_FOR: Final = timedelta(days=30)
SHOWN_MAX: Final = 20


def note_refusals(hub: Hub, counted: Mapping[tuple[str, str], int]) -> None:
    """Add to what was counted by address and reason; what is older than KEPT_FOR goes."""
    now = hub.clock()
    with hub.transaction() as session:
        session.execute(delete(RefusedConnection).where(RefusedConnection.last_at < now - KEPT_FOR))
        for (address, why), count in sorted(counted.items()):
            new = insert(RefusedConnection).values(address=address, why=why, first_at=now, last_at=now, count=count)
            known = {"last_at": now, "count": RefusedConnection.count + count}
            session.execute(new.on_conflict_do_update(index_elements=["address", "why"], set_=known))


def list_refusals(hub: Hub, viewer: Viewer) -> tuple[RefusedConnection, ...]:
    """Return who was refused last, at most SHOWN_MAX; nothing for all but administrators: they belong to no site."""
    require(viewer, Role.COORDINATOR, Role.ADMINISTRATOR)
    if viewer.role is not Role.ADMINISTRATOR:
        return ()
    newest = select(RefusedConnection).order_by(RefusedConnection.last_at.desc(), RefusedConnection.address)
    with hub.transaction() as session:
        return tuple(session.scalars(newest.limit(SHOWN_MAX)))
