"""The hub's gateway API and its embedded object store on a real port."""

from __future__ import annotations

from aiohttp import web

from reading_queue.services.hub import Hub
from reading_queue.web.gateway_api import PREFIX, build_gateway_api
from reading_queue.web.objects import build_objects_app
from storage.objects.directory import URL_PREFIX, DirectoryStore
from storage.screens.offload import Offload
from tests.support.app_server import AppServer


class HubServer(AppServer):
    """Serves while the block runs; `url` is where. `port` is one on which another has listened before."""

    def __init__(self, hub: Hub, port: int = 0) -> None:
        super().__init__(port)
        self._hub = hub

    def build(self, run: Offload) -> web.Application:
        app = web.Application()
        app.add_subapp(PREFIX, build_gateway_api(self._hub, run))
        if isinstance(self._hub.objects, DirectoryStore):
            app.add_subapp(URL_PREFIX, build_objects_app(self._hub.objects, run))
        return app
