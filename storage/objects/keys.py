"""Object keys, checked before they become a path or an address."""

from __future__ import annotations

import re
from typing import Final

from storage.objects.protocol import ObjectRejected

KEY_CHARACTERS_MAX: Final = 900  # S3 takes 1,024 bytes; staging suffixes need some
_PART = re.compile(r"[A-Za-z0-9._=+@-]+")


def check_key(key: str) -> str:
    """Return `key` when every part of it is plain and none is `.` or `..`.

    Raises:
        ObjectRejected: otherwise.
    """
    parts = key.split("/")
    if len(key) > KEY_CHARACTERS_MAX or not all(_PART.fullmatch(part) and part.strip(".") for part in parts):
        raise ObjectRejected("an object key has plain parts between slashes: letters, digits and . _ = + @ -")
    return key
