"""Imports folders, disks and ZIP files: each file goes the way of one that a scanner sends, checks and all.

Durable: each instance before it is counted, and how far the import came, in the journal. On restart it goes on there; a
file that is looked at twice is held already and changes nothing. Volatile: nothing else. A source that cannot be read,
a damaged file or a full disk is told in words; an import never holds up what scanners send.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import BinaryIO, Final

import structlog
from pydicom.uid import UID

from gateway.importing import dicomdir
from gateway.importing.joining import join
from gateway.importing.sources import Entry, EntryUnreadable, FolderSource, SourceUnusable, ZipSource, open_source
from gateway.journal import imports
from gateway.journal.associations import close_association, open_association
from gateway.journal.database import Journal
from gateway.journal.imports import ImportRow, ImportState, Progress
from gateway.scp.admission import is_storage_class
from gateway.scp.c_store_status import DISK_FULL, SUCCESS
from gateway.scp.reception import ArrivingObject, Reception
from gateway.scp.store import InstanceReceiver
from gateway.scp.upper_layer import StoreRequest
from gateway.spool.durable import DurableFile
from storage.contract.identifiers import new_id
from storage.dicom.elements import TRANSFER_SYNTAX_UID, DatasetTruncated, FileMeta, NotDicom, read_file_meta
from storage.dicom.part10 import file_meta_bytes

log = structlog.get_logger(__name__)

CALLING_AE_TITLE: Final = "IMPORT"  # under which the lanes of the configuration know imported studies
LOOK_EVERY_S: Final = 2.0
DISK_FULL_RETRY_S: Final = 60.0
FILES_PER_NOTE: Final = 20
READ_BYTES: Final = 256 * 1024
HEAD_BYTES: Final = 64 * 1024  # more than any file meta group has
DIRECTORY_IN_MEMORY_BYTES: Final = 8 * 1024 * 1024
_MEDIA_STORAGE_CLASS: Final = 0x00020002
_MEDIA_STORAGE_INSTANCE: Final = 0x00020003

NOT_DICOM: Final = "is no DICOM file"
NO_STORAGE_CLASS: Final = "is a DICOM file of a kind that is not kept (no image, report or document)"
MISSING_ON_DISK: Final = "is listed in the disk's directory and is not there"
DIRECTORY_DAMAGED: Final = "the disk's directory is damaged; every file was looked at all the same"
DISK_IS_FULL: Final = "The gateway's disk is full. The import goes on by itself once there is room."


class _DiskIsFull(Exception):
    """The gateway refuses for want of room; the import waits."""


@dataclass
class _Run:
    """One import under way."""

    row: ImportRow
    source: FolderSource | ZipSource
    reception: Reception
    progress: Progress = field(default_factory=Progress)
    left_out: list[tuple[str, str]] = field(default_factory=list)


class Importer:
    """One step of a `Loop`: does the oldest import that waits. `begin_file` refuses when the disk is too full."""

    def __init__(
        self,
        journal: Journal,
        receiver: InstanceReceiver,
        begin_file: Callable[[], DurableFile],
        *,
        object_bytes_max: int,
        clock: Callable[[], datetime],
        on_end: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._receiver = receiver
        self._begin_file = begin_file
        self._object_bytes_max = object_bytes_max
        self._clock = clock
        self._on_end = on_end
        self._stopping = False

    def stop(self) -> None:
        """Break off after the file under way; the next start goes on from there."""
        self._stopping = True

    def step(self) -> float:
        """Do one import to its end; return the seconds until the next look."""
        row = imports.find_next_import(self._journal)
        if row is None or self._stopping:
            return LOOK_EVERY_S
        try:
            with open_source(row.source) as source:
                self._run(row, source)
        except SourceUnusable as exc:
            self._end(row, ImportState.FAILED, str(exc))
        except _DiskIsFull:
            imports.note_import_problem(self._journal, row.import_id, DISK_IS_FULL)
            return DISK_FULL_RETRY_S
        return 0.0

    def _run(self, row: ImportRow, source: FolderSource | ZipSource) -> None:
        association_id = row.association_id or new_id()
        if row.association_id is None:
            with self._journal.transaction() as connection:
                open_association(connection, association_id, CALLING_AE_TITLE, "", self._clock())
        imports.begin_import(self._journal, row.import_id, association_id, len(source.entries))
        reception = Reception(association_id, "", self._clock(), CALLING_AE_TITLE, accepted=True)
        run = _Run(row, source, reception)
        try:
            wanted = self._take_all(run)
        finally:
            wanted_still = self._note(run)
        if self._stopping:
            return
        if wanted and wanted_still:
            self._join(row.import_id)
        close_association(self._journal, association_id, self._clock())
        if wanted and wanted_still:
            self._tell_missing(run)
            self._end(row, ImportState.DONE, None)
        else:
            self._end(row, ImportState.CANCELLED, None)

    def _join(self, import_id: str) -> None:
        """Give the study to the order that the import was started for, before anything of it travels."""
        row = imports.find_import(self._journal, import_id)
        if row is not None and row.order_id is not None:
            outcome = join(self._journal, row, actor=row.started_by, now=self._clock())
            log.info("import_joined", import_id=import_id, order_id=row.order_id, outcome=outcome)

    def _take_all(self, run: _Run) -> bool:
        """Take the files that are left; return whether the import is still wanted."""
        for number, entry in enumerate(run.source.entries[run.row.files_done :], 1):
            if self._stopping:
                return True
            self._take(run, entry)
            run.progress.files_done += 1
            if number % FILES_PER_NOTE == 0 and not self._note(run):
                return False
        return True

    def _take(self, run: _Run, entry: Entry) -> None:
        if dicomdir.is_directory(entry.name):
            return
        try:
            with run.source.open(entry) as file:
                reason = self._receive(run, file)
        except EntryUnreadable as exc:
            reason = str(exc)
        if reason:
            run.left_out.append((reason, entry.name))

    def _receive(self, run: _Run, file: BinaryIO) -> str:
        """Take one file; return why it was left out, nothing when it is here."""
        head = io.BytesIO(_read_up_to(file, HEAD_BYTES))
        try:
            meta = read_file_meta(head)
        except (NotDicom, DatasetTruncated):
            return NOT_DICOM
        request = _request_of(meta)
        if not is_storage_class(UID(request.sop_class_uid)):
            return NO_STORAGE_CLASS
        before = run.reception.stored
        arriving = ArrivingObject(self._begin_file, _own_meta(meta, request), limit_bytes=self._object_bytes_max)
        try:
            head.seek(meta.dataset_offset)
            arriving.write(head.read())
            while piece := file.read(READ_BYTES):
                arriving.write(piece)
            outcome = self._receiver.receive(run.reception, request, arriving)
        finally:
            arriving.discard()
        if outcome.status == DISK_FULL.status:
            raise _DiskIsFull
        if outcome.status != SUCCESS:
            return outcome.comment
        run.progress.stored += run.reception.stored - before
        run.progress.held += run.reception.stored == before
        return ""

    def _note(self, run: _Run) -> bool:
        """Write down what was done; return whether the import is still wanted."""
        run.progress.left_out = tuple(run.left_out)
        wanted = imports.note_progress(self._journal, run.row.import_id, run.progress)
        run.progress, run.left_out = Progress(), []
        if run.row.lane is not None:
            with self._journal.transaction() as connection:
                imports.choose_lane(connection, run.reception.association_id, run.row.lane)
        return wanted

    def _tell_missing(self, run: _Run) -> None:
        """Compare what the directory of the disk lists with what is on it."""
        names = [entry.name for entry in run.source.entries]
        for name in filter(dicomdir.is_directory, names):
            try:
                missing = dicomdir.missing_names(self._listed(run.source, name), names)
                run.left_out += [(MISSING_ON_DISK, one) for one in missing]
            except (dicomdir.DirectoryUnreadable, EntryUnreadable):
                run.left_out.append((DIRECTORY_DAMAGED, name))
        self._note(run)

    def _listed(self, source: FolderSource | ZipSource, name: str) -> list[str]:
        with (
            source.open(Entry(name)) as file,
            tempfile.SpooledTemporaryFile(max_size=DIRECTORY_IN_MEMORY_BYTES) as copy,
        ):
            left = dicomdir.DIRECTORY_BYTES_MAX + 1
            while left > 0 and (piece := file.read(min(READ_BYTES, left))):
                copy.write(piece)
                left -= len(piece)
            return dicomdir.read_listed_names(copy, name)  # type: ignore[arg-type]

    def _end(self, row: ImportRow, state: ImportState, problem: str | None) -> None:
        imports.end_import(self._journal, row.import_id, state, self._clock(), problem)
        if row.remove_source:
            row.source.unlink(missing_ok=True)
        log.info("import_ended", import_id=row.import_id, state=state)
        self._on_end()


def _request_of(meta: FileMeta) -> StoreRequest:
    """Return what a scanner would have said of this file; the receiver compares it with the dataset."""
    return StoreRequest(
        context_id=0,
        message_id=0,
        sop_class_uid=meta.text(_MEDIA_STORAGE_CLASS),
        sop_instance_uid=meta.text(_MEDIA_STORAGE_INSTANCE),
        has_dataset=True,
    )


def _own_meta(meta: FileMeta, request: StoreRequest) -> bytes:
    syntax = meta.text(TRANSFER_SYNTAX_UID)
    return file_meta_bytes(request.sop_class_uid, request.sop_instance_uid, syntax, CALLING_AE_TITLE)


def _read_up_to(file: BinaryIO, size: int) -> bytes:
    pieces = []
    while size > 0 and (piece := file.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
