"""Templates, and how times, spans and codes look on a screen.

Every value is escaped by the templates; an undefined name is an error, never an empty place.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import jinja2
from aiohttp import web

from reading_queue.web.keys import SESSION, TEMPLATES, TYPED, find_viewer
from reading_queue.web.language import WORDS, fault_in_words, in_words, translate, translate_or
from reading_queue.web.parsing import SCREEN_ZONE
from storage.dicom.person_name import display_name
from storage.screens.order_form import PERSONS
from storage.screens.static_files import StaticFiles
from storage.screens.templating import load_pages
from storage.screens.words import current_language

REFUSED_FROM: Final = 400  # the first status of a page that shows a refusal
FOLDER: Final = Path(__file__).parent / "templates"
FILES: Final = StaticFiles(Path(__file__).parent / "static")


def build_templates() -> jinja2.Environment:
    """Return the environment of all pages."""
    templates = jinja2.Environment(
        loader=load_pages(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(
        moment=moment,
        input_moment=input_moment,
        moment_of_year=moment_of_year,
        day_time=day_time,
        day=day,
        clock=clock,
        span=WORDS.span,
        whole_span=WORDS.whole_span,
        age_at=WORDS.age_at,
        in_words=in_words,
        person_name=person_name,
    )
    templates.globals.update(
        t=translate,
        word=translate_or,
        fault=fault_in_words,
        static_url=FILES.url,
        language=current_language,
        person_fields=PERSONS,
    )
    return templates


def page(request: web.Request, template: str, *, status: int = 200, **values: Any) -> web.Response:
    """Answer a page or a part of one."""
    session = request.get(SESSION)
    typed = request.get(TYPED) if status >= REFUSED_FROM else None
    text = (
        request.config_dict[TEMPLATES]
        .get_template(template)
        .render(
            viewer=find_viewer(request),
            csrf_token=session.csrf_token if session is not None else "",
            path=request.path,
            typed=typed or {},
            **values,
        )
    )
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")


def person_name(name: str) -> str:
    """Return a PN as people write it in the reader's language."""
    return display_name(name, current_language())


def moment(at: datetime | None, zone: str = SCREEN_ZONE) -> str:
    """Return `11-23 14:05` in the zone, or a dash."""
    return at.astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M") if at is not None else "—"


def moment_of_year(at: datetime, zone: str = SCREEN_ZONE) -> str:
    """Return `2026-11-23 14:05` in the zone."""
    return at.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")


def day_time(at: datetime, zone: str, is_end: bool = False) -> str:  # noqa: FBT001, FBT002 -- a filter of templates
    """Return `14:05` in the zone; midnight at the end of a day is 24:00."""
    words = at.astimezone(ZoneInfo(zone)).strftime("%H:%M")
    return "24:00" if is_end and words == "00:00" else words


def input_moment(at: datetime) -> str:
    """Return what a form's field for a local date and time holds."""
    return at.astimezone(ZoneInfo(SCREEN_ZONE)).strftime("%Y-%m-%dT%H:%M")


def day(at: datetime | None, zone: str = SCREEN_ZONE) -> str:
    """Return `2026-11-23` in the zone, or a dash."""
    return at.astimezone(ZoneInfo(zone)).date().isoformat() if at is not None else "—"


def clock(at: datetime | None, zone: str = SCREEN_ZONE) -> str:
    """Return `11-23 14:05:09.1` in the zone, or a dash: a line of the ledger."""
    if at is None:
        return "—"
    local = at.astimezone(ZoneInfo(zone))
    return f"{local:%m-%d %H:%M:%S}.{local.microsecond // 100_000}"
