"""`GET /events`: an open desk hears of what changes, as server-sent events (WHATWG HTML section 9.2).

Volatile: who listens. Each process reads the events once for all of its streams, woken by the database's notification
and after a while in any case, and asks once for all whose session has ended. A browser that comes back is told what it
missed by its Last-Event-ID; when that is no longer known, or when it listens too slowly, it is told to load anew
(`reset`). Ids only, of what concerns the listener. Streams leave room for everybody's other requests: a desk that is
refused one asks for its parts again after a while.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Final

import structlog
from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from reading_queue.errors import TooManyAttempts, Unavailable
from reading_queue.services.access import accounts
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.worklists import desk_events
from reading_queue.services.worklists.desk_events import Audience, Batch, Cursor, Told
from reading_queue.web.keys import HUB, TOKEN, in_thread
from reading_queue.web.wakeups import Wakeups
from storage.open_files import open_files_max
from storage.screens.offload import Offload

STREAMS_MAX: Final = 1000  # of one process
STREAMS_SHARE: Final = 0.5  # of the files that it may have open, at most
STREAMS_PER_ACCOUNT_MAX: Final = 8
WAITING_MAX: Final = 64  # batches that one slow listener may leave unread
HEARTBEAT_S: Final = 15.0
LOOK_AFTER_S: Final = 1.0  # a closed window gives its place back within this; an ended session ends at once
LOOK_AGAIN_S: Final = 5.0  # in case a notification was lost
GATHER_S: Final = 0.05  # what changes together is told together
RESET: Final = b"event: reset\ndata: {}\n\n"
BEAT: Final = b": still here\n\n"
FIRST: Final = Cursor(0, 0)

log = structlog.get_logger(__name__)


class TooManyStreams(TooManyAttempts):
    """This account listens in too many windows; close some."""

    code = "too_many_streams"


class NoRoomForStreams(Unavailable):
    """Too many desks listen here for one more to be told at once; it shows what is new every few seconds."""

    code = "no_room_for_streams"
    retry_after_s = 20


class Stream:
    """One listener: what waits for it, until its end; `lost` once it was too slow for that."""

    def __init__(
        self, account_id: str, audience: Audience, token: str = "", transport: asyncio.BaseTransport | None = None
    ) -> None:
        self.account_id = account_id
        self.audience = audience
        self.token = token
        self._transport = transport
        self.looked_at = 0.0
        self.lost = False
        self._waiting: deque[tuple[Batch, tuple[int, ...]] | None] = deque()
        self._woken = asyncio.Event()

    def give(self, batch: Batch) -> None:
        """Queue what concerns the listener."""
        if numbers := batch.concerning(self.audience):
            self._put((batch, numbers))

    def beat(self) -> None:
        """Queue a sign of life."""
        self._put((_NOTHING, ()))

    def look(self) -> None:
        """Let go whose window is closed, and cut off who takes nothing any more."""
        if self._transport is None:
            return
        if self._transport.is_closing():
            self.end()
        elif self.lost and isinstance(self._transport, asyncio.WriteTransport):
            self._transport.abort()

    def end(self) -> None:
        """Let the listener go."""
        self._waiting.clear()
        self._put(None)

    async def take(self, after: Cursor = FIRST) -> bytes | None:
        """Wait for what comes and return it as it is written, None at the end; nothing through `after` again."""
        while not self._waiting:
            self._woken.clear()
            await self._woken.wait()
        taken = self._waiting.popleft()
        if taken is None:
            return None
        batch, numbers = taken
        return batch.words(numbers, after, _written) if numbers else BEAT

    def _put(self, batch: tuple[Batch, tuple[int, ...]] | None) -> None:
        if len(self._waiting) < WAITING_MAX:
            self._waiting.append(batch)
        else:
            self.lost = True
        self._woken.set()


_NOTHING: Final = Batch(())


class Live:
    """The streams of one process, the one reader that feeds them, and who looks after them."""

    def __init__(self, hub: Hub, run: Offload) -> None:
        self._hub = hub
        self._run = run
        self.wakeups = Wakeups(hub.engine.url, (desk_events.CHANNEL, desk_events.SESSIONS))
        self._streams: set[Stream] = set()
        self._cursor = FIRST
        self._somebody = asyncio.Event()
        self._closing = False

    async def running(self, _app: web.Application) -> AsyncIterator[None]:
        """Read and look after the streams while the application runs."""
        async with self.wakeups.running():
            tasks = [
                asyncio.create_task(self._read(), name="desk-events"),
                asyncio.create_task(self._look_after(), name="desk-streams"),
            ]
            yield
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    def close(self) -> None:
        """End every stream: the process stops."""
        self._closing = True
        for stream in self._streams:
            stream.end()

    async def join(self, stream: Stream) -> None:
        """Add a listener. Raises TooManyStreams, NoRoomForStreams."""
        if len(self._streams) >= min(STREAMS_MAX, int(open_files_max() * STREAMS_SHARE)):
            raise NoRoomForStreams
        if Counter(one.account_id for one in self._streams)[stream.account_id] >= STREAMS_PER_ACCOUNT_MAX:
            raise TooManyStreams
        end = await self._run(desk_events.find_end, self._hub) if not self._streams else self._cursor
        if not self._streams:  # another may have joined meanwhile, who is owed what came since
            self._cursor = end
        stream.looked_at = asyncio.get_running_loop().time()
        self._streams.add(stream)
        self._somebody.set()
        if self._closing:
            stream.end()

    def leave(self, stream: Stream) -> None:
        """Remove a listener."""
        self._streams.discard(stream)
        if not self._streams:
            self._somebody.clear()

    async def _read(self) -> None:
        with self.wakeups.subscribed(desk_events.CHANNEL, "") as woken:
            while True:
                await self._somebody.wait()
                with suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), LOOK_AGAIN_S)
                await asyncio.sleep(GATHER_S)
                woken.clear()
                try:
                    await self._pass_on()
                except SQLAlchemyError as exc:
                    log.warning("desk_events_unread", failure=type(exc).__name__)

    async def _pass_on(self) -> None:
        while found := await self._run(desk_events.read_events, self._hub, self._cursor):
            self._cursor = found[-1].cursor
            batch = Batch(found)
            for stream in tuple(self._streams):
                stream.give(batch)

    async def _look_after(self) -> None:
        with self.wakeups.subscribed(desk_events.SESSIONS, "") as woken:
            while True:
                await self._somebody.wait()
                with suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), LOOK_AFTER_S)
                    await asyncio.sleep(GATHER_S)
                at_once = woken.is_set()
                woken.clear()
                try:
                    await self._look(at_once=at_once)
                except SQLAlchemyError as exc:
                    log.warning("desk_streams_unchecked", failure=type(exc).__name__)

    async def _look(self, *, at_once: bool) -> None:
        """End whose window is closed and whose session is over; to others show a sign of life when it is due."""
        now = asyncio.get_running_loop().time()
        for stream in self._streams:
            stream.look()
        due = [one for one in self._streams if at_once or now >= one.looked_at + HEARTBEAT_S]
        if not due:
            return
        sessions = await self._run(accounts.find_sessions, self._hub, [one.token for one in due])
        living = [one for one in due if one.token in sessions]
        viewers = [sessions[one.token].viewer for one in living]
        for stream, audience in zip(
            living, await self._run(desk_events.find_audiences, self._hub, viewers), strict=True
        ):
            stream.audience = audience
            if now >= stream.looked_at + HEARTBEAT_S:
                stream.looked_at = now
                stream.beat()
        for stream in due:
            if stream.token not in sessions:
                stream.end()


LIVE = web.AppKey("LIVE", Live)


async def events(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Answer the stream of what changes."""
    hub, live = request.config_dict[HUB], request.config_dict[LIVE]
    since = Cursor.parse(request.headers.get("Last-Event-ID", ""))
    audience = await in_thread(request, desk_events.find_audience, hub, viewer)
    stream = Stream(viewer.account_id, audience, request[TOKEN], request.transport)
    response = web.StreamResponse(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    response.content_type = "text/event-stream"
    await live.join(stream)
    try:
        with suppress(ConnectionError, SQLAlchemyError):  # the window was closed; or it comes back with what it knows
            await response.prepare(request)
            await response.write(BEAT)
            await _go_on(response, stream, await _catch_up(request, response, stream, since))
    finally:
        live.leave(stream)
    return response


async def _catch_up(request: web.Request, response: web.StreamResponse, stream: Stream, since: Cursor | None) -> Cursor:
    """Tell what came since the listener was last here; return through where it is told."""
    through = since or FIRST
    if since is None:
        return through
    hub = request.config_dict[HUB]
    if not await in_thread(request, desk_events.is_kept, hub, since):
        await response.write(RESET)
        return FIRST
    while found := await in_thread(request, desk_events.read_events, hub, through):
        batch = Batch(found)
        await _write(response, batch.words(batch.concerning(stream.audience), through, _written))
        through = found[-1].cursor
    return through


async def _go_on(response: web.StreamResponse, stream: Stream, through: Cursor) -> None:
    """Tell what comes, until the session, the connection or the process ends or the listener is too slow."""
    while (words := await stream.take(through)) is not None and not stream.lost:
        await _write(response, words)
    await response.write(RESET)


async def _write(response: web.StreamResponse, words: bytes) -> None:
    if words:
        await response.write(words)


def _written(told: Sequence[Told]) -> bytes:
    """Return one event for what is told together; its id is that of the last."""
    data = {
        "kinds": sorted({one.kind for one in told}),
        "cases": sorted({one.case_id for one in told if one.case_id is not None}),
        "sites": sorted({one.site_id for one in told}),
    }
    return f"id: {told[-1].cursor}\nevent: changed\ndata: {json.dumps(data)}\n\n".encode()


def install(app: web.Application, hub: Hub, run: Offload) -> None:
    """Let the application's desks be told."""
    live = app[LIVE] = Live(hub, run)
    app.cleanup_ctx.append(live.running)

    async def close(_app: web.Application) -> None:
        live.close()

    app.on_shutdown.append(close)
