"""The web role's server on a socket that listens already: alive as long as its loop turns, and an end that keeps nobody
waiting. Volatile.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiohttp import web

from reading_queue.heartbeat import BEAT_EVERY_S
from reading_queue.listening import BACKLOG, address_of

SHUTDOWN_S: Final = 2.0  # for requests that are still being answered
GARBAGE_OBJECTS: Final = 20_000  # made and not freed before the collector looks for what only holds itself

_log = structlog.get_logger(__name__)


async def serve(
    build: Callable[[], Awaitable[web.Application]], listening: socket.socket, beat: Callable[[], None]
) -> None:
    """Serve the application until SIGTERM or SIGINT; call `beat` for as long as the event loop turns."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(await build(), access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    _keep_what_is_loaded()
    try:
        await web.SockSite(runner, listening, backlog=BACKLOG).start()
        _log.info("web_listening", address=address_of(listening))
        while not stop.is_set():
            beat()
            with contextlib.suppress(TimeoutError):  # nothing told it to stop
                await asyncio.wait_for(stop.wait(), BEAT_EVERY_S)
    finally:
        await runner.cleanup()


def _keep_what_is_loaded() -> None:
    """Let the garbage collector never go over what lives as long as the process, and begin less often.

    With all modules and routes among it, one full collection stops everybody for a tenth of a second, and each search
    makes enough objects for some smaller ones.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS)
