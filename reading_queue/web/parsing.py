"""Reading what a request carries: form fields, identifiers in its path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from reading_queue.errors import NotFound
from storage.contract.identifiers import InvalidIdentifier, SiteId, Uid, parse_site_id, parse_uid

Form = Mapping[str, Any]


def field(form: Form, name: str) -> str:
    """Return the text of a field, empty when it is missing or a file."""
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


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
