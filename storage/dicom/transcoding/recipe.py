"""How a compressed file is turned back into the dataset as it was received: kept in the file's own meta group.

Private Information (PS3.10 section 7.1) is what an implementation may add to a file beside its dataset, so the dataset
gains nothing, the file restores itself without a database, and other readers ignore it.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Final

from storage.contract.identifiers import InvalidIdentifier, parse_uid
from storage.dicom.elements import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, TRANSFER_SYNTAX_UID, FileMeta
from storage.dicom.part10 import IMPLEMENTATION_CLASS_UID

FORMAT: Final = "counterpart-transcoding/1"
PRIVATE_INFORMATION_CREATOR: Final = 0x00020100
PRIVATE_INFORMATION: Final = 0x00020102
_PREAMBLE: Final = bytes(128) + b"DICM"
_GROUP_LENGTH: Final = 0x00020000
_VRS: Final = {
    0x00020001: b"OB",
    0x00020013: b"SH",
    0x00020016: b"AE",
    0x00020017: b"AE",
    0x00020018: b"AE",
    0x00020026: b"UR",
    0x00020027: b"UR",
    0x00020028: b"UR",
    PRIVATE_INFORMATION: b"OB",
}
_LONG_VRS: Final = frozenset({b"OB", b"UR"})
_RESTORABLE: Final = frozenset({IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN})
_PIXEL_VRS: Final = frozenset({"OB", "OW", "UN"})


class RecipeDamaged(Exception):
    """The private information is of this implementation and not readable."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What compression took away.

    `planar_configuration`: the value that stood there, None when there was none. `pixel_vr`: the VR of the pixel data.
    """

    received_transfer_syntax_uid: str
    planar_configuration: int | None
    pixel_vr: str


def find_recipe(meta: FileMeta) -> Recipe | None:
    """Return the recipe of a file that was compressed here; None for every other one.

    Raises:
        RecipeDamaged: see there.
    """
    if meta.text(PRIVATE_INFORMATION_CREATOR) != IMPLEMENTATION_CLASS_UID:
        return None
    try:
        told = json.loads(meta.values.get(PRIVATE_INFORMATION, b"").rstrip(b" \0"))
        if told.pop("format") != FORMAT:
            raise RecipeDamaged("the file was compressed by another version")
        recipe = Recipe(**told)
        if parse_uid(recipe.received_transfer_syntax_uid) not in _RESTORABLE or recipe.pixel_vr not in _PIXEL_VRS:
            raise RecipeDamaged("the file names a form that nothing restores")
        if recipe.planar_configuration not in (None, 0, 1):
            raise RecipeDamaged("the file names no planar configuration")
    except (ValueError, TypeError, KeyError, AttributeError, InvalidIdentifier) as exc:
        raise RecipeDamaged("what the file says about its compression cannot be read") from exc
    return recipe


def compressed_meta(meta: FileMeta, transfer_syntax_uid: str, recipe: Recipe) -> bytes:
    """Return preamble and file meta group of the compressed file: the received one's, with syntax and recipe."""
    told = {
        "format": FORMAT,
        "received_transfer_syntax_uid": recipe.received_transfer_syntax_uid,
        "planar_configuration": recipe.planar_configuration,
        "pixel_vr": recipe.pixel_vr,
    }
    information = json.dumps(told, separators=(",", ":")).encode()
    values = {
        **meta.values,
        TRANSFER_SYNTAX_UID: _uid(transfer_syntax_uid),
        PRIVATE_INFORMATION_CREATOR: _uid(IMPLEMENTATION_CLASS_UID),
        PRIVATE_INFORMATION: information + b" " * (len(information) % 2),
    }
    return _meta_bytes(values)


def plain_meta(meta: FileMeta, transfer_syntax_uid: str) -> bytes:
    """Return preamble and file meta group for the same instance in another syntax, without a recipe."""
    own = meta.text(PRIVATE_INFORMATION_CREATOR) == IMPLEMENTATION_CLASS_UID
    dropped = {PRIVATE_INFORMATION_CREATOR, PRIVATE_INFORMATION} if own else set()
    values = {tag: value for tag, value in meta.values.items() if tag not in dropped}
    return _meta_bytes({**values, TRANSFER_SYNTAX_UID: _uid(transfer_syntax_uid)})


def has_private_information(meta: FileMeta) -> bool:
    """Return whether the place of the recipe is taken already, by whomever."""
    return PRIVATE_INFORMATION in meta.values or PRIVATE_INFORMATION_CREATOR in meta.values


def _meta_bytes(values: dict[int, bytes]) -> bytes:
    elements = b"".join(_element(tag, value) for tag, value in sorted(values.items()) if tag != _GROUP_LENGTH)
    return _PREAMBLE + _element(_GROUP_LENGTH, struct.pack("<I", len(elements))) + elements


def _element(tag: int, value: bytes) -> bytes:
    vr = b"UL" if tag == _GROUP_LENGTH else _VRS.get(tag, b"UI")
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    length = struct.pack("<HI", 0, len(value)) if vr in _LONG_VRS else struct.pack("<H", len(value))
    return head + length + value


def _uid(text: str) -> bytes:
    raw = text.encode("ascii")
    return raw + b"\0" * (len(raw) % 2)
