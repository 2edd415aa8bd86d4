"""Reading what a request carries: form fields, filters, identifiers in its path."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

from aiohttp import web
from multidict import MultiMapping

from reading_queue.domain.page_places import Place
from reading_queue.domain.routing import Phase
from reading_queue.errors import Invalid, NotFound
from reading_queue.services.holdings.study_list import Progress, StudyFilter
from reading_queue.services.reading.worklist import WorklistFilter
from storage.contract.identifiers import InvalidIdentifier, SiteId, Uid, parse_site_id, parse_uid
from storage.contract.lanes import Lane

Form = Mapping[str, Any]
Word = TypeVar("Word", bound=StrEnum)
NUMBER_DIGITS_MAX: Final = 9
DECISION_DIGITS_MAX: Final = 18  # within a bigint
SCREEN_ZONE: Final = "Asia/Shanghai"  # in which screens show and take local times


def field(form: Form, name: str) -> str:
    """Return the text of a field, empty when it is missing or a file."""
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


def fields(form: Form, name: str) -> tuple[str, ...]:
    """Return the texts of a field that may come several times."""
    values = form.getall(name, []) if isinstance(form, MultiMapping) else [form.get(name, "")]
    return tuple(value for value in values if isinstance(value, str) and value)


def wanted_studies(values: Form, *, with_text: bool = False) -> StudyFilter:
    """Return which studies a query or a form asks for. Raises Invalid.

    Words to search for may name a patient, so they are read from bodies only (`with_text`), never from an address.
    """
    progress, lane, day = field(values, "progress"), field(values, "lane"), field(values, "day")
    late = field(values, "late")
    if late not in ("", "1"):
        raise Invalid("late is 1, or left out")
    try:
        return StudyFilter(
            progress=Progress(progress) if progress else None,
            lane=Lane(lane) if lane else None,
            late=late == "1",
            day=date.fromisoformat(day) if day else None,
            text=field(values, "text").strip() if with_text else "",
        )
    except ValueError as exc:
        raise Invalid("progress or lane is not one of the words for it, or day is not YYYY-MM-DD") from exc


def wanted_offers(values: Form, *, with_text: bool = False) -> WorklistFilter:
    """Return which offers a query or a form asks for; words to search for are read from bodies only. Raises Invalid."""
    lane, phase, late = field(values, "lane"), field(values, "phase"), field(values, "late")
    if late not in ("", "1"):
        raise Invalid("late is 1, or left out")
    try:
        return WorklistFilter(
            lane=Lane(lane) if lane else None,
            modality=field(values, "modality"),
            site_id=field(values, "site_id"),
            phase=Phase(phase) if phase else None,
            late=late == "1",
            text=field(values, "text").strip() if with_text else "",
        )
    except ValueError as exc:
        raise Invalid("lane or phase is not one of the words for it") from exc


def parse_decision(text: str) -> int:
    """Return the number of a decision. Raises NotFound where it is none."""
    if not text.isascii() or not text.isdecimal() or len(text) > DECISION_DIGITS_MAX:
        raise NotFound("there is no such decision about this case")
    return int(text)


def page_place(text: str) -> Place | None:
    """Return behind which row a page begins, None for the first page. Raises Invalid."""
    if not text:
        return None
    try:
        return Place.of_text(text)
    except ValueError as exc:
        raise Invalid("this leads to no page; begin with the first one") from exc


def word_of(words: type[Word], text: str) -> Word:
    """Return the state or act that a text names. Raises Invalid."""
    try:
        return words(text)
    except ValueError as exc:
        raise Invalid(f"one of {', '.join(words)} is needed") from exc


def whole_number(text: str) -> int:
    """Return the number, from 0 on. Raises Invalid."""
    if not (text.isascii() and text.isdecimal() and len(text) <= NUMBER_DIGITS_MAX):
        raise Invalid("a whole number is needed")
    return int(text)


def local_moment(text: str) -> datetime:
    """Return the moment that a form's local date and time mean on the screen's clock. Raises Invalid."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(SCREEN_ZONE))
    except ValueError as exc:
        raise Invalid("a date and a time are needed") from exc


def site_of(request: web.Request) -> SiteId:
    """Return the site id of the path. Raises NotFound when it is none."""
    try:
        return parse_site_id(request.match_info["site_id"])
    except InvalidIdentifier as exc:
        raise NotFound from exc


def study_of(request: web.Request) -> Uid:
    """Return the Study Instance UID of the path. Raises NotFound when it is none."""
    try:
        return parse_uid(request.match_info["study_uid"])
    except InvalidIdentifier as exc:
        raise NotFound from exc
