"""Keeps journal and quarantine small for years: what is settled and old is forgotten.

Never anything that the hub has still to hear or that lies in the spool. Durable: each deletion is a transaction of its
own, bounded, so that nobody waits for the journal; a quarantined object's file goes before its row, and the start-up
scan brings no row back without a file. On restart it begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import structlog

from gateway.importing.leftovers import remove_leftovers
from gateway.journal.database import Journal, to_text
from gateway.journal.order_messages import SUBJECT
from gateway.journal.quarantine import SETTLED, drop_quarantined
from gateway.spool import layout
from gateway.spool.spool import Spool

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 6 * 3600.0
UPLOADS_KEEP: Final = timedelta(days=1)  # longer than a browser takes for one
ROWS_AT_ONCE_MAX: Final = 2000
PAGES_AT_ONCE_MAX: Final = 2000

# Each takes the moment before which things are old, and how many rows to take at most.
_FORGET: Final = {
    "custody": "DELETE FROM custody WHERE seq IN (SELECT seq FROM custody WHERE reported = 1 AND at < ? LIMIT ?)",
    "receipts": "DELETE FROM receipts WHERE seq IN (SELECT seq FROM receipts WHERE reported = 1 AND at < ? LIMIT ?)",
    "associations": "DELETE FROM associations WHERE association_id IN (SELECT association_id FROM associations a"
    " WHERE closed_at < ? AND NOT EXISTS (SELECT 1 FROM instances i WHERE i.association_id = a.association_id)"
    " LIMIT ?)",
    "transfers": "DELETE FROM transfers WHERE rowid IN (SELECT t.rowid FROM transfers t WHERE state = 'confirmed'"
    " AND confirmed_at < ? AND NOT EXISTS (SELECT 1 FROM instances i WHERE i.study_uid = t.study_uid) LIMIT ?)",
    "studies": "DELETE FROM studies WHERE study_uid IN (SELECT study_uid FROM studies s WHERE first_received_at < ?"
    " AND NOT EXISTS (SELECT 1 FROM instances i WHERE i.study_uid = s.study_uid)"
    " AND NOT EXISTS (SELECT 1 FROM transfers t WHERE t.study_uid = s.study_uid) LIMIT ?)",
    "performed_steps": "DELETE FROM performed_steps WHERE step_uid IN (SELECT step_uid FROM performed_steps"
    " WHERE received_at < ? LIMIT ?)",
    "orders": "DELETE FROM orders WHERE order_id IN (SELECT order_id FROM orders WHERE scheduled_at < ?"
    " AND reported_version >= version LIMIT ?)",
    # Not what was refused or taken in part, before somebody has settled it. Actions go last.
    "order_messages": "DELETE FROM order_messages WHERE message_id IN (SELECT message_id FROM order_messages m"  # noqa: S608
    " WHERE state <> 'received' AND received_at < ? AND (state = 'taken' AND faults = '[]' OR EXISTS (SELECT 1"
    f" FROM actions a WHERE a.verb = '{SETTLED}' AND a.subject = '{SUBJECT}' || m.message_id AND a.at >= m.decided_at))"
    " LIMIT ?)",
    "site_acts": "DELETE FROM site_acts WHERE rowid IN (SELECT rowid FROM site_acts"
    " WHERE state <> 'due' AND json_extract(content, '$.at') < ? LIMIT ?)",
    "identity_settlements": "DELETE FROM identity_settlements WHERE rowid IN (SELECT rowid FROM identity_settlements"
    " WHERE state <> 'due' AND json_extract(content, '$.at') < ? LIMIT ?)",
    "reader_reports": "DELETE FROM reader_reports WHERE report_key IN (SELECT report_key FROM reader_reports"
    " WHERE state <> 'due' AND received_at < ? LIMIT ?)",
    "reader_receipts": "DELETE FROM reader_receipts WHERE (reading_task_id, target, step, code) IN"
    " (SELECT r.reading_task_id, r.target, r.step, r.code FROM reader_receipts r JOIN reader_cases c"
    " USING (reading_task_id) WHERE r.reported = 1 AND c.state = 'withdrawn' AND r.at < ? LIMIT ?)",
    "reader_cases": "DELETE FROM reader_cases WHERE reading_task_id IN (SELECT reading_task_id FROM reader_cases c"
    " WHERE state = 'withdrawn' AND changed_at < ?"
    " AND NOT EXISTS (SELECT 1 FROM reader_receipts r WHERE r.reading_task_id = c.reading_task_id) LIMIT ?)",
    "actions": "DELETE FROM actions WHERE action_id IN (SELECT action_id FROM actions WHERE at < ? LIMIT ?)",
}


@dataclass(frozen=True, slots=True)
class PruningLimits:
    """How long things are kept, and how many bytes quarantine may have."""

    journal_keep: timedelta
    quarantine_keep: timedelta
    quarantine_bytes_max: int


class Pruner:
    """One step of a `Loop`."""

    def __init__(self, journal: Journal, spool: Spool, limits: PruningLimits, *, clock: Callable[[], datetime]) -> None:
        self._journal = journal
        self._spool = spool
        self._limits = limits
        self._clock = clock

    def step(self) -> float:
        """Forget what is old; return the seconds until there may be more."""
        before = to_text(self._clock() - self._limits.journal_keep)
        forgotten = {table: self._forget(statement, before) for table, statement in _FORGET.items()}
        forgotten["quarantine"] = sum(1 for _ in self._clear_quarantine())
        forgotten["uploads"] = remove_leftovers(self._journal, self._spool, self._clock() - UPLOADS_KEEP)
        if any(forgotten.values()):
            self._journal.shrink(PAGES_AT_ONCE_MAX)
            log.info("old_records_forgotten", **forgotten)
        return 0.0 if max(forgotten.values()) >= ROWS_AT_ONCE_MAX else LOOK_EVERY_S

    def _forget(self, statement: str, before: str) -> int:
        with self._journal.transaction() as connection:
            return connection.execute(statement, (before, ROWS_AT_ONCE_MAX)).rowcount

    def _clear_quarantine(self) -> Iterator[str]:
        """Remove what lies in quarantine for too long, and the oldest of what is too much; yield the ids."""
        directory = self._spool.root / layout.QUARANTINE
        oldest_first = sorted((path.stat().st_mtime, path) for path in directory.iterdir())
        total_bytes = sum(path.stat().st_size for _, path in oldest_first)
        before = (self._clock() - self._limits.quarantine_keep).timestamp()
        for modified, path in oldest_first:
            if path.suffix == layout.REASON_SUFFIX:
                continue  # goes with its object
            if modified >= before and total_bytes <= self._limits.quarantine_bytes_max:
                return
            total_bytes -= path.stat().st_size
            self._remove(path)
            yield path.stem

    def _remove(self, path: Path) -> None:
        self._spool.files.remove_file(path)
        for reason in (path.with_suffix(layout.REASON_SUFFIX), path.with_name(path.name + layout.REASON_SUFFIX)):
            if reason.exists():
                self._spool.files.remove_file(reason)
        self._spool.files.fsync_directory(path.parent)
        with self._journal.transaction() as connection:
            drop_quarantined(connection, path.stem)
        log.warning("quarantined_object_removed", quarantine_id=path.stem)
