"""All headers of a study as one object: made once for each revision, given as often as asked without making anything.

The object is one gzip member (RFC 1952) that holds the whole answer about the study. The headers of each series are a
stretch of it that refers to nothing before it (RFC 1951): between another head and another end it is the answer about
that series. So no answer is compressed again, and none is put together from packs.
"""

from __future__ import annotations

import struct
import tempfile
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, BinaryIO, Final

from storage.dicomweb.headers import (
    DicomJson,
    Order,
    encoded_one,
    first_orders,
    instance_order,
    series_order,
    uid_of,
)

LEVEL: Final = 6
IN_MEMORY_BYTES_MAX: Final = 16 * 1024 * 1024  # of the headers of one study while they are sorted; then a file
PIECE_BYTES: Final = 1024 * 1024
_HEAD: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # deflated, no name, no time: the same headers give the same object


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where the headers of a series lie in the object, and what a reader of that series gets in the end."""

    offset: int
    length: int
    json_bytes: int
    crc32: int

    @property
    def before(self) -> bytes:
        """What stands before the stretch in an answer about the series alone."""
        return _HEAD + _stored(b"[")

    @property
    def behind(self) -> bytes:
        """What stands behind it."""
        return _end(self.crc32, self.json_bytes)


@dataclass(frozen=True, slots=True)
class Prepared:
    """One object: its size, that of what it unpacks to, and its series by UID."""

    size_bytes: int
    json_bytes: int
    series: Mapping[str, Stretch]


def write_prepared(datasets: Iterable[DicomJson], writer: BinaryIO) -> Prepared:
    """Write the object of these headers, which may come in any order; memory is bounded."""
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES_MAX) as spool:
        places = [_put_aside(dataset, spool) for dataset in datasets]
        first = first_orders((place.series_uid, place.series_order) for place in places)
        places.sort(key=lambda place: (first[place.series_uid], place.order))
        return _write(places, spool, writer)


def unpacked(pieces: Iterable[bytes]) -> Generator[bytes]:
    """Yield what a gzip member holds, in pieces of bounded size."""
    inflating = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    for piece in pieces:
        rest = piece
        while rest:
            if found := inflating.decompress(rest, PIECE_BYTES):
                yield found
            rest = inflating.unconsumed_tail
    if rest := inflating.flush():
        yield rest


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one instance's headers lie until all are there."""

    series_uid: str
    series_order: Order
    order: Order
    offset: int
    length: int


def _put_aside(dataset: DicomJson, spool: Any) -> _Place:
    text = encoded_one(dataset)
    offset = spool.tell()
    spool.write(text)
    return _Place(uid_of(dataset, "series"), series_order(dataset), instance_order(dataset), offset, len(text))


def _write(places: list[_Place], spool: Any, writer: BinaryIO) -> Prepared:
    series: dict[str, Stretch] = {}
    written = writer.write(_HEAD)
    crc, json_bytes, between = 0, 0, b"["
    for series_uid, of_series in groupby(places, key=lambda place: place.series_uid):
        written += writer.write(_stored(between))
        offset, deflating = written, zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        crc, json_bytes = zlib.crc32(between, crc), json_bytes + len(between)
        own_crc, own_bytes = zlib.crc32(b"["), 1
        for text in _texts(of_series, spool):
            written += writer.write(deflating.compress(text))
            crc, json_bytes = zlib.crc32(text, crc), json_bytes + len(text)
            own_crc, own_bytes = zlib.crc32(text, own_crc), own_bytes + len(text)
        written += writer.write(deflating.flush(zlib.Z_FULL_FLUSH))
        series[series_uid] = Stretch(offset, written - offset, own_bytes + 1, zlib.crc32(b"]", own_crc))
        between = b","
    written += writer.write(_end(zlib.crc32(b"]", crc), json_bytes + 1))
    return Prepared(written, json_bytes + 1, series)


def _texts(places: Iterable[_Place], spool: Any) -> Iterator[bytes]:
    for number, place in enumerate(places):
        spool.seek(place.offset)
        yield b"," * bool(number) + spool.read(place.length)


def _stored(text: bytes, *, last: bool = False) -> bytes:
    """Return a block that is not compressed (RFC 1951 section 3.2.4); it begins and ends with whole bytes."""
    return struct.pack("<BHH", last, len(text), len(text) ^ 0xFFFF) + text


def _end(crc32: int, json_bytes: int) -> bytes:
    return _stored(b"]", last=True) + struct.pack("<II", crc32, json_bytes & 0xFFFFFFFF)
