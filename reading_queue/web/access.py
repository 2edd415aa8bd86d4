"""Which roles may use a route: said where the route is, checked before its handler runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps

from aiohttp import web

from reading_queue.domain.roles import Role
from reading_queue.services.visibility import Viewer, require
from reading_queue.web.keys import get_viewer

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
