"""Small Part 10 files written byte by byte, so that a test says exactly what is wrong with them."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pydicom.data

from storage.dicom.part10 import file_meta_bytes

EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"
CT = "1.2.840.10008.5.1.4.1.1.2"
LONG = (b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC", b"OV")
TEST_FILES = Path(pydicom.data.__file__).parent / "test_files"
CHARSET_FILES = Path(pydicom.data.__file__).parent / "charset_files"


def element(tag: int, vr: str, value: bytes, *, length: int | None = None) -> bytes:
    """One explicit little-endian element; `length` lies about the value's length."""
    name = vr.encode()
    if len(value) % 2:
        value += b"\0" if vr in ("UI", "OB") else b" "
    declared = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, name)
    return head + (struct.pack("<HI", 0, declared) if name in LONG else struct.pack("<H", declared)) + value


def item(value: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value


def encapsulated(*items: bytes, closed: bool = True) -> bytes:
    """Pixel data of undefined length: an offset table, then fragments."""
    body = b"".join(item(value) for value in items) + (struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) if closed else b"")
    return struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + body


IDENTIFIERS = {
    0x00080016: ("UI", CT.encode()),
    0x00080018: ("UI", b"1.2.3.4"),
    0x0020000D: ("UI", b"1.2"),
    0x0020000E: ("UI", b"1.2.3"),
}


def part10(
    changes: dict[int, tuple[str, bytes] | None] | None = None, *, tail: bytes = b"", syntax: str = EXPLICIT
) -> io.BytesIO:
    """A Part 10 file with the identifiers, `changes` to its elements (None removes one), and raw bytes at its end."""
    elements = {**IDENTIFIERS, **(changes or {})}
    body = b"".join(element(tag, *value) for tag, value in sorted(elements.items()) if value is not None)
    return io.BytesIO(file_meta_bytes(CT, "1.2.3.4", syntax, "CT1") + body + tail)


def image(rows: int, columns: int, frames: int = 1, bits: int = 16) -> dict[int, tuple[str, bytes] | None]:
    """The elements that describe an image of one sample per pixel."""
    return {
        0x00280002: ("US", struct.pack("<H", 1)),
        0x00280004: ("CS", b"MONOCHROME2"),
        0x00280008: ("IS", str(frames).encode()),
        0x00280010: ("US", struct.pack("<H", rows)),
        0x00280011: ("US", struct.pack("<H", columns)),
        0x00280100: ("US", struct.pack("<H", bits)),
    }
