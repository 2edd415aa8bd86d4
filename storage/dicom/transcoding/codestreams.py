"""How large a compressed frame says that it is, so that none is decoded which says more than its header. Pure."""

from __future__ import annotations

import struct
from typing import Final

_FRAMES_OF_JPEG: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15, SOF55 of JPEG-LS
_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_APP0, _APP14 = 0xE0, 0xEE


def find_size(codestream: bytes) -> tuple[int, int, int] | None:
    """Return rows, columns and components of a JPEG, JPEG-LS, JPEG 2000 or HTJ2K codestream; None when it says none."""
    if codestream[:4] == b"\xff\x4f\xff\x51" and len(codestream) >= 42:  # SOC, SIZ (ISO/IEC 15444-1 A.5.1)
        right, bottom, left, top = struct.unpack(">4I", codestream[8:24])
        return bottom - top, right - left, int.from_bytes(codestream[40:42], "big")
    for marker, segment in _segments(codestream):
        if marker in _FRAMES_OF_JPEG and len(segment) >= 6:
            rows, columns, components = struct.unpack(">HHB", segment[1:6])
            return rows, columns, components
    return None


def bare(codestream: bytes) -> bytes:
    """Return a JPEG 2000 codestream without the JP2 file that some wrap around it (ISO/IEC 15444-1 annex I)."""
    at = 0 if codestream[4:8] == b"jP  " else len(codestream)
    while at + 16 <= len(codestream):
        length, kind = int.from_bytes(codestream[at : at + 4], "big"), codestream[at + 4 : at + 8]
        head = 16 if length == 1 else 8
        length = int.from_bytes(codestream[at + 8 : at + 16], "big") if length == 1 else length
        end = at + length if length else len(codestream)
        if kind == b"jp2c":
            return codestream[at + head : end]
        if end <= at:
            break
        at = end
    return codestream


def tells_its_colours(codestream: bytes) -> bool:
    """Return whether a JPEG says itself in which colours it is coded: as JFIF, or with Adobe's marker."""
    for marker, segment in _segments(codestream):
        if marker in _FRAMES_OF_JPEG:
            return False
        if (marker == _APP0 and segment[:4] == b"JFIF") or (
            marker == _APP14 and segment[:5] == b"Adobe" and len(segment) >= 12
        ):
            return True
    return False


def _segments(codestream: bytes) -> list[tuple[int, bytes]]:
    """Return the marker segments before the first scan."""
    found = []
    at = 2 if codestream[:2] == b"\xff\xd8" else len(codestream)
    while at + 4 <= len(codestream) and codestream[at] == 0xFF:
        marker = codestream[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        if marker in _WITHOUT_LENGTH:
            at += 2
            continue
        length = int.from_bytes(codestream[at + 2 : at + 4], "big")
        found.append((marker, codestream[at + 4 : at + 2 + length]))
        if marker == 0xDA or length < 2:  # the scan, or nothing that has an end
            break
        at += 2 + length
    return found
