"""What a query asks for, or why it cannot be understood (PS3.18 sections 8.3.4 and 10.6.1). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from storage.dicomweb.errors import BadQuery
from storage.dicomweb.searching.keys import Key, Level, find_key, keywords_of

RESULTS_MAX: Final = {Level.STUDY: 200, Level.SERIES: 1000, Level.INSTANCE: 1000}  # of one answer
RESULTS_OF_A_STUDY_MAX: Final = 20_000  # series or instances of one study: viewers ask for all of them at once
OFFSET_MAX: Final = 1_000_000  # everything before it is read: who comes so far narrows the search
NAME_SHOWN_MAX: Final = 64
# Of the answer, not of what is searched for (PS3.18 section 8.3.3.1); the other one is ours, see `Access.also_shown`.
BESIDE_KEYS: Final = ("accept", "rejected")

_K = TypeVar("_K")
_NUMBER: Final = re.compile(r"[0-9]{1,12}")
_ATTRIBUTE: Final = re.compile(r"[0-9A-Za-z.]{1,160}")
_UNSTORABLE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")  # in no DICOM text, and no text column


@dataclass(frozen=True, slots=True)
class Search:
    """A query that was understood. `fields` are the attributes that the answer should have too."""

    level: Level
    limit: int
    offset: int = 0
    keys: dict[Key, str] = field(default_factory=dict)
    is_fuzzy: bool = False
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a query says beside its keys (PS3.18 section 8.3.4)."""

    limit: int
    offset: int
    is_fuzzy: bool
    fields: tuple[str, ...]


def parse_search(pairs: Iterable[tuple[str, str]], level: Level, *, of_study: bool = False) -> Search:
    """Return what the names and values of a query string ask for; an empty value asks for nothing.

    `of_study`: the address names the study already.

    Raises:
        BadQuery: a key that is not searchable, or is given twice, or a parameter that makes no sense.
    """
    at_most = RESULTS_OF_A_STUDY_MAX if of_study else RESULTS_MAX[level]
    said, asked = split_parameters(pairs, at_most)
    keys: dict[Key, str] = {}
    for name, value in asked:
        key = find_key(name, level)
        if key is None:
            raise BadQuery(
                f"{level.words} cannot be searched by {name[:NAME_SHOWN_MAX]}; "
                f"searchable: {', '.join(keywords_of(level))}"
            )
        _set_once(keys, key, value, key.keyword)
    return Search(level, said.limit, offset=said.offset, keys=keys, is_fuzzy=said.is_fuzzy, fields=said.fields)


def split_parameters(pairs: Iterable[tuple[str, str]], at_most: int) -> tuple[Parameters, list[tuple[str, str]]]:
    """Return what a query says beside its keys, and the keys with their values; an answer has `at_most` results.

    Raises:
        BadQuery: a parameter makes no sense or is given twice, or the query holds what no text does.
    """
    parameters: dict[str, str] = {}
    fields: list[str] = []
    keys: list[tuple[str, str]] = []
    for name, value in pairs:
        if _UNSTORABLE.search(name + value):
            raise BadQuery("the query holds control characters or half characters")
        if name == "includefield":
            fields += value.split(",")
        elif name in ("limit", "offset", "fuzzymatching"):
            _set_once(parameters, name, value, name)
        elif value and name not in BESIDE_KEYS:
            keys.append((name, value))
    limit = _whole_number(parameters, "limit")
    offset = _whole_number(parameters, "offset") or 0
    if offset > OFFSET_MAX:
        raise BadQuery(f"offset is at most {OFFSET_MAX}: narrow the search")
    said = Parameters(
        limit=at_most if limit is None else min(limit, at_most),
        offset=offset,
        is_fuzzy=_flag(parameters, "fuzzymatching"),
        fields=_fields(fields),
    )
    return said, keys


def _set_once(into: dict[_K, str], key: _K, value: str, name: str) -> None:
    if key in into:
        raise BadQuery(f"{name} is given twice")
    into[key] = value


def _whole_number(parameters: dict[str, str], name: str) -> int | None:
    text = parameters.get(name)
    if not text:
        return None
    if _NUMBER.fullmatch(text) is None:
        raise BadQuery(f"{name} is a whole number of at most 12 digits, not negative")
    return int(text)


def _flag(parameters: dict[str, str], name: str) -> bool:
    text = parameters.get(name, "") or "false"
    if text not in ("true", "false"):
        raise BadQuery(f"{name} is true or false")
    return text == "true"


def _fields(names: Sequence[str]) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys(name for name in names if name))
    if not all(_ATTRIBUTE.fullmatch(name) for name in wanted):
        raise BadQuery("includefield names attributes by keyword or by tag, or says all")
    return wanted
