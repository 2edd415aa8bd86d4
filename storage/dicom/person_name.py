"""How the name of a person in DICOM (PN, PS3.5 section 6.2) is written for people. Pure.

One way for all: desks, the API's display fields, the printed report. What is signed, stored and sent keeps the raw PN.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Final

UNNAMED: Final[Mapping[str, str]] = {"zh": "未具名", "en": "Unnamed"}
# The component groups in the order of preference; PN has them as alphabetic=ideographic=phonetic.
_GROUPS: Final[Mapping[str, tuple[int, ...]]] = {"zh": (1, 0, 2), "en": (0, 1, 2)}


def display_name(name: str, language: str = "zh") -> str:
    """Return a PN as people write it in `language` ("zh" or "en"), empty when it names nobody.

    Chinese takes the ideographic group where there is one, English the alphabetic one. Family name first, as sent;
    nothing stands between the parts of a name in Hanzi, kana or Hangul, a space between those of others.
    """
    groups = [_components(group) for group in name.split("=")]
    chosen = next((groups[number] for number in _GROUPS[language] if number < len(groups) and groups[number]), [])
    return ("" if any(map(_is_wide, "".join(chosen))) else " ").join(chosen)


def patient_display_name(name: str, language: str = "zh") -> str:
    """Return a patient's PN as people write it; a patient without a name is called so."""
    return display_name(name, language) or UNNAMED[language]


def parse_written_name(written: str, stored: str = "") -> str:
    """Return the PN component group that somebody means who writes a name as people do: family name first.

    What stands before a comma, else before the first space, is the family name; a name written in one, as Chinese names
    are, stays whole. One left as `display_name` shows `stored` is `stored`, and what has `^` or `=` is a PN already.
    """
    name = " ".join(written.split())
    if any(mark in name for mark in "^="):
        return written
    if stored and name == display_name(stored):
        return stored
    mark = next((mark for mark in (",", "，", " ") if mark in name), None)
    family, _, given = (part.strip() for part in name.partition(mark or "^"))
    return f"{family}^{given}" if family and given else name


def _components(group: str) -> list[str]:
    return [" ".join(part.split()) for part in group.split("^") if part.strip()]


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) == "W"
