"""What a search finds in the catalogue. The caller's right is a condition of every query."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import CTE, ColumnElement, Select, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, defer

from storage.catalogue.shown import NONE, Also, has_shown, is_shown, series_has_shown
from storage.catalogue.tables import Instance, Patient, Series, Study
from storage.dicomweb.errors import SearchTooLong
from storage.dicomweb.json_rows import FoundRow
from storage.dicomweb.searching.conditions import PATIENT_NAME, condition_of
from storage.dicomweb.searching.keys import STUDY_DATE, Level
from storage.dicomweb.searching.parsing import Search
from storage.dicomweb.searching.values import WILDCARDS

# Whoever gives one of these as a single value wants few studies, which an index names at once.
NARROW: Final = frozenset(
    {
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SOPInstanceUID",
        "PatientID",
        "AccessionNumber",
        "StudyID",
        "PatientName",
    }
)
SEARCH_MS_MAX: Final = 20_000  # what takes longer is given up, so that nobody's search of everything stops the others
QUERY_CANCELED: Final = "57014"  # SQLSTATE
# Inside a study by number. Every order ends with what is unique: pages neither repeat a row nor leave one out.
_ORDER: Final[Mapping[Level, tuple[ColumnElement[Any], ...]]] = {
    Level.STUDY: (),
    Level.SERIES: (Series.number.asc().nulls_last(), Series.series_uid.asc()),
    Level.INSTANCE: (Instance.number.asc().nulls_last(), Instance.sop_instance_uid.asc()),
}


Few = Select[str, date | None]  # the ids and dates of studies


def no_few() -> None:
    """Return that nothing says of how few studies it is."""


@dataclass(frozen=True, slots=True)
class Within:
    """What may be found: what is shown, `also` what was rejected for these reasons, and keeps the conditions.

    `few` selects the same studies, where they are few, or returns None. Both are asked for only when a search needs
    them: to build a right's conditions takes longer than many a search.
    """

    conditions: Callable[[], tuple[ColumnElement[bool], ...]]
    few: Callable[[], Few | None] = no_few
    also: Also = NONE


@dataclass(frozen=True, slots=True)
class Page:
    """Part of what was found, and whether more of it comes after."""

    rows: list[FoundRow]
    has_more: bool


def find_page(session: Session, search: Search, within: Within) -> Page:
    """Return the page that a search asks for, the newest study first, of what lies within the caller's right.

    Raises:
        BadQuery: a value that its key cannot have.
        SearchTooLong: it takes longer than one search may.
    """
    statement = _joined(search.level).where(_is_shown(search.level, within.also))
    study_date: ColumnElement[Any] = Study.study_date.expression
    study_id: ColumnElement[Any] = Study.study_id.expression
    few_of_all = None if is_narrow(search) else within.few()
    if few_of_all is None:
        statement = statement.where(*within.conditions())
    else:
        few = _few(few_of_all, search)
        statement = statement.join(few, few.c.study_id == Study.study_id)
        study_date, study_id = few.c.study_date, few.c.study_id
    asked = (condition_of(key, value, is_fuzzy=search.is_fuzzy) for key, value in search.keys.items())
    order = [column for level in Level if level <= search.level for column in _ORDER[level]]
    statement = statement.where(*asked).order_by(study_date.desc().nulls_last(), study_id, *order)
    found = [FoundRow(*row) for row in _execute(session, statement.limit(search.limit + 1).offset(search.offset))]
    return Page(found[: search.limit], len(found) > search.limit)


def _few(few: Few, search: Search) -> CTE:
    """Begin with all of the few: never with the newest of the whole archive, of which they may be none.

    They are found by their own keys, before the days: the planner cannot know how few of a day's studies they are.
    """
    seen = few.cte("seen").prefix_with("MATERIALIZED")
    chosen = select(seen.c.study_id, seen.c.study_date)
    if STUDY_DATE in search.keys:
        chosen = chosen.where(condition_of(STUDY_DATE, search.keys[STUDY_DATE], column=seen.c.study_date))
    if search.level is Level.STUDY and not search.keys.keys() - {STUDY_DATE}:  # nothing else is asked of them
        chosen = chosen.join(Study, Study.study_id == seen.c.study_id).where(has_shown())
        chosen = chosen.order_by(seen.c.study_date.desc().nulls_last(), seen.c.study_id)
        chosen = chosen.limit(search.offset + search.limit + 1)
    return chosen.cte("few").prefix_with("MATERIALIZED")


def _is_shown(level: Level, also: Also) -> ColumnElement[bool]:
    match level:
        case Level.STUDY:
            return has_shown(also)
        case Level.SERIES:
            return series_has_shown(also)
        case Level.INSTANCE:
            return is_shown(also)


def is_narrow(search: Search) -> bool:
    """Return whether a key of the search alone names few studies."""
    single = {key.keyword for key, value in search.keys.items() if not set(value) & set(WILDCARDS)}
    if search.is_fuzzy:
        single.discard(PATIENT_NAME)  # which finds all names that begin so
    return not NARROW.isdisjoint(single)


def _execute(session: Session, statement: Select[Any]) -> Sequence[Any]:
    """Plan each search by its own values: which index is best depends on them. Raises SearchTooLong."""
    try:
        session.execute(
            select(
                func.set_config("plan_cache_mode", "force_custom_plan", True),  # noqa: FBT003 -- for this transaction
                func.set_config("statement_timeout", str(SEARCH_MS_MAX), True),  # noqa: FBT003
            )
        )
        return session.execute(statement).all()
    except OperationalError as exc:
        if getattr(exc.orig, "sqlstate", "") == QUERY_CANCELED:
            raise SearchTooLong from exc
        raise


def _joined(level: Level) -> Select[Any]:
    entities: tuple[Any, ...] = (Study, Patient, Series, Instance)[: level + 2]
    statement: Select[Any] = select(*entities).join(Patient, Patient.patient_id == Study.patient_id)
    if level >= Level.SERIES:
        statement = statement.join(Series, Series.study_id == Study.study_id)
    if level >= Level.INSTANCE:
        statement = statement.join(Instance, Instance.series_id == Series.series_id)
        statement = statement.options(defer(Instance.frame_spans, raiseload=True))
    return statement
