"""The hub's web application: desks and JSON API here, other parts' applications mounted beside them.

Holds nothing that must survive: sessions, drafts and everything else are rows of the database, so any number of these
processes may run and any of them may be killed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from aiohttp import web

from reading_queue.services.hub import Hub
from reading_queue.web import api, clinic, coordinator, fhir, live, login, radiologist, workitems
from reading_queue.web.access import EVERYBODY, for_roles
from reading_queue.web.coordinator.download import DOWNLOADS
from reading_queue.web.keys import HUB, MOUNTS, RUN, TEMPLATES
from reading_queue.web.middlewares import (
    answer_errors,
    limit_bodies,
    log_requests,
    open_session,
    refuse_forgery,
    secure_headers,
)
from reading_queue.web.offload import THREADS_DEFAULT
from reading_queue.web.rendering import FILES, build_templates
from storage.screens.offload import Offload
from storage.screens.static_files import ASSETS_DIR

MOUNTED_BODY_BYTES_MAX: Final = 16 * 1024 * 1024  # a gateway's largest manifest; uploads do not pass through memory


def build_app(
    hub: Hub,
    *,
    assets_dir: Path,
    mounts: Sequence[tuple[str, web.Application]] = (),
    run: Offload | None = None,
) -> web.Application:
    """Return the application; each of `mounts` answers below its prefix and keeps its own rules of access.

    Mounted applications may ask `reading_queue.web.keys.find_viewer(request)` who is logged in. `run` stays the
    caller's to close; without it the application makes a pool of its own.
    """
    app = web.Application(
        middlewares=[log_requests, answer_errors, limit_bodies, open_session, refuse_forgery],
        client_max_size=MOUNTED_BODY_BYTES_MAX,
    )
    app[HUB], app[ASSETS_DIR], app[TEMPLATES] = hub, assets_dir, build_templates()
    app[MOUNTS] = tuple(f"{prefix.rstrip('/')}/" for prefix, _ in mounts)
    app[DOWNLOADS] = set()
    app[RUN] = run if run is not None else _own_pool(app)
    app.on_response_prepare.append(secure_headers)
    live.install(app, hub, app[RUN])
    workitems.install(app, hub, app[RUN])
    app.router.add_get("/events", for_roles(live.events, *EVERYBODY), name="events")
    app.add_routes([*login.ROUTES, *FILES.routes])
    desks = (
        ("/clinic", clinic.ROUTES),
        ("/radiologist", radiologist.ROUTES),
        ("/coordinator", coordinator.ROUTES),
        ("/api/v1", api.ROUTES),
    )
    for prefix, routes in desks:
        app.add_subapp(prefix, _sub_application(routes))
    app.add_subapp(fhir.PREFIX, fhir.build_fhir())
    app.add_subapp(workitems.PREFIX, workitems.build_workitems())
    app.add_subapp(workitems.SUBSCRIBERS, workitems.build_subscribers())
    for prefix, mounted in mounts:
        app.add_subapp(prefix, mounted)
    return app


def _sub_application(routes: Iterable[web.RouteDef]) -> web.Application:
    application = web.Application()
    application.add_routes(routes)
    return application


def _own_pool(app: web.Application) -> Offload:
    pool = Offload(THREADS_DEFAULT)

    async def close(_app: web.Application) -> None:
        pool.close()

    app.on_cleanup.append(close)
    return pool
