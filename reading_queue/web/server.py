"""The web role's server: a bound port that others can find, and an end that keeps nobody waiting.

Volatile. The port file survives so that a restart with port 0 comes back on the port that gateways know.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from reading_queue.heartbeat import BEAT_EVERY_S

SHUTDOWN_S: Final = 2.0  # for requests that are still being answered
BACKLOG: Final = 512
GARBAGE_OBJECTS: Final = 20_000  # made and not freed before the collector looks for what only holds itself
PORT_MAX: Final = 65535
OLD_PORT_S: Final = 3.0
OLD_PORT_POLL_S: Final = 0.05

_log = structlog.get_logger(__name__)


def bind(host: str, port: int, port_file: Path) -> socket.socket:
    """Return a listening socket and write its port to `port_file`; port 0 prefers the port of last time."""
    listening = _bind_as_last_time(host, port_file) if port == 0 else None
    if listening is None:
        listening = _bind(host, port)
    port_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = port_file.with_name(port_file.name + ".new")
    fresh.write_text(f"{listening.getsockname()[1]}\n")
    fresh.replace(port_file)
    return listening


def address_of(listening: socket.socket) -> str:
    """Return the http address of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


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


def _bind_as_last_time(host: str, port_file: Path) -> socket.socket | None:
    """Return a socket on the port of last time; a process that is just giving it up is waited for."""
    try:
        port = int(port_file.read_text())
    except (OSError, ValueError):  # there was no last time
        return None
    if not 0 < port <= PORT_MAX:
        return None
    deadline = time.monotonic() + OLD_PORT_S
    pause = threading.Event()
    while time.monotonic() < deadline:
        try:
            return _bind(host, port)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                break
        pause.wait(OLD_PORT_POLL_S)
    _log.warning("web_port_changes", port=port)
    return None


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)
