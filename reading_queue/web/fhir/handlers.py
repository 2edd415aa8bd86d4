"""The interactions of the FHIR API: parse, one service call, answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl

from aiohttp import web

from reading_queue.domain.fhir_content import INCLUDES, REVINCLUDES, VERSION, Resource, bundle
from reading_queue.errors import Invalid
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.worklists import fhir_views
from reading_queue.services.worklists.fhir_kinds import KINDS, SEARCHED, FhirQuery, Token
from reading_queue.web.fhir import links
from reading_queue.web.fhir.links import SEALED
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.parsing import page_place, whole_number
from storage.dicomweb.conditional import is_unchanged
from storage.screens.requests import refuse_large_body

FHIR_JSON: Final = "application/fhir+json"
FORM: Final = "application/x-www-form-urlencoded"
FORM_BYTES_MAX: Final = 16 * 1024
COUNT_MAX: Final = 100
VALUE_CHARACTERS_MAX: Final = 256
# Beside what is searched by; the last but one is the hub's own word for where a page ends.
OF_ANSWERS: Final = ("_include", "_revinclude", "_total", "_count", "_format", "_cursor", SEALED)
SECURITY: Final = "a bearer token of POST /api/v1/session; everybody finds and reads what the desks show them"
FORMATS: Final = frozenset({FHIR_JSON, "application/json", "text/json", "json"})
_TAKEN: Final = FORMATS | {"application/fhir json", "*/*", "application/*"}  # the blank is a plus, not escaped
_MOMENT: Final = re.compile(
    r"(?P<prefix>eq|ne|gt|ge|lt|le|sa|eb)?(?P<text>\d{4}(?P<month>-\d\d(?P<day>-\d\d"
    r"(?P<time>T\d\d:\d\d(?P<second>:\d\d(?:\.(?P<fraction>\d{1,6}))?)?(?:Z|[+-]\d\d:\d\d)?)?)?)?)",
    re.ASCII,
)
_MOMENT_WORDS: Final = (
    "_lastUpdated is a date or a moment, with eq, ne, gt, ge, lt, le, sa or eb before it, as ge2026-11-27"
)
_UNSTORABLE: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def fhir_json(resource: Resource, *, status: int = 200) -> web.Response:
    """Answer a resource."""
    return web.json_response(resource, status=status, content_type=FHIR_JSON, headers={"Cache-Control": "no-store"})


async def metadata(request: web.Request) -> web.StreamResponse:
    """Answer the CapabilityStatement; it is the same for everybody and names nobody."""
    resources: list[dict[str, Any]] = [
        {
            "type": name,
            "interaction": [{"code": "read"}, {"code": "search-type"}],
            "versioning": "versioned",
            "conditionalRead": "not-match",
            "referencePolicy": ["literal", "logical"],
            "searchParam": [{"name": parameter, "type": kind} for parameter, kind in SEARCHED[name].items()],
        }
        | ({"searchInclude": list(INCLUDES[name])} if name in INCLUDES else {})
        | ({"searchRevInclude": list(REVINCLUDES[name])} if name in REVINCLUDES else {})
        for name in KINDS
    ]
    return fhir_json(
        {
            "resourceType": "CapabilityStatement",
            "status": "active",
            "date": "2026-11-28",
            "kind": "instance",
            "implementation": {"description": "Counterpart", "url": f"{request.config_dict[HUB].public_url}/fhir"},
            "fhirVersion": VERSION,
            "format": [FHIR_JSON],
            "rest": [{"mode": "server", "security": {"description": SECURITY}, "resource": resources}],
        }
    )


async def search(request: web.Request, viewer: Viewer, *, resource_type: str) -> web.StreamResponse:
    """Answer a page of what is found."""
    return await _search(request, viewer, resource_type, list(request.query.items()))


async def search_by_form(request: web.Request, viewer: Viewer, *, resource_type: str) -> web.StreamResponse:
    """Answer the same for parameters in the body, beside those in the address (FHIR R4 3.1.0.1.8)."""
    if request.content_type != FORM:
        raise web.HTTPUnsupportedMediaType
    refuse_large_body(request, FORM_BYTES_MAX)
    try:
        said = parse_qsl((await request.read()).decode(), keep_blank_values=True)
    except ValueError as exc:
        raise Invalid("the body is no form in UTF-8") from exc
    return await _search(request, viewer, resource_type, [*request.query.items(), *said])


async def _search(
    request: web.Request, viewer: Viewer, resource_type: str, pairs: list[tuple[str, str]]
) -> web.StreamResponse:
    hub = request.config_dict[HUB]
    pairs = links.opened(hub, viewer, resource_type, pairs)
    query = parse_fhir_query(pairs, resource_type)
    page = await in_thread(request, fhir_views.search_resources, hub, viewer, resource_type, query)
    to = partial(links.address, hub, viewer, resource_type, pairs)
    following = to(page.next_after) if page.next_after is not None else None
    return fhir_json(bundle(page.found, f"{hub.public_url.rstrip('/')}/fhir", to(query.after), following))


async def read(request: web.Request, viewer: Viewer, *, resource_type: str) -> web.StreamResponse:
    """Answer one resource; 304 to who holds this version (FHIR R4 3.1.0.1.2)."""
    hub, resource_id = request.config_dict[HUB], request.match_info["id"]
    if _UNSTORABLE.search(resource_id):
        raise Invalid("this is no id")
    resource = await in_thread(request, fhir_views.read_resource, hub, viewer, resource_type, resource_id)
    version_id, changed_at = resource["meta"]["versionId"], datetime.fromisoformat(resource["meta"]["lastUpdated"])
    is_held = is_unchanged(request, version_id)
    response = web.Response(status=304) if is_held else fhir_json(resource)
    response.headers["ETag"] = f'W/"{version_id}"'
    response.headers["Last-Modified"] = format_datetime(changed_at, usegmt=True)
    return response


def parse_fhir_query(pairs: list[tuple[str, str]], resource_type: str) -> FhirQuery:
    """Return what a query asks for. Raises Invalid for a parameter that is not known: nothing is passed over."""
    single: dict[str, str] = {}
    changed, includes, revincludes = [], [], []
    known = parameters_of(resource_type)
    for name, value in pairs:
        if name not in known:
            raise Invalid(f"the parameters of a search of {resource_type} are {', '.join(known)}")
        if len(value) > VALUE_CHARACTERS_MAX or _UNSTORABLE.search(value):
            raise Invalid(f"{name} is too long, or holds control characters")
        if name == "_lastUpdated":
            changed.append(_compared(value))
        elif name == "_include":
            includes.append(_included(value, resource_type, INCLUDES))
        elif name == "_revinclude":
            revincludes.append(_included(value, resource_type, REVINCLUDES))
        elif name in single:
            raise Invalid(f"{name} is given twice")
        else:
            single[name] = value
    return FhirQuery(
        identifier=_token(single.get("identifier", "")),
        accession=_token(single.get("accession", "")),
        patient=_token(single.get("patient.identifier", "")),
        patient_id=single.get("patient", "").removeprefix("Patient/"),
        status=tuple(filter(None, single.get("status", "").split(","))),
        changed=tuple(changed),
        includes=tuple(dict.fromkeys(includes)),
        revincludes=tuple(dict.fromkeys(revincludes)),
        counted=_is_counted(single.get("_total", "none")),
        count=min(max(whole_number(single.get("_count", "50")), 1), COUNT_MAX),
        after=page_place(single.get("_cursor", "")),
    )


def parameters_of(resource_type: str) -> tuple[str, ...]:
    """Return what a search of this type may say; `patient.identifier` is the one chained parameter."""
    chained = ("patient.identifier",) if "patient" in SEARCHED[resource_type] else ()
    return (*SEARCHED[resource_type], *chained, *OF_ANSWERS)


def require_json(request: web.Request) -> None:
    """Refuse who takes no JSON: `_format` goes before the header (FHIR R4 3.1.0.1.11)."""
    asked = request.query.get("_format") or request.headers.get("Accept") or "*/*"
    if not any(one.partition(";")[0].strip().lower() in _TAKEN for one in asked.split(",")):
        raise web.HTTPNotAcceptable


def _token(value: str) -> Token | None:
    """Return what `value` or `system|value` asks for, None for nothing."""
    system, bar, number = value.rpartition("|")
    if bar and not number:
        raise Invalid("a number is asked for as value or system|value; a system alone finds nothing")
    return Token(number, system if bar else None) if number else None


def _compared(value: str) -> tuple[str, datetime, datetime]:
    """Return the comparison, and from when until before when the time lasts that it names."""
    match = _MOMENT.fullmatch(value)
    if match is None:
        raise Invalid(_MOMENT_WORDS)
    missing = "-01-01" if not match["month"] else "-01" if not match["day"] else ""
    try:
        moment = datetime.fromisoformat(match["text"] + missing)
        start = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return match["prefix"] or "eq", start, _end_of(start, match)
    except (ValueError, OverflowError) as exc:
        raise Invalid(_MOMENT_WORDS) from exc


def _included(value: str, resource_type: str, table: Mapping[str, Mapping[str, tuple[str, str]]]) -> str:
    """Return the name of a reference that is followed; its third part may name the type of what is referred to."""
    offered = table.get(resource_type, {})
    name = ":".join(value.split(":")[:2])
    target = resource_type if table is REVINCLUDES else offered.get(name, ("", ""))[1]
    if name not in offered or value not in (name, f"{name}:{target}"):
        raise Invalid(f"what a search of {resource_type} includes by this is {', '.join(offered) or 'nothing'}")
    return name


def _is_counted(total: str) -> bool:
    if total not in ("none", "estimate", "accurate"):
        raise Invalid("_total is none, estimate or accurate")
    return total != "none"


def _end_of(start: datetime, match: re.Match[str]) -> datetime:
    if match["fraction"]:
        return start + timedelta(microseconds=10 ** (6 - len(match["fraction"])))
    if match["second"] or match["time"]:
        return start + (timedelta(seconds=1) if match["second"] else timedelta(minutes=1))
    if match["day"]:
        return start + timedelta(days=1)
    return (start + timedelta(days=31 if match["month"] else 366)).replace(day=1)
