"""The line and the disk as figures: speed, queue by lane, last contact, what the disk holds. Reads journal and disk."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime

from gateway.console.road import seconds_left
from gateway.console.studies import pending_uploads
from gateway.journal.database import Journal, from_text
from gateway.journal.hub_news import HubContact, load_contact
from gateway.journal.identity import Identity, find_identity
from gateway.journal.line import LineState, read_line
from gateway.spool.spool import Spool
from storage.contract.lanes import Lane


@dataclass(frozen=True, slots=True)
class LaneQueue:
    """What waits in one lane; `seconds_left` until all of it and of the lanes before it is at the hub."""

    lane: str
    studies: int
    bytes_left: int
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class LineHealth:
    """Line and disk at one moment."""

    identity: Identity | None
    contact: HubContact
    line: LineState
    queues: tuple[LaneQueue, ...]
    custody_unreported: int
    receipts_unreported: int
    disk_bytes: int
    disk_free_bytes: int
    disk_floor_bytes: int
    waiting_bytes: int
    kept_bytes: int
    kept_studies: int
    oldest_kept_at: datetime | None


def load_health(journal: Journal, spool: Spool, disk_floor_bytes: int) -> LineHealth:
    """Return the figures."""
    line = read_line(journal)
    disk = shutil.disk_usage(spool.root)
    here = journal.read(
        "SELECT coalesce(sum(CASE WHEN state IN ('incoming', 'ready') THEN size_bytes END), 0) AS waiting,"
        " coalesce(sum(CASE WHEN state IN ('sent', 'kept') THEN size_bytes END), 0) AS kept,"
        " count(DISTINCT CASE WHEN state IN ('sent', 'kept') THEN study_uid END) AS studies,"
        " min(CASE WHEN state IN ('sent', 'kept') THEN received_at END) AS oldest FROM instances"
    )[0]
    return LineHealth(
        identity=find_identity(journal),
        contact=load_contact(journal),
        line=line,
        queues=_queues(journal, line.bytes_per_s),
        custody_unreported=_count(journal, "SELECT count(*) AS n FROM custody WHERE reported = 0"),
        receipts_unreported=_count(journal, "SELECT count(*) AS n FROM receipts WHERE reported = 0"),
        disk_bytes=disk.total,
        disk_free_bytes=disk.free,
        disk_floor_bytes=disk_floor_bytes,
        waiting_bytes=here["waiting"],
        kept_bytes=here["kept"],
        kept_studies=here["studies"],
        oldest_kept_at=from_text(here["oldest"]) if here["oldest"] else None,
    )


def _queues(journal: Journal, bytes_per_s: float | None) -> tuple[LaneQueue, ...]:
    pending = pending_uploads(journal)
    queues: list[LaneQueue] = []
    before = 0
    for lane in Lane:
        mine = [upload for upload in pending if upload.lane == lane]
        waiting = sum(upload.bytes_left for upload in mine)
        studies = len({upload.study_uid for upload in mine})
        queues.append(LaneQueue(lane, studies, waiting, seconds_left(waiting, before, bytes_per_s)))
        before += waiting
    return tuple(queues)


def _count(journal: Journal, query: str) -> int:
    return int(journal.read(query)[0]["n"])
