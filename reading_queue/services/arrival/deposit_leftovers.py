"""What deposits leave in object storage beside the catalogue, and how what never came to its commit is removed.

Loads no image libraries: the scheduler runs it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy import delete, or_, select

from reading_queue.services.hub import Hub
from storage.catalogue.tables import Deposit, DepositState

BATCH: Final = 50
ABANDONED_AFTER: Final = timedelta(hours=6)  # a deposit that began before is not at work any more: its process is gone

_log = structlog.get_logger(__name__)


def staging_prefix(deposit_id: str) -> str:
    """Return under which keys the packs of a deposit wait: the deposit's id is its grant's."""
    return f"incoming/{deposit_id}/"


def quarantine_prefix(site_id: str, study_uid: str) -> str:
    """Return under which keys lies what was deposited for a study with other contents than it holds."""
    return f"quarantine/deposits/{site_id}/{study_uid}/"


def remove_staged(hub: Hub, deposit_id: str) -> None:
    """Give a deposit up, then remove what it had put, then its row; one that was committed stays as it is."""
    with hub.transaction() as session:
        row = session.get(Deposit, deposit_id, with_for_update=True)
        if row is None or row.state == DepositState.COMMITTED:
            return
        row.state = DepositState.ABANDONED
    for key in list(hub.objects.list_keys(staging_prefix(deposit_id))):
        hub.objects.erase(key)
    with hub.transaction() as session:
        session.execute(delete(Deposit).where(Deposit.deposit_id == deposit_id))


def sweep_deposits(hub: Hub) -> int:
    """Remove what killed processes have left of deposits. Return how many deposits."""
    begun_before = hub.clock() - ABANDONED_AFTER
    left = select(Deposit.deposit_id).where(
        or_(Deposit.state == DepositState.ABANDONED, Deposit.begun_at < begun_before),
        Deposit.state != DepositState.COMMITTED,
    )
    with hub.transaction() as session:
        abandoned = session.scalars(left.order_by(Deposit.begun_at).limit(BATCH)).all()
    for deposit_id in abandoned:
        remove_staged(hub, deposit_id)
        _log.info("abandoned_deposit_removed", deposit_id=deposit_id)
    return len(abandoned)
