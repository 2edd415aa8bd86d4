"""The bytes of a pack, made while they are read: headers from the layout, members from their files, no temporary tar.

Holds one open member and a few hundred bytes; nothing here is durable. Reading it again gives the same bytes as long
as the members' files are the same; a file of another length than its layout says is refused, never padded.
"""

from __future__ import annotations

import bisect
import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Final

from storage.contract.identifiers import Sha256Hex
from storage.packs.layout import BLOCK_BYTES, END_BYTES, INDEX_NAME, PackLayout, PackMember, member_header, padded
from storage.packs.parts import PackPart

CHUNK_BYTES: Final = 256 * 1024

OpenMember = Callable[[PackMember], BinaryIO]


class MemberChanged(Exception):
    """A member's file is not as long as its layout says; names the instance."""


@dataclass(frozen=True, slots=True)
class _Segment:
    """A stretch of the archive: fixed bytes, or the file of a member."""

    start_bytes: int
    size_bytes: int
    fixed: bytes | None
    member: PackMember | None


class PackStream:
    """A pack as a read-only file: `read`, `seek`, `tell`, and iteration in chunks of at most CHUNK_BYTES.

    Not for several threads at once. Close it, or use it as a context manager.
    """

    def __init__(self, layout: PackLayout, open_member: OpenMember) -> None:
        self._layout = layout
        self._open_member = open_member
        self._segments = _segments_of(layout)
        self._starts = [segment.start_bytes for segment in self._segments]
        self._position = 0
        self._opened: tuple[PackMember, BinaryIO] | None = None

    def __len__(self) -> int:
        return self._layout.size_bytes

    def __enter__(self) -> PackStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read(CHUNK_BYTES):
            yield chunk

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position inside the pack and return it, so that a repeated request can start again."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._layout.size_bytes}[whence]
        position = base + offset
        if not 0 <= position <= self._layout.size_bytes:
            raise ValueError(f"position {position} is outside the pack")
        self._position = position
        return position

    def read(self, size: int = -1) -> bytes:
        """Return exactly the next `size` bytes, less only at the end; all that is left for a negative size.

        Raises:
            MemberChanged: a member's file is shorter or longer than its layout says.
        """
        left = self._layout.size_bytes - self._position
        wanted = left if size < 0 else min(size, left)
        pieces = []
        while wanted:
            piece = self._read_of_one_segment(wanted)
            pieces.append(piece)
            wanted -= len(piece)
            self._position += len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Close the member that is open."""
        if self._opened is not None:
            self._opened[1].close()
            self._opened = None

    def _read_of_one_segment(self, wanted: int) -> bytes:
        segment = self._segments[bisect.bisect_right(self._starts, self._position) - 1]
        inner = self._position - segment.start_bytes
        count = min(wanted, segment.size_bytes - inner)
        if segment.member is None:
            return (segment.fixed or b"")[inner : inner + count]
        return self._read_of_member(segment.member, inner, count)

    def _read_of_member(self, member: PackMember, inner: int, count: int) -> bytes:
        file = self._file_of(member)
        if file.tell() != inner:
            file.seek(inner)
        piece = file.read(count)
        if len(piece) != count:
            raise MemberChanged(f"instance {member.sop_instance_uid} is shorter than {member.size_bytes} bytes")
        if inner + count == member.size_bytes and file.read(1):
            raise MemberChanged(f"instance {member.sop_instance_uid} is longer than {member.size_bytes} bytes")
        return piece

    def _file_of(self, member: PackMember) -> BinaryIO:
        if self._opened is None or self._opened[0] is not member:
            self.close()
            self._opened = (member, self._open_member(member))
        return self._opened[1]


@dataclass(frozen=True, slots=True)
class PackDigests:
    """SHA-256 of a whole pack, and of each of its parts in their order."""

    whole: Sha256Hex
    parts: tuple[Sha256Hex, ...]


def pack_sha256(layout: PackLayout, open_member: OpenMember) -> Sha256Hex:
    """Return the SHA-256 of the whole pack, reading every member once."""
    return digest_pack(layout, open_member, ()).whole


def digest_pack(layout: PackLayout, open_member: OpenMember, parts: Sequence[PackPart]) -> PackDigests:
    """Return the digests of the whole pack and of its parts, reading every member once."""
    whole = hashlib.sha256()
    of_parts = []
    with PackStream(layout, open_member) as stream:
        for part in parts:
            digest = hashlib.sha256()
            left = part.size_bytes
            while left:
                chunk = stream.read(min(CHUNK_BYTES, left))
                left -= len(chunk)
                whole.update(chunk)
                digest.update(chunk)
            of_parts.append(Sha256Hex(digest.hexdigest()))
        for chunk in stream:
            whole.update(chunk)
    return PackDigests(Sha256Hex(whole.hexdigest()), tuple(of_parts))


def _segments_of(layout: PackLayout) -> list[_Segment]:
    """Return the stretches of the archive, none of them empty, in order."""
    index_padding = bytes(padded(len(layout.index)) - len(layout.index))
    opening = member_header(INDEX_NAME, len(layout.index)) + layout.index + index_padding
    segments = [_Segment(0, len(opening), opening, None)]
    for place in layout.places:
        member = place.member
        header = member_header(member.name, member.size_bytes)
        segments.append(_Segment(place.offset_bytes - BLOCK_BYTES, BLOCK_BYTES, header, None))
        if member.size_bytes:
            segments.append(_Segment(place.offset_bytes, member.size_bytes, None, member))
        padding = bytes(padded(member.size_bytes) - member.size_bytes)
        if padding:
            segments.append(_Segment(place.offset_bytes + member.size_bytes, len(padding), padding, None))
    segments.append(_Segment(layout.size_bytes - END_BYTES, END_BYTES, bytes(END_BYTES), None))
    return segments
