"""Finds what matches an identifier, one row after the other: SQL narrows, the keys' own tests decide."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from gateway.journal.holdings import Holdings, Narrowing, is_looked_up
from gateway.query.attributes import ATTRIBUTES
from gateway.query.identifier import Identifier
from gateway.query.levels import Level
from gateway.query.matching import Match, compile_key, is_single_value, parse_date_range

_ITERATE: Final[dict[Level, Callable[[Holdings, Narrowing], Iterator[dict[str, Any]]]]] = {
    Level.PATIENT: Holdings.iterate_studies,
    Level.STUDY: Holdings.iterate_studies,
    Level.SERIES: Holdings.iterate_series,
    Level.IMAGE: Holdings.iterate_instances,
}
_OF_PATIENT: Final = ("patient_number", "patient_name", "birth_date", "sex")


def search(holdings: Holdings, identifier: Identifier) -> Iterator[dict[str, Any] | None]:
    """Yield the rows that match, with what is asked for looked up; None for each row that does not.

    The caller sees between any two rows whether the asker has cancelled.

    Raises:
        KeyUnusable: a key's value is not of its kind.
    """
    return _search(holdings, identifier, _compile(identifier), narrow(identifier))


def narrow(identifier: Identifier) -> Narrowing:
    """Return what SQL can leave out. Raises KeyUnusable."""
    keys = identifier.keys

    def single(keyword: str) -> str | None:
        text = keys.get(keyword, "")
        return text if is_single_value(ATTRIBUTES[keyword].kind, text) else None

    def listed(keyword: str) -> list[str] | None:
        text = keys.get(keyword, "").strip("*")
        return [part.strip(" ") for part in text.split("\\")] if text else None

    dates = keys.get("StudyDate", "").strip("*")
    return Narrowing(
        patient_number=single("PatientID"),
        accession_number=single("AccessionNumber"),
        study_dates=parse_date_range(dates) if dates else None,
        study_uids=listed("StudyInstanceUID"),
        series_uids=listed("SeriesInstanceUID"),
        sop_instance_uids=listed("SOPInstanceUID"),
    )


def _compile(identifier: Identifier) -> list[tuple[str, Match]]:
    """Return the columns to test; those that are looked up come last, for few rows get so far."""
    tests = []
    for keyword, text in identifier.keys.items():
        attribute = ATTRIBUTES[keyword]
        match = compile_key(attribute.kind, text)
        if match is not None:
            tests.append((attribute.column, match))
    return sorted(tests, key=lambda test: is_looked_up(test[0]))


def _search(
    holdings: Holdings, identifier: Identifier, tests: list[tuple[str, Match]], narrowing: Narrowing
) -> Iterator[dict[str, Any] | None]:
    asked = [ATTRIBUTES[keyword] for keyword in identifier.keys]
    seen: set[tuple[object, ...]] = set()
    for row in _ITERATE[identifier.level](holdings, narrowing):
        if not all(match(_value(holdings, column, row)) for column, match in tests):
            yield None
            continue
        if identifier.level is Level.PATIENT:
            person = tuple(row[column] for column in _OF_PATIENT)
            if person in seen:
                yield None
                continue
            seen.add(person)
        for attribute in asked:
            _value(holdings, attribute.column, row)
        yield row


def _value(holdings: Holdings, column: str, row: dict[str, Any]) -> Any:
    if column not in row and is_looked_up(column):
        row[column] = holdings.look_up(column, row)
    return row[column]
