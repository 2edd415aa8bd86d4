"""Removes confirmed transfers from the spool: after their keep period, or before it when the disk needs room.

Never before the hub has confirmed the digests of what it holds: only directories of `sent` whose transfer the journal
calls confirmed, the oldest first. The journal's rows go first: should the removal be cut short, the start-up scan puts
back the rows of the files that are left, and they are removed another time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import structlog

from gateway.journal.database import Journal
from gateway.journal.instances import drop_instance, instances_of
from gateway.journal.transfers import TransferKey, find_confirmed_at
from gateway.spool import layout
from gateway.spool.layout import SpoolState
from gateway.spool.spool import Spool

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 60.0
TRANSFERS_AT_ONCE_MAX: Final = 50


class Keeper:
    """One step of a `Loop`: removes what was kept long enough. `make_room` may be called by any thread."""

    def __init__(self, journal: Journal, spool: Spool, *, keep: timedelta, clock: Callable[[], datetime]) -> None:
        self._journal = journal
        self._spool = spool
        self._keep = keep
        self._clock = clock

    def step(self) -> float:
        """Remove what is over, and more while the disk is low; return the seconds until there may be more."""
        over = self._confirmed_before(self._clock() - self._keep)
        for key in over[:TRANSFERS_AT_ONCE_MAX]:
            self._remove(key)
        room = self._spool.room.look()
        self.make_room(room.low_bytes - (room.free_bytes - room.promised_bytes))
        return 0.0 if len(over) > TRANSFERS_AT_ONCE_MAX else LOOK_EVERY_S

    def make_room(self, wanted_bytes: int) -> int:
        """Remove confirmed transfers, oldest first, until about so many bytes are free; return how many that were."""
        freed_bytes = 0
        if wanted_bytes <= 0:
            return freed_bytes
        for key in self._confirmed_before(self._clock()):
            freed_bytes += self._remove(key)
            if freed_bytes >= wanted_bytes:
                break
        if freed_bytes:
            log.warning("kept_studies_removed_for_room", wanted_bytes=wanted_bytes, freed_bytes=freed_bytes)
        return freed_bytes

    def _confirmed_before(self, moment: datetime) -> list[TransferKey]:
        found: list[tuple[datetime, TransferKey]] = []
        for directory in (self._spool.root / SpoolState.SENT).iterdir():
            key = _find_key(directory)
            confirmed_at = find_confirmed_at(self._journal, key) if key is not None else None
            if key is not None and confirmed_at is not None and confirmed_at <= moment:
                found.append((confirmed_at, key))
        return [key for _, key in sorted(found)]

    def _remove(self, key: TransferKey) -> int:
        """Remove one transfer and return how many bytes its files had."""
        freed_bytes = 0
        with self._spool.locked(key.study_uid):
            rows = instances_of(self._journal, key.study_uid, SpoolState.SENT, key.revision)
            with self._journal.transaction() as connection:
                for row in rows:
                    drop_instance(connection, row.sop_instance_uid)
            directory = layout.study_directory(self._spool.root, SpoolState.SENT, key.study_uid, key.revision)
            for row in rows:
                path = directory / layout.instance_name(row.sop_instance_uid)
                if path.exists():
                    self._spool.files.remove_file(path)
                    freed_bytes += row.size_bytes
            if directory.is_dir() and not any(directory.iterdir()):
                self._spool.files.remove_directory(directory)
            self._spool.files.fsync_directory(directory.parent)
        log.info("transfer_removed", study_uid=key.study_uid, revision=key.revision, instances=len(rows))
        return freed_bytes


def _find_key(directory: Path) -> TransferKey | None:
    try:
        study_uid, revision = layout.parse_study_directory(SpoolState.SENT, directory.name)
    except ValueError:
        return None
    return TransferKey(study_uid, revision) if revision is not None else None
