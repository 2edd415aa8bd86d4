"""Templates, and how times, spans, sizes and codes look on a screen.

Every value is escaped by the templates; an undefined name is an error, never an empty place.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import jinja2
from aiohttp import web

from gateway.console.keys import DESK, TEMPLATES, find_viewer
from gateway.console.language import WORDS, in_words, translate, translate_or
from storage.dicom.person_name import display_name, patient_display_name
from storage.screens.order_form import PERSONS
from storage.screens.static_files import StaticFiles
from storage.screens.templating import load_pages
from storage.screens.words import current_language

FOLDER: Final = Path(__file__).parent / "templates"
FILES: Final = StaticFiles(Path(__file__).parent / "static")
KILO: Final = 1000


def build_templates(time_zone: str, *, serves_site: bool) -> jinja2.Environment:
    """Return the environment of all pages; times are shown in this zone, and a clinic's pages where there is one."""
    zone = ZoneInfo(time_zone)
    templates = jinja2.Environment(
        loader=load_pages(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def moment(at: datetime | None) -> str:
        """Return `11-23 14:05`, or a dash."""
        return at.astimezone(zone).strftime("%m-%d %H:%M") if at is not None else "—"

    def clock(at: datetime | None) -> str:
        """Return `11-23 14:05:09`, or a dash: a line of the ledger."""
        return at.astimezone(zone).strftime("%m-%d %H:%M:%S") if at is not None else "—"

    def day(at: datetime | None) -> str:
        """Return `2026-11-23 14:05`, for paper."""
        return at.astimezone(zone).strftime("%Y-%m-%d %H:%M") if at is not None else "—"

    templates.filters.update(moment=moment, clock=clock, day=day, span=span, size=size, rate=rate, age_at=WORDS.age_at)
    templates.filters.update(in_words=in_words, person=person, person_name=person_name, folder_key=folder_key)
    templates.globals.update(t=translate, word=translate_or, static_url=FILES.url, language=current_language)
    templates.globals.update(serves_site=serves_site, person_fields=PERSONS)
    return templates


def page(request: web.Request, template: str, *, status: int = 200, **values: Any) -> web.Response:
    """Answer a page or a part of one."""
    viewer = find_viewer(request)
    text = (
        request.config_dict[TEMPLATES]
        .get_template(template)
        .render(
            viewer=viewer,
            csrf_token=viewer.csrf_token if viewer is not None else "",
            path=request.path,
            **values,
        )
    )
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")


def screen_zone(request: web.Request) -> ZoneInfo:
    """Return the time zone of the screens."""
    return ZoneInfo(request.config_dict[DESK].console.time_zone)


def person(name: str) -> str:
    """Return a patient's PN as people write it in the screen's language."""
    return patient_display_name(name, current_language())


def person_name(name: str) -> str:
    """Return anybody's PN as people write it in the screen's language, empty when it names nobody."""
    return display_name(name, current_language())


def folder_key(folder: Path) -> str:
    """Return by what a form names a folder: its name may be a patient's, so the path stays out of it."""
    return hashlib.sha256(str(folder).encode("utf-8", "surrogateescape")).hexdigest()


def span(seconds: float | None) -> str:
    """Return a length of time in words of the screen's language: `3 分 12 秒`, `3 min 12 s`."""
    return WORDS.span(max(0.0, seconds) if seconds is not None else None, tenths=False)


def size(size_bytes: float | None) -> str:
    """Return a size in decimal units: `12.3 MB`."""
    if size_bytes is None:
        return "—"
    number, units = float(size_bytes), ["B", "kB", "MB", "GB", "TB"]
    while number >= KILO and len(units) > 1:
        number, units = number / KILO, units[1:]
    return f"{number:.0f} {units[0]}" if number >= 100 or units[0] == "B" else f"{number:.1f} {units[0]}"


def rate(bytes_per_s: float | None) -> str:
    """Return a speed as lines are sold: `18.4 Mbit/s`."""
    return "—" if bytes_per_s is None else f"{bytes_per_s * 8 / 1e6:.1f} Mbit/s"
