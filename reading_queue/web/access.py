"""Which roles may use a route: said where the route is, checked before its handler runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import wraps

from aiohttp import web

from reading_queue.domain.roles import Role
from reading_queue.services.access import accounts
from reading_queue.services.access.visibility import Viewer, require
from reading_queue.web.keys import HUB, TOKEN, get_viewer, in_thread

ViewerHandler = Callable[[web.Request, Viewer], Awaitable[web.StreamResponse]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

EVERYBODY = tuple(Role)


def for_roles(handler: ViewerHandler, *roles: Role) -> Handler:
    """Return a handler that raises NotAuthenticated for nobody and Forbidden for other roles."""

    @wraps(handler)
    async def guarded(request: web.Request) -> web.StreamResponse:
        viewer = get_viewer(request)
        require(viewer, *roles)
        return await handler(request, viewer)

    return guarded


async def proved_again(request: web.Request, viewer: Viewer, password: str) -> Viewer:
    """Return the viewer as one who has just given this password; as they are where none was given.

    Raises:
        HubError: it is wrong, or was wrong too often.
    """
    if not password:
        return viewer
    given_at = await in_thread(request, accounts.reauthenticate, request.config_dict[HUB], request[TOKEN], password)
    return replace(viewer, authenticated_at=given_at)
