"""Reading a pack in one forward pass with bounded memory and no temporary files, believing nothing.

Only the one archive that its own `pack.json` leads to is accepted: every header, every padding byte and the end must be
those that `layout_of` gives. What is merely a legal tar is not a pack.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from storage.contract.identifiers import Sha256Hex, SiteId, Uid
from storage.packs.layout import (
    BLOCK_BYTES,
    END_BYTES,
    INDEX_NAME,
    PACK_FORMAT,
    PackLayout,
    PackMember,
    PlacedMember,
    layout_of,
    member_header,
    padded,
)

MEMBER_IN_MEMORY_BYTES_MAX: Final = 32 * 1024 * 1024  # a larger member is read once more where the pack lies
INDEX_BYTES_MAX: Final = 8 * 1024 * 1024


class PackDamaged(Exception):
    """The object is not a well-formed pack; the message says where."""


@dataclass(frozen=True, slots=True)
class PackedFile:
    """One member as it was found: its bytes have the size and digest that pack.json declares."""

    name: str
    sop_instance_uid: Uid
    offset_bytes: int  # of the Part 10 file inside the pack
    size_bytes: int
    stored_sha256: Sha256Hex


@dataclass(frozen=True, slots=True)
class ScannedPack:
    """What a whole, well-formed pack turned out to be."""

    site_id: SiteId
    study_uid: Uid
    pack_sha256: Sha256Hex
    size_bytes: int
    members: tuple[PackedFile, ...]


OnMember = Callable[[PackedFile, BinaryIO], None]
Reopen = Callable[[int, int], BinaryIO]


def scan_pack(chunks: Iterable[bytes], on_member: OnMember, *, reopen: Reopen | None = None) -> ScannedPack:
    """Read a pack to its end, give every member to `on_member`, and return what it was.

    `on_member` gets the member's bytes as a file at position 0 that is closed when it returns. Nothing it learns counts
    before this function has returned: the pack may still prove damaged further on.

    `reopen` gives a stretch of the same pack, by offset and length, as a file: a member larger than
    MEMBER_IN_MEMORY_BYTES_MAX is only hashed as it passes, and read there after the pack's end. Without it every member
    is held in memory once.

    Raises:
        PackDamaged: a byte is missing, added or not what pack.json demands.
    """
    source = _Source(chunks)
    layout = _read_layout(source)
    members, large = [], []
    for place in layout.places:
        if reopen is None or place.member.size_bytes <= MEMBER_IN_MEMORY_BYTES_MAX:
            members.append(_read_member(source, place, on_member))
        else:
            large.append(_pass_member(source, place, None))
            members.append(large[-1])
    if source.take(END_BYTES, "the end of the archive") != bytes(END_BYTES):
        raise PackDamaged("the archive does not end where pack.json says")
    if source.has_more():
        raise PackDamaged("there are bytes after the end of the archive")
    for found, file in _reopened(large, reopen):
        on_member(found, file)
    return ScannedPack(layout.site_id, layout.study_uid, source.sha256(), layout.size_bytes, tuple(members))


class _Source:
    """Chunks as a byte source that counts and hashes everything it gave."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks: Iterator[bytes] = iter(chunks)
        self._rest = memoryview(b"")
        self._digest = hashlib.sha256()

    def pieces(self, size_bytes: int, what: str) -> Iterator[memoryview]:
        """Yield exactly `size_bytes` bytes in pieces no larger than the chunks."""
        while size_bytes:
            if not self._rest and not self._fill():
                raise PackDamaged(f"the archive ends inside {what}: {size_bytes} bytes are missing")
            piece = self._rest[:size_bytes]
            self._rest = self._rest[size_bytes:]
            size_bytes -= len(piece)
            self._digest.update(piece)
            yield piece

    def take(self, size_bytes: int, what: str) -> bytes:
        """Return exactly `size_bytes` bytes."""
        return b"".join(self.pieces(size_bytes, what))

    def has_more(self) -> bool:
        """Return whether any byte is left."""
        return bool(self._rest) or self._fill()

    def sha256(self) -> Sha256Hex:
        """Return the digest of all bytes given so far."""
        return Sha256Hex(self._digest.hexdigest())

    def _fill(self) -> bool:
        for chunk in self._chunks:
            if chunk:
                self._rest = memoryview(chunk)
                return True
        return False


def _read_layout(source: _Source) -> PackLayout:
    header = source.take(BLOCK_BYTES, "its first header")
    try:
        info = tarfile.TarInfo.frombuf(header, "ascii", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as exc:
        raise PackDamaged("the object does not begin with a USTAR header") from exc
    if info.name != INDEX_NAME or not 0 < info.size <= INDEX_BYTES_MAX:
        raise PackDamaged("the archive does not begin with pack.json")
    if header != member_header(INDEX_NAME, info.size):
        raise PackDamaged("the header of pack.json is not in the form of a pack")
    index = source.take(info.size, INDEX_NAME)
    _skip_padding(source, info.size, INDEX_NAME)
    layout = _parse_index(index)
    if layout.index != index:
        raise PackDamaged("pack.json is not in canonical form or its members are not sorted")
    return layout


def _parse_index(index: bytes) -> PackLayout:
    try:
        value = json.loads(index)
        if value["format"] != PACK_FORMAT:
            raise PackDamaged("pack.json is of another format")
        members = [
            PackMember(entry["sop_instance_uid"], entry["size_bytes"], entry["stored_sha256"])
            for entry in value["members"]
        ]
        if not all(type(member.size_bytes) is int for member in members):
            raise PackDamaged("pack.json gives a size that is not a whole number")
        return layout_of(value["site_id"], value["study_uid"], members)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise PackDamaged("pack.json does not describe a pack") from exc


def _read_member(source: _Source, place: PlacedMember, on_member: OnMember) -> PackedFile:
    with io.BytesIO() as file:
        found = _pass_member(source, place, file)
        file.seek(0)
        on_member(found, file)
    return found


def _pass_member(source: _Source, place: PlacedMember, copy: BinaryIO | None) -> PackedFile:
    """Read over a member and prove its digest; its bytes go to `copy` where one is wanted."""
    member = place.member
    if source.take(BLOCK_BYTES, f"the header of {member.name}") != member_header(member.name, member.size_bytes):
        raise PackDamaged(f"the header before {member.name} is not the one that pack.json demands")
    digest = hashlib.sha256()
    for piece in source.pieces(member.size_bytes, member.name):
        digest.update(piece)
        if copy is not None:
            copy.write(piece)
    if digest.hexdigest() != member.stored_sha256:
        raise PackDamaged(f"the bytes of {member.name} do not have the digest that pack.json declares")
    _skip_padding(source, member.size_bytes, member.name)
    return PackedFile(member.name, member.sop_instance_uid, place.offset_bytes, member.size_bytes, member.stored_sha256)


def _reopened(large: Iterable[PackedFile], reopen: Reopen | None) -> Iterator[tuple[PackedFile, BinaryIO]]:
    if reopen is None:
        return
    for found in large:
        with reopen(found.offset_bytes, found.size_bytes) as file:
            yield found, file


def _skip_padding(source: _Source, size_bytes: int, name: str) -> None:
    padding = source.take(padded(size_bytes) - size_bytes, f"the padding after {name}")
    if padding.strip(b"\0"):
        raise PackDamaged(f"the padding after {name} is not empty")
