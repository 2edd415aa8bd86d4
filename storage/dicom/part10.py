"""The head of a Part 10 file, put before a dataset that came over the network so that its bytes stay verbatim. Pure."""

from __future__ import annotations

import struct
from typing import Final

from storage.contract.identifiers import UID_CHARACTERS_MAX

# This implementation's own UID (PS3.7 section D.3.3.2), from a random UUID once and for all (PS3.5 section B.2).
IMPLEMENTATION_CLASS_UID: Final = "2.25.177075147615271757279436352930739487552"
IMPLEMENTATION_VERSION_NAME: Final = "COUNTERPART"
_AE_TITLE_CHARACTERS_MAX: Final = 16
_PREAMBLE: Final = bytes(128) + b"DICM"


def file_meta_bytes(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_ae_title: str) -> bytes:
    """Return preamble, prefix and file meta group (PS3.10 section 7.1) for a dataset in the given transfer syntax.

    The UIDs come from the C-STORE command and are not trusted: whatever cannot stand in a UID element is replaced or
    cut, and the reader of the file finds it.
    """
    elements = b"".join(
        (
            struct.pack("<HH2sHI", 0x0002, 0x0001, b"OB", 0, 2) + b"\x00\x01",
            _uid(0x0002, sop_class_uid),
            _uid(0x0003, sop_instance_uid),
            _uid(0x0010, transfer_syntax_uid),
            _uid(0x0012, IMPLEMENTATION_CLASS_UID),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode("ascii"), b" "),
            _element(0x0016, b"AE", source_ae_title.encode("ascii", "replace")[:_AE_TITLE_CHARACTERS_MAX], b" "),
        )
    )
    group_length = struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(elements))
    return _PREAMBLE + group_length + elements


def _uid(number: int, text: str) -> bytes:
    return _element(number, b"UI", text.encode("ascii", "replace")[:UID_CHARACTERS_MAX], b"\0")


def _element(number: int, vr: bytes, value: bytes, padding: bytes) -> bytes:
    value += padding * (len(value) % 2)
    return struct.pack("<HH2sH", 0x0002, number, vr, len(value)) + value
