"""The addresses of UPS-RS and who may use each."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from reading_queue.domain.roles import Role
from reading_queue.web.access import EVERYBODY, for_roles
from reading_queue.web.workitems import channels, handlers, subscribing
from reading_queue.web.workitems.refusals import in_dicom_words
from storage.dicomweb.addresses import ROOT
from storage.dicomweb.app import answer_in_words

PREFIX: Final = f"{ROOT}/workitems"
SUBSCRIBERS: Final = f"{ROOT}/subscribers"
PERFORMER_OR_PLANNER: Final = (Role.PHYSICIAN, Role.COORDINATOR, Role.ADMINISTRATOR)
_SUBSCRIBER: Final = "/{workitem}/subscribers/{ae_title}"


def build_workitems() -> web.Application:
    """Return the application to be mounted under `PREFIX`."""
    app = web.Application(middlewares=[answer_in_words, in_dicom_words])
    app.add_routes(
        [
            web.get("", for_roles(handlers.search, *EVERYBODY)),
            web.post("", for_roles(handlers.create, Role.COORDINATOR, Role.ADMINISTRATOR)),
            web.get("/{workitem}", for_roles(handlers.retrieve, *EVERYBODY)),
            web.post("/{workitem}", for_roles(handlers.update, *PERFORMER_OR_PLANNER)),
            web.put("/{workitem}/state", for_roles(handlers.change_state, Role.PHYSICIAN)),
            web.post("/{workitem}/cancelrequest", for_roles(handlers.request_cancel, *EVERYBODY)),
            web.post(_SUBSCRIBER, for_roles(subscribing.subscribe, *EVERYBODY)),
            web.delete(_SUBSCRIBER, for_roles(subscribing.unsubscribe, *EVERYBODY)),
            web.post(f"{_SUBSCRIBER}/suspend", for_roles(subscribing.suspend, *EVERYBODY)),
        ]
    )
    return app


def build_subscribers() -> web.Application:
    """Return the application to be mounted under `SUBSCRIBERS`: the notification connections."""
    app = web.Application(middlewares=[answer_in_words])
    app.add_routes([web.get("/{ae_title}", for_roles(channels.open_channel, *EVERYBODY))])
    return app
