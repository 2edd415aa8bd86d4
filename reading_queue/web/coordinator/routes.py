"""The addresses of the coordinator's desk, below /coordinator."""

from __future__ import annotations

from aiohttp import web

from reading_queue.domain.roles import Role
from reading_queue.web.access import for_roles
from reading_queue.web.coordinator import links, views

BOTH = (Role.COORDINATOR, Role.ADMINISTRATOR)

ROUTES = (
    web.get("/", for_roles(views.overview, *BOTH), name="coordinator.overview"),
    web.get("/links", for_roles(links.links, *BOTH), name="coordinator.links"),
    web.post("/links", for_roles(links.search, *BOTH), name="coordinator.search_links"),
    web.post("/links/{link_id}", for_roles(links.decide, *BOTH), name="coordinator.decide_link"),
)
