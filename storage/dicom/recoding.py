"""Text for a peer that reads one character set: worklist answers, reports and messages (PS3.3 section C.12.1.1.2).

What the target cannot write is replaced by a sign that a reader sees, and reported; never dropped, never guessed. An
object that was received is not changed by this: recode a copy. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pydicom.charset
from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

from storage.dicom.charsets import ASCII, GB18030, LATIN_1, TEXT_VRS, UTF_8

MISSING_GLYPH: Final = "〓"  # what Chinese printers set for a character they lack; in GB 2312
MISSING_ASCII: Final = "?"
ISO_2022_GB_2312: Final = "ISO 2022 IR 58"
_G1_IS_GB_2312: Final = b"\x1b$)A"
_RESET_AFTER: Final = "\\^=\r\n\t\f"  # code extensions end here (PS3.5 section 6.1.2.5.3)
# Python writes the dot of Uyghur and Tibetan names as another character than the one that GB 2312 readers get.
_GB_2312_SPELLING: Final = str.maketrans({"·": "・", "—": "―"})
_CODECS: Final = {
    "ISO_IR 192": UTF_8,
    "GB18030": GB18030,
    "GBK": "gbk",
    "ISO_IR 100": LATIN_1,
    "ISO_IR 6": ASCII,
    "": ASCII,
}
_SPECIFIC_CHARACTER_SET: Final = 0x00080005


class UnknownCharacterSet(ValueError):
    """The target is none of `TARGETS`; the message names them."""


TARGETS: Final = (*(name for name in _CODECS if name), ISO_2022_GB_2312)


@dataclass(frozen=True, slots=True)
class Replaced:
    """Characters of one element that the target cannot write; says where and how many, never which."""

    tag: int
    characters: int


def encode_text(text: str, target: str) -> tuple[bytes, int]:
    """Return the text in the target character set, and how many characters were replaced.

    `target` is a defined term of Specific Character Set. For ISO 2022 IR 58 the escape sequences are included.

    Raises:
        UnknownCharacterSet: the target is none of `TARGETS`.
    """
    writable, replaced = _make_writable(text, target)
    if target == ISO_2022_GB_2312:
        return _encode_with_escapes(writable), replaced
    return writable.encode(_CODECS[target]), replaced


def recode_dataset(dataset: Dataset, target: str) -> list[Replaced]:
    """Make the dataset, items included, write its text in the target character set; return what was replaced.

    Each text is decoded by what the dataset declared before. The dataset is changed in place and must not share
    elements with another one: a PersonName remembers the bytes that it was first written with.

    Raises:
        UnknownCharacterSet: the target is none of `TARGETS`.
    """
    _codec_test(target)
    replaced: list[Replaced] = []
    _recode(dataset, target, replaced)
    dataset.SpecificCharacterSet = ["", ISO_2022_GB_2312] if target == ISO_2022_GB_2312 else target
    return replaced


def _recode(dataset: Dataset, target: str, replaced: list[Replaced]) -> None:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value or []:
                _recode(item, target, replaced)
                # Left in an item it would be read by the old declaration.
                item.pop(_SPECIFIC_CHARACTER_SET, None)
                item._parent_encoding = pydicom.charset.convert_encodings(_declared(target))
        elif element.VR in TEXT_VRS and element.value:
            values = list(element.value) if element.VM > 1 else [element.value]
            written = [_make_writable(str(value), target) for value in values]
            count = sum(number for _, number in written)
            texts = [PersonName(text) if element.VR == "PN" else text for text, _ in written]
            element.value = texts if len(texts) > 1 else texts[0]
            if count:
                replaced.append(Replaced(int(element.tag), count))


def _declared(target: str) -> str | list[str]:
    return ["", ISO_2022_GB_2312] if target == ISO_2022_GB_2312 else target


def _make_writable(text: str, target: str) -> tuple[str, int]:
    """Return the text with every character that the target lacks replaced, and their number."""
    can_write = _codec_test(target)
    if target == ISO_2022_GB_2312:
        text = text.translate(_GB_2312_SPELLING)
    if can_write(text):
        return text, 0
    mark = MISSING_GLYPH if can_write(MISSING_GLYPH) else MISSING_ASCII
    characters = [character if can_write(character) else mark for character in text]
    return "".join(characters), sum(1 for character in text if not can_write(character))


def _codec_test(target: str) -> Callable[[str], bool]:
    if target == ISO_2022_GB_2312:
        return _is_gb_2312
    codec = _CODECS.get(target)
    if codec is None:
        raise UnknownCharacterSet(f"character set {target!r} is none of {', '.join(TARGETS)}")
    return lambda text: _can_encode(text, codec)


def _can_encode(text: str, codec: str) -> bool:
    try:
        text.encode(codec)
    except UnicodeEncodeError:
        return False
    return True


def _is_gb_2312(text: str) -> bool:
    """Return whether ISO 2022 IR 58 beside ASCII has all of it; Latin letters with accents would go out as Latin-1."""
    return all(
        character.isascii() or (_can_encode(character, "gb2312") and not _can_encode(character, LATIN_1))
        for character in text
    )


def _encode_with_escapes(text: str) -> bytes:
    encoded, is_designated = bytearray(), False
    for character in text:
        if character in _RESET_AFTER:
            is_designated = False
        elif not character.isascii() and not is_designated:
            encoded += _G1_IS_GB_2312
            is_designated = True
        encoded += character.encode("gb2312")
    return bytes(encoded)
