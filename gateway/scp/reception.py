"""An object on its way in: bytes go from the socket to the spool's tmp as they come, never into memory as a whole.

Nothing here is durable: an `ArrivingObject` counts only when the store handler has sealed it and the spool has
published it. What an association leaves unfinished is discarded at its end; nobody was told that it arrived.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from gateway.errors import NotAllowedToStore, ObjectTooLarge, SpoolFull
from gateway.peers import Peer
from gateway.spool.inspection import HeadedFile
from storage.contract.identifiers import Sha256Hex

if TYPE_CHECKING:
    from gateway.spool.durable import DurableFile

Found = TypeVar("Found")

HEAD_BYTES: Final = 64 * 1024  # the elements before the pixel data of nearly every object
# Most slices fit whole. Every system call and digest lets another thread have the interpreter; getting it back costs
# more than copying a slice: few large pieces are several times faster than many small ones.
BUFFER_BYTES: Final = 1024 * 1024

log = structlog.get_logger()


class ArrivingObject:
    """One object on its way into tmp: gathered in a buffer, from there hashed and written in large pieces.

    `begin` returns the file to write; `buffer` may be used again once the object is discarded. A full disk or an object
    over the limit does not interrupt the peer: the rest is read and dropped, and `seal` raises.
    """

    def __init__(
        self,
        begin: Callable[[], DurableFile],
        file_meta: bytes,
        *,
        limit_bytes: int,
        buffer: bytearray | None = None,
    ) -> None:
        self._limit_bytes = limit_bytes
        self._received = hashlib.sha256()
        self._file: DurableFile | None = None
        self._failure: Exception | None = None
        self._buffer = memoryview(buffer if buffer is not None else bytearray(BUFFER_BYTES))
        self._gathered = self._meta_bytes = self.size_bytes = len(file_meta)
        self._buffer[: self._gathered] = file_meta
        self._head: bytes | None = None  # once more came than fits into the buffer
        try:
            self._file = begin()
        except (SpoolFull, NotAllowedToStore, OSError) as exc:
            self._fail(exc)

    @property
    def path(self) -> Path:
        """Return where the bytes lie; only after `seal`."""
        return self.durable.path

    @property
    def durable(self) -> DurableFile:
        """Return the file in tmp; only after `seal`."""
        if self._file is None:
            raise ValueError("nothing was written")
        return self._file

    @property
    def received_sha256(self) -> Sha256Hex:
        """Return the digest of the dataset as received, without file meta."""
        return Sha256Hex(self._received.hexdigest())

    def write(self, data: bytes | memoryview) -> None:
        """Take the next fragment of the dataset, of which a copy is kept."""
        self.size_bytes += len(data)
        if self._failure is not None:
            return
        if self.size_bytes > self._limit_bytes:
            self._fail(ObjectTooLarge(f"more than {self._limit_bytes} bytes"))
            return
        while len(data) > len(self._buffer) - self._gathered:
            room = len(self._buffer) - self._gathered
            self._buffer[self._gathered :] = data[:room]
            self._gathered += room
            data = data[room:]
            try:
                self._flush()
            except (SpoolFull, OSError) as exc:
                self._fail(exc)
                return
        self._buffer[self._gathered : self._gathered + len(data)] = data
        self._gathered += len(data)

    def seal(self, read: Callable[[HeadedFile], Found], helpers: Executor | None = None) -> Found:
        """Bring the bytes onto the medium and return what `read` finds in them; the digest is there afterwards.

        `helpers`: threads that hash and read meanwhile, None when there is enough to do without them. This thread waits
        for the disk itself: being woken by another one costs a turn of the processor for each, when others want it too.

        Raises:
            SpoolFull, ObjectTooLarge, OSError: what went wrong as it came, or goes wrong now; rather than what `read`
                raises.
        """
        if self._failure is not None:
            raise self._failure
        last = self._buffer[: self._gathered]
        if self._head is not None:  # the end of a large object: what `read` reads must be in the file
            self._flush()
            self.durable.seal()
            return self._read(read, self._head)
        if helpers is None:
            self._hash(last)
            self._write_whole(last)
            return self._read(read, last)
        reading = helpers.submit(self._hash_and_read, read, last)
        try:
            self._write_whole(last)
        except BaseException:
            reading.exception()  # the buffer is in use until then
            raise
        return reading.result()

    def _write_whole(self, whole: memoryview) -> None:
        self.durable.write(whole)
        self.durable.seal()

    def _hash_and_read(self, read: Callable[[HeadedFile], Found], whole: memoryview) -> Found:
        self._hash(whole)
        return self._read(read, whole)

    def _read(self, read: Callable[[HeadedFile], Found], head: bytes | memoryview) -> Found:
        with HeadedFile(self.path, head, self.size_bytes) as file:
            return read(file)

    def _flush(self) -> None:
        """Write and hash what was gathered."""
        piece = self._buffer[: self._gathered]
        if self._head is None:
            self._head = bytes(piece[:HEAD_BYTES])
        self.durable.write(piece)
        self._hash(piece)
        self._gathered = 0

    def _hash(self, piece: memoryview) -> None:
        self._received.update(piece[self._meta_bytes :])
        self._meta_bytes = 0

    def discard(self) -> None:
        """Remove what lies in tmp; harmless when it was published."""
        if self._file is not None:
            self._file.discard()

    def _fail(self, failure: Exception) -> None:
        self._failure = failure
        try:
            self.discard()
        except OSError:  # the start-up scan removes fragments; the first failure is the one to tell
            log.exception("fragment_not_removed")


@dataclass
class Reception:
    """What the gateway knows about one association while it lasts."""

    association_id: str
    peer_address: str
    opened_at: datetime
    calling_ae_title: str = ""
    peer: Peer | None = None
    over_tls: bool = False
    accepted: bool = False
    rejected: bool = False
    stored: int = 0
    refused: int = 0
