"""Identity numbers that patients show, checked without asking anybody (GB 11643-1999, GB/T 2260). Pure.

A check says that a number can be right, never that it is: a well-formed number may belong to somebody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

RESIDENT_ID_CHARACTERS: Final = 18
OLD_RESIDENT_ID_CHARACTERS: Final = 15  # given out until 1999
BIRTH_YEAR_MIN: Final = 1850

_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK_CHARACTERS: Final = "10X98765432"
# The first two digits (GB/T 2260); 81 to 83 are residence permits of Hong Kong, Macao and Taiwan residents, 91 of
# foreigners with permanent residence.
_PROVINCES: Final = frozenset(
    {*range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55), *range(61, 66), 71, 81, 82, 83, 91}
)


class IdentityKind(StrEnum):
    """What a patient's identity number is; the kind says how it is checked."""

    RESIDENT = "resident"  # 居民身份证 of 18 characters, residence permits of the same form included
    OLD_RESIDENT = "old_resident"  # 居民身份证 of 15 digits
    PASSPORT = "passport"
    MILITARY = "military"
    OTHER = "other"
    NEWBORN = "newborn"  # the mother's number, and which of her newborn children it is
    UNNAMED = "unnamed"  # 无名氏: an emergency patient whom nobody could name yet
    NONE = "none"  # nobody asked, or the patient had none at hand


class NationalIdProblem(ValueError):
    """A number cannot be right. `code` is constant; the message names the rule and never the number."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code = code


@dataclass(frozen=True, slots=True)
class ResidentId:
    """A resident identity number of 18 characters and what it says; `sex` is "M" or "F" as DICOM writes it."""

    number: str
    birth_date: date
    sex: str


def parse_resident_id(text: str, *, today: date) -> ResidentId:
    """Return the number, `x` made `X`, with the date of birth and the sex that it holds.

    Raises:
        NationalIdProblem: length, characters, province, date of birth or check character are wrong.
    """
    number = text.strip().upper()
    if len(number) != RESIDENT_ID_CHARACTERS:
        raise NationalIdProblem("national_id_length", "a resident identity number has 18 characters")
    if not (_is_digits(number[:17]) and number[17] in "0123456789X"):
        raise NationalIdProblem("national_id_characters", "a resident identity number has 17 digits and a digit or X")
    _check_province(number)
    birth_date = _parse_birth_date(number[6:14], today)
    if check_character(number[:17]) != number[17]:
        raise NationalIdProblem("national_id_checksum", "the last character of the identity number does not prove it")
    return ResidentId(number, birth_date, _sex_of(number[16]))


def parse_old_resident_id(text: str, *, today: date) -> ResidentId:
    """Return the number of 18 characters that replaced a resident identity number of 15 digits.

    Its bearers were born in the 20th century; it has no check character.

    Raises:
        NationalIdProblem: length, characters, province or date of birth are wrong.
    """
    old = text.strip()
    if len(old) != OLD_RESIDENT_ID_CHARACTERS:
        raise NationalIdProblem("national_id_length", "an old resident identity number has 15 digits")
    if not _is_digits(old):
        raise NationalIdProblem("national_id_characters", "an old resident identity number has digits only")
    _check_province(old)
    body = f"{old[:6]}19{old[6:]}"
    birth_date = _parse_birth_date(body[6:14], today)
    return ResidentId(body + check_character(body), birth_date, _sex_of(old[14]))


def check_character(body: str) -> str:
    """Return the 18th character for the first 17 digits (ISO 7064 MOD 11-2)."""
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, body, strict=True))
    return _CHECK_CHARACTERS[total % 11]


def _check_province(number: str) -> None:
    if int(number[:2]) not in _PROVINCES:
        raise NationalIdProblem("national_id_province", "the identity number begins with no province's code")


def _parse_birth_date(text: str, today: date) -> date:
    try:
        birth_date = date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        raise NationalIdProblem("national_id_date", "the identity number holds no date of the calendar") from None
    if birth_date.year < BIRTH_YEAR_MIN or birth_date > today:
        raise NationalIdProblem("national_id_date", "the identity number holds an impossible date of birth")
    return birth_date


def _sex_of(digit: str) -> str:
    return "M" if int(digit) % 2 else "F"


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdecimal()
