"""What a reader is told who must look at a study again before signing. Reads only."""

from __future__ import annotations

from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from reading_queue.db.tables import Case, ReadingTask
from storage.contract.hops import Hop
from storage.ledger.tables import CustodyEvent

STILL_ARRIVING: Final = "case.still_arriving"
IMAGES_ARRIVED: Final = "case.images_arrived"


def load_notices(session: Session, case: Case) -> tuple[str, ...]:
    """Return the names of the texts that say what came or was corrected since the case was first claimed."""
    if case.still_arriving:
        return (STILL_ARRIVING,)
    if not case.images_unacknowledged:
        return ()
    since = select(func.min(ReadingTask.claimed_at)).where(ReadingTask.case_id == case.case_id).scalar_subquery()
    rows = session.execute(
        select(CustodyEvent.hop, CustodyEvent.detail["kind"].as_string())
        .where(CustodyEvent.case_id == case.case_id, CustodyEvent.received_at >= since)
        .where(CustodyEvent.hop.in_((Hop.LATE_IMAGES, Hop.AMENDED)))
        .order_by(CustodyEvent.event_id)
    ).all()
    names = [IMAGES_ARRIVED if hop == Hop.LATE_IMAGES else f"case.corrected.{kind}" for hop, kind in rows]
    return tuple(dict.fromkeys(names)) or (IMAGES_ARRIVED,)
