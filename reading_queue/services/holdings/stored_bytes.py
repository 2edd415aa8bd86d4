"""How the stored bytes of a coordinator's sites are: when each was last read, what was found, what came in its place.

Reads only, but for the checks that a person asks for, which are jobs as the plan's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select

from reading_queue.services.access.visibility import Viewer, require, visible_sites
from reading_queue.services.cases.statistics import WITH_OVERSIGHT
from reading_queue.services.holdings.retention import audit_keeping, get_overseen
from reading_queue.services.holdings.scrubbing import SCRUB_JOB, SCRUB_LARGE_JOB
from reading_queue.services.hub import Hub, launch
from reading_queue.services.local_words import site_name
from reading_queue.services.motion.sweeps import in_hand
from storage.catalogue.tables import SOUND, Pack, Study
from storage.contract.hops import Hop
from storage.ledger.tables import CustodyEvent, Gateway, Site
from storage.packs.layout import PACK_BYTES_MAX

LISTED_MAX: Final = 200
HEALED_SHOWN_FOR: Final = timedelta(days=180)
USED: Final = "110100"  # DICOM Application Activity (PS3.15 A.5)


@dataclass(frozen=True, slots=True)
class SiteBytes:
    """The packs of one site, and when they were read."""

    site_id: str
    name: str
    packs: int
    size_bytes: int
    oldest_check_at: datetime
    newest_check_at: datetime
    unsound: int


@dataclass(frozen=True, slots=True)
class UnsoundPack:
    """A pack whose bytes are not what they were; `lost` counts the instances that cannot be given any more."""

    site_id: str
    site_name: str
    study_uid: str
    condition: str
    since: datetime
    instances_lost: int
    gateway_seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Healed:
    """A pack that is whole again; `before` is how it was."""

    site_id: str
    site_name: str
    study_uid: str
    before: str
    at: datetime


@dataclass(frozen=True, slots=True)
class StoredBytes:
    """What a coordinator sees of the stored bytes."""

    sites: tuple[SiteBytes, ...]
    unsound: tuple[UnsoundPack, ...]
    healed: tuple[Healed, ...]
    every_days: int  # how often all is read


def stored_bytes(hub: Hub, viewer: Viewer) -> StoredBytes:
    """Return how the stored bytes of the viewer's sites are. Raises Forbidden without oversight."""
    require(viewer, *WITH_OVERSIGHT)
    now = hub.clock()
    name = site_name(viewer.language)
    lost = func.jsonb_array_length(Pack.damaged_uids)
    with hub.transaction() as session:
        sites = visible_sites(session, viewer, now)
        per_site = session.execute(
            select(
                Site.site_id,
                name,
                func.count(),
                func.sum(Pack.size_bytes),
                func.min(Pack.checked_at),
                func.max(Pack.checked_at),
                func.count().filter(Pack.condition != SOUND),
            )
            .join(Study, Study.site_id == Site.site_id)
            .join(Pack, Pack.study_id == Study.study_id)
            .where(Site.site_id.in_(sites))
            .group_by(Site.site_id)
            .order_by(func.min(Pack.checked_at))
        )
        seen_at = select(func.max(Gateway.last_seen_at)).where(Gateway.site_id == Site.site_id).correlate(Site)
        unsound = session.execute(
            select(
                Site.site_id,
                name,
                Study.study_uid,
                Pack.condition,
                Pack.condition_since,
                lost,
                seen_at.scalar_subquery(),
            )
            .join(Study, Study.site_id == Site.site_id)
            .join(Pack, Pack.study_id == Study.study_id)
            .where(Site.site_id.in_(sites), Pack.condition != SOUND)
            .order_by(Pack.condition_since.desc())
            .limit(LISTED_MAX)
        )
        healed = session.execute(
            select(
                Site.site_id,
                name,
                CustodyEvent.study_uid,
                func.coalesce(CustodyEvent.detail["before"].as_string(), ""),
                CustodyEvent.at,
            )
            .join(CustodyEvent, CustodyEvent.site_id == Site.site_id)
            .where(
                Site.site_id.in_(sites),
                CustodyEvent.place == "hub",
                CustodyEvent.hop == Hop.HEALED,
                CustodyEvent.received_at > now - HEALED_SHOWN_FOR,
            )
            .order_by(CustodyEvent.received_at.desc())
            .limit(LISTED_MAX)
        )
        return StoredBytes(
            sites=tuple(SiteBytes(*row[:3], int(row[3]), *row[4:]) for row in per_site),
            unsound=tuple(UnsoundPack(*row) for row in unsound),
            healed=tuple(Healed(*row) for row in healed),
            every_days=hub.policy.scrub_every_days,
        )


def verify_study(hub: Hub, viewer: Viewer, site_id: str, study_uid: str) -> int:
    """Have every byte of a study read now; return how many packs. Those that are in hand already are not asked twice.

    Raises:
        Forbidden, NotFound: it is no study of the viewer's sites.
    """
    now = hub.clock()
    asked = 0
    with hub.transaction() as session:
        study = get_overseen(session, viewer, site_id, study_uid, now)
        for job, is_large in ((SCRUB_JOB, False), (SCRUB_LARGE_JOB, True)):
            size = Pack.size_bytes > PACK_BYTES_MAX
            which = (
                Pack.study_id == study.study_id,
                (size if is_large else ~size),
                ~in_hand(hub, job, Pack.pack_id, now),
            )
            for pack_id in session.scalars(select(Pack.pack_id).where(*which).order_by(Pack.number)):
                launch(session, now, job, pack_id=pack_id)
                asked += 1
        audit_keeping(session, now, viewer, "E", site_id, study_uid, code=USED, verify=str(asked))
    return asked
