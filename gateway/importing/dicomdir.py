"""What the directory of a disk promises (DICOMDIR, PS3.3 annex F): which files should be there.

It is never trusted to be whole or right: every file of the disk is looked at anyway. It only tells what is missing.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from typing import BinaryIO, Final

from storage.dicom.elements import (
    DatasetTruncated,
    Element,
    Encoding,
    NotDicom,
    detect_encoding,
    items_encoding,
    read_elements,
    read_file_meta,
    read_items,
    read_value,
    size_of,
)

DIRECTORY_NAME: Final = "DICOMDIR"
DIRECTORY_BYTES_MAX: Final = 256 * 1024 * 1024
SOP_CLASS_UID: Final = "1.2.840.10008.1.3.10"  # Media Storage Directory Storage

_RECORDS: Final = 0x00041220  # Directory Record Sequence
_REFERENCED_FILE: Final = 0x00041500  # Referenced File ID: its parts between backslashes
_TRANSFER_SYNTAX: Final = 0x00020010
_NAME_BYTES_MAX: Final = 1024


class DirectoryUnreadable(Exception):
    """The directory of the disk is damaged; the files are looked at all the same."""


def is_directory(name: str) -> bool:
    """Return whether a file of this name is the directory of a disk."""
    return _plain(posixpath.basename(name)) == DIRECTORY_NAME


def read_listed_names(file: BinaryIO, directory_name: str) -> list[str]:
    """Return the names, inside the source, of the files that the directory lists.

    `directory_name` is where the directory itself lies. `file` must be seekable.

    Raises:
        DirectoryUnreadable: it is damaged or too large.
    """
    try:
        if size_of(file) > DIRECTORY_BYTES_MAX:
            raise DirectoryUnreadable
        meta = read_file_meta(file)
        encoding = detect_encoding(file, meta.text(_TRANSFER_SYNTAX), meta.dataset_offset)
        end = size_of(file)
        folder = posixpath.dirname(directory_name)
        return [
            posixpath.join(folder, *name)
            for element in read_elements(file, encoding, meta.dataset_offset, end)
            if element.tag == _RECORDS
            for name in _names_of(file, encoding, element, end)
        ]
    except (NotDicom, DatasetTruncated) as exc:
        raise DirectoryUnreadable from exc


def missing_names(listed: Iterable[str], present: Iterable[str]) -> list[str]:
    """Return the listed names that are not there; disks are read with names in either case and with version numbers."""
    there = {_plain(name) for name in present}
    return [name for name in listed if _plain(name) not in there]


def _names_of(file: BinaryIO, encoding: Encoding, records: Element, end: int) -> list[list[str]]:
    found = []
    inner = items_encoding(encoding, records)
    for item, item_end in list(read_items(file, encoding, records, end)):
        for element in read_elements(file, inner, item.value_offset, item_end):
            if element.tag == _REFERENCED_FILE and element.length:
                value = read_value(file, element, limit_bytes=_NAME_BYTES_MAX).decode("ascii", "replace")
                parts = [part.strip(" \0") for part in value.split("\\")]
                if all(parts) and ".." not in parts:
                    found.append(parts)
    return found


def _plain(name: str) -> str:
    """Return a name as ISO 9660 means it: upper case, without a version and a dot at its end."""
    return name.upper().partition(";")[0].rstrip(".")
