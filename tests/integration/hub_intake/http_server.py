"""The hub's gateway API and its embedded object store on a real port, their event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Self

from aiohttp import web

from reading_queue.services.hub import Hub
from reading_queue.web.gateway_api import PREFIX, build_gateway_api
from reading_queue.web.objects import build_objects_app
from reading_queue.web.offload import Offload
from storage.objects.directory import URL_PREFIX, DirectoryStore


class HubServer:
    """Serves while the block runs; `url` is where. `port` is one on which another has listened before."""

    def __init__(self, hub: Hub, port: int = 0) -> None:
        self._hub = hub
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._offload = Offload(threads=4)
        self._thread = threading.Thread(target=self._loop.run_forever, name="hub-server")
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self._runner = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._offload.close()

    async def _start(self) -> web.AppRunner:
        app = web.Application()
        app.add_subapp(PREFIX, build_gateway_api(self._hub, self._offload))
        if isinstance(self._hub.objects, DirectoryStore):
            app.add_subapp(URL_PREFIX, build_objects_app(self._hub.objects, self._offload))
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self._port).start()
        return runner
