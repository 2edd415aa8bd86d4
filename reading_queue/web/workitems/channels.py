"""Notification connections (PS3.18 sections 8.10.4 and 11.13): subscribers are told of workitems over WebSocket.

Volatile: who is connected. Each process reads the events once for all of its connections, woken as the desks' streams
are. How far a subscriber was told is durable: one that was cut off, or listened too slowly, is told the rest when it
connects again; it may be told twice, never not at all. A connection lives no longer than its session.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Final

import structlog
from aiohttp import WSCloseCode, web
from sqlalchemy.exc import SQLAlchemyError

from reading_queue.domain.workitems.content import DicomJson
from reading_queue.domain.workitems.reports import MESSAGE_ID_MAX, ScpStatus, numbered, status_report
from reading_queue.errors import Forbidden, TooManyAttempts
from reading_queue.services.access import accounts
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.worklists import desk_events, subscriptions, workitem_events
from reading_queue.services.worklists.desk_events import Cursor
from reading_queue.services.worklists.workitem_events import Happened
from reading_queue.web.keys import HUB, TOKEN, in_thread
from reading_queue.web.live import LIVE
from storage.screens.offload import Offload
from storage.screens.requests import comes_from_our_page

CONNECTIONS_PER_ACCOUNT_MAX: Final = 4  # of one process
WAITING_MAX: Final = 64  # batches that one slow subscriber may leave unread
SEND_S: Final = 10.0  # within which a subscriber takes one report
HEARTBEAT_S: Final = 20.0  # a ping after this long, and the end when no pong follows
SESSION_EVERY_S: Final = 5.0
LOOK_AGAIN_S: Final = 5.0  # in case a notification was lost
LOOK_S: Final = (0.02, 0.1, 0.4)  # after a notification: an older transaction that is open hides what it told of
MESSAGE_BYTES_MAX: Final = 4096  # subscribers have nothing to say here
ENDING_S: Final = 3.0  # for the last words of a process that stops

log = structlog.get_logger(__name__)


class TooManyConnections(TooManyAttempts):
    """This account has too many notification connections; close some."""

    code = "too_many_connections"


class ForeignPage(Forbidden):
    """A notification connection is opened by a program, or by a page of this hub."""

    code = "foreign_page"


class Connection:
    """One subscriber's connection; `lost` once it was too slow."""

    def __init__(self, account_id: str, ae_title: str, socket: web.WebSocketResponse) -> None:
        self.account_id = account_id
        self.ae_title = ae_title
        self.lost = False
        self._socket = socket
        self._message_id = 0
        self._batches: asyncio.Queue[Sequence[Happened] | None] = asyncio.Queue(WAITING_MAX)

    def give(self, batch: Sequence[Happened] | None) -> None:
        """Queue events, or with None the end."""
        try:
            self._batches.put_nowait(batch)
        except asyncio.QueueFull:
            self.lost = True

    async def take(self, within_s: float) -> Sequence[Happened] | None:
        """Return the next batch, empty when there is none within the time, None at the end."""
        try:
            return await asyncio.wait_for(self._batches.get(), within_s)
        except TimeoutError:
            return []

    async def send(self, reports: Sequence[DicomJson]) -> None:
        """Send reports, each with its Message ID. Raises TimeoutError when the subscriber takes too long."""
        for report in reports:
            self._message_id = self._message_id % MESSAGE_ID_MAX + 1
            words = json.dumps(numbered(report, self._message_id), ensure_ascii=False)
            await asyncio.wait_for(self._socket.send_str(words), SEND_S)


class Channels:
    """The connections of one process, and the one reader that feeds them."""

    def __init__(self, hub: Hub, run: Offload) -> None:
        self._hub = hub
        self._run = run
        self._connections: set[Connection] = set()
        self._cursor = Cursor(0, 0)
        self._somebody, self._nobody = asyncio.Event(), asyncio.Event()
        self._nobody.set()
        self.closing = False

    async def running(self, app: web.Application) -> AsyncIterator[None]:
        """Read while the application runs; its wake-ups are those of the desks."""
        task = asyncio.create_task(self._read(app), name="workitem-events")
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def close(self, _app: web.Application) -> None:
        """Tell every subscriber that this process stops, and wait for a moment until they are told."""
        self.closing = True
        for connection in self._connections:
            connection.give(None)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._nobody.wait(), ENDING_S)

    def require_room(self, account_id: str) -> None:
        """Raise TooManyConnections when the account has as many as it may."""
        if Counter(one.account_id for one in self._connections)[account_id] >= CONNECTIONS_PER_ACCOUNT_MAX:
            raise TooManyConnections

    async def join(self, connection: Connection) -> None:
        """Add a connection: from now on it is given what happens."""
        is_first = not self._connections
        self._connections.add(connection)
        self._nobody.clear()
        if is_first:
            self._cursor = await self._run(desk_events.find_end, self._hub)
            self._somebody.set()

    def leave(self, connection: Connection) -> None:
        """Remove a connection."""
        self._connections.discard(connection)
        if not self._connections:
            self._somebody.clear()
            self._nobody.set()

    async def _read(self, app: web.Application) -> None:
        with app[LIVE].wakeups.subscribed(desk_events.CHANNEL, "") as woken:
            while True:
                await self._somebody.wait()
                with suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), LOOK_AGAIN_S)
                woken.clear()
                for look_s in LOOK_S:
                    await asyncio.sleep(look_s)
                    await self._pass_on()

    async def _pass_on(self) -> None:
        try:
            while found := await self._run(workitem_events.read_workitem_events, self._hub, self._cursor):
                self._cursor = found[-1].cursor
                for connection in tuple(self._connections):
                    connection.give(found)
        except SQLAlchemyError as exc:
            log.warning("workitem_events_unread", failure=type(exc).__name__)


