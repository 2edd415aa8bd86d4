"""Uploads for an import lie in `spool_dir/uploads` until it has ended; what no import waits for is removed.

An upload is whole and on the medium before its import is a row of the journal: a stop, or a browser that went away
between the two, leaves a file that nobody would ask for again.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import structlog

from gateway.journal.database import Journal
from gateway.spool.spool import Spool

log = structlog.get_logger(__name__)

UPLOADS: Final = "uploads"


def remove_leftovers(journal: Journal, spool: Spool, before: datetime) -> int:
    """Remove uploads last written before this moment that no import waits for; return how many they were."""
    folder = spool.root / UPLOADS
    if not folder.is_dir():
        return 0
    old = [path for path in folder.iterdir() if path.stat().st_mtime < before.timestamp()]
    rows = journal.read("SELECT source FROM imports WHERE state IN ('waiting', 'running')")
    left_over = {str(path): path for path in old}.keys() - {row["source"] for row in rows}
    for path in old:
        if str(path) in left_over:
            spool.files.remove_file(path)
            log.info("upload_removed")
    return len(left_over)
