"""What gateways and the hub have set aside or refused, for a person to look at, and that they have.

Durable: who has seen what, with a note. What is set aside stays where it lies; acknowledging it takes it off the list
of what needs attention, until more of it comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, case, func, or_, select
from sqlalchemy.dialects.postgresql import insert

from reading_queue.db.tables import Account
from reading_queue.errors import NotFound
from reading_queue.services.access.visibility import Viewer, require, visible_sites
from reading_queue.services.cases.statistics import WITH_OVERSIGHT
from reading_queue.services.holdings.retention import checked_reason
from reading_queue.services.hub import Hub
from reading_queue.services.local_words import site_name
from storage.catalogue.keeping_tables import QuarantineNote
from storage.catalogue.tables import Instance, Pack, Study
from storage.contract.hops import Hop
from storage.ledger.tables import AuditEvent, CustodyEvent, Site

LISTED_MAX: Final = 200
SHOWN_FOR: Final = timedelta(days=180)  # older ones stay in the study's ledger
SET_ASIDE: Final = (Hop.QUARANTINED, Hop.REFUSED)
ACKNOWLEDGED: Final = "110100"  # DICOM Application Activity (PS3.15 A.5)
PLACE_HUB: Final = "hub"


@dataclass(frozen=True, slots=True)
class SetAside:
    """What was set aside of one study for one reason, and who has seen it.

    `reason` is the source's own sentence, in English; `instance_count` counts images, 0 where packs were refused.
    """

    site_id: str
    site_name: str
    study_uid: str
    code: str
    reason: str
    first_at: datetime
    last_at: datetime
    instance_count: int
    come_since: int  # images of them that came whole later
    is_at_hub: bool
    is_catalogued: bool  # something of the study is held
    note: str | None
    acknowledged_by: str | None
    acknowledged_at: datetime | None

    @property
    def is_open(self) -> bool:
        """Return whether nobody has seen all of it."""
        return self.acknowledged_at is None or self.last_at > self.acknowledged_at


def code_of_event() -> ColumnElement[str]:
    """Return the constant name of the reason of a line of the ledger, empty where it has none."""
    return func.coalesce(CustodyEvent.detail["code"].as_string(), "")


def is_unseen(site_id: Any, study_uid: Any, code: Any, at: Any) -> ColumnElement[bool]:
    """Return the condition, on columns, that nobody has acknowledged what was set aside at this moment."""
    seen = select(QuarantineNote.note).where(
        QuarantineNote.site_id == site_id,
        QuarantineNote.study_uid == study_uid,
        QuarantineNote.code == code,
        QuarantineNote.acknowledged_at >= at,
    )
    return ~seen.exists()


def list_set_aside(hub: Hub, viewer: Viewer) -> tuple[SetAside, ...]:
    """Return what was set aside at the viewer's sites, what nobody has seen first, then the newest; at most LISTED_MAX.

    Raises:
        Forbidden: the viewer is neither coordinator nor administrator.
    """
    require(viewer, *WITH_OVERSIGHT)
    now = hub.clock()
    with hub.transaction() as session:
        sites = visible_sites(session, viewer, now)
        code = code_of_event()
        came: Any = case((came_since(), 1), else_=0)
        last_at = func.max(CustodyEvent.received_at)
        found = (
            select(
                CustodyEvent.site_id,
                CustodyEvent.study_uid,
                code.label("code"),
                func.max(func.coalesce(CustodyEvent.detail["reason"].as_string(), "")).label("reason"),
                func.min(CustodyEvent.received_at).label("first_at"),
                last_at.label("last_at"),
                func.count(CustodyEvent.sop_instance_uid).label("instances"),
                func.sum(came).label("came"),
                func.bool_or(CustodyEvent.place == PLACE_HUB).label("is_at_hub"),
            )
            .where(
                CustodyEvent.site_id.in_(sites),
                CustodyEvent.hop.in_(SET_ASIDE),
                CustodyEvent.received_at > now - SHOWN_FOR,
            )
            .group_by(CustodyEvent.site_id, CustodyEvent.study_uid, code)
            .subquery()
        )
        note = QuarantineNote
        is_open = or_(note.acknowledged_at.is_(None), note.acknowledged_at < found.c.last_at)
        same = and_(note.site_id == found.c.site_id, note.study_uid == found.c.study_uid, note.code == found.c.code)
        held = select(Study.study_id).where(Study.site_id == found.c.site_id, Study.study_uid == found.c.study_uid)
        rows = session.execute(
            select(
                Site.site_id,
                site_name(viewer.language),
                *(found.c[name] for name in ("study_uid", "code", "reason", "first_at", "last_at", "instances")),
                found.c.came,
                found.c.is_at_hub,
                held.exists(),
                note.note,
                Account.display_name,
                note.acknowledged_at,
            )
            .join(found, found.c.site_id == Site.site_id)
            .outerjoin(note, same)
            .outerjoin(Account, Account.account_id == note.acknowledged_by)
            .order_by(is_open.desc(), found.c.last_at.desc())
            .limit(LISTED_MAX)
        )
        return tuple(SetAside(*row) for row in rows)


def acknowledge(hub: Hub, viewer: Viewer, site_id: str, study_uid: str, code: str, note: str) -> None:
    """Write down that the viewer has seen what was set aside of a study for this reason, and what they did.

    Raises:
        Forbidden, NotFound: it is none of the viewer's sites, or nothing of it was set aside.
        Invalid: the note says nothing.
    """
    require(viewer, *WITH_OVERSIGHT)
    now, words = hub.clock(), checked_reason(note)
    with hub.transaction() as session:
        is_theirs = site_id in visible_sites(session, viewer, now)
        known = select(CustodyEvent.event_id).where(
            CustodyEvent.site_id == site_id,
            CustodyEvent.study_uid == study_uid,
            CustodyEvent.hop.in_(SET_ASIDE),
            code_of_event() == code,
        )
        if not is_theirs or session.scalar(known.limit(1)) is None:
            raise NotFound("nothing of this study was set aside for this reason, or you may not see it")
        seen = {"note": words, "acknowledged_by": viewer.account_id, "acknowledged_at": now}
        row = {"site_id": site_id, "study_uid": study_uid, "code": code, **seen}
        statement = insert(QuarantineNote).values(row)
        session.execute(statement.on_conflict_do_update(index_elements=["site_id", "study_uid", "code"], set_=seen))
        session.add(
            AuditEvent(
                at=now,
                event_code=ACKNOWLEDGED,
                action="U",
                account_id=viewer.account_id,
                object_kind="study",
                object_id=study_uid,
                site_id=site_id,
                detail={"acknowledged": code},
            )
        )


def came_since() -> ColumnElement[bool]:
    """Return the condition that the instance of a CustodyEvent came into the catalogue after the event."""
    return (
        select(Instance.instance_id)
        .join(Pack, Pack.pack_id == Instance.pack_id)
        .where(
            Instance.site_id == CustodyEvent.site_id,
            Instance.sop_instance_uid == CustodyEvent.sop_instance_uid,
            Pack.verified_at > CustodyEvent.received_at,
        )
        .exists()
    )
