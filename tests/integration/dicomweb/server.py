"""The hub's web application with DICOMweb and the viewer mounted, on a real port, and a client for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from email import message_from_bytes
from email.policy import HTTP
from pathlib import Path
from typing import Any

import urllib3
from aiohttp import web

from reading_queue.services.hub import Hub
from reading_queue.web.app import build_app
from reading_queue.web.image_access import ImageAccess
from reading_queue.web.viewer import build_viewer
from storage.dicomweb.app import build_dicomweb
from storage.screens.offload import Offload
from tests.support.app_server import AppServer


class ImageServer(AppServer):
    """Serves while the block runs; `url` is where."""

    def __init__(self, hub: Hub, assets_dir: Path) -> None:
        super().__init__()
        self._hub, self._assets_dir = hub, assets_dir

    def build(self, run: Offload) -> web.Application:
        self.images = build_dicomweb(self._hub.engine, self._hub.objects, run, ImageAccess())
        mounts = [("/dicomweb", self.images), ("/viewer", build_viewer(self._assets_dir))]
        return build_app(self._hub, assets_dir=self._assets_dir, mounts=mounts, run=run)


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
        assert self.status in (200, 206), self.body
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
