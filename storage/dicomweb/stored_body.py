"""Bytes of an answer that are read from the object store while they are sent, however many there are. Reads only.

Neighbours in one object are read by one request to the store: a study costs as many requests as it has packs, not as
many as it has slices.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from storage.objects.protocol import ObjectMissing, ObjectStore

GAP_BYTES_MAX: Final = 1024 * 1024  # what lies between two neighbours is read over, which is quicker than to ask again


@dataclass(frozen=True, slots=True)
class StoredBody:
    """Stretches of one object, by offset and length, one behind the other."""

    key: str
    spans: Sequence[tuple[int, int]]

    def __len__(self) -> int:
        return sum(length for _, length in self.spans)

    def cut(self, start: int, length: int) -> StoredBody:
        """Return the stretch of one that lies in one piece."""
        ((offset, _),) = self.spans
        return StoredBody(self.key, ((offset + start, length),))


@dataclass(frozen=True, slots=True)
class _Stretch:
    body: int  # the number of the body to which it belongs
    key: str
    offset: int
    end: int


def read_body(objects: ObjectStore, body: StoredBody) -> bytes:
    """Return all bytes of a small body. Raises ObjectMissing or StoreUnavailable."""
    return b"".join(piece for _, piece in read_bodies(objects, [body]))


def read_bodies(objects: ObjectStore, bodies: Sequence[StoredBody]) -> Generator[tuple[int, memoryview]]:
    """Yield the bytes of all bodies in their order, in pieces of bounded size, each with the number of its body.

    Raises:
        ObjectMissing: an object is not there, or ends before its catalogue says.
        StoreUnavailable: the store did not answer.
    """
    for run in _runs(_stretches(bodies)):
        length = run[-1].end - run[0].offset
        with objects.open(run[0].key, offset=run[0].offset, length=length) as chunks:
            yield from _cut(chunks, run)


def _stretches(bodies: Sequence[StoredBody]) -> Iterator[_Stretch]:
    for number, body in enumerate(bodies):
        for offset, length in body.spans:
            if length:
                yield _Stretch(number, body.key, offset, offset + length)


def _runs(stretches: Iterable[_Stretch]) -> Iterator[list[_Stretch]]:
    """Yield those together that lie in one object, each close behind the one before."""
    run: list[_Stretch] = []
    for stretch in stretches:
        if run and not (run[-1].key == stretch.key and 0 <= stretch.offset - run[-1].end <= GAP_BYTES_MAX):
            yield run
            run = []
        run.append(stretch)
    if run:
        yield run


def _cut(chunks: Iterator[bytes], run: Sequence[_Stretch]) -> Iterator[tuple[int, memoryview]]:
    """Yield what of the chunks, which begin where the run does, lies in a stretch."""
    chunk, chunk_at = memoryview(b""), run[0].offset
    for stretch in run:
        position = stretch.offset
        while position < stretch.end:
            if chunk_at + len(chunk) <= position:
                chunk_at += len(chunk)
                chunk = memoryview(next(chunks, b""))
                if not chunk:
                    raise ObjectMissing(f"object {stretch.key} ends {stretch.end - chunk_at} bytes too early")
                continue
            piece = chunk[position - chunk_at : stretch.end - chunk_at]
            yield stretch.body, piece
            position += len(piece)
