"""Typed keys of the web application and of a request; sub-applications reach the parent's by `request.config_dict`."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jinja2
from aiohttp import web

from reading_queue.errors import NotAuthenticated
from reading_queue.services.access.accounts import LiveSession
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from storage.screens.offload import Offload

P = ParamSpec("P")
T = TypeVar("T")

HUB = web.AppKey("HUB", Hub)
MOUNTS = web.AppKey("MOUNTS", tuple[str, ...])  # prefixes answered by other parts' applications
TEMPLATES = web.AppKey("TEMPLATES", jinja2.Environment)
RUN = web.AppKey("RUN", Offload)

SESSION = web.RequestKey("SESSION", LiveSession)
TYPED = web.RequestKey("typed", dict[str, str])  # what stood in the form that came with the request
TOKEN = web.RequestKey("TOKEN", str)


def find_viewer(request: web.Request) -> Viewer | None:
    """Return who asks, None for nobody; the session middleware has looked."""
    session = request.get(SESSION)
    return session.viewer if session is not None else None


def get_viewer(request: web.Request) -> Viewer:
    """Return who asks. Raises NotAuthenticated for nobody."""
    viewer = find_viewer(request)
    if viewer is None:
        raise NotAuthenticated
    return viewer


async def in_thread(request: web.Request, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return `function(*args, **kwargs)`, called off the event loop: services are synchronous."""
    return await request.config_dict[RUN](function, *args, **kwargs)
