"""Removes transfers from the spool whose keep period is over, oldest first.

Never before the hub has confirmed the digests of what it holds: only directories of `sent` whose transfer the journal
calls confirmed. The journal's rows go first: should the removal be cut short, the start-up scan puts back the rows of
the files that are left, and they are removed another time.
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

LOOK_EVERY_S: Final = 600.0
TRANSFERS_AT_ONCE_MAX: Final = 50


class Keeper:
    """One step of a `Loop`: removes what was kept long enough."""

    def __init__(self, journal: Journal, spool: Spool, *, keep: timedelta, clock: Callable[[], datetime]) -> None:
        self._journal = journal
        self._spool = spool
        self._keep = keep
        self._clock = clock

    def step(self) -> float:
        """Remove what is over; return the seconds until there may be more."""
        over = self._transfers_over()
        for key in over[:TRANSFERS_AT_ONCE_MAX]:
            self._remove(key)
        return 0.0 if len(over) > TRANSFERS_AT_ONCE_MAX else LOOK_EVERY_S

    def _transfers_over(self) -> list[TransferKey]:
        confirmed_before = self._clock() - self._keep
        over: list[tuple[datetime, TransferKey]] = []
        for directory in (self._spool.root / SpoolState.SENT).iterdir():
            key = _find_key(directory)
            confirmed_at = find_confirmed_at(self._journal, key) if key is not None else None
            if key is not None and confirmed_at is not None and confirmed_at <= confirmed_before:
                over.append((confirmed_at, key))
        return [key for _, key in sorted(over)]

    def _remove(self, key: TransferKey) -> None:
        with self._spool.locked(key.study_uid):
            rows = instances_of(self._journal, key.study_uid, SpoolState.SENT, key.revision)
            with self._journal.transaction() as connection:
                for row in rows:
                    drop_instance(connection, row.sop_instance_uid)
            directory = layout.study_directory(self._spool.root, SpoolState.SENT, key.study_uid, key.revision)
            for row in rows:
                (directory / layout.instance_name(row.sop_instance_uid)).unlink(missing_ok=True)
            if not any(directory.iterdir()):
                self._spool.files.remove_directory(directory)
            self._spool.files.fsync_directory(directory.parent)
        log.info("transfer_removed", study_uid=key.study_uid, revision=key.revision, instances=len(rows))


def _find_key(directory: Path) -> TransferKey | None:
    try:
        study_uid, revision = layout.parse_study_directory(SpoolState.SENT, directory.name)
    except ValueError:
        return None
    return TransferKey(study_uid, revision) if revision is not None else None