CHANNELS = web.AppKey("CHANNELS", Channels)


async def open_channel(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Open a notification connection (section 8.10.4), and tell the subscriber until it ends."""
    hub, channels = request.config_dict[HUB], request.config_dict[CHANNELS]
    if not comes_from_our_page(request, hub.public_url):
        raise ForeignPage
    channels.require_room(viewer.account_id)
    ae_title = request.match_info["ae_title"]
    socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=MESSAGE_BYTES_MAX)
    if not socket.can_prepare(request).ok:
        raise web.HTTPUpgradeRequired
    connection = Connection(viewer.account_id, ae_title, socket)
    await channels.join(connection)
    try:
        opened = await in_thread(request, subscriptions.open_connection, hub, viewer, ae_title)
        await socket.prepare(request)
        telling = asyncio.create_task(_tell(request, socket, connection, opened))
        await _listen(socket)
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling
    finally:
        channels.leave(connection)
    return socket


async def _listen(socket: web.WebSocketResponse) -> None:
    """Answer pings and the end; whatever else a subscriber says is passed over."""
    async for _ in socket:
        pass


async def _tell(
    request: web.Request, socket: web.WebSocketResponse, connection: Connection, opened: subscriptions.Opened
) -> None:
    """Tell what was missed, then what comes; close the connection when it may not or cannot go on."""
    try:
        if opened.was_told_going_down:
            await connection.send([status_report(ScpStatus.RESTARTED)])
        through = await _catch_up(request, connection, opened.cursor)
        code, why = await _go_on(request, connection, through)
    except (TimeoutError, ConnectionError):
        code, why = WSCloseCode.TRY_AGAIN_LATER, b"too slow; connect again"
        _cut(request)
    except SQLAlchemyError as exc:
        log.warning("workitem_events_untold", failure=type(exc).__name__)
        code, why = WSCloseCode.INTERNAL_ERROR, b"connect again"
    await socket.close(code=code, message=why)


def _cut(request: web.Request) -> None:
    """Drop what the subscriber does not take: a polite end would wait behind it."""
    if request.transport is not None:
        request.transport.abort()


async def _catch_up(request: web.Request, connection: Connection, through: Cursor) -> Cursor:
    """Tell what happened since the subscriber was told last; return through where it is told."""
    hub = request.config_dict[HUB]
    while found := await in_thread(request, workitem_events.read_workitem_events, hub, through):
        if not await _tell_of(request, connection, found):
            break
        through = found[-1].cursor
    return through


async def _go_on(request: web.Request, connection: Connection, through: Cursor) -> tuple[int, bytes]:
    """Tell what comes; return why that ends."""
    while True:
        batch = await connection.take(SESSION_EVERY_S)
        if batch is None:
            await connection.send([status_report(ScpStatus.GOING_DOWN)])
            hub = request.config_dict[HUB]
            await in_thread(request, subscriptions.mark_told, hub, connection.ae_title, through, going_down=True)
            return WSCloseCode.GOING_AWAY, b"the server stops; connect again"
        if connection.lost:
            return WSCloseCode.TRY_AGAIN_LATER, b"too slow; connect again"
        if not await _tell_of(request, connection, [one for one in batch if one.cursor > through]):
            return WSCloseCode.POLICY_VIOLATION, b"the session has ended"
        if batch:
            through = max(through, batch[-1].cursor)


async def _tell_of(request: web.Request, connection: Connection, batch: Sequence[Happened]) -> bool:
    """Tell the subscriber of events by the right of its account now; return False when its session has ended."""
    hub = request.config_dict[HUB]
    session = await in_thread(request, accounts.find_session, hub, request[TOKEN], active=False)
    if session is None:
        return False
    if batch:
        ae_title = connection.ae_title
        await connection.send(await in_thread(request, subscriptions.reports_for, hub, session.viewer, ae_title, batch))
        # Shielded: who leaves right after the last word was told it, and is not told again.
        told = in_thread(request, subscriptions.mark_told, hub, ae_title, batch[-1].cursor)
        await asyncio.shield(asyncio.ensure_future(told))
    return True


def install(app: web.Application, hub: Hub, run: Offload) -> None:
    """Let the application tell subscribers; after `live.install`, whose wake-ups it shares."""
    channels = app[CHANNELS] = Channels(hub, run)
    app.cleanup_ctx.append(channels.running)
    app.on_shutdown.append(channels.close)
