r"""Writing and reading HL7 v2 messages (2.5.1 chapter 2): segments, fields, escapes, character sets. Pure.

Characters are escaped before they are encoded. In GB18030 the second byte of a character may equal that of a delimiter
(`|`, `^`, `\`), never that of a segment's or a frame's end; a receiver that decodes before it splits reads it right.
UTF-8 has no such case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

SEGMENT_END: Final = "\r"
FIELD, COMPONENT, REPETITION, ESCAPE, SUBCOMPONENT = "|", "^", "~", "\\", "&"
ENCODING_CHARACTERS: Final = COMPONENT + REPETITION + ESCAPE + SUBCOMPONENT
CONTROL_ID_CHARACTERS_MAX: Final = 20  # MSH-10 in 2.5.1
# HL7 table 0211 (MSH-18) and how Python calls it; empty and ASCII are read as UTF-8, which contains it. Of 8859/1 only
# ASCII is read: every other byte has a meaning in it, so that a Chinese name sent under it would be taken garbled.
CHARACTER_SETS: Final[Mapping[str, str]] = {
    "UNICODE UTF-8": "utf-8",
    "UNICODE": "utf-8",
    "UTF-8": "utf-8",
    "GB 18030-2000": "gb18030",
    "GB18030": "gb18030",
    "GB2312": "gb18030",
    "GBK": "gb18030",
    "ASCII": "utf-8",
    "8859/1": "ascii",
}
_ESCAPES: Final = {ESCAPE: "\\E\\", FIELD: "\\F\\", COMPONENT: "\\S\\", SUBCOMPONENT: "\\T\\", REPETITION: "\\R\\"}
_NEW_LINE: Final = re.compile(r"\r\n|\r|\n")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
LOST: Final = "\N{REPLACEMENT CHARACTER}"  # of what was said in a way that is not read here
# Of what stands between two escape characters only this is an escape: of `80\\50 mmHg` nothing may be lost.
_SEQUENCE: Final = re.compile(
    r"\\([FSRETHN]|X[0-9A-Za-z]*|C[0-9A-Fa-f]{4}|M[0-9A-Fa-f]{4,6}|Z[0-9A-Za-z]*|\.[A-Za-z]{2}[+-]?\d*)\\"
)
_BREAKS: Final = (".br", ".sp", ".ce")


class MessageUnreadable(ValueError):
    """What came is not an HL7 message; the text never quotes it."""


def escape(text: str) -> str:
    r"""Return `text` for one component: delimiters escaped, line ends as `\.br\`, control characters as spaces."""
    lines = (_CONTROL.sub(" ", line) for line in _NEW_LINE.split(text))
    return "\\.br\\".join("".join(_ESCAPES.get(character, character) for character in line) for line in lines)


def composite(*components: str, separator: str = COMPONENT) -> str:
    """Return a field of these components, escaped, without empty ones at its end."""
    return separator.join(escape(component) for component in components).rstrip(separator)


def segment(name: str, fields: Mapping[int, str]) -> str:
    """Return one segment; `fields` are by their number in the standard and escaped already."""
    last = max(fields, default=0)
    return FIELD.join([name, *(fields.get(number, "") for number in range(1, last + 1))])


def header(fields: Mapping[int, str]) -> str:
    """Return the MSH segment: MSH-1 is the field separator itself, so `fields` begin with 3."""
    last = max(fields)
    return FIELD.join(["MSH", ENCODING_CHARACTERS, *(fields.get(number, "") for number in range(3, last + 1))])


def encode(segments: Sequence[str], character_set: str) -> bytes:
    """Return the message's bytes; raises UnicodeEncodeError when the character set cannot say it."""
    return (SEGMENT_END.join(segments) + SEGMENT_END).encode(CHARACTER_SETS[character_set])


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was read. Segments count from 0, fields, repetitions and components from 1, as the standard."""

    segments: tuple[tuple[str, ...], ...]  # each: its name, then its fields as sent
    delimiters: str  # the field separator, then MSH-2
    _repetitions: dict[tuple[int, int], list[str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def named(self, name: str) -> list[int]:
        """Return the places of the segments of this name."""
        return [place for place, fields in enumerate(self.segments) if fields[0] == name]

    def get(self, name: str, field: int, component: int = 1, *, subcomponent: int = 1, repetition: int = 1) -> str:
        """Return one value of the first segment of this name, unescaped; empty when it is not there."""
        places = self.named(name)
        if not places:
            return ""
        return self.at(places[0], field, component, subcomponent=subcomponent, repetition=repetition)

    def at(self, place: int, field: int, component: int = 1, *, subcomponent: int = 1, repetition: int = 1) -> str:
        """Return one value of the segment at this place, unescaped; empty when it is not there."""
        components = self._components(place, field, repetition)
        if component > len(components):
            return ""
        parts = components[component - 1].split(self.delimiters[4])
        return self._unescape(parts[subcomponent - 1]) if subcomponent <= len(parts) else ""

    def repetitions(self, place: int, field: int) -> int:
        """Return how many repetitions the field has, 0 when it is empty."""
        raw = self._raw(place, field)
        return raw.count(self.delimiters[2]) + 1 if raw else 0

    def text(self, place: int, field: int) -> str:
        """Return the whole field as text, its components joined as they were sent, its repetitions as lines."""
        raw = self._raw(place, field)
        return "\n".join(self._unescape(part) for part in raw.split(self.delimiters[2]))

    def _components(self, place: int, field: int, repetition: int) -> list[str]:
        repetitions = self._repetitions.get((place, field))  # a field of thousands is not cut anew for each
        if repetitions is None:
            repetitions = self._repetitions[place, field] = self._raw(place, field).split(self.delimiters[2])
        return repetitions[repetition - 1].split(self.delimiters[1]) if repetition <= len(repetitions) else []

    def _raw(self, place: int, field: int) -> str:
        fields = self.segments[place]
        number = field - 1 if fields[0] == "MSH" else field  # MSH-1 is the separator between the fields
        return fields[number] if 0 < number < len(fields) else ""

    def _unescape(self, text: str) -> str:
        escape_character = self.delimiters[3]
        if escape_character not in text:
            return text
        normal = text.replace(escape_character, ESCAPE)
        return _NEW_LINE.sub("\n", _SEQUENCE.sub(self._meaning, normal))

    def _meaning(self, found: re.Match[str]) -> str:
        code = found.group(1)
        field, component, repetition, escape_character, subcomponent = tuple(self.delimiters)
        plain = {"F": field, "S": component, "R": repetition, "E": escape_character, "T": subcomponent}
        if code in plain:
            return plain[code]
        if code.lower().startswith(_BREAKS):
            return "\n"
        if code[0] == "X":
            return _ascii(code[1:])
        if code[0] in "CM":
            return LOST  # another character set begins
        return ""  # highlighting, indents and what only the sender knows


def _ascii(digits: str) -> str:
    """Return bytes that were sent as hexadecimal digits, LOST for what is no ASCII text."""
    try:
        text = bytes.fromhex(digits).decode("ascii")
    except ValueError:
        return LOST
    return "".join(one if one in "\r\n" else _CONTROL.sub(" ", one) for one in text)


def parse_message(data: bytes, character_set: str) -> Message:
    """Return the message, decoded as its MSH-18 says, else as `character_set`; what does not decode becomes U+FFFD.

    Raises:
        MessageUnreadable: it does not begin with an MSH segment.
    """
    message = _parse(data.decode(CHARACTER_SETS[character_set], errors="replace"))
    codec = CHARACTER_SETS.get(message.get("MSH", 18))
    if codec is None or codec == CHARACTER_SETS[character_set]:
        return message
    return _parse(data.decode(codec, errors="replace"))


def try_parse(data: bytes, character_set: str) -> Message | None:
    """Return the message read in this character set whatever its MSH-18 says; None where it cannot be read so."""
    try:
        return _parse(data.decode(CHARACTER_SETS[character_set]))
    except (UnicodeDecodeError, MessageUnreadable):
        return None


def _parse(text: str) -> Message:
    text = text.replace("\r\n", "\r").rstrip("\r\n")
    end = SEGMENT_END if SEGMENT_END in text else "\n"  # with no CR but at its end it is MSH alone, or ends them by LF
    lines = [line.strip("\n") for line in text.split(end)]
    first = lines[0].lstrip("﻿")
    if not first.startswith("MSH") or len(first) < 8:
        raise MessageUnreadable("it does not begin with an MSH segment")
    field = first[3]
    encoding = first[4:].split(field, 1)[0]
    if len(encoding) < 3 or field.isalnum():
        raise MessageUnreadable("its MSH segment names no delimiters")
    delimiters = field + (encoding + ENCODING_CHARACTERS[len(encoding) :])[:4]
    segments = tuple(tuple(line.split(field)) for line in [first, *lines[1:]] if line.strip())
    return Message(segments, delimiters)
