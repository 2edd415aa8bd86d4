"""The addresses of the coordinator's desk, below /coordinator."""

from __future__ import annotations

from aiohttp import web

from reading_queue.domain.roles import Role
from reading_queue.web.access import for_roles
from reading_queue.web.coordinator import views

ROUTES = (web.get("/", for_roles(views.overview, Role.COORDINATOR, Role.ADMINISTRATOR), name="coordinator.overview"),)
