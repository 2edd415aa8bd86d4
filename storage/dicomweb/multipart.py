"""multipart/related answers (RFC 2387, PS3.18 section 8.6.1.2), written part by part."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Final

from storage.dicomweb.stored_body import StoredBody, read_bodies
from storage.objects.protocol import ObjectStore

CRLF: Final = b"\r\n"
PIECE_BYTES: Final = 512 * 1024  # small pieces are sent together, larger ones as they come

Part = tuple[str, bytes | StoredBody]  # its Content-Type and what it holds
LocatedPart = tuple[str, str, Iterable[bytes]]  # its Content-Type, its own address, what it holds


class Multipart:
    """The frame around the parts of one answer: what announces them, and what stands before and behind each."""

    def __init__(self, media_type: str) -> None:
        self.boundary = secrets.token_hex(16)
        self._media_type = media_type.partition(";")[0]

    @property
    def content_type(self) -> str:
        """Return the header; `type` is the media type of the parts without its parameters."""
        return f'multipart/related; type="{self._media_type}"; boundary={self.boundary}'

    def size_bytes(self, parts: Sequence[Part]) -> int:
        """Return the exact length of an answer of these parts."""
        return sum(len(self._head(kind)) + len(body) + len(CRLF) for kind, body in parts) + len(self._tail())

    def pieces(self, objects: ObjectStore, parts: Sequence[Part]) -> Generator[bytes]:
        """Yield what goes on the line. What is stored is read as it is taken: not on the event loop.

        Raises:
            ObjectMissing, StoreUnavailable: the store has not what the catalogue says, or does not answer.
        """
        return gathered(self._fragments(objects, parts))

    def made(self, parts: Iterable[tuple[str, Iterable[bytes]]]) -> Generator[bytes]:
        """Yield what goes on the line of parts that are made as they are taken; their length is not known before."""
        return gathered(self._framed(parts))

    def located(self, parts: Iterable[LocatedPart]) -> Generator[bytes]:
        """Yield what goes on the line of parts that are made as they are taken, each of which says its own address."""
        return gathered(self._framed_at(parts))

    def _fragments(self, objects: ObjectStore, parts: Sequence[Part]) -> Iterator[bytes | memoryview]:
        bodies = [body if isinstance(body, StoredBody) else StoredBody("", ()) for _, body in parts]
        stored = read_bodies(objects, bodies)
        number, piece = next(stored, (len(parts), memoryview(b"")))
        for own, (kind, body) in enumerate(parts):
            yield self._head(kind)
            if isinstance(body, bytes):
                yield body
            while number == own:
                yield piece
                number, piece = next(stored, (len(parts), memoryview(b"")))
            yield CRLF
        yield self._tail()

    def _framed(self, parts: Iterable[tuple[str, Iterable[bytes]]]) -> Iterator[bytes | memoryview]:
        return self._framed_at((kind, "", chunks) for kind, chunks in parts)

    def _framed_at(self, parts: Iterable[LocatedPart]) -> Iterator[bytes | memoryview]:
        for kind, address, chunks in parts:
            yield self._head(kind, address)
            yield from chunks
            yield CRLF
        yield self._tail()

    def _head(self, content_type: str, address: str = "") -> bytes:
        location = f"Content-Location: {address}\r\n" if address else ""
        return f"--{self.boundary}\r\nContent-Type: {content_type}\r\n{location}\r\n".encode()

    def _tail(self) -> bytes:
        return f"--{self.boundary}--\r\n".encode()


def gathered(fragments: Iterator[bytes | memoryview]) -> Generator[bytes]:
    """Yield the same bytes in pieces that are worth a write."""
    held: list[memoryview] = []
    size = 0
    for fragment in fragments:
        held.append(memoryview(fragment))
        size += held[-1].nbytes
        if size >= PIECE_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)
