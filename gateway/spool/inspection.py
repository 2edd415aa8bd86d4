"""Reads what the journal must know out of a Part 10 file in the spool. Never writes."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from storage.contract.identifiers import InvalidIdentifier, Sha256Hex, Uid
from storage.dicom.digests import InstanceDigests, digest_instance
from storage.dicom.elements import read_file_meta
from storage.dicom.headers import HeaderReading, InstanceHeader, MissingIdentifier, NotDicom
from storage.dicom.structure import DatasetTruncated, PixelDataShort, check_structure
from storage.dicom.transcoding import NotRestorable, is_compressed_here

UNREADABLE: Final = (NotDicom, MissingIdentifier, InvalidIdentifier, DatasetTruncated, PixelDataShort)

SOURCE_AE_TITLE: Final = 0x00020016
CHUNK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Inspected:
    """What a whole and legal instance says about itself."""

    sop_instance_uid: Uid
    sop_class_uid: Uid
    study_uid: Uid
    series_uid: Uid
    transfer_syntax_uid: Uid
    source_ae_title: str
    header: InstanceHeader


@dataclass(frozen=True, slots=True)
class FileDigests:
    """`received_sha256`: the dataset without file meta. `stored_sha256`: the whole file."""

    received_sha256: Sha256Hex
    stored_sha256: Sha256Hex
    size_bytes: int


class HeadedFile(io.RawIOBase):
    """A file whose first bytes are at hand: reads them from memory and opens the file only for what lies beyond.

    The memory must stay as it is while the file is in use.
    """

    def __init__(self, path: Path, head: bytes | memoryview, size_bytes: int) -> None:
        super().__init__()
        self._path = path
        self._head = head
        self._size_bytes = size_bytes
        self._position = 0
        self._file: BinaryIO | None = None

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position; return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size_bytes}[whence]
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Return `size` bytes, fewer at the end."""
        count = self._size_bytes - self._position if size is None or size < 0 else size
        if self._position + count <= len(self._head) or len(self._head) == self._size_bytes:
            data = bytes(self._head[self._position : self._position + count])
        else:
            if self._file is None:
                self._file = self._path.open("rb")
            self._file.seek(self._position)
            data = self._file.read(count)
        self._position += len(data)
        return data

    def close(self) -> None:
        """Close the file if it was opened."""
        if self._file is not None:
            self._file.close()
        super().close()


def inspect(path: Path) -> Inspected:
    """Return what the Part 10 file says about itself, once it is known to be whole.

    Raises: as `inspect_file`.
    """
    with path.open("rb") as file:
        return inspect_file(file)


def inspect_file(file: BinaryIO) -> Inspected:
    """Return what an open Part 10 file says about itself, once it is known to be whole.

    Raises: NotDicom, MissingIdentifier, InvalidIdentifier, DatasetTruncated, PixelDataShort: it is not a whole,
    legal instance.
    """
    meta = read_file_meta(file)
    reading = HeaderReading(meta)
    check_structure(file, meta=meta, observe=reading.observe)
    header = reading.header()
    return Inspected(
        sop_instance_uid=header.sop_instance_uid,
        sop_class_uid=header.sop_class_uid,
        study_uid=header.study_uid,
        series_uid=header.series_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
        source_ae_title=meta.text(SOURCE_AE_TITLE),
        header=header,
    )


def find_compressed_digests(path: Path) -> InstanceDigests | None:
    """Return the digests of a file that the gateway compressed and that gives back what it received; else None."""
    with path.open("rb") as file:
        try:
            if not is_compressed_here(file):
                return None
            return digest_instance(file, check_structure(file), compressed_here=True)
        except (*UNREADABLE, NotRestorable):
            return None


def digest_file(path: Path) -> FileDigests:
    """Return the digests of a Part 10 file."""
    received, stored = hashlib.sha256(), hashlib.sha256()
    with path.open("rb") as file:
        dataset_offset = read_file_meta(file).dataset_offset
        file.seek(0)
        stored.update(file.read(dataset_offset))
        while chunk := file.read(CHUNK_BYTES):
            received.update(chunk)
            stored.update(chunk)
        size_bytes = file.tell()
    return FileDigests(Sha256Hex(received.hexdigest()), Sha256Hex(stored.hexdigest()), size_bytes)


def holds(path: Path, size_bytes: int, sha256: Sha256Hex) -> bool:
    """Return whether the file has this length and digest."""
    if not path.exists() or path.stat().st_size != size_bytes:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256
