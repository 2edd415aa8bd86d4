"""What one web process has answered since it began, in numbers for a monitoring system.

Volatile, and of this process alone: several web processes are several targets of the scraper, which adds them up.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from storage.screens.exposition import Figure, Sample
from storage.screens.figures_listener import serving_figures

CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")


class RequestCounts:
    """Counts requests by the class of their status; written in the event loop's thread, read in any."""

    def __init__(self) -> None:
        self._answered: Counter[str] = Counter()
        self._seconds = 0.0
        self._open = 0

    def middleware(self) -> Middleware:
        """Return what counts every request."""

        @web.middleware
        async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
            began, status = time.monotonic(), 500
            self._open += 1
            try:
                response = await handler(request)
                status = response.status
                return response
            except web.HTTPException as exc:
                status = exc.status
                raise
            finally:
                self._open -= 1
                self._answered[f"{status // 100}xx"] += 1
                self._seconds += time.monotonic() - began

        return count

    def figures(self) -> list[Figure]:
        """Return the counts."""
        answered = tuple(Sample(self._answered[one], {"status": one}) for one in CLASSES)
        words = "Requests that this process has answered, by the class of their status."
        took = "How long this process took for them in all, streams of events included."
        now_open = (Sample(self._open),)
        return [
            Figure("counterpart_web_requests_total", words, answered, "counter"),
            Figure("counterpart_web_request_seconds_total", took, (Sample(self._seconds),), "counter"),
            Figure("counterpart_web_requests_open", "Requests that it is answering, streams included.", now_open),
        ]


async def answering_scrapers(address: str, counts: RequestCounts, _app: web.Application) -> AsyncIterator[None]:
    """Answer scrapers at this address for as long as the application runs."""
    with serving_figures(address, counts.figures):
        yield
