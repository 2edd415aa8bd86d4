"""Why not me, and why late, as operations of the JSON API: parse, one service call, answer."""

from __future__ import annotations

from aiohttp import web

from reading_queue.services.access.visibility import Viewer
from reading_queue.services.routing import decisions, explaining
from reading_queue.web.api.handlers import answer, body_of
from reading_queue.web.api.models import Answer, Body
from reading_queue.web.keys import HUB, in_thread
from reading_queue.web.parsing import parse_decision


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


class DecisionsAnswer(Answer):
    """What was decided about a case, and everybody as of one of the decisions."""

    routing: decisions.DecisionsView


async def decided(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say what was decided about a case, over or not, and who could have read it as of one decision."""
    which = request.query.get("decision")
    asked = request.match_info["case_id"], parse_decision(which) if which else None
    found = await in_thread(request, decisions.list_decisions, request.config_dict[HUB], viewer, *asked)
    return answer(DecisionsAnswer(routing=found))


async def lateness(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say where the time of a case went."""
    found = await in_thread(
        request, explaining.why_late, request.config_dict[HUB], viewer, request.match_info["case_id"]
    )
    return answer(LatenessAnswer(lateness=found))
