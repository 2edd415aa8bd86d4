"""The gateway API as an application to be mounted under PREFIX."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from reading_queue.services.hub import Hub
from reading_queue.services.reports.site_preliminaries import CHANNEL as PRELIMINARY_CHANNEL
from reading_queue.web.gateway_api import documents, handlers, preliminaries, readers
from reading_queue.web.gateway_api.authentication import HUB, RUN, give_nonce, prove, refuse_in_words
from reading_queue.web.offload import Run
from reading_queue.web.wakeups import Wakeups

PREFIX: Final = "/gateway/v1"

ROUTES: Final = (
    web.post("/enrolments", handlers.enrol),
    web.get("/nonce", handlers.nonce),
    web.post("/manifests", handlers.declare),
    web.post("/transfers/{transfer_id}/grants", handlers.grant),
    web.get("/transfers/{transfer_id}", handlers.transfer),
    web.post("/grants/{grant_id}/commits", handlers.commit),
    web.post("/custody", handlers.accept_custody),
    web.get("/documents", documents.page),
    web.get("/documents/{document_id}/content", documents.content),
    web.post("/documents/{document_id}/receipts", handlers.receive_receipt),
    web.get("/prior-requests", handlers.prior_requests),
    web.post("/prior-requests/{request_id}/outcome", handlers.prior_outcome),
    web.get("/accounts", handlers.accounts),
    web.get("/events", handlers.events),
    web.get("/reader/cases", readers.cases),
    web.get("/reader/tasks/{reading_task_id}/packs/{pack_id}", readers.pack),
    web.post("/reader/tasks/{reading_task_id}/receipts", readers.receipt),
    web.post("/reader/reports", readers.report),
    web.post("/orders", handlers.accept_orders),
    web.get("/orders", handlers.orders),
    web.get("/courses", handlers.courses),
    web.post("/site-acts", handlers.accept_site_acts),
    web.get("/preliminary-reports", preliminaries.page),
    web.get("/identity-doubts", handlers.identity_doubts),
    web.post("/identity-settlements", handlers.accept_settlements),
)


def build_gateway_api(hub: Hub, run: Run) -> web.Application:
    """Return the application; it listens for new documents with a database connection of its own while it runs."""
    app = web.Application(middlewares=[refuse_in_words, prove])
    app[HUB] = hub
    app[RUN] = run
    app[documents.WAKEUPS] = Wakeups(hub.engine.url, (documents.DOCUMENTS_CHANNEL, PRELIMINARY_CHANNEL))
    app[documents.CLOSING] = asyncio.Event()
    app.add_routes(ROUTES)
    app.on_response_prepare.append(give_nonce)
    app.on_shutdown.append(_end_long_polls)
    app.cleanup_ctx.append(_listen)
    return app


async def _end_long_polls(app: web.Application) -> None:
    documents.wake_all(app)


async def _listen(app: web.Application) -> AsyncIterator[None]:
    async with app[documents.WAKEUPS].running():
        yield
