"""A copy of a report's object in the character set that an old PACS reads. Pure.

The copy keeps its SOP Instance UID: like a lossless change of transfer syntax, another encoding of the same element
values is the same instance (PS3.5 section 6.1; an SCP may do the same by coercion, PS3.4 section B.4.1.3). That holds
only while every value is equal, so the copy is read again and compared. The signed bytes stay as they are in the spool,
and the signed thing is the report's JSON: its SHA-256 stands in every copy's PDF.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset

from storage.dicom.recoding import recode_dataset

SPECIFIC_CHARACTER_SET: Final = "00080005"


class CharacterSetTooSmall(Exception):
    """The character set cannot say everything that the object says."""


def reencode(path: Path, character_set: str) -> Dataset:
    """Return the Part 10 file's dataset with every text in `character_set`, equal in all values to the file's.

    Raises:
        CharacterSetTooSmall: some value would not be the same.
    """
    values = _values(dcmread(path))
    copy = dcmread(path)
    if recode_dataset(copy, character_set):
        raise CharacterSetTooSmall(character_set)
    buffer = BytesIO()
    dcmwrite(buffer, copy, enforce_file_format=True)
    again = dcmread(BytesIO(buffer.getvalue()))
    if _values(again) != values:
        raise CharacterSetTooSmall(character_set)
    return again


def _values(dataset: Dataset) -> dict[str, Any]:
    """Return all values but the character sets' own names, as DICOM JSON has them (PS3.18 annex F)."""
    return _without_character_sets(dataset.to_json_dict())


def _without_character_sets(model: dict[str, Any]) -> dict[str, Any]:
    return {
        tag: {
            name: [_without_character_sets(item) for item in value]
            if element["vr"] == "SQ" and name == "Value"
            else value
            for name, value in element.items()
        }
        for tag, element in model.items()
        if tag != SPECIFIC_CHARACTER_SET
    }
