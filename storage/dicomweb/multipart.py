"""multipart/related answers (RFC 2387, PS3.18 section 8.6.1.2), written part by part."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Final

CRLF: Final = b"\r\n"


class Multipart:
    """One answer: its Content-Type, its exact length and its pieces."""

    def __init__(self, parts: Iterable[tuple[str, bytes]]) -> None:
        self.boundary = secrets.token_hex(16)
        self._parts = [(self._head(content_type), body) for content_type, body in parts]
        first = next(iter(self._parts), None)
        self._root = first[0].split(b"Content-Type: ")[1].split(b"\r\n")[0].decode() if first else "application/dicom"

    @property
    def content_type(self) -> str:
        """Return the header; `type` is the media type of the first part without its parameters."""
        root = self._root.split(";")[0]
        return f'multipart/related; type="{root}"; boundary={self.boundary}'

    @property
    def size_bytes(self) -> int:
        """Return the exact length of all pieces."""
        return sum(len(head) + len(body) + len(CRLF) for head, body in self._parts) + len(self._tail())

    def pieces(self) -> Iterable[bytes]:
        """Yield what goes on the line."""
        for head, body in self._parts:
            yield head
            yield body
            yield CRLF
        yield self._tail()

    def _head(self, content_type: str) -> bytes:
        return f"--{self.boundary}\r\nContent-Type: {content_type}\r\n\r\n".encode()

    def _tail(self) -> bytes:
        return f"--{self.boundary}--\r\n".encode()
