"""Identifiers that cross a border, parsed once where they arrive.

Pure. A text that is not a legal identifier never becomes part of a path, an object key or a query.
"""

from __future__ import annotations

import re
import uuid
from typing import Final, NewType

Uid = NewType("Uid", str)
SiteId = NewType("SiteId", str)
Sha256Hex = NewType("Sha256Hex", str)

UID_CHARACTERS_MAX: Final = 64  # PS3.5 section 9.1
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_SITE_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class InvalidIdentifier(ValueError):
    """The text is not a legal identifier; the message names the rule and never the patient."""


def parse_uid(text: str, *, name: str = "UID") -> Uid:
    """Return `text` as a UID.

    Digits and dots, at most 64 characters (PS3.5 section 9.1). Leading zeros are harmless and accepted.

    Raises:
        InvalidIdentifier: empty, too long, or any other character.
    """
    if not text:
        raise InvalidIdentifier(f"{name} is empty")
    if len(text) > UID_CHARACTERS_MAX:
        raise InvalidIdentifier(f"{name} has {len(text)} characters, at most {UID_CHARACTERS_MAX} are allowed")
    if _UID.fullmatch(text) is None:
        raise InvalidIdentifier(f"{name} may hold only digits and single dots between them")
    return Uid(text)


def parse_site_id(text: str) -> SiteId:
    """Return `text` as a site id: lower-case letters, digits and inner hyphens, at most 32 characters."""
    if _SITE_ID.fullmatch(text) is None:
        raise InvalidIdentifier("site id may hold only a-z, 0-9 and inner hyphens, at most 32 characters")
    return SiteId(text)


def parse_sha256(text: str) -> Sha256Hex:
    """Return `text` as a SHA-256 digest: 64 lower-case hexadecimal digits."""
    if _SHA256.fullmatch(text) is None:
        raise InvalidIdentifier("a SHA-256 digest is 64 lower-case hexadecimal digits")
    return Sha256Hex(text)


def new_id() -> str:
    """Return a fresh random identifier, 32 hexadecimal digits."""
    return uuid.uuid4().hex


def new_uid() -> Uid:
    """Return a fresh UID under 2.25 (PS3.5 section B.2)."""
    return Uid(f"2.25.{uuid.uuid4().int}")
