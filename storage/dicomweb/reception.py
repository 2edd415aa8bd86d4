"""Where the body of a store request lies while it comes and is looked at: one folder for each request, one file a part.

Nothing here is durable, and no file outlives its request: a folder goes with it, and what a killed process leaves goes
when the next one starts. Memory is bounded by one piece of the body. The disk is asked for room first and never filled
to its last bytes: what is below `floor_bytes` belongs to the database and the objects.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from storage.contract.identifiers import new_id
from storage.dicomweb.multipart_reading import MultipartReader, PartBegun, PartEnded, parse_media_type
from storage.dicomweb.store_answer import ReceivedFile

PARTS_MAX: Final = 5_000
COPIES: Final = 2  # the files here, and the packs that a directory store keeps on the same disk
DICOM: Final = "application/dicom"
LOCK_NAME: Final = "in-use"


class BodyTooLarge(Exception):
    """The body is larger than one request may be."""


class NoRoom(Exception):
    """The disk has no room for the body."""


class ReceptionRoom:
    """The folders of this process under `folder`."""

    def __init__(self, folder: Path, *, bytes_max: int, floor_bytes: int) -> None:
        """Make this process's own folder; remove those of processes that are gone."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.bytes_max, self._floor_bytes = bytes_max, floor_bytes
        _remove_abandoned(folder)
        self._own = folder / new_id()
        self._own.mkdir(mode=0o700)
        self._lock = (self._own / LOCK_NAME).open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def receive(self, boundary: str, announced_bytes: int | None) -> Reception:
        """Return what takes the body of one request, of this length if it is known.

        Raises:
            BodyTooLarge, NoRoom: as its announced length says.
            MultipartMalformed: the boundary is none.
        """
        self.refuse_unless_fits(announced_bytes or 0, 0)
        reader = MultipartReader(boundary, parts_max=PARTS_MAX)
        folder = self._own / new_id()
        folder.mkdir(mode=0o700)
        return Reception(self, folder, reader)

    def refuse_unless_fits(self, size_bytes: int, written_bytes: int) -> None:
        """Raise BodyTooLarge or NoRoom when a body of this size, of which so much is here already, may not come."""
        if size_bytes > self.bytes_max:
            raise BodyTooLarge(f"one request has at most {self.bytes_max} bytes; send the instances in several")
        free_bytes = shutil.disk_usage(self._own).free
        if free_bytes - (COPIES * size_bytes - written_bytes) < self._floor_bytes:
            raise NoRoom("the hub's disk has no room for this; tell its administrator, and send it again later")

    def close(self) -> None:
        """Remove this process's folder."""
        self._lock.close()
        shutil.rmtree(self._own, ignore_errors=True)


class Reception:
    """The body of one request on its way into files. For one thread at a time."""

    def __init__(self, room: ReceptionRoom, folder: Path, reader: MultipartReader) -> None:
        self._room, self._folder, self._reader = room, folder, reader
        self._files: list[ReceivedFile] = []
        self._open: BinaryIO | None = None
        self._refusal = ""
        self._size_bytes = 0  # of the body so far

    def write(self, piece: bytes) -> None:
        """Take the next piece of the body.

        Raises:
            BodyTooLarge, NoRoom: it goes on for too long.
            MultipartMalformed, TooManyParts: it is no body of several parts, or has too many.
        """
        self._size_bytes += len(piece)
        self._room.refuse_unless_fits(self._size_bytes, self._size_bytes)
        for event in self._reader.feed(piece):
            if isinstance(event, PartBegun):
                self._begin(event.headers)
            elif isinstance(event, PartEnded):
                self._end()
            elif self._open is not None:
                self._open.write(event)

    def finish(self) -> Sequence[ReceivedFile]:
        """Return the parts once the whole body has come.

        Raises:
            MultipartTruncated: it has not.
        """
        self._reader.close()
        return self._files

    def remove(self) -> None:
        """Remove every file of the request."""
        if self._open is not None:
            self._open.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _begin(self, headers: Mapping[str, str]) -> None:
        self._refusal = _why_not(headers)
        if not self._refusal:
            self._open = self._next_path().open("wb")

    def _end(self) -> None:
        path, size_bytes = self._next_path(), 0
        if self._open is not None:
            size_bytes = self._open.tell()
            self._open.close()
            self._open = None
        self._files.append(ReceivedFile(len(self._files) + 1, path, size_bytes, self._refusal))

    def _next_path(self) -> Path:
        return self._folder / f"{len(self._files) + 1}.dcm"


def _why_not(headers: Mapping[str, str]) -> str:
    """Return in words why a part cannot be an instance, empty when it may be one."""
    if parse_media_type(headers.get("content-type", DICOM)).essence != DICOM:
        return f"a part is not {DICOM}: only whole DICOM files are stored"
    if headers.get("content-transfer-encoding", "binary").lower() not in ("binary", "8bit", "7bit"):
        return "a part is in a transfer encoding that HTTP does not have"
    return ""


def _remove_abandoned(folder: Path) -> None:
    for path in folder.iterdir():
        with suppress(OSError), (path / LOCK_NAME).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # free: its process is gone
            shutil.rmtree(path, ignore_errors=True)
