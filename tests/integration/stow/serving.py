"""The hub's web application with everything below /dicomweb, and a client that stores."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
from aiohttp import web

from reading_queue.services.hub import Hub
from reading_queue.web.app import build_app
from reading_queue.web.deposit_access import DepositAccess
from reading_queue.web.image_access import ImageAccess
from storage.dicomweb.app import build_dicomweb
from storage.dicomweb.reception import ReceptionRoom
from storage.dicomweb.stow import Stow
from storage.screens.offload import Offload
from tests.integration.dicomweb.server import ImageClient
from tests.support.app_server import AppServer

BOUNDARY = "boundary-of-tests"
TYPE = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
STUDIES = "/dicomweb/studies"
BYTES_MAX = 64 * 1024 * 1024


class StowServer(AppServer):
    """Serves while the block runs; `url` is where."""

    def __init__(self, hub: Hub, deposits_dir: Path, *, bytes_max: int = BYTES_MAX, floor_bytes: int = 1) -> None:
        super().__init__()
        self._hub, self._deposits_dir, self._limits = hub, deposits_dir, (bytes_max, floor_bytes)

    def build(self, run: Offload) -> web.Application:
        room = ReceptionRoom(self._deposits_dir, bytes_max=self._limits[0], floor_bytes=self._limits[1])
        stow = Stow(DepositAccess(), room, run)
        images = build_dicomweb(self._hub.engine, self._hub.objects, run, ImageAccess(), stow)
        app = build_app(self._hub, assets_dir=self._deposits_dir, mounts=[("/dicomweb", images)], run=run)

        async def close(_app: web.Application) -> None:
            room.close()

        app.on_cleanup.append(close)
        return app


@dataclass(frozen=True)
class StowReply:
    """What a store request was answered with."""

    status: int
    headers: urllib3.HTTPHeaderDict
    body: bytes

    def answer(self) -> dict[str, Any]:
        """Return the Store Instances Response Module."""
        assert self.headers["Content-Type"].startswith("application/dicom+json"), self.body
        answer: dict[str, Any] = json.loads(self.body)
        return answer

    def kept(self) -> list[str]:
        """Return the UIDs of the instances that are stored."""
        items = self.answer().get("00081199", {"Value": []})["Value"]
        assert all(item["00081190"]["Value"][0].endswith(item["00081155"]["Value"][0]) for item in items)
        return [item["00081155"]["Value"][0] for item in items]

    def failed(self) -> list[tuple[str, int]]:
        """Return the UIDs of those that are not, each with its reason; an empty one for what has none."""
        named = self.answer().get("00081198", {"Value": []})["Value"]
        others = self.answer().get("0008119A", {"Value": []})["Value"]
        reasons = [(item["00081155"]["Value"][0], item["00081197"]["Value"][0]) for item in named]
        return reasons + [("", item["00081197"]["Value"][0]) for item in others]

    def words(self) -> str:
        """Return what it says to a person."""
        return "\n".join(self.headers.getlist("Warning"))

    def code(self) -> str:
        """Return the code of a refusal of the whole request."""
        assert self.headers["Content-Type"].startswith("application/problem+json"), (self.status, self.body)
        problem = json.loads(self.body)
        assert problem["status"] == self.status
        assert problem["detail"]
        return str(problem["code"])


class Storing(ImageClient):
    """Asks and stores as one person; without a token, as nobody."""

    def __init__(self, url: str, token: str = "") -> None:
        super().__init__(url, token)
        self.url, self.token = url, token

    def store(self, files: Iterable[bytes], path: str = STUDIES, **headers: str) -> StowReply:
        """Store these files in one request."""
        return self.send(multipart(files), path, **headers)

    def send(self, body: bytes | Iterable[bytes], path: str = STUDIES, **headers: str) -> StowReply:
        """Send a body as it is; in chunks when it is not bytes."""
        sent = {"Content-Type": TYPE} | ({"Authorization": f"Bearer {self.token}"} if self.token else {})
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        with urllib3.PoolManager(retries=False) as http:
            answer = http.request("POST", self.url + path, body=body, headers=sent)
        return StowReply(answer.status, answer.headers, answer.data)


def multipart(files: Iterable[bytes], media_type: str = "application/dicom") -> bytes:
    """Return a body of these parts."""
    head = f"--{BOUNDARY}\r\nContent-Type: {media_type}\r\n\r\n".encode()
    return b"".join(head + file + b"\r\n" for file in files) + f"--{BOUNDARY}--\r\n".encode()
