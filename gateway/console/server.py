"""The console's server: a thread with an event loop of its own beside the gateway's other threads.

Volatile. Whatever goes wrong here stays here: a port that is taken is tried again, and receiving, forwarding and
returns go on without a console. The port file survives, so that a restart with port 0 comes back where browsers look.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from gateway.console.app import build_app
from gateway.console.keys import Desk
from gateway.importing.leftovers import remove_leftovers
from storage.screens.offload import Offload

log = structlog.get_logger(__name__)

RETRY_S: Final = 30.0
THREADS: Final = 3  # of handlers: each has a connection to the journal of its own
SHUTDOWN_S: Final = 1.0  # for requests that are still being answered
BACKLOG: Final = 128
PORT_MAX: Final = 65535


class ConsoleServer:
    """Serves between `start` and `stop`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)

    def start(self) -> None:
        """Begin to listen; returns at once, and never raises for what keeps it from listening."""
        self._thread.start()

    def stop(self) -> None:
        """Answer nothing new; returns at once."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; return whether it came."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve_until_stopped())
        except Exception:  # the border of a thread: the gateway lives on without its console
            log.exception("console_ended")
        finally:
            self._loop.close()

    async def _serve_until_stopped(self) -> None:
        while not self._stop.is_set():
            try:
                await self._serve()
            except (OSError, ssl.SSLError) as exc:
                log.error("console_not_listening", reason=exc.strerror or type(exc).__name__, retry_s=RETRY_S)
                await self._wait(RETRY_S)

    async def _serve(self) -> None:
        console = self._desk.console
        listening = _bind(console.host, console.port, console.port_file)
        run = Offload(THREADS, name="console")
        await run(remove_leftovers, self._desk.journal, self._desk.spool, self._desk.clock())
        runner = web.AppRunner(build_app(self._desk, run), access_log=None, shutdown_timeout=SHUTDOWN_S)
        try:
            await runner.setup()
            await web.SockSite(runner, listening, ssl_context=self._tls(), backlog=BACKLOG).start()
            port = listening.getsockname()[1]
            if console.port_file is not None:
                _write_port(console.port_file, port)
            log.info("console_listening", port=port, tls=console.speaks_tls)
            await self._stop.wait()
        finally:
            await runner.cleanup()
            run.close(wait=False)
            listening.close()

    def _tls(self) -> ssl.SSLContext | None:
        console = self._desk.console
        if console.certificate_file is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(console.certificate_file, console.key_file)
        return context

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return


def _bind(host: str, port: int, port_file: Path | None) -> socket.socket:
    """Return a listening socket; port 0 prefers the port of last time."""
    last = _last_port(port_file) if port == 0 and port_file is not None else 0
    if last:
        try:
            return _listen(host, last)
        except OSError:
            log.warning("console_port_changes", port=last)
    return _listen(host, port)


def _last_port(port_file: Path) -> int:
    try:
        port = int(port_file.read_text(encoding="ascii"))
    except (OSError, ValueError):  # there was no last time
        return 0
    return port if 0 < port <= PORT_MAX else 0


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def _write_port(path: Path, port: int) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(f"{port}\n", encoding="ascii")
    partial.rename(path)
