"""The room on the spool's disk: what is free, what is promised to objects under way, and what makes place for more.

An arriving object does not say how long it is: it is promised a piece of room, and another one whenever it has used
that up, so that the sum of all objects under way never eats into the floor. The floor is what the journal and its log,
reports, reasons and moves need. Before anything is refused, confirmed studies go that are kept as a cache, oldest
first.

Volatile: promises; they belong to objects that a restart discards.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from gateway.errors import SpoolFull
from gateway.spool.durable import DurableFile, FileOperations

PROMISE_BYTES: Final = 16 * 1024 * 1024  # to each object under way, again and again
MIB: Final = 1024 * 1024


class RoomState(StrEnum):
    """How the disk is."""

    ENOUGH = "enough"
    LOW = "low"  # refusals are near
    FULL = "full"  # nothing more is accepted


@dataclass(frozen=True, slots=True)
class Room:
    """What is free and not promised, against what must stay free (`floor`) and what should (`low`), in bytes."""

    free_bytes: int
    promised_bytes: int
    floor_bytes: int
    low_bytes: int

    @property
    def left_bytes(self) -> int:
        """Return how much can still be promised, never less than nothing."""
        return max(0, self.free_bytes - self.promised_bytes - self.floor_bytes)

    @property
    def state(self) -> RoomState:
        """Return how the disk is."""
        left = self.free_bytes - self.promised_bytes
        if left < self.floor_bytes:
            return RoomState.FULL
        return RoomState.LOW if left < max(self.low_bytes, self.floor_bytes) else RoomState.ENOUGH


def describe_room(room: Room) -> str:
    """Return one sentence for the technician, empty while there is enough room."""
    free = f"{room.free_bytes // MIB} MiB are free"
    if room.state is RoomState.FULL:
        return (
            f"The disk is full ({free}, {room.floor_bytes // MIB} must stay free): scanners are refused until there is"
            " room. Mend the line to the hub, or free the disk."
        )
    if room.state is RoomState.LOW:
        return (
            f"The disk is nearly full ({free}): below {room.floor_bytes // MIB} MiB scanners are refused."
            " See whether studies wait for the hub, or whether something else fills the disk."
        )
    return ""


class RoomKeeper:
    """Gives promises. `make_room` frees about so many bytes and returns how many it has; it may take a while."""

    def __init__(
        self,
        free_bytes: Callable[[], int],
        *,
        floor_bytes: int,
        low_bytes: int = 0,
        make_room: Callable[[int], int] = lambda _: 0,
    ) -> None:
        self._free_bytes = free_bytes
        self._floor_bytes = floor_bytes
        self._low_bytes = low_bytes
        self._make_room = make_room
        self._lock = threading.Lock()
        self._making_room = threading.Lock()
        self._promised_bytes = 0

    def look(self) -> Room:
        """Return how the disk is now."""
        with self._lock:
            return Room(self._free_bytes(), self._promised_bytes, self._floor_bytes, self._low_bytes)

    def promise(self, size_bytes: int) -> None:
        """Keep so many bytes for somebody; the caller gives them back by `release` once they are used or not needed.

        Raises:
            SpoolFull: not even without the cache there is so much room.
        """
        if self._try(size_bytes):
            return
        with self._making_room:  # who waited here may find the room that another one made
            if self._try(size_bytes):
                return
            missing = size_bytes - self.look().left_bytes
            if self._make_room(missing) and self._try(size_bytes):
                return
        raise SpoolFull(f"less than {self._floor_bytes} bytes would stay free")

    def release(self, size_bytes: int) -> None:
        """Take a promise back: its bytes are written, or not needed."""
        with self._lock:
            self._promised_bytes -= size_bytes

    def _try(self, size_bytes: int) -> bool:
        with self._lock:
            if self._free_bytes() - self._promised_bytes - size_bytes < self._floor_bytes:
                return False
            self._promised_bytes += size_bytes
            return True


class PromisedFile(DurableFile):
    """A file under way in tmp whose room is promised piece by piece, and given back when it ends."""

    def __init__(self, files: FileOperations, path: Path, room: RoomKeeper) -> None:
        self._room = room
        self._left_bytes = 0
        room.promise(PROMISE_BYTES)
        self._left_bytes = PROMISE_BYTES
        try:
            super().__init__(files, path)
        except BaseException:
            self._give_back()
            raise

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`.

        Raises:
            SpoolFull: the disk has no room above its floor.
        """
        used = len(data)
        while used > self._left_bytes:
            self._room.promise(PROMISE_BYTES)
            self._left_bytes += PROMISE_BYTES
        super().write(data)
        self._left_bytes -= used
        self._room.release(used)

    def seal(self) -> None:
        """Bring the bytes onto the medium and close the file; its room is not promised any more, it is used."""
        super().seal()
        self._give_back()

    def discard(self) -> None:
        """Forget the file; harmless when it is published or discarded already."""
        self._give_back()
        super().discard()

    def _give_back(self) -> None:
        left, self._left_bytes = self._left_bytes, 0
        self._room.release(left)
