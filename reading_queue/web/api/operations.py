"""One operation of the JSON API: what its route and its description are made from."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web
from pydantic import BaseModel

from reading_queue.domain.roles import Role
from reading_queue.web.access import ViewerHandler, for_roles


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation; the handler's docstring is its summary."""

    method: str
    path: str
    handler: ViewerHandler
    roles: tuple[Role, ...]
    body: type[BaseModel] | None = None
    answer: type[BaseModel] | str | None = None  # a model, a media type, or nothing
    query: tuple[str, ...] = ()

    def route(self) -> web.RouteDef:
        """Return its route."""
        handler = for_roles(self.handler, *self.roles)
        return web.route(self.method, self.path, handler, name=f"api.{self.handler.__name__}")
