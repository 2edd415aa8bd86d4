"""Templates, and how times, spans and codes look on a screen.

Every value is escaped by the templates; an undefined name is an error, never an empty place.
"""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import jinja2
from aiohttp import web

from reading_queue.web.keys import SESSION, TEMPLATES, find_viewer
from reading_queue.web.language import current_language, translate, translate_or
from reading_queue.web.static_files import static_url

FOLDER: Final = Path(__file__).parent / "templates"
SCREEN_ZONE: Final = "Asia/Shanghai"
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400


def build_templates() -> jinja2.Environment:
    """Return the environment of all pages."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(moment=moment, clock=clock, span=span, age_at=age_at)
    templates.globals.update(t=translate, word=translate_or, static_url=static_url, language=current_language)
    return templates


def page(request: web.Request, template: str, *, status: int = 200, **values: Any) -> web.Response:
    """Answer a page or a part of one."""
    session = request.get(SESSION)
    text = (
        request.config_dict[TEMPLATES]
        .get_template(template)
        .render(
            viewer=find_viewer(request),
            csrf_token=session.csrf_token if session is not None else "",
            path=request.path,
            **values,
        )
    )
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")


def redirect(to: str) -> web.Response:
    """Answer "look there with GET" (303); `to` is an address of ours."""
    return web.Response(status=303, headers={"Location": to})


def local_address(text: str, otherwise: str) -> str:
    """Return `text` when it is a path on this host, else `otherwise`: a link may not lead people elsewhere."""
    is_path = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable()
    return text if is_path else otherwise


def moment(at: datetime | None, zone: str = SCREEN_ZONE) -> str:
    """Return `11-23 14:05` in the zone, or a dash."""
    return at.astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M") if at is not None else "—"


def clock(at: datetime | None, zone: str = SCREEN_ZONE) -> str:
    """Return `11-23 14:05:09.1` in the zone, or a dash: a line of the ledger."""
    if at is None:
        return "—"
    local = at.astimezone(ZoneInfo(zone))
    return f"{local:%m-%d %H:%M:%S}.{local.microsecond // 100_000}"


def span(seconds: float | None, *, tenths: bool = True) -> str:
    """Return a length of time in words of the screen's language: `3 分 12 秒`, `3 min 12 s`."""
    if seconds is None:
        return "—"
    if tenths and abs(seconds) < 10:
        return translate("span.seconds", seconds=f"{seconds:.1f}")
    sign, rest = ("-" if seconds < 0 else ""), int(abs(seconds))
    if rest < MINUTE_S:
        return sign + translate("span.seconds", seconds=rest)
    if rest < HOUR_S:
        return sign + translate("span.minutes", minutes=rest // MINUTE_S, seconds=rest % MINUTE_S)
    if rest < DAY_S:
        return sign + translate("span.hours", hours=rest // HOUR_S, minutes=rest % HOUR_S // MINUTE_S)
    return sign + translate("span.days", days=rest // DAY_S, hours=rest % DAY_S // HOUR_S)


def age_at(born: date | None, on: datetime) -> str:
    """Return the age in years on a day, or nothing when the birth date is unknown or implausible."""
    if born is None:
        return ""
    day = on.date()
    years = day.year - born.year - ((day.month, day.day) < (born.month, born.day))
    return translate("patient.years", years=years) if 0 <= years <= 130 else ""
