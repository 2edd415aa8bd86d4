"""What a reader has already: entity tags and ranges (RFC 9110 sections 8.8, 13 and 14).

Asked only after the reader's right to what is tagged was found. Pure but for the request that it reads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from aiohttp import web

from storage.dicomweb.errors import RangeNotThere


def tag_of(*facts: Iterable[object]) -> str:
    """Return the tag of an answer that these facts determine."""
    return hashlib.sha256("\n".join(" ".join(map(str, one)) for one in facts).encode()).hexdigest()[:32]


def is_unchanged(request: web.Request, tag: str) -> bool:
    """Return whether the reader says that it holds the answer of this tag; compared as If-None-Match is, weakly."""
    held = request.if_none_match
    return held is not None and any(one.value in (tag, "*") for one in held)


def find_range(request: web.Request, tag: str, size_bytes: int) -> tuple[int, int] | None:
    """Return offset and length of the one range that is asked for, or None for all of it.

    A header that cannot be read, or asks for many ranges, asks for nothing; so does one for another version.

    Raises:
        RangeNotThere: it begins behind the end.
    """
    if request.headers.get("If-Range", f'"{tag}"') != f'"{tag}"':
        return None
    try:
        asked = request.http_range
    except ValueError:
        return None
    if asked.start is None and asked.stop is None:
        return None
    start, stop, _ = slice(asked.start, asked.stop).indices(size_bytes)
    if start >= stop:
        raise RangeNotThere(size_bytes)
    return start, stop - start
