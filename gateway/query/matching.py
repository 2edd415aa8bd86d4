"""Matching of one key against one value (PS3.4 section C.2.2.2). Pure, and linear in the length of pattern and value.

Capitals count everywhere but in names. A name matches when one of its component groups does; in a name with Chinese
characters neither carets nor blanks count, since 张^三, 张 三 and 张三 are the same person to everybody who types it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from enum import Enum, auto
from typing import Any, Final

from storage.dicom.headers import parse_date

Match = Callable[[Any], bool]
_TIME: Final = re.compile(r"([0-9]{2})([0-9]{2})?([0-9]{2})?(\.[0-9]{1,6})?")
_FIRST_MOMENT: Final = "000000.000000"
_LAST_MOMENT: Final = "235959.999999"
_OPEN_DATES: Final = (date.min.isoformat(), date.max.isoformat())


class Kind(Enum):
    """How values of an attribute are matched."""

    UID = auto()
    TEXT = auto()
    NAME = auto()
    DATE = auto()
    TIME = auto()
    NUMBER = auto()
    CODES = auto()  # several values, one of which must match one of the key's
    RETURNED = auto()  # never matched: counts


class KeyUnusable(Exception):
    """A key's value is not of its kind; the message says so without quoting it."""


def compile_key(kind: Kind, text: str) -> Match | None:
    """Return the test for a key's value, None when everything matches.

    Raises:
        KeyUnusable: the value is no date, time or range of them, or no number.
    """
    if not text.strip("*") or kind is Kind.RETURNED:
        return None
    return _COMPILERS[kind](text)


def is_single_value(kind: Kind, text: str) -> bool:
    """Return whether the key names exactly one value."""
    return bool(text) and not any(mark in text for mark in "*?\\") and kind in (Kind.UID, Kind.TEXT)


def parse_date_range(text: str) -> tuple[str, str]:
    """Return the first and the last day, ISO 8601, of a DA value or range (PS3.4 section C.2.2.2.5.1)."""
    begins, ends = _split_range(text)
    first = _day(begins) if begins else _OPEN_DATES[0]
    last = _day(ends) if ends else _OPEN_DATES[1]
    return first, last


def parse_time_range(text: str) -> tuple[str, str]:
    """Return the first and the last moment, HHMMSS.FFFFFF, of a TM value or range (PS3.4 section C.2.2.2.5.2)."""
    begins, ends = _split_range(text)
    first = _moment(begins, _FIRST_MOMENT) if begins else _FIRST_MOMENT
    last = _moment(ends, _LAST_MOMENT) if ends else _LAST_MOMENT
    return first, last


def match_wildcards(pattern: str, text: str) -> bool:
    """Return whether the text matches; `*` stands for any characters, `?` for one."""
    at = position = 0
    star, resume = -1, 0
    while position < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, position
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[position]):
            at += 1
            position += 1
        elif star >= 0:
            at = star + 1
            resume += 1
            position = resume
        else:
            return False
    return not pattern[at:].strip("*")


def _uid(text: str) -> Match:
    wanted = frozenset(part.strip(" \0") for part in text.split("\\"))
    return lambda value: value in wanted


def _text(text: str) -> Match:
    return lambda value: value is not None and match_wildcards(text, str(value).rstrip(" "))


def _codes(text: str) -> Match:
    patterns = [part.strip(" ") for part in text.split("\\")]
    return lambda values: any(match_wildcards(pattern, value) for pattern in patterns for value in values)


def _number(text: str) -> Match:
    try:
        wanted = int(text)
    except ValueError:
        raise KeyUnusable("a number key is not a number") from None
    return lambda value: value == wanted


def _date(text: str) -> Match:
    first, last = parse_date_range(text)
    return lambda value: value is not None and first <= value <= last


def _time(text: str) -> Match:
    first, last = parse_time_range(text)

    def match(value: str) -> bool:
        try:
            return bool(value) and first <= _moment(value, _FIRST_MOMENT) <= last
        except KeyUnusable:
            return False

    return match


def _name(text: str) -> Match:
    patterns = [_normalise_name(group) for group in text.split("=")]

    def match(value: str | None) -> bool:
        groups = [_normalise_name(group) for group in (value or "").split("=")]
        if len(patterns) == 1:
            return any(_match_name(patterns[0], group) for group in groups)
        padded = groups + [""] * (len(patterns) - len(groups))
        return all(
            not pattern.strip("*") or _match_name(pattern, group)
            for pattern, group in zip(patterns, padded, strict=False)
        )

    return match


def _normalise_name(group: str) -> str:
    folded = re.sub(r" *\^ *", "^", group.strip(" ").casefold())
    return re.sub(r"[\^ ]", "", folded) if not folded.isascii() else folded.rstrip("^ ")


def _match_name(pattern: str, name: str) -> bool:
    return bool(name) and match_wildcards(pattern, name)


def _split_range(text: str) -> tuple[str, str]:
    begins, dash, ends = text.strip(" ").partition("-")
    if not dash:
        return begins, begins
    if re.fullmatch(r"[0-9]{4}", begins) and re.fullmatch(r"[0-9]{2}-[0-9]{2}", ends):  # 2024-01-31, a common mistake
        day = f"{begins}{ends.replace('-', '')}"
        return day, day
    return begins.strip(" "), ends.strip(" ")


def _day(text: str) -> str:
    day = parse_date(text)
    if day is None:
        raise KeyUnusable("a date key is no date and no range of dates")
    return day.isoformat()


def _moment(text: str, filled_from: str) -> str:
    match = _TIME.fullmatch(text.replace(":", "").strip(" "))
    if match is None:
        raise KeyUnusable("a time key is no time and no range of times")
    given = "".join(part or "" for part in match.groups())
    return given + filled_from[len(given) :]


_COMPILERS: Final[dict[Kind, Callable[[str], Match]]] = {
    Kind.UID: _uid,
    Kind.TEXT: _text,
    Kind.NAME: _name,
    Kind.DATE: _date,
    Kind.TIME: _time,
    Kind.NUMBER: _number,
    Kind.CODES: _codes,
}
