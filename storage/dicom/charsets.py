"""Text of DICOM objects as people wrote it, also where the declared character set is wrong or missing.

A repair is chosen for the index and recorded with it; the object keeps its own bytes (PS3.3 section C.12.1.1.2,
PS3.5 section 6.1). Pure, but for one correction of pydicom at import.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import pydicom.charset

# pydicom 3.0.2 takes the codec of ISO 2022 IR 58 to strip the escape sequence itself, which it does not: names come out
# with "$)A" before them, and are written without the escape. Without "iso_ir_58" in this tuple both ways are right.
pydicom.charset.handled_encodings = ("iso2022_jp", "iso2022_jp_2")  # type: ignore[assignment]

GB18030: Final = "gb18030"
UTF_8: Final = "utf-8"
LATIN_1: Final = "latin-1"
ASCII: Final = "ascii"

TEXT_VRS: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
PLAUSIBLE_SHARE_MIN: Final = 0.5  # of the characters beyond ASCII, how many must be everyday hanzi

_ESCAPE: Final = b"\x1b"
_FRAGMENT: Final = re.compile(rb"^[^\x1b]+|\x1b[^\x1b]*")
_DELIMITER: Final = re.compile(rb"[\^=\\\r\n\t\f]")
_SELF_ESCAPING: Final = frozenset({"iso2022_jp", "iso2022_jp_2"})  # Python's codecs read these escapes themselves
_NAMES: Final = {GB18030: "GB18030", UTF_8: "ISO_IR 192", LATIN_1: "ISO_IR 100"}
# Labels of the field that the standard does not know, and supersets of what it does.
_ALIASES: Final = {
    "GB2312": GB18030,
    "ISO_IR 58": GB18030,
    "ISO 2022 58": GB18030,
    "GBK": GB18030,
    "ISO 2022 GBK": GB18030,
    "ISO 2022 IR 58": GB18030,
    "UTF-8": UTF_8,
    "UTF8": UTF_8,
    "ISO_IR 192": UTF_8,
    "ISO_IR 6": ASCII,
    "ISO 2022 IR 6": ASCII,
    "": ASCII,
}


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """How to read the text of one object. `repair` is None when its declaration was right."""

    declared: str
    codecs: tuple[str, ...]
    repair: str | None

    def decode(self, value: bytes) -> str:
        """Return the text without padding and NUL; a byte that fits nothing becomes U+FFFD."""
        try:
            text = _decode_strictly(value, self.codecs)
        except UnicodeError:
            text = value.decode(self.codecs[0], "replace")
        return text.replace("\0", "").strip(" ")


def choose_character_set(declared: str, samples: Iterable[bytes]) -> CharacterSet:
    """Return how to read an object whose Specific Character Set is `declared`, judged by raw text values.

    Bytes that the declaration does not allow, or that it allows but only as nonsense, are tried as UTF-8, then as
    GB18030 where most characters are everyday hanzi, then as Latin-1.
    """
    terms = [_normalised(term) for term in declared.split("\\")]
    known = [codec for codec in map(_codec_of, terms) if codec is not None]
    label = "\\".join(terms)
    telling = [sample for sample in samples if not sample.isascii() or _ESCAPE in sample]
    codecs = tuple(known) or (ASCII,)
    if len(known) == len(terms) and (not telling or _fits(codecs, telling)):
        return CharacterSet(label, codecs, None)
    codec = _guess(telling)
    return CharacterSet(label, (codec,), f"read as {_NAMES[codec]}, declared {label or 'nothing'}")


def _fits(codecs: Sequence[str], samples: Sequence[bytes]) -> bool:
    try:
        for sample in samples:
            _decode_strictly(sample, codecs)
    except UnicodeError:
        return False
    # Every byte is legal Latin-1, so only nonsense can show that the label is wrong.
    return codecs[0] != LATIN_1 or any(_ESCAPE in sample for sample in samples) or _guess(samples) == LATIN_1


def _guess(samples: Sequence[bytes]) -> str:
    joined = b"\n".join(sample.replace(b"\x1b$)A", b"") for sample in samples)
    try:
        joined.decode(UTF_8)
    except UnicodeDecodeError:
        return GB18030 if _is_plausible_gb18030(joined) else LATIN_1
    return UTF_8


def _is_plausible_gb18030(data: bytes) -> bool:
    try:
        text = data.decode(GB18030)
    except UnicodeDecodeError:
        return False
    beyond = [character for character in text if not character.isascii()]
    if not all(_is_chinese(character) for character in beyond):
        return False
    everyday = sum(1 for character in beyond if _is_everyday(character))
    return bool(beyond) and everyday >= PLAUSIBLE_SHARE_MIN * len(beyond)


def _is_chinese(character: str) -> bool:
    code = ord(character)
    return (
        0x3000 <= code <= 0x30FF or 0x3400 <= code <= 0x9FFF or 0xFF00 <= code <= 0xFFEF or 0x20000 <= code <= 0x3FFFF
    )


def _is_everyday(character: str) -> bool:
    """Return whether GB 2312 has the character; all that a Chinese text commonly holds."""
    try:
        character.encode("gb2312")
    except UnicodeEncodeError:
        return False
    return True


def _decode_strictly(value: bytes, codecs: Sequence[str]) -> str:
    """Return the text of a value, with code extensions where it has escapes; raises UnicodeError."""
    if _ESCAPE not in value:
        return value.decode(codecs[0])
    return "".join(_decode_fragment(fragment, codecs) for fragment in _FRAGMENT.findall(value))


def _decode_fragment(fragment: bytes, codecs: Sequence[str]) -> str:
    if not fragment.startswith(_ESCAPE):
        return fragment.decode(codecs[0])
    escape = fragment[: 4 if fragment.startswith((b"\x1b$(", b"\x1b$)")) else 3]
    codec = pydicom.charset.CODES_TO_ENCODINGS.get(escape)
    if codec is None:
        raise UnicodeDecodeError("dicom", fragment, 0, len(escape), "unknown escape sequence")
    if codec in _SELF_ESCAPING:
        return fragment.decode(codec)
    rest = fragment[len(escape) :]
    if codec == "iso_ir_58":
        # Designates G1 beside ASCII. GB18030 reads what vendors put there beyond GB 2312, backslash bytes included.
        return rest.decode(GB18030)
    delimiter = _DELIMITER.search(rest)
    if delimiter is None:
        return rest.decode(codec)
    return rest[: delimiter.start()].decode(codec) + rest[delimiter.start() :].decode(codecs[0])


def _normalised(term: str) -> str:
    """Return a defined term as the standard spells it: `ISO-IR 100`, `iso_ir_192` and `ISO 2022-IR-58` are common."""
    text = term.strip(" \0").upper()
    match = re.fullmatch(r"ISO[ _-]?(2022[ _-])?IR[ _-]?([0-9]+)", text)
    if match is None:
        return text
    return f"ISO 2022 IR {match[2]}" if match[1] else f"ISO_IR {match[2]}"


def _codec_of(term: str) -> str | None:
    if term in _ALIASES:
        return _ALIASES[term]
    codec = pydicom.charset.python_encoding.get(term)
    return LATIN_1 if codec == "latin_1" else codec
