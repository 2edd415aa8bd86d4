"""Accession numbers that are unique within a site although nobody can be asked. Pure.

    QING 7K2M 000123
    |    |    the gateway's own counter, at least 6 digits
    |    the gateway's mark: 4 characters made from its id, so that two gateways of one site never give the same number
    the beginning of the site's id, for people

Two gateways of one site never have the same mark: the hub refuses to enrol a second one with it. Numbers that the hub
gives carry HUB_MARK, which no gateway can have. Across sites numbers may be equal; an accession number means nothing
without its site. SH allows 16 characters (PS3.5 section 6.2), so a gateway can give 99,999,999 numbers.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

ACCESSION_CHARACTERS_MAX: Final = 16  # SH, PS3.5 section 6.2
PREFIX_CHARACTERS: Final = 4
MARK_CHARACTERS: Final = 4
SEQUENCE_DIGITS_MIN: Final = 6
SEQUENCE_MAX: Final = 10 ** (ACCESSION_CHARACTERS_MAX - PREFIX_CHARACTERS - MARK_CHARACTERS) - 1
HUB_MARK: Final = "HUBU"

_MARK_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # no I, L, O and U: read aloud and typed without error
_PREFIX_FILL: Final = "0"
_AFTER_PREFIX: Final = re.compile(
    f"(?:[{_MARK_ALPHABET}]{{{MARK_CHARACTERS}}}|{HUB_MARK})[0-9]{{{SEQUENCE_DIGITS_MIN},{len(str(SEQUENCE_MAX))}}}"
)


def mark_of(gateway_id: str) -> str:
    """Return the mark of a gateway."""
    number = int.from_bytes(hashlib.sha256(gateway_id.encode()).digest()[:8], "big")
    characters = []
    for _ in range(MARK_CHARACTERS):
        number, place = divmod(number, len(_MARK_ALPHABET))
        characters.append(_MARK_ALPHABET[place])
    return "".join(characters)


def accession_number_of(site_id: str, mark: str, sequence: int) -> str:
    """Return the accession number with this count, at most 16 upper-case letters and digits.

    Raises:
        ValueError: `sequence` is not between 1 and `SEQUENCE_MAX`.
    """
    if not 1 <= sequence <= SEQUENCE_MAX:
        raise ValueError(f"accession numbers are counted from 1 to {SEQUENCE_MAX}")
    return f"{_prefix_of(site_id)}{mark}{sequence:0{SEQUENCE_DIGITS_MIN}d}"


def is_form_of_site(site_id: str, number: str) -> bool:
    """Return whether a gateway of this site or the hub gives numbers of this form for it, whatever its letters' case.

    Such a number typed by hand may be given to another order later.
    """
    prefix, text = _prefix_of(site_id), number.strip().upper()
    return text.startswith(prefix) and _AFTER_PREFIX.fullmatch(text[len(prefix) :]) is not None


def _prefix_of(site_id: str) -> str:
    letters = "".join(character for character in site_id.upper() if character.isalnum())
    return letters[:PREFIX_CHARACTERS].ljust(PREFIX_CHARACTERS, _PREFIX_FILL)
