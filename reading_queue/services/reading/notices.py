"""What a reader is told of the images: what must be looked at again, and what may be missing. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from reading_queue.db.tables import Case, CaseStudy, ReadingTask
from storage.contract.hops import Hop
from storage.contract.manifest import NOT_SURELY_WHOLE
from storage.ledger.tables import CustodyEvent

STILL_ARRIVING: Final = "case.still_arriving"
IMAGES_ARRIVED: Final = "case.images_arrived"


@dataclass(frozen=True, slots=True)
class PartialStudy:
    """A study of which more images may exist: its technician or the gateway's patience ended the waiting for them."""

    study_uid: str
    because: str  # one of NOT_SURELY_WHOLE
    expected_instances: int | None  # as announced to the gateway
    arrived_instances: int  # of those; what came at another time does not count


def load_partial(session: Session, case_id: str) -> tuple[PartialStudy, ...]:
    """Return the studies of the case whose latest completion does not say that all images are here, by UID."""
    latest = (
        select(CustodyEvent.study_uid, CustodyEvent.detail)
        .join(
            CaseStudy,
            (CaseStudy.site_id == CustodyEvent.site_id) & (CaseStudy.study_uid == CustodyEvent.study_uid),
        )
        .where(CaseStudy.case_id == case_id, CustodyEvent.hop == Hop.COMPLETED)
        .order_by(CustodyEvent.study_uid, CustodyEvent.event_id.desc())
        .ext(distinct_on(CustodyEvent.study_uid))
    )
    return tuple(
        PartialStudy(uid, detail["because"], detail.get("expected"), detail.get("instances", 0))
        for uid, detail in session.execute(latest)
        if detail.get("because") in NOT_SURELY_WHOLE
    )


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
