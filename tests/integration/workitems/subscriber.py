"""Another vendor's worklist that has itself told: a WebSocket of aiohttp in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Queue
from typing import Any

import aiohttp

from tests.integration.workitems.client import DicomJson, value

PATIENCE_S = 60.0  # on a machine that does much else
EVERY, FILTERED = "1.2.840.10008.5.1.4.34.5", "1.2.840.10008.5.1.4.34.5.1"
STATE_REPORT, CANCEL_REQUESTED, PROGRESS_REPORT, STATUS_CHANGE, ASSIGNED = 1, 2, 3, 4, 5


@dataclass
class Channel:
    """One notification connection, open or ended."""

    heard: Queue[DicomJson] = field(default_factory=Queue)
    ended: threading.Event = field(default_factory=threading.Event)
    code: int | None = None

    def hear(self, within_s: float = PATIENCE_S) -> DicomJson:
        """Return the next report. Raises queue.Empty."""
        return self.heard.get(timeout=within_s)

    def hear_of(self, uid: str, kind: int, within_s: float = PATIENCE_S) -> DicomJson:
        """Return the next report of this workitem and kind; those before it are passed over."""
        while True:
            report = self.hear(within_s)
            if (value(report, "00001000"), value(report, "00001002")) == (uid, kind):
                return report

    def hear_state(self, uid: str, state: str, within_s: float = PATIENCE_S) -> DicomJson:
        """Return the next report that the workitem is in this state."""
        while True:
            report = self.hear_of(uid, STATE_REPORT, within_s)
            if value(report, "00741000") == state:
                return report


@contextmanager
def connected(url: str, token: str, ae_title: str, **headers: str) -> Iterator[Channel]:
    """Open the notification connection of this application entity. Raises WSServerHandshakeError."""
    channel, opened, loop = Channel(), Queue[Any](), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def listen() -> None:
        bearing = headers | ({"Authorization": f"Bearer {token}"} if token else {})
        async with aiohttp.ClientSession() as http:
            try:
                socket = await http.ws_connect(f"{url}/dicomweb/subscribers/{ae_title}", headers=bearing)
            except aiohttp.WSServerHandshakeError as exc:
                opened.put(exc)
                return
            opened.put(None)
            stopping = asyncio.create_task(stop.wait())
            while not stopping.done():
                message = asyncio.create_task(socket.receive())
                await asyncio.wait({message, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not message.done():
                    message.cancel()
                    break
                if message.result().type is not aiohttp.WSMsgType.TEXT:
                    break
                channel.heard.put(json.loads(message.result().data))
            channel.code = socket.close_code
            channel.ended.set()
            stopping.cancel()
            await socket.close()

    thread = threading.Thread(target=lambda: loop.run_until_complete(listen()), daemon=True)
    thread.start()
    refused = opened.get(timeout=60)
    try:
        if refused is not None:
            raise refused
        yield channel
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        loop.close()
