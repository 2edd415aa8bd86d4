"""`GET /events`: an open desk hears of what changes, as server-sent events (WHATWG HTML section 9.2).

Volatile: who listens. Each process reads the events once for all of its streams, woken by the database's notification
and after a while in any case. A browser that comes back is told what it missed by its Last-Event-ID; when that is no
longer known, or when it listens too slowly, it is told to load anew (`reset`). Ids only, of what concerns the listener.
Streams leave room for everybody's other requests: a desk that is refused one asks for its parts again after a while.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
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
from reading_queue.services.worklists.desk_events import Audience, Cursor, Told
from reading_queue.web.keys import HUB, TOKEN, in_thread
from reading_queue.web.wakeups import Wakeups
from storage.open_files import open_files_max
from storage.screens.offload import Offload

STREAMS_MAX: Final = 1000  # of one process; on two busy cores some of so many hear of a change after more than a second
STREAMS_SHARE: Final = 0.5  # of the files that it may have open, at most
STREAMS_PER_ACCOUNT_MAX: Final = 8
WAITING_MAX: Final = 64  # batches that one slow listener may leave unread
HEARTBEAT_S: Final = 15.0
CLOSED_SEEN_S: Final = 1.0  # a window that was closed gives its place back within this
LOOK_AGAIN_S: Final = 5.0  # in case a notification was lost
GATHER_S: Final = 0.05  # what changes together is told together
RETRY_MS: Final = 2000

log = structlog.get_logger(__name__)


class TooManyStreams(TooManyAttempts):
    """This account listens in too many windows; close some."""

    code = "too_many_streams"


class NoRoomForStreams(Unavailable):
    """Too many desks listen here for one more to be told at once; it shows what is new every few seconds."""

    code = "no_room_for_streams"


class Stream:
    """One listener's batches; `lost` once it was too slow for them."""

    def __init__(self, account_id: str, audience: Audience) -> None:
        self.account_id = account_id
        self.audience = audience
        self.lost = False
        self._batches: asyncio.Queue[list[Told] | None] = asyncio.Queue(WAITING_MAX)

    def give(self, found: Sequence[Told]) -> None:
        """Queue what concerns the listener."""
        mine = [told for told in found if self.audience.includes(told)]
        if mine:
            self._put(mine)

    def end(self) -> None:
        """Let the listener go."""
        self._put(None)

    async def take(self, within_s: float) -> list[Told] | None:
        """Return the next batch, empty when there is none within the time, None at the end."""
        try:
            return await asyncio.wait_for(self._batches.get(), within_s)
        except TimeoutError:
            return []

    def _put(self, batch: list[Told] | None) -> None:
        try:
            self._batches.put_nowait(batch)
        except asyncio.QueueFull:
            self.lost = True


class Live:
    """The streams of one process, and the one reader that feeds them."""

    def __init__(self, hub: Hub, run: Offload) -> None:
        self._hub = hub
        self._run = run
        self.wakeups = Wakeups(hub.engine.url, (desk_events.CHANNEL,))
        self._streams: set[Stream] = set()
        self._cursor = Cursor(0, 0)
        self._somebody = asyncio.Event()
        self.closing = False

    async def running(self, _app: web.Application) -> AsyncIterator[None]:
        """Read while the application runs."""
        async with self.wakeups.running():
            task = asyncio.create_task(self._read(), name="desk-events")
            yield
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def close(self) -> None:
        """End every stream: the process stops."""
        self.closing = True
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
        self._streams.add(stream)
        self._somebody.set()

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
            for stream in tuple(self._streams):
                stream.give(found)


LIVE = web.AppKey("LIVE", Live)


async def events(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Answer the stream of what changes."""
    hub, live = request.config_dict[HUB], request.config_dict[LIVE]
    since = Cursor.parse(request.headers.get("Last-Event-ID", ""))
    stream = Stream(viewer.account_id, await in_thread(request, desk_events.find_audience, hub, viewer))
    response = web.StreamResponse(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    response.content_type = "text/event-stream"
    await live.join(stream)
    try:
        with suppress(ConnectionError, SQLAlchemyError):  # the window was closed; or it comes back with what it knows
            await response.prepare(request)
            await response.write(f"retry: {RETRY_MS}\n\n".encode())
            told_through = await _catch_up(request, response, stream, since)
            await _go_on(request, response, stream, told_through)
    finally:
        live.leave(stream)
    return response


async def _catch_up(request: web.Request, response: web.StreamResponse, stream: Stream, since: Cursor | None) -> Cursor:
    """Tell what came since the listener was last here; return through where it is told."""
    through = since or Cursor(0, 0)
    if since is None:
        return through
    hub = request.config_dict[HUB]
    if not await in_thread(request, desk_events.is_kept, hub, since):
        await response.write(b"event: reset\ndata: {}\n\n")
        return Cursor(0, 0)
    while found := await in_thread(request, desk_events.read_events, hub, through):
        through = found[-1].cursor
        await _write(response, [told for told in found if stream.audience.includes(told)])
    return through


async def _go_on(request: web.Request, response: web.StreamResponse, stream: Stream, through: Cursor) -> None:
    """Tell what comes, until the session or the process ends or the listener is too slow."""
    live, clock = request.config_dict[LIVE], asyncio.get_running_loop().time
    beat_at = clock() + HEARTBEAT_S
    while not live.closing and request.transport is not None and not request.transport.is_closing():
        batch = await stream.take(min(CLOSED_SEEN_S, HEARTBEAT_S))
        if batch is None or stream.lost:
            await response.write(b"event: reset\ndata: {}\n\n")
            return
        await _write(response, [told for told in batch if told.cursor > through])
        if clock() >= beat_at:
            beat_at = clock() + HEARTBEAT_S
            if not await _may_go_on(request, stream):
                return
            await response.write(b": still here\n\n")


async def _may_go_on(request: web.Request, stream: Stream) -> bool:
    """Return whether the session still lives; what concerns the listener may have changed."""
    hub = request.config_dict[HUB]
    session = await in_thread(request, accounts.find_session, hub, request[TOKEN], active=False)
    if session is None:
        return False
    stream.audience = await in_thread(request, desk_events.find_audience, hub, session.viewer)
    return True


async def _write(response: web.StreamResponse, told: Iterable[Told]) -> None:
    """Write one event for what is told together; its id is that of the last."""
    batch = list(told)
    if not batch:
        return
    data = {
        "kinds": sorted({one.kind for one in batch}),
        "cases": sorted({one.case_id for one in batch if one.case_id is not None}),
        "sites": sorted({one.site_id for one in batch}),
    }
    await response.write(f"id: {batch[-1].cursor}\nevent: changed\ndata: {json.dumps(data)}\n\n".encode())


def install(app: web.Application, hub: Hub, run: Offload) -> None:
    """Let the application's desks be told."""
    live = app[LIVE] = Live(hub, run)
    app.cleanup_ctx.append(live.running)

    async def close(_app: web.Application) -> None:
        live.close()

    app.on_shutdown.append(close)
