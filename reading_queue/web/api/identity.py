"""Doubts whether order and images are of one person, as operations of the JSON API: parse, one service call, answer."""

from __future__ import annotations

from aiohttp import web

from reading_queue.services.access.visibility import Viewer
from reading_queue.services.patients import identity_settling
from reading_queue.services.patients.identity_settling import PersonOfOrder
from reading_queue.web.api import models, site_models
from reading_queue.web.api.handlers import body_of, nothing
from reading_queue.web.keys import HUB, in_thread


async def confirm(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Say that order and images are of the same patient all the same."""
    given, conflict_id = await body_of(request, models.ReasonWords), request.match_info["conflict_id"]
    hub, use_case = request.config_dict[HUB], identity_settling.confirm_identity
    await in_thread(request, use_case, hub, viewer, conflict_id, given.reason)
    return nothing()


async def unlink(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Take the order from the study."""
    given, conflict_id = await body_of(request, models.ReasonWords), request.match_info["conflict_id"]
    hub, use_case = request.config_dict[HUB], identity_settling.unlink_order
    await in_thread(request, use_case, hub, viewer, conflict_id, given.reason)
    return nothing()


async def correct(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Correct who the order says the patient is."""
    given, conflict_id = await body_of(request, site_models.OrderCorrection), request.match_info["conflict_id"]
    person = PersonOfOrder(
        patient_name=given.patient_name,
        birth_date=given.birth_date,
        sex=given.sex,
        identity_kind=given.identity_kind,
        identity_number=given.identity_number,
    )
    hub, use_case = request.config_dict[HUB], identity_settling.correct_order
    await in_thread(request, use_case, hub, viewer, conflict_id, person, given.reason)
    return nothing()
