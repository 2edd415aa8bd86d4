"""The values of a query, read by the rules of their kind (PS3.4 section C.2.2.2). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, Generic, TypeVar

from storage.contract.identifiers import InvalidIdentifier, parse_uid
from storage.dicomweb.errors import BadQuery

WILDCARDS: Final = "*?"
WILDCARDS_MAX: Final = 8  # in one value: each one more makes a text slower to compare
LIST_MAX: Final = 500  # values of a list

_LIST_SEPARATOR: Final = re.compile(r"[\\,]")
_DATE: Final = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})")
_TIME: Final = re.compile(r"(?:[01][0-9]|2[0-3])(?:[0-5][0-9](?:[0-5][0-9]|60)?)?(?:(?<=[0-9]{6})\.[0-9]{1,6})?")
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,10}")
_BOUND = TypeVar("_BOUND", date, str)


@dataclass(frozen=True, slots=True)
class Range(Generic[_BOUND]):
    """From the first to the last, both of them in it; None is open."""

    first: _BOUND | None
    last: _BOUND | None


def parse_uids(text: str, keyword: str) -> list[str]:
    """Return a list of UIDs, between backslashes or commas. Raises BadQuery."""
    parts = split_list(text, keyword)
    try:
        return [parse_uid(part, name=keyword) for part in parts]
    except InvalidIdentifier as exc:
        raise BadQuery(str(exc)) from exc


def split_list(text: str, keyword: str) -> list[str]:
    """Return the values between backslashes or commas. Raises BadQuery for none, or too many."""
    parts = [part.strip() for part in _LIST_SEPARATOR.split(text) if part.strip()]
    if not 1 <= len(parts) <= LIST_MAX:
        raise BadQuery(f"{keyword} is a list of 1 to {LIST_MAX} values")
    return parts


def parse_dates(text: str, keyword: str) -> Range[date]:
    """Return a day, or the days of `first-last`, `first-` or `-last`. Raises BadQuery."""
    first, last = _bounds(text)
    try:
        return Range(_day(first), _day(last))
    except ValueError as exc:
        raise BadQuery(f"{keyword} is YYYYMMDD or a range YYYYMMDD-YYYYMMDD") from exc


def parse_times(text: str, keyword: str) -> Range[str]:
    """Return the bounds of a time, or of a range of times, as texts that order as times do. Raises BadQuery.

    A time that ends with its hours or minutes stands for all of that hour or minute.
    """
    first, last = _bounds(text)
    if not all(_TIME.fullmatch(bound) for bound in (first, last) if bound):
        raise BadQuery(f"{keyword} is HHMMSS, shorter or with a fraction, or a range of two of them")
    return Range(_earliest(first) if first else None, _latest(last) if last else None)


def parse_number(text: str, keyword: str) -> int:
    """Return a whole number. Raises BadQuery."""
    if _NUMBER.fullmatch(text.strip()) is None:
        raise BadQuery(f"{keyword} is a whole number")
    return int(text)


def like_pattern(text: str) -> str | None:
    r"""Return the pattern of SQL's LIKE, with `\` as its escape, for a value with wildcards; None without one.

    Raises:
        BadQuery: more wildcards than are compared.
    """
    count = sum(text.count(wildcard) for wildcard in WILDCARDS)
    if not count:
        return None
    if count > WILDCARDS_MAX:
        raise BadQuery(f"a value has at most {WILDCARDS_MAX} wildcards")
    return escaped(text).replace("*", "%").replace("?", "_")


def escaped(text: str) -> str:
    """Return the text as it stands for itself in a pattern of LIKE."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _earliest(time: str) -> str:
    return time.rstrip("0").rstrip(".") if "." in time else time.ljust(6, "0")


def _latest(time: str) -> str:
    whole = {2: time + "5960", 4: time + "60"}.get(len(time), time)
    return whole.ljust(13, "9") if "." in whole else whole + ".999999"


def _bounds(text: str) -> tuple[str, str]:
    """Return the two sides of a range, or one value as both."""
    first, dash, last = (part.strip() for part in text.partition("-"))
    if dash and not (first or last):
        raise BadQuery("a range has a first or a last value")
    return (first, last) if dash else (first, first)


def _day(text: str) -> date | None:
    if not text:
        return None
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return date(int(match[1]), int(match[2]), int(match[3]))


def segments(text: str) -> Sequence[str]:
    """Return what stands between the wildcards of a value."""
    return [part for part in re.split(r"[*?]", text) if part]
