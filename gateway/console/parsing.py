"""Reading what a request carries: form fields and identifiers in its path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from gateway.console.errors import NotFound
from storage.contract.identifiers import InvalidIdentifier, Uid, parse_uid

Form = Mapping[str, Any]

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def field(form: Form, name: str) -> str:
    """Return the text of a field, empty when it is missing or a file."""
    value = form.get(name, "")
    return value.strip() if isinstance(value, str) else ""


def study_of(request: web.Request) -> Uid:
    """Return the Study Instance UID of the path. Raises NotFound when it is none."""
    try:
        return parse_uid(request.match_info["study_uid"])
    except InvalidIdentifier as exc:
        raise NotFound from exc


def id_of(request: web.Request, name: str) -> str:
    """Return an id of the path. Raises NotFound when it is none."""
    text = request.match_info[name]
    if _ID.fullmatch(text) is None:
        raise NotFound
    return text
