"""The real application on a real port, and a visitor who uses it over HTTP as a browser or a program does."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from aiohttp import web

from reading_queue.services.hub import Hub
from reading_queue.web.app import build_app

ASSETS = Path(__file__).parents[3] / "build" / "web"


@contextmanager
def serving(app: web.Application) -> Iterator[str]:
    """Serve the application from a thread of its own; yield its address."""
    loop = asyncio.new_event_loop()
    ready: list[str] = []
    started, stop = threading.Event(), asyncio.Event()

    async def main() -> None:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        ready.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
        started.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
    thread.start()
    assert started.wait(60)
    try:
        yield ready[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        loop.close()


@contextmanager
def serving_hub(hub: Hub, assets_dir: Path = ASSETS) -> Iterator[str]:
    """Serve the hub's application without mounts."""
    with serving(build_app(hub, assets_dir=assets_dir)) as url:
        yield url


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    set_cookies: list[str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        return json.loads(self.text)


class _TokenFinder(HTMLParser):
    token = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "meta" and values.get("name") == "csrf-token":
            self.token = values.get("content") or ""


@dataclass
class Visitor:
    """Keeps cookies and the page's token like a browser; follows no redirect."""

    url: str
    cookies: dict[str, str] = field(default_factory=dict)
    csrf: str = ""
    bearer: str = ""
    pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False))

    def send(
        self, method: str, path: str, *, body: str | bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        sent = dict(headers or {})
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if self.bearer:
            sent["Authorization"] = f"Bearer {self.bearer}"
        response = self.pool.request(method, self.url + path, body=body, headers=sent, redirect=False)
        set_cookies = response.headers.getlist("Set-Cookie")
        for line in set_cookies:
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name] = morsel.value
                if not morsel.value:
                    del self.cookies[name]
        return Answer(response.status, response.headers, set_cookies, response.data)

    def get(self, path: str, **headers: str) -> Answer:
        """Get a page and remember its token."""
        answer = self.send("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        finder = _TokenFinder()
        finder.feed(answer.text)
        self.csrf = finder.token or self.csrf
        return answer

    def post(self, path: str, headers: Mapping[str, str] | None = None, **form: str) -> Answer:
        """Send a form with the page's token, unless the form names one."""
        fields = {"csrf_token": self.csrf, **form}
        typed = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        return self.send("POST", path, body=urlencode(fields), headers=typed)

    def call(self, method: str, path: str, body: Any = None) -> Answer:
        """Call the JSON API."""
        text = json.dumps(body) if body is not None else None
        return self.send(method, f"/api/v1{path}", body=text, headers={"Content-Type": "application/json"})

    def seen(self, case_id: str) -> dict[str, str]:
        """Return what names the images that the API shows of the case."""
        summary = self.call("GET", f"/cases/{case_id}").json()["case"]["summary"]
        return {"images_version": summary["images_version"]}

    def log_in(self, login: str, password: str) -> Answer:
        """Log in as a browser and fetch a page for its token."""
        answer = self.post("/login", login=login, password=password)
        if answer.status == 303:
            self.get(self.get("/").headers["Location"])
        return answer

    def take_token(self, login: str, password: str) -> None:
        """Log in as a program."""
        answer = self.call("POST", "/session", {"login": login, "password": password})
        assert answer.status == 201, answer.text
        self.bearer = answer.json()["token"]
