"""Copies of claimed packs on the disk, in a place of their own: nothing there is ever sent to the hub or declared.

Durable: every instance of a pack once `unpack` returned. A pack that was cut off is fetched anew and lands under the
same names. Bounded: a pack lies in tmp while it is proved, and one instance at a time is read from it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from gateway.spool import layout
from gateway.spool.durable import make_directory_durably
from gateway.spool.spool import Spool
from storage.contract.identifiers import InvalidIdentifier
from storage.dicom.elements import DatasetTruncated, NotDicom
from storage.dicom.headers import InstanceHeader, MissingIdentifier, read_header
from storage.packs import PackDamaged, PackedFile, scan_pack

BLOCK_BYTES: Final = 256 * 1024


class PackNotUsable(Exception):
    """The bytes are not the pack that the hub announced; the text says what is wrong with them."""


@dataclass(frozen=True, slots=True)
class WantedPack:
    """One pack as the hub announced it."""

    reading_task_id: str
    pack_id: str
    study_uid: str
    pack_sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class CopiedInstance:
    """One instance of a claimed case."""

    header: InstanceHeader
    stored_sha256: str


def copy_pack(
    spool: Spool, wanted: WantedPack, fetch: Callable[[Callable[[bytes], object]], None]
) -> list[CopiedInstance]:
    """Have `fetch` give the pack's bytes, prove them, and put every instance in its place; return the instances.

    Raises:
        PackNotUsable: size, digest or content is not what was announced; nothing counts as here.
        SpoolFull: the disk has no room.
    """
    room_bytes = 2 * wanted.size_bytes  # the pack while it is proved, and its instances
    spool.room.promise(room_bytes)
    spool.room.release(room_bytes)  # each file promises its own as it grows; this spares the line a vain download
    packed = spool.begin_copy()
    try:
        digest = hashlib.sha256()
        size_bytes = 0

        def take(piece: bytes) -> None:
            nonlocal size_bytes
            digest.update(piece)
            size_bytes += len(piece)
            packed.write(piece)

        fetch(take)
        if size_bytes != wanted.size_bytes:
            raise PackNotUsable(f"{size_bytes} bytes came instead of {wanted.size_bytes}")
        if digest.hexdigest() != wanted.pack_sha256:
            raise PackNotUsable("its digest is not the one that the hub announced")
        packed.seal()
        return _unpack(spool, wanted, packed.path)
    finally:
        packed.discard()


def path_of(root: Path, reading_task_id: str, pack_id: str, sop_instance_uid: str) -> Path:
    """Return where an instance of a pack lies."""
    return root / layout.READER / reading_task_id / pack_id / f"{sop_instance_uid}{layout.INSTANCE_SUFFIX}"


def remove_others(spool: Spool, kept: Collection[tuple[str, str]]) -> tuple[int, int]:
    """Remove every copy that belongs to none of these (reading task, pack); return packs and bytes. Repeatable."""
    removed = size_bytes = 0
    for task in [one for one in (spool.root / layout.READER).iterdir() if one.is_dir()]:
        for pack in list(task.iterdir()):
            if (task.name, pack.name) in kept or not pack.is_dir():
                continue
            for file in list(pack.iterdir()):
                size_bytes += file.stat().st_size
                spool.files.remove_file(file)
            spool.files.remove_directory(pack)
            spool.files.fsync_directory(task)
            removed += 1
        if not any(task.iterdir()):
            with suppress(FileNotFoundError):
                spool.files.remove_directory(task)
                spool.files.fsync_directory(task.parent)
    return removed, size_bytes


def _unpack(spool: Spool, wanted: WantedPack, packed: Path) -> list[CopiedInstance]:
    task = spool.root / layout.READER / wanted.reading_task_id
    directory = task / wanted.pack_id
    make_directory_durably(spool.files, task)
    make_directory_durably(spool.files, directory)
    found: list[CopiedInstance] = []

    def keep(member: PackedFile, file: BinaryIO) -> None:
        found.append(_describe(member, file))
        file.seek(0)
        copy = spool.begin_copy()
        try:
            while piece := file.read(BLOCK_BYTES):
                copy.write(piece)
            copy.publish_unsynced(directory / layout.instance_name(member.sop_instance_uid))
        finally:
            copy.discard()

    try:
        with packed.open("rb") as source:
            pack = scan_pack(_blocks(source), keep, reopen=lambda offset, size: _stretch(packed, offset, size))
    except PackDamaged as exc:
        raise PackNotUsable(str(exc)) from exc
    if pack.study_uid != wanted.study_uid:
        raise PackNotUsable(f"it is of study {pack.study_uid}, not of {wanted.study_uid}")
    spool.files.fsync_directory(directory)
    return found


def _describe(member: PackedFile, file: BinaryIO) -> CopiedInstance:
    try:
        header = read_header(file)
    except (NotDicom, DatasetTruncated, MissingIdentifier, InvalidIdentifier) as exc:
        raise PackNotUsable(f"{member.name} cannot be read as DICOM") from exc
    if header.sop_instance_uid != member.sop_instance_uid:
        raise PackNotUsable(f"{member.name} holds another instance than its name says")
    return CopiedInstance(header, member.stored_sha256)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(BLOCK_BYTES):
        yield piece


class _Stretch(io.RawIOBase):
    """Part of a file as a file: only read forward and from its beginning."""

    def __init__(self, path: Path, offset_bytes: int, size_bytes: int) -> None:
        super().__init__()
        self._file = path.open("rb")
        self._offset = offset_bytes
        self._size = size_bytes
        self._file.seek(offset_bytes)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell() - self._offset

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self._size}[whence]
        self._file.seek(self._offset + max(0, min(base + offset, self._size)))
        return self.tell()

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        piece = self._file.read(min(len(buffer), self._size - self.tell()))
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._file.close()
        super().close()


def _stretch(path: Path, offset_bytes: int, size_bytes: int) -> BinaryIO:
    return io.BufferedReader(_Stretch(path, offset_bytes, size_bytes))
