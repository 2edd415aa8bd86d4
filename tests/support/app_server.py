"""An aiohttp application of the hub on a real port, its event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Self

from aiohttp import web

from storage.screens.offload import Offload
from tests.support.ports import own_port


class AppServer:
    """Serves while the block runs; `url` is where. `port` is one on which another has listened before."""

    def __init__(self, port: int = 0) -> None:
        self._port = port or own_port()
        self._loop = asyncio.new_event_loop()
        self._offload = Offload(threads=4)
        self._thread = threading.Thread(target=self._loop.run_forever, name="app-server")
        self.url = ""

    def build(self, run: Offload) -> web.Application:
        """Return the application; called inside the running loop."""
        raise AssertionError("say which application is served")

    def __enter__(self) -> Self:
        self._thread.start()
        self._runner = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(60)
        self.url = f"http://127.0.0.1:{self._port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()
        self._offload.close()

    async def _start(self) -> web.AppRunner:
        runner = web.AppRunner(self.build(self._offload), access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self._port).start()
        return runner
