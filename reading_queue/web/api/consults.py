"""Opinions up the line as operations of the JSON API: parse, one service call, answer."""

from __future__ import annotations

from aiohttp import web

from reading_queue.services.access.visibility import Viewer
from reading_queue.services.reading import consults
from reading_queue.services.reading.consult_rows import ConsultView
from reading_queue.web.api.handlers import answer, body_of, nothing, task_id
from reading_queue.web.api.models import Answer, Body, ReasonWords, Words
from reading_queue.web.keys import HUB, in_thread


class ConsultQuestion(Body):
    """Which hospital is asked, and what."""

    organisation_id: str
    question: str


class ConsultAsked(Answer):
    """The consultation that was opened."""

    consult_id: str


class Consults(Answer):
    """What the caller's hospital is asked, what the caller has taken, and what the caller asks."""

    consults: tuple[ConsultView, ...]


async def list_consults(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """List the open consultations that concern the caller."""
    found = await in_thread(request, consults.consults_of, request.config_dict[HUB], viewer)
    return answer(Consults(consults=found))


async def ask_consult(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Ask a hospital up the line for its opinion; the case stays with the caller."""
    given = await body_of(request, ConsultQuestion)
    what = task_id(request), given.organisation_id, given.question
    asked = await in_thread(request, consults.ask, request.config_dict[HUB], viewer, *what)
    return answer(ConsultAsked(consult_id=asked), status=201)


async def accept_consult(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Take a consultation."""
    await in_thread(request, consults.accept, request.config_dict[HUB], viewer, _consult_id(request))
    return nothing()


async def give_opinion(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Write the opinion."""
    given = await body_of(request, Words)
    await in_thread(request, consults.answer, request.config_dict[HUB], viewer, _consult_id(request), given.words)
    return nothing()


async def decline_consult(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say no to a consultation."""
    given = await body_of(request, ReasonWords)
    await in_thread(request, consults.decline, request.config_dict[HUB], viewer, _consult_id(request), given.reason)
    return nothing()


async def withdraw_consult(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Take the question back."""
    await in_thread(request, consults.withdraw, request.config_dict[HUB], viewer, _consult_id(request))
    return nothing()


def _consult_id(request: web.Request) -> str:
    return request.match_info["consult_id"]
