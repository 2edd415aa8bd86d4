"""Reads a multipart/related request body (RFC 2046 section 5.1, RFC 2387) as it comes, in whatever chunks. Pure.

Believes nothing of it and holds little of it: at most one chunk and one part's head. What breaks the form is an error,
never a guess; no part counts before the body has been read to its closing delimiter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from enum import Enum, auto
from typing import Final

CRLF: Final = b"\r\n"
BOUNDARY_CHARACTERS_MAX: Final = 70  # RFC 2046 section 5.1.1
HEAD_BYTES_MAX: Final = 8 * 1024
PADDING_BYTES_MAX: Final = 64  # white space that a transport may add behind a delimiter
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]*[0-9A-Za-z'()+_,./:=?-]")
_HEADER_NAME: Final = re.compile(rb"[0-9A-Za-z!#$%&'*+.^_`|~-]+")
_LENGTH: Final = re.compile(r"[0-9]{1,18}")


class MultipartMalformed(Exception):
    """The body does not have the form of its media type; the message says where, and quotes nothing of it."""


class MultipartTruncated(MultipartMalformed):
    """The body ends before its closing delimiter."""


class TooManyParts(Exception):
    """The body has more parts than one request may have."""


@dataclass(frozen=True, slots=True)
class MediaType:
    """A Content-Type: type and subtype, and parameters by name, names in lower case."""

    essence: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PartBegun:
    """A part's head has been read; header names are in lower case."""

    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PartEnded:
    """All bytes of the part have been given."""


Event = PartBegun | PartEnded | bytes


class _State(Enum):
    BEFORE = auto()  # the first delimiter
    DELIMITED = auto()  # behind a delimiter
    HEAD = auto()
    BODY = auto()
    AFTER = auto()  # the closing delimiter


class MultipartReader:
    """Turns chunks into events: for each part PartBegun, its bytes in pieces, PartEnded."""

    def __init__(self, boundary: str, *, parts_max: int) -> None:
        """Raise MultipartMalformed unless `boundary` is one (RFC 2046 section 5.1.1)."""
        if len(boundary) > BOUNDARY_CHARACTERS_MAX or _BOUNDARY.fullmatch(boundary) is None:
            raise MultipartMalformed("the boundary is missing, too long or has characters that a boundary may not have")
        self._delimiter = CRLF + b"--" + boundary.encode("ascii")
        self._parts_max = parts_max
        self._parts = 0
        self._state = _State.BEFORE
        self._rest = CRLF  # so that a delimiter at the very beginning is one like all others
        self._announced: int | None = None  # Content-Length of the part
        self._given = 0  # bytes of the part

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield what `chunk` completes; take all of it before the next chunk.

        Raises:
            MultipartMalformed: the body is not what a multipart body looks like.
            TooManyParts: it has more parts than allowed.
        """
        if self._state is _State.AFTER:
            return  # an epilogue says nothing
        self._rest += chunk
        while True:
            state, size = self._state, len(self._rest)
            if state is _State.BODY:
                yield from self._read_body()
            elif state is _State.HEAD:
                yield from self._read_head()
            elif state is _State.BEFORE:
                self._skip_to_delimiter()
            elif state is _State.DELIMITED:
                self._read_behind_delimiter()
            if state is self._state and size == len(self._rest):
                return

    def close(self) -> None:
        """Say that nothing more comes.

        Raises:
            MultipartTruncated: the closing delimiter has not come.
        """
        if self._state is not _State.AFTER:
            raise MultipartTruncated("the body ends before its closing delimiter: it was cut off")

    def _skip_to_delimiter(self) -> None:
        found = self._rest.find(self._delimiter)
        if found < 0:
            self._rest = self._rest[-(len(self._delimiter) - 1) :]
            return
        self._pass_delimiter(found)

    def _read_body(self) -> Iterator[Event]:
        found = self._rest.find(self._delimiter)
        end = found if found >= 0 else max(len(self._rest) - len(self._delimiter) + 1, 0)
        if end:
            piece = self._rest[:end]
            self._count(end)
            if found < 0:
                self._rest = self._rest[end:]
            yield piece
        if found >= 0:
            if self._announced not in (None, self._given):
                raise MultipartMalformed(f"part {self._parts} has another length than its Content-Length says")
            self._pass_delimiter(found)
            yield PartEnded()

    def _read_behind_delimiter(self) -> None:
        """Find out whether another part follows; its head begins with the line break behind the delimiter."""
        rest = self._rest.lstrip(b" \t")
        if len(self._rest) - len(rest) > PADDING_BYTES_MAX:
            raise MultipartMalformed("there is too much white space behind a delimiter")
        if len(rest) < 2:
            return
        if rest[:2] == b"--" and len(rest) == len(self._rest):
            self._state, self._rest = _State.AFTER, b""
        elif rest[:2] == CRLF:
            self._begin_part(rest)
        else:
            raise MultipartMalformed("a delimiter is not followed by a line break: it cannot be told from data")

    def _begin_part(self, rest: bytes) -> None:
        self._parts += 1
        if self._parts > self._parts_max:
            raise TooManyParts(f"one request has at most {self._parts_max} parts")
        self._state, self._rest = _State.HEAD, rest

    def _read_head(self) -> Iterator[Event]:
        end = self._rest.find(CRLF + CRLF)
        if max(end, len(self._rest) if end < 0 else 0) > HEAD_BYTES_MAX:
            raise MultipartMalformed(f"the head of part {self._parts} is longer than {HEAD_BYTES_MAX} bytes")
        if end < 0:
            return
        headers = _parse_head(self._rest[len(CRLF) : end], self._parts)
        self._announced, self._given = _announced_length(headers, self._parts), 0
        self._state, self._rest = _State.BODY, self._rest[end + 2 * len(CRLF) :]
        yield PartBegun(headers)

    def _pass_delimiter(self, found: int) -> None:
        self._state, self._rest = _State.DELIMITED, self._rest[found + len(self._delimiter) :]

    def _count(self, size_bytes: int) -> None:
        self._given += size_bytes
        if self._announced is not None and self._given > self._announced:
            raise MultipartMalformed(f"part {self._parts} is longer than its Content-Length says")


def parse_media_type(text: str) -> MediaType:
    """Return a Content-Type header's value in its parts (RFC 2045 section 5.1), lenient where clients are."""
    message = Message()
    message["Content-Type"] = text.replace("\r", " ").replace("\n", " ")
    named: list[tuple[str, object]] = list(message.get_params(failobj=[])[1:])
    parameters = {name.lower(): value for name, value in named if isinstance(value, str)}
    return MediaType(message.get_content_type(), parameters)


def _parse_head(head: bytes, number: int) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in head.split(CRLF) if head else ():
        name, colon, value = line.partition(b":")
        if not colon or _HEADER_NAME.fullmatch(name) is None:
            raise MultipartMalformed(f"the head of part {number} has a line that is no header")
        key = name.decode("ascii").lower()
        if key in headers:
            raise MultipartMalformed(f"the head of part {number} names a header twice")
        headers[key] = value.strip(b" \t").decode("utf-8", "replace")
    return headers


def _announced_length(headers: Mapping[str, str], number: int) -> int | None:
    text = headers.get("content-length")
    if text is None:
        return None
    if _LENGTH.fullmatch(text) is None:
        raise MultipartMalformed(f"the Content-Length of part {number} is no number")
    return int(text)
