"""Each web process counts what it has answered, and tells it on a listener of its own."""

from __future__ import annotations

import re
from functools import partial

import urllib3
from aiohttp import web

from reading_queue.web.request_counts import RequestCounts, answering_scrapers
from storage.screens.offload import Offload
from tests.support.app_server import AppServer
from tests.support.ports import own_port


class CountedServer(AppServer):
    """One web process in small: its page, and its figures beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.figures_address = f"127.0.0.1:{own_port()}"

    def build(self, run: Offload) -> web.Application:
        counts = RequestCounts()
        app = web.Application(middlewares=[counts.middleware()])
        app.add_routes([web.get("/page", self.page), web.get("/fails", self.fails)])
        app.cleanup_ctx.append(partial(answering_scrapers, self.figures_address, counts))
        return app

    async def page(self, _request: web.Request) -> web.Response:
        return web.Response()

    async def fails(self, _request: web.Request) -> web.Response:
        raise LookupError

    def answered(self) -> dict[str, int]:
        text = get(f"http://{self.figures_address}/metrics").data.decode()
        assert "_created" not in text
        found = re.findall(r'^counterpart_web_requests_total{status="(\dxx)"} (\d+)\.0$', text, re.MULTILINE)
        return {status: int(count) for status, count in found if count != "0"}


def get(url: str) -> urllib3.BaseHTTPResponse:
    return urllib3.request("GET", url, retries=False, timeout=60)


def test_two_web_processes_count_their_own_requests_and_the_sum_is_right() -> None:
    with CountedServer() as one, CountedServer() as other:
        for _ in range(3):
            get(f"{one.url}/page")
        get(f"{one.url}/nowhere")
        get(f"{one.url}/fails")
        get(f"{other.url}/page")
        assert one.answered() == {"2xx": 3, "4xx": 1, "5xx": 1}
        assert other.answered() == {"2xx": 1}


def test_the_public_port_has_no_figures() -> None:
    with CountedServer() as server:
        assert get(f"{server.url}/metrics").status == 404
