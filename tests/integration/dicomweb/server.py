"""The hub's web application with DICOMweb and the viewer mounted, on a real port, and a client for it."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass
from email import message_from_bytes
from email.policy import HTTP
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import urllib3
from aiohttp import web

from reading_queue.services.hub import Hub
from reading_queue.web.app import build_app
from reading_queue.web.image_access import ImageAccess
from reading_queue.web.offload import Offload
from reading_queue.web.viewer import build_viewer
from storage.dicomweb.app import build_dicomweb


class ImageServer:
    """Serves while the block runs; `url` is where."""

    def __init__(self, hub: Hub, assets_dir: Path) -> None:
        self._hub, self._assets_dir = hub, assets_dir
        self._loop = asyncio.new_event_loop()
        self._offload = Offload(threads=4)
        self._thread = threading.Thread(target=self._loop.run_forever, name="image-server")
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
        images = build_dicomweb(self._hub.engine, self._hub.objects, self._offload, ImageAccess())
        app = build_app(
            self._hub,
            assets_dir=self._assets_dir,
            mounts=[("/dicomweb", images), ("/viewer", build_viewer(self._assets_dir))],
            run=self._offload,
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: urllib3.HTTPHeaderDict
    body: bytes

    def json(self) -> Any:
        assert self.status == 200, self.body
        assert self.headers["Content-Type"].startswith("application/dicom+json")
        return json.loads(self.body)

    def code(self) -> str:
        """Return the code of a refusal in words."""
        assert self.headers["Content-Type"].startswith("application/problem+json"), self.headers
        problem = json.loads(self.body)
        assert problem["status"] == self.status
        assert problem["detail"]
        return str(problem["code"])

    def parts(self) -> list[tuple[str, str, bytes]]:
        """Return media type, transfer syntax and body of each part."""
        assert self.status == 200, self.body
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        return [
            (part.get_content_type(), str(part.get_param("transfer-syntax")), part.get_payload(decode=True))
            for part in message_from_bytes(head + self.body, policy=HTTP).iter_parts()
        ]


class ImageClient:
    """Asks as one person; without a token, as nobody."""

    def __init__(self, url: str, token: str = "") -> None:
        self._url, self._http = url, urllib3.PoolManager(retries=False)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, **headers: str) -> Reply:
        answer = self._http.request("GET", self._url + path, headers=self._headers | headers, redirect=False)
        return Reply(answer.status, answer.headers, answer.data)
