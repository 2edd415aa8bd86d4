"""A journal that is damaged is set aside, never repaired in place and never deleted; a new one takes its place.

Durable: both files. The spool is the truth for instances: the start-up scan indexes them again and has what was
complete declared once more; the hub answers what it holds. Enrolment must be repeated, with the same key.
"""

from __future__ import annotations

import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog

from gateway.journal.database import Journal

log = structlog.get_logger(__name__)

SET_ASIDE: Final = ".damaged-"
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR_SHORT_READ})
_LOGS: Final = ("", "-wal", "-shm")


def open_sound_journal(path: Path, now: datetime) -> Journal:
    """Open the journal, or set it aside and begin a new one when SQLite finds it damaged; reads all of it once.

    Only for the process that serves, before anything else has opened the journal.
    """
    problem = _find_damage(path)
    if problem:
        _set_aside(path, f"{SET_ASIDE}{now:%Y%m%dT%H%M%S}")
        log.error("journal_set_aside", problem=problem)
    return Journal(path)


def set_aside_journals(path: Path) -> list[str]:
    """Return the names of the journals that were found damaged, oldest first."""
    found = path.parent.glob(f"{path.name}{SET_ASIDE}*")
    return sorted(file.name for file in found if not file.name.endswith(_LOGS[1:]))


def _find_damage(path: Path) -> str:
    if not path.exists():
        return ""
    connection = sqlite3.connect(path)
    try:
        found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as exc:
        if exc.sqlite_errorcode not in _DAMAGED:
            raise  # full, locked or unreadable: not the journal's fault
        found = str(exc)
    finally:
        connection.close()
    return "" if found == "ok" else found


def _set_aside(path: Path, suffix: str) -> None:
    for end in _LOGS:
        file = path.with_name(path.name + end)
        if file.exists():
            file.rename(path.with_name(f"{path.name}{suffix}{end}"))
