"""What is promised never eats into the floor, and what is kept as a cache goes before anybody is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import SpoolFull
from gateway.spool import RealFiles, Spool
from gateway.spool.room import PROMISE_BYTES, Room, RoomKeeper, RoomState, describe_room

MIB = 1024 * 1024
GIB = 1024 * MIB


class Disk:
    def __init__(self, free_bytes: int) -> None:
        self.free_bytes = free_bytes
        self.asked: list[int] = []
        self.cache_bytes = 0

    def make_room(self, wanted_bytes: int) -> int:
        self.asked.append(wanted_bytes)
        freed, self.cache_bytes = self.cache_bytes, 0
        self.free_bytes += freed
        return freed


class SmallDisk(RealFiles):
    """A disk of 20 MiB."""

    written = 0

    def write(self, descriptor: int, data: bytes) -> None:
        self.written += len(data)
        super().write(descriptor, data)

    def free_bytes(self, path: Path) -> int:
        return 20 * MIB - self.written


def keeper(disk: Disk, floor_bytes: int = GIB, low_bytes: int = 0) -> RoomKeeper:
    return RoomKeeper(lambda: disk.free_bytes, floor_bytes=floor_bytes, low_bytes=low_bytes, make_room=disk.make_room)


def test_promises_count_until_they_are_released() -> None:
    disk = Disk(GIB + 30 * MIB)
    room = keeper(disk)
    room.promise(20 * MIB)
    with pytest.raises(SpoolFull):
        room.promise(20 * MIB)
    room.release(20 * MIB)
    room.promise(20 * MIB)


def test_cache_goes_before_anything_is_refused_and_only_as_much_as_is_missing() -> None:
    disk = Disk(GIB + 5 * MIB)
    disk.cache_bytes = 100 * MIB
    room = keeper(disk)
    room.promise(20 * MIB)
    assert disk.asked == [15 * MIB]
    assert room.look().promised_bytes == 20 * MIB


def test_nothing_is_promised_when_the_cache_was_not_enough() -> None:
    disk = Disk(GIB)
    disk.cache_bytes = 5 * MIB
    room = keeper(disk)
    with pytest.raises(SpoolFull):
        room.promise(20 * MIB)
    assert room.look().promised_bytes == 0


@pytest.mark.parametrize(
    ("free", "state", "words"),
    [
        (10 * GIB, RoomState.ENOUGH, ""),
        (4 * GIB, RoomState.LOW, "nearly full (4096 MiB are free): below 1024 MiB"),
        (GIB - 1, RoomState.FULL, "is full (1023 MiB are free, 1024 must stay free)"),
    ],
)
def test_disk_is_told_in_words_before_and_when_it_is_full(free: int, state: RoomState, words: str) -> None:
    room = Room(free, 0, GIB, 5 * GIB)
    assert room.state is state
    assert words in describe_room(room)
    assert bool(describe_room(room)) is (state is not RoomState.ENOUGH)


def test_file_under_way_is_promised_room_piece_by_piece_and_gives_back_what_it_did_not_use(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", RealFiles())
    arriving = spool.begin()
    assert spool.room.look().promised_bytes == PROMISE_BYTES
    arriving.write(b"x" * MIB)
    assert spool.room.look().promised_bytes == PROMISE_BYTES - MIB
    arriving.write(b"x" * PROMISE_BYTES)
    assert spool.room.look().promised_bytes == PROMISE_BYTES - MIB
    arriving.seal()
    assert spool.room.look().promised_bytes == 0
    arriving.discard()
    assert spool.room.look().promised_bytes == 0


def test_file_that_outgrows_the_room_is_refused_in_the_middle(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", SmallDisk())
    spool.limit(floor_bytes=MIB, low_bytes=0, make_room=lambda _: 0)
    arriving = spool.begin()
    arriving.write(b"x" * 16 * MIB)
    with pytest.raises(SpoolFull):
        arriving.write(b"x" * MIB)
    arriving.discard()
    assert spool.room.look().promised_bytes == 0
    assert list((spool.root / "tmp").iterdir()) == []
