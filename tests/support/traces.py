"""Finds words in bytes, however they were written down on the way: encoded, escaped, percent-quoted, base64 or hex."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Sequence
from urllib.parse import quote

BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16,}={0,2}")
HEX = re.compile(rb"\\x((?:[0-9a-fA-F]{2}){8,})")
DEPTH_MAX = 3  # a message of the broker is base64 in JSON


def traces(words: Sequence[str], data: bytes, depth: int = 0) -> set[str]:
    """Return those of `words` that `data` holds in any form; the case of letters does not count."""
    folded = data.lower()
    found = {word for word in words if any(form in folded for form in forms(word))}
    if depth < DEPTH_MAX:
        for inner in _decoded(data):
            found |= traces(words, inner, depth + 1)
    return found


def forms(word: str) -> set[bytes]:
    """Return the bytes as which `word` may appear, in lower case."""
    encoded = [word.encode(codec) for codec in ("utf-8", "gb18030", "utf-16-le")]
    written = [quote(one, safe="").encode() for one in encoded]
    written += [repr(one)[2:-1].encode() for one in encoded]
    written += [json.dumps(word)[1:-1].encode(), word.encode("unicode_escape")]
    return {form.lower() for form in (*encoded, *written)}


def _decoded(data: bytes) -> Iterator[bytes]:
    for found in BASE64.finditer(data):
        text = found.group().rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        try:
            yield base64.b64decode(text + b"=" * (-len(text) % 4))
        except binascii.Error:
            continue
    for found in HEX.finditer(data):
        yield bytes.fromhex(found.group(1).decode())
