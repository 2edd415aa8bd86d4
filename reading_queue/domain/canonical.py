"""Canonical JSON (RFC 8785): the bytes that are signed, hashed and stored as signed.

Pure. Signed content holds no floats: two writers of one float need not agree, two writers of one string do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import rfc8785


class NotCanonical(ValueError):
    """The content holds something that canonical JSON of signed things must not hold."""


def canonical_bytes(content: Mapping[str, Any]) -> bytes:
    """Return `content` as RFC 8785 canonical JSON; raises NotCanonical for a float anywhere in it."""
    _refuse_floats(content, "$")
    try:
        return bytes(rfc8785.dumps(dict(content)))
    except rfc8785.CanonicalizationError as exc:
        raise NotCanonical(type(exc).__name__) from exc


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of `data` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def _refuse_floats(value: object, where: str) -> None:
    if isinstance(value, float):
        raise NotCanonical(f"a float stands at {where}; signed content writes numbers as integers or text")
    if isinstance(value, Mapping):
        for key, member in value.items():
            _refuse_floats(member, f"{where}.{key}")
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for position, member in enumerate(value):
            _refuse_floats(member, f"{where}[{position}]")
