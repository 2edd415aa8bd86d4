"""Makes one arriving instance smaller, proves it, and puts the smaller file in the received one's place.

Promise: at every moment, power cuts included, the instance's place holds one of the two files whole, and the start-up
scan knows which. The order is: the smaller file is written in tmp and synced; it gives back the received dataset to the
bit; the journal names it with its digests; it is renamed over the received one and the directory synced; the journal's
row says what stands there now. Before the rename the journal's announcement is undone by the scan, after it finished.

Whatever goes wrong leaves the received file where it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import BinaryIO, Final

import structlog

from gateway.errors import SpoolFull
from gateway.journal.compression import Replacement, announce_replacement, finish_replacement, leave_as_is
from gateway.journal.database import Journal
from gateway.journal.instances import Compression, InstanceRow, find_instance
from gateway.spool import layout
from gateway.spool.durable import DurableFile
from gateway.spool.layout import SpoolState
from gateway.spool.spool import Spool
from storage.contract.identifiers import Sha256Hex, Uid
from storage.dicom.digests import InstanceDigests, digest_instance
from storage.dicom.elements import DatasetTruncated, NotDicom
from storage.dicom.structure import PixelDataShort, check_structure
from storage.dicom.transcoding import AsIs, Compressed, NotRestorable, compress

NOT_PROVED: Final = "did not give back the received bytes"
NOT_WRITTEN: Final = "no room on the disk for the smaller file"
NOT_READ: Final = "could not be read for its compression"
_UNREADABLE: Final = (NotDicom, DatasetTruncated, PixelDataShort, NotRestorable)

log = structlog.get_logger(__name__)


class HashedFile:
    """A file under way in tmp, hashed as it is written."""

    def __init__(self, file: DurableFile) -> None:
        self.file = file
        self.size_bytes = 0
        self._digest = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Append `data`."""
        self.file.write(data)
        self._digest.update(data)
        self.size_bytes += len(data)

    def sha256(self) -> Sha256Hex:
        """Return the digest of what was written."""
        return Sha256Hex(self._digest.hexdigest())


def settle_instance(spool: Spool, journal: Journal, row: InstanceRow, on_frame: Callable[[], None]) -> Compression:
    """Compress the instance, or record why it travels as it came; return which.

    `on_frame` is called between frames; what it raises ends the work, and nothing has changed.
    """
    path = spool.path_of(row.sop_instance_uid, row.study_uid, None, SpoolState.INCOMING)
    written: list[HashedFile] = []

    def begin() -> HashedFile:
        written.append(HashedFile(spool.begin_smaller()))
        return written[-1]

    try:
        with path.open("rb") as source:
            outcome = compress(source, begin, scratch=spool.root / layout.TMP, on_frame=on_frame)
            note = outcome.reason if isinstance(outcome, AsIs) else None
            if isinstance(outcome, Compressed):
                replacement = _prove(row, outcome, written[0], on_frame)
                if replacement is not None:
                    return _replace(spool, journal, row, replacement, written[0].file)
                note = NOT_PROVED
                log.error("compression_not_proved", sop_instance_uid=row.sop_instance_uid, study_uid=row.study_uid)
            digests = _find_digests(source)
    except SpoolFull:
        note, digests = NOT_WRITTEN, None
    except _UNREADABLE:
        note, digests = NOT_READ, None
    finally:
        for file in written:
            file.file.discard()
    return _leave(journal, row, note or NOT_READ, digests)


def _prove(
    row: InstanceRow, outcome: Compressed, written: HashedFile, on_frame: Callable[[], None]
) -> Replacement | None:
    """Return what the smaller file is once it has given back the received dataset, read from the disk; else None."""
    written.file.seal()
    with written.file.path.open("rb") as file:
        try:
            digests = digest_instance(file, check_structure(file), compressed_here=True, on_frame=on_frame)
        except _UNREADABLE:
            return None
    proved = (digests.received_sha256, digests.stored_sha256, digests.size_bytes)
    if proved != (row.received_sha256, written.sha256(), written.size_bytes) or digests.pixel_sha256 is None:
        return None
    return Replacement(
        transfer_syntax_uid=Uid(outcome.transfer_syntax_uid),
        stored_sha256=digests.stored_sha256,
        size_bytes=digests.size_bytes,
        pixel_sha256=digests.pixel_sha256,
        values_sha256=digests.values_sha256,
    )


def _replace(
    spool: Spool, journal: Journal, row: InstanceRow, replacement: Replacement, smaller: DurableFile
) -> Compression:
    with spool.locked(row.study_uid):
        now = find_instance(journal, row.sop_instance_uid)
        if now is None or now.state is not SpoolState.INCOMING or now.compression is not Compression.DUE:
            return Compression.AS_IS  # it was handed over meanwhile, as it came
        with journal.transaction() as connection:
            announce_replacement(connection, row.sop_instance_uid, replacement)
        spool.replace_incoming(smaller, row.study_uid, row.sop_instance_uid)
        with journal.transaction() as connection:
            finish_replacement(connection, row, replacement)
    log.info(
        "instance_compressed",
        sop_instance_uid=row.sop_instance_uid,
        transfer_syntax_uid=replacement.transfer_syntax_uid,
        received_bytes=row.size_bytes,
        size_bytes=replacement.size_bytes,
    )
    return Compression.COMPRESSED


def _leave(journal: Journal, row: InstanceRow, note: str, digests: InstanceDigests | None) -> Compression:
    pixels = digests.pixel_sha256 if digests is not None else None
    values = digests.values_sha256 if digests is not None else None
    with journal.transaction() as connection:
        leave_as_is(connection, row.sop_instance_uid, note, pixels, values)
    return Compression.AS_IS


def _find_digests(source: BinaryIO) -> InstanceDigests | None:
    try:
        return digest_instance(source, check_structure(source))
    except _UNREADABLE:
        return None
