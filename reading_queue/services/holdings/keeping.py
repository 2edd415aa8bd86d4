"""Holds and deletions as object storage tells of them, on their way into a new catalogue.

Repeating any of it changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy.dialects.postgresql import insert

from reading_queue.services.hub import Hub
from storage.catalogue.keeping_records import DELETIONS, is_hold_key, parse_hold, parse_tombstone
from storage.catalogue.keeping_tables import Deletion, Hold
from storage.catalogue.pack_records import RecordUnreadable


def restore_holds(hub: Hub) -> Iterator[tuple[str, str]]:
    """Take in every hold; yield key and reason of what could not be read."""
    for key in hub.objects.list_keys("studies/"):
        if not is_hold_key(key):
            continue
        try:
            record = parse_hold(key, hub.objects.read(key))
        except RecordUnreadable:
            yield key, "this is no hold, or it belongs elsewhere"
            continue
        row = {**record.model_dump(exclude={"format"}), "is_recorded": True}
        with hub.transaction() as session:
            session.execute(insert(Hold).values(row).on_conflict_do_nothing())


def restore_deletions(hub: Hub) -> Iterator[tuple[str, str]]:
    """Take note of every study that was deleted; yield key and reason of what could not be read."""
    for key in hub.objects.list_keys(DELETIONS):
        try:
            record = parse_tombstone(key, hub.objects.read(key))
        except RecordUnreadable:
            yield key, "this tells of no deletion, or it belongs elsewhere"
            continue
        row = {
            "site_id": record.site_id,
            "study_uid": record.study_uid,
            "deleted_at": record.deleted_at,
            "content": record.model_dump(mode="json"),
        }
        with hub.transaction() as session:
            session.execute(insert(Deletion).values(row).on_conflict_do_nothing())
