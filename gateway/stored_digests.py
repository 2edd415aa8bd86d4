"""Takes the digests of received files before they are handed over; while they arrive, only that of their dataset is.

Two digests of every byte would make a modality wait for the second, and most files are made smaller before they
travel. So a file is read once more when its study is complete: it must still give the digest that its dataset had when
it arrived, else it goes to quarantine, and the clinic is told. Nothing travels without both.

Durable: each digest once it is in the journal. What a stop cuts off is done again, for the study is not handed over.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import structlog

from gateway.journal.database import Journal, to_text
from gateway.journal.instances import (
    InstanceRow,
    add_quarantine,
    drop_instance,
    instances_without_stored_digest,
    set_stored_digests,
)
from gateway.spool.inspection import UNREADABLE, FileDigests, digest_file
from gateway.spool.layout import SpoolState
from gateway.spool.quarantine import QuarantineReason
from gateway.spool.spool import Spool
from storage.contract.identifiers import Uid

DAMAGED: Final = "spool_file_damaged"
_WORDS: Final = "Its file in the spool no longer has the bytes that were received"
_REMEDY: Final = "Send the study again from the scanner, and have the gateway's disk checked."

log = structlog.get_logger()


def take_stored_digests(spool: Spool, journal: Journal, study_uid: Uid) -> list[InstanceRow]:
    """Record `stored_sha256` of the study's arriving files that have none yet; return those that are damaged."""
    taken, damaged = [], []
    for row in instances_without_stored_digest(journal, study_uid):
        found = _digest_or_none(spool, row)
        if found is not None and (found.received_sha256, found.size_bytes) == (row.received_sha256, row.size_bytes):
            taken.append((row, found.stored_sha256))
        else:
            damaged.append(row)
    if taken:
        with journal.transaction() as connection:
            set_stored_digests(connection, taken)
    return damaged


def set_damaged_aside(spool: Spool, journal: Journal, rows: list[InstanceRow], now: datetime) -> None:
    """Quarantine these arriving files, so that the rest of their study goes on; under `Spool.locked`.

    One whose file is missing keeps its row, and its study waits: the start-up scan tells of it.
    """
    for row in rows:
        path = spool.path_of(row.sop_instance_uid, row.study_uid, None, SpoolState.INCOMING)
        if not path.exists():
            continue
        reason = QuarantineReason(
            code=DAMAGED,
            words=_WORDS,
            remedy=_REMEDY,
            at=to_text(now),
            study_uid=row.study_uid,
            sop_instance_uid=row.sop_instance_uid,
            calling_ae_title=row.calling_ae_title,
        )
        quarantine_id = spool.quarantine(path, reason)
        with journal.transaction() as connection:
            add_quarantine(connection, quarantine_id, reason, now)
            drop_instance(connection, row.sop_instance_uid)
        log.error("spool_file_quarantined", code=DAMAGED, sop_instance_uid=row.sop_instance_uid)


def _digest_or_none(spool: Spool, row: InstanceRow) -> FileDigests | None:
    try:
        return digest_file(spool.path_of(row.sop_instance_uid, row.study_uid, None, SpoolState.INCOMING))
    except (FileNotFoundError, *UNREADABLE):
        return None
