"""Why not me, and why late, as operations of the JSON API: parse, one service call, answer."""

from __future__ import annotations

from aiohttp import web

from reading_queue.services.access.visibility import Viewer
from reading_queue.services.routing import explaining
from reading_queue.web.api.handlers import answer, body_of
from reading_queue.web.api.models import Answer, Body
from reading_queue.web.keys import HUB, in_thread


class Number(Body):
    """An accession number; it stands in a body because a site may have made it from a patient's."""

    accession_number: str


class WhyNotAnswer(Answer):
    """Why the cases with this number are not with the caller."""

    cases: tuple[explaining.WhyNot, ...]


class LatenessAnswer(Answer):
    """Where the time of a case went; durations are ISO 8601."""

    lateness: explaining.Lateness


async def why_not_me(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say why a case is not with the caller."""
    given = await body_of(request, Number)
    found = await in_thread(request, explaining.why_not_me, request.config_dict[HUB], viewer, given.accession_number)
    return answer(WhyNotAnswer(cases=found))


async def lateness(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say where the time of a case went."""
    found = await in_thread(
        request, explaining.why_late, request.config_dict[HUB], viewer, request.match_info["case_id"]
    )
    return answer(LatenessAnswer(lateness=found))
