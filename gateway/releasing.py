"""Tries again what lies in quarantine, when a person asks for it: the object goes the way of one that arrives.

Durable: the instance has its place before it leaves quarantine; a stop between the two is made good by the next try,
for what is held already changes nothing. What is refused again stays in quarantine with the newest reason. Nothing is
ever taken past a check.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

import structlog

from gateway.journal.associations import close_association, open_association
from gateway.journal.database import Journal
from gateway.journal.quarantine import QuarantineRow, drop_quarantined, end_release, find_due
from gateway.scp.c_store_status import DISK_FULL, SUCCESS, find_code
from gateway.scp.reception import ArrivingObject, Reception
from gateway.scp.store import InstanceReceiver, Outcome
from gateway.scp.upper_layer import StoreRequest
from gateway.spool import layout
from gateway.spool.quarantine import identify, read_reason
from gateway.spool.spool import Spool
from storage.contract.identifiers import new_id
from storage.dicom.elements import DatasetTruncated, FileMeta, NotDicom, read_file_meta

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 1.0
DISK_FULL_RETRY_S: Final = 60.0
READ_BYTES: Final = 256 * 1024
CALLING_AE_TITLE: Final = "QUARANTINE"  # where the reason file does not say who sent it
_MEDIA_STORAGE_CLASS: Final = 0x00020002
_MEDIA_STORAGE_INSTANCE: Final = 0x00020003

GONE: Final = "The object is not in quarantine any more."
NOT_DICOM: Final = "is no DICOM file"


class Releaser:
    """One step of a `Loop`: tries the object that waits for longest."""

    def __init__(
        self,
        journal: Journal,
        spool: Spool,
        receiver: InstanceReceiver,
        *,
        object_bytes_max: int,
        clock: Callable[[], datetime],
        on_end: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._spool = spool
        self._receiver = receiver
        self._object_bytes_max = object_bytes_max
        self._clock = clock
        self._on_end = on_end

    def step(self) -> float:
        """Try one object; return the seconds until the next look."""
        row = find_due(self._journal)
        if row is None:
            return LOOK_EVERY_S
        outcome = self._try(row)
        if outcome.status == DISK_FULL.status:
            self._say(row, None, outcome.comment)
            return DISK_FULL_RETRY_S
        if outcome.status != SUCCESS:
            self._say(row, self._clock(), outcome.comment)
            self._drop_where_refused_otherwise(row, outcome)
        else:
            self._remove(row.quarantine_id)
        log.info("quarantine_tried_again", quarantine_id=row.quarantine_id, status=outcome.status)
        return 0.0

    def _try(self, row: QuarantineRow) -> Outcome:
        """Return what a device that sends the object now would be told."""
        try:
            with self._spool.quarantined(row.quarantine_id).open("rb") as file:
                return self._receive(row, file)
        except FileNotFoundError:
            return Outcome(-1, GONE)
        except (NotDicom, DatasetTruncated):
            return Outcome(-1, NOT_DICOM)

    def _receive(self, row: QuarantineRow, file: BinaryIO) -> Outcome:
        meta = read_file_meta(file)
        file.seek(0)
        head = file.read(meta.dataset_offset)  # as it is: the same bytes refused again take the same place
        now, association_id, calling = self._clock(), new_id(), self._sender_of(row.quarantine_id)
        with self._journal.transaction() as connection:
            open_association(connection, association_id, calling, "", now)
        arriving = ArrivingObject(self._spool.begin, head, limit_bytes=self._object_bytes_max)
        try:
            while piece := file.read(READ_BYTES):
                arriving.write(piece)
            reception = Reception(association_id, "", now, calling, accepted=True)
            return self._receiver.receive(reception, _request_of(meta), arriving)
        finally:
            arriving.discard()
            close_association(self._journal, association_id, self._clock())
            self._on_end()

    def _sender_of(self, quarantine_id: str) -> str:
        try:
            return read_reason(self._reason_file(quarantine_id)).calling_ae_title or CALLING_AE_TITLE
        except (OSError, ValueError, TypeError):  # of another kind, or gone
            return CALLING_AE_TITLE

    def _drop_where_refused_otherwise(self, row: QuarantineRow, outcome: Outcome) -> None:
        """Remove the object from under its old reason once it lies in quarantine under the newer one."""
        path = self._spool.quarantined(row.quarantine_id)
        if outcome.status < 0 or not path.exists():
            return
        newer = identify(path, find_code(outcome.comment))
        if newer != row.quarantine_id and self._spool.quarantined(newer).exists():
            self._remove(row.quarantine_id)

    def _remove(self, quarantine_id: str) -> None:
        for path in (self._spool.quarantined(quarantine_id), self._reason_file(quarantine_id)):
            if path.exists():
                self._spool.files.remove_file(path)
        self._spool.files.fsync_directory(self._spool.root / layout.QUARANTINE)
        with self._journal.transaction() as connection:
            drop_quarantined(connection, quarantine_id)

    def _reason_file(self, quarantine_id: str) -> Path:
        return self._spool.quarantined(quarantine_id).with_suffix(layout.REASON_SUFFIX)

    def _say(self, row: QuarantineRow, tried_at: datetime | None, problem: str) -> None:
        with self._journal.transaction() as connection:
            end_release(connection, row.quarantine_id, tried_at, problem)


def _request_of(meta: FileMeta) -> StoreRequest:
    """Return what the device said of the object: the gateway has kept it as the file's meta group."""
    return StoreRequest(
        context_id=0,
        message_id=0,
        sop_class_uid=meta.text(_MEDIA_STORAGE_CLASS),
        sop_instance_uid=meta.text(_MEDIA_STORAGE_INSTANCE),
        has_dataset=True,
    )
