"""A stretch of a stored object as a file that can be sought in, without a copy of it anywhere.

Reads go on in one stream for as long as they go forwards; a seek backwards or far ahead opens another. Holds one chunk
of the store and one buffer. Reads only.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack
from typing import BinaryIO, Final, cast

from storage.objects.protocol import ObjectStore

BUFFER_BYTES: Final = 256 * 1024
SKIP_BYTES_MAX: Final = 4 * 1024 * 1024  # less is read over, which is quicker than another request


def open_range(objects: ObjectStore, key: str, offset: int, size_bytes: int) -> BinaryIO:
    """Return the bytes `[offset, offset + size_bytes)` of an object as a file at position 0; close it after use.

    Reading raises ObjectMissing or StoreUnavailable.
    """
    return cast("BinaryIO", io.BufferedReader(_ObjectRange(objects, key, offset, size_bytes), BUFFER_BYTES))


class _ObjectRange(io.RawIOBase):
    name = ""  # pydicom asks every buffered file for one

    def __init__(self, objects: ObjectStore, key: str, offset: int, size_bytes: int) -> None:
        super().__init__()
        self._objects, self._key, self._offset, self._size_bytes = objects, key, offset, size_bytes
        self._position = 0  # where the next read begins
        self._stream_at = 0  # where the open stream stands
        self._stream: Iterator[bytes] | None = None
        self._chunk = memoryview(b"")
        self._opened = ExitStack()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size_bytes}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, buffer: object) -> int:
        target = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        wanted = min(len(target), self._size_bytes - self._position)
        if wanted <= 0:
            return 0
        self._stand_at(self._position)
        if not self._chunk and not self._fill():
            return 0
        piece = self._chunk[:wanted]
        target[: len(piece)] = piece
        self._advance(len(piece))
        self._position += len(piece)
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            self._opened.close()
        super().close()

    def _stand_at(self, position: int) -> None:
        """Bring the stream to `position`: by reading over what lies between, or by a new one."""
        gap = position - self._stream_at
        if self._stream is None or not 0 <= gap <= SKIP_BYTES_MAX:
            self._open_at(position)
            return
        while gap:
            if not self._chunk and not self._fill():
                return
            step = min(gap, len(self._chunk))
            self._advance(step)
            gap -= step

    def _open_at(self, position: int) -> None:
        self._opened.close()
        length = self._size_bytes - position
        self._stream = self._opened.enter_context(
            self._objects.open(self._key, offset=self._offset + position, length=length)
        )
        self._stream_at, self._chunk = position, memoryview(b"")

    def _fill(self) -> bool:
        for chunk in self._stream or ():
            if chunk:
                self._chunk = memoryview(chunk)
                return True
        return False

    def _advance(self, count: int) -> None:
        self._chunk = self._chunk[count:]
        self._stream_at += count
