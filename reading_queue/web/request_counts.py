"""What one web process has answered since it began, in numbers for a monitoring system.

Volatile, and of this process alone: several web processes are several targets of the scraper, which adds them up.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics

from storage.screens.figures_listener import serving_figures

CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")


class RequestCounts:
    """Counts requests by the class of their status, in a registry of its own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # when a count began is nobody's question: the scraper sees each restart
        self.registry = CollectorRegistry()
        words = "Requests that this process has answered, by the class of their status."
        self._answered = Counter("counterpart_web_requests", words, ["status"], registry=self.registry)
        for one in CLASSES:
            self._answered.labels(one)
        took = "How long this process took for them in all, streams of events included."
        self._seconds = Counter("counterpart_web_request_seconds", took, registry=self.registry)
        now_open = "Requests that it is answering, streams included."
        self._open = Gauge("counterpart_web_requests_open", now_open, registry=self.registry)

    def middleware(self) -> Middleware:
        """Return what counts every request."""

        @web.middleware
        async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
            began, status = time.monotonic(), 500
            self._open.inc()
            try:
                response = await handler(request)
                status = response.status
                return response
            except web.HTTPException as exc:
                status = exc.status
                raise
            finally:
                self._open.dec()
                self._answered.labels(f"{status // 100}xx").inc()
                self._seconds.inc(time.monotonic() - began)

        return count


async def answering_scrapers(address: str, counts: RequestCounts, _app: web.Application) -> AsyncIterator[None]:
    """Answer scrapers at this address for as long as the application runs."""
    with serving_figures(address, counts.registry):
        yield
