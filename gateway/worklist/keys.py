"""The Identifier of a worklist query: read as its sender wrote it, and matched against items. Pure.

PS3.4 section K.4.1.1.3 (no levels, all keys at once) and C.2.2.2 (how a key matches). Text is decoded by the declared
character set, else by the one configured for the scanner, else by what its bytes look like.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from gateway.query.matching import KeyUnusable, Kind, Match, compile_key, parse_date_range, parse_time_range
from gateway.worklist.items import ROOT_KEYS, STEP_KEYS, STEP_SEQUENCE, Item
from storage.dicom.charsets import TEXT_VRS, CharacterSet, choose_character_set

ELEMENTS_MAX: Final = 512
DEPTH_MAX: Final = 4
VALUE_BYTES_MAX: Final = 1024
DATE_KEY: Final = "ScheduledProcedureStepStartDate"
TIME_KEY: Final = "ScheduledProcedureStepStartTime"

Wanted = Mapping[str, "Wanted | None"]  # keyword → None for an attribute, what is wanted of each item for a sequence


class QueryUnusable(Exception):
    """The query is none; the message, at most 64 characters, goes to the scanner and quotes nothing."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. `wanted`: which attributes; an empty sequence there means all of its attributes."""

    wanted: Wanted
    root_values: Mapping[str, str]
    step_values: Mapping[str, str]
    character_set: str


@dataclass(slots=True)
class _Reader:
    """Counts what one identifier holds, so that no scanner can have the gateway read for ever."""

    samples: list[bytes]
    elements: int = 0

    def read(self, dataset: Dataset, depth: int) -> dict[str, Any]:
        """Return raw values by keyword, sequences as what their first item holds."""
        if depth > DEPTH_MAX:
            raise QueryUnusable("Sequences of the query are nested too deeply")
        found: dict[str, Any] = {}
        for keyword, tag in _keywords(dataset):
            self.elements += 1
            if self.elements > ELEMENTS_MAX:
                raise QueryUnusable(f"More than {ELEMENTS_MAX} keys in one query")
            if dictionary_VR(tag) == "SQ":
                items = dataset[tag].value or []
                found[keyword] = self.read(items[0], depth + 1) if len(items) else {}
            else:
                found[keyword] = self._value(dataset.get_item(tag), dictionary_VR(tag))
        return found

    def _value(self, element: Any, vr: str) -> bytes:
        if not isinstance(element, RawDataElement) or not isinstance(element.value, bytes):
            return b""
        if len(element.value) > VALUE_BYTES_MAX:
            raise QueryUnusable("A key of the query is too long")
        if vr in TEXT_VRS:
            self.samples.append(element.value)
        return element.value


def read_question(dataset: Dataset, asker_character_set: str | None) -> Question:
    """Return what is asked.

    Raises:
        QueryUnusable: there is too much of it.
    """
    reader = _Reader([])
    raw = reader.read(dataset, 0)
    declared = raw.pop("SpecificCharacterSet", b"").decode("ascii", "replace").strip(" \0")
    reading = choose_character_set(declared or asker_character_set or "", reader.samples)
    step = raw.get(STEP_SEQUENCE, {})
    return Question(_wanted(raw), _decode(raw, ROOT_KEYS, reading), _decode(step, STEP_KEYS, reading), declared)


def compile_question(question: Question) -> Match:
    """Return the test for items.

    Raises:
        KeyUnusable: a date or time key is none.
    """
    step_values = dict(question.step_values)
    window = _compile_window(step_values)
    root = _compile(question.root_values, ROOT_KEYS)
    step = _compile(step_values, STEP_KEYS)

    def match(item: Item) -> bool:
        scheduled = item[STEP_SEQUENCE][0]
        return (
            window(scheduled)
            and all(test(_value_of(item, keyword, ROOT_KEYS)) for keyword, test in root.items())
            and all(test(_value_of(scheduled, keyword, STEP_KEYS)) for keyword, test in step.items())
        )

    return match


def _compile_window(step_values: dict[str, str]) -> Match:
    """Return the test for a range of days with a range of times: one period together (PS3.4 section K.6.1.2.2).

    Takes both keys out of `step_values` where it applies; of a single day the times are matched on their own.
    """
    days, times = step_values.get(DATE_KEY, ""), step_values.get(TIME_KEY, "")
    if "-" not in days or "-" not in times:
        return lambda _step: True
    first_day, last_day = parse_date_range(days)
    if first_day == last_day:
        return lambda _step: True
    first_time, last_time = parse_time_range(times)
    del step_values[DATE_KEY], step_values[TIME_KEY]
    first, last = (first_day, first_time), (last_day, last_time)
    return lambda step: first <= (_iso(step[DATE_KEY]), f"{step[TIME_KEY]}.000000") <= last


def _compile(values: Mapping[str, str], kinds: Mapping[str, Kind]) -> dict[str, Match]:
    tests = {}
    for keyword, text in values.items():
        try:
            test = compile_key(kinds[keyword], text)
        except KeyUnusable as exc:
            raise KeyUnusable(f"{keyword}: {exc}"[:64]) from None
        if test is not None:
            tests[keyword] = test
    return tests


def _value_of(item: Item, keyword: str, kinds: Mapping[str, Kind]) -> Any:
    value, kind = item[keyword], kinds[keyword]
    if kind is Kind.CODES:
        return [value or ""]
    if kind is Kind.DATE:
        return _iso(value) if value else None
    return value or ""


def _iso(day: str) -> str:
    return f"{day[:4]}-{day[4:6]}-{day[6:]}"


def _wanted(raw: Mapping[str, Any]) -> Wanted:
    return {keyword: _wanted(value) if isinstance(value, dict) else None for keyword, value in raw.items()}


def _decode(raw: Mapping[str, Any], kinds: Mapping[str, Kind], reading: CharacterSet) -> dict[str, str]:
    values = {}
    for keyword, value in raw.items():
        if keyword in kinds and isinstance(value, bytes):
            is_text = dictionary_VR(keyword) in TEXT_VRS
            values[keyword] = reading.decode(value) if is_text else value.decode("ascii", "replace").strip(" \0")
    return values


def _keywords(dataset: Dataset) -> Iterator[tuple[str, int]]:
    for tag in list(dataset.keys()):
        keyword = "" if tag.is_private or tag.element == 0 else keyword_for_tag(tag)
        if keyword:
            yield keyword, tag
