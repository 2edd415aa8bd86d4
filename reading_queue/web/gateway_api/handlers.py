"""The requests of `storage.contract.wire`, one handler each: parse, one service call off the loop, answer."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web

from reading_queue.errors import Invalid
from reading_queue.services.access import enrolment
from reading_queue.services.access.gateway_auth import fresh_nonce
from reading_queue.services.arrival import custody, intake
from reading_queue.services.cases import site_course, site_news
from reading_queue.services.orders import orders as order_services
from reading_queue.services.patients import site_identity
from reading_queue.services.reading import priors
from reading_queue.services.reports import returns
from reading_queue.web.gateway_api.authentication import BODY, GATEWAY, HUB, RUN, unsigned
from storage.contract.course import SiteActs
from storage.contract.identity_doubts import IdentitySettlements
from storage.contract.manifest import Manifest, WireModel
from storage.contract.priors import PriorOutcome
from storage.contract.wire import (
    CommitRequest,
    CustodyBatch,
    EnrolmentRequest,
    GrantRequest,
    NonceAnswer,
    OrderBatch,
    Receipt,
)


@unsigned
async def enrol(request: web.Request) -> web.Response:
    """POST /enrolments."""
    body = EnrolmentRequest.model_validate_json(request[BODY])
    return _answer(await request.app[RUN](enrolment.enrol, request.app[HUB], body))


@unsigned
async def nonce(request: web.Request) -> web.Response:
    """GET /nonce."""
    return _answer(NonceAnswer(nonce=fresh_nonce(request.app[HUB])))


async def declare(request: web.Request) -> web.Response:
    """POST /manifests."""
    run = request.app[RUN]
    manifest = await run(Manifest.model_validate_json, request[BODY])
    return _answer(await run(intake.declare, request.app[HUB], request[GATEWAY], manifest))


async def grant(request: web.Request) -> web.Response:
    """POST /transfers/{transfer_id}/grants."""
    body = GrantRequest.model_validate_json(request[BODY])
    transfer_id = request.match_info["transfer_id"]
    return _answer(await request.app[RUN](intake.grant, request.app[HUB], request[GATEWAY], transfer_id, body))


async def commit(request: web.Request) -> web.Response:
    """POST /grants/{grant_id}/commits."""
    body = CommitRequest.model_validate_json(request[BODY])
    grant_id = request.match_info["grant_id"]
    answer = await request.app[RUN](intake.commit, request.app[HUB], request[GATEWAY], grant_id, body)
    return _answer(answer, status=202)


async def transfer(request: web.Request) -> web.Response:
    """GET /transfers/{transfer_id}."""
    transfer_id = request.match_info["transfer_id"]
    return _answer(await request.app[RUN](intake.transfer_answer, request.app[HUB], request[GATEWAY], transfer_id))


async def accept_custody(request: web.Request) -> web.Response:
    """POST /custody."""
    batch = CustodyBatch.model_validate_json(request[BODY])
    return _answer(await request.app[RUN](custody.accept_batch, request.app[HUB], request[GATEWAY].gateway_id, batch))


async def receive_receipt(request: web.Request) -> web.Response:
    """POST /documents/{document_id}/receipts."""
    receipt = Receipt.model_validate_json(request[BODY])
    document_id = request.match_info["document_id"]
    await request.app[RUN](returns.record_receipt, request.app[HUB], request[GATEWAY].site_id, document_id, receipt)
    return web.Response(status=204)


async def prior_requests(request: web.Request) -> web.Response:
    """GET /prior-requests?after=N."""
    after = query_number(request, "after")
    return _answer(await request.app[RUN](priors.requests_for, request.app[HUB], request[GATEWAY], after))


async def prior_outcome(request: web.Request) -> web.Response:
    """POST /prior-requests/{request_id}/outcome."""
    outcome = PriorOutcome.model_validate_json(request[BODY])
    request_id = request.match_info["request_id"]
    await request.app[RUN](priors.record_outcome, request.app[HUB], request[GATEWAY], request_id, outcome)
    return web.Response(status=204)


async def accounts(request: web.Request) -> web.Response:
    """GET /accounts?known=VERSION."""
    gateway, known = request[GATEWAY], request.query.get("known", "")
    run = request.app[RUN]
    return _answer(await run(site_news.accounts_for_site, request.app[HUB], gateway.gateway_id, gateway.site_id, known))


async def events(request: web.Request) -> web.Response:
    """GET /events?since=TIME."""
    since = _query_time(request, "since")
    return _answer(await request.app[RUN](site_news.events_for_site, request.app[HUB], request[GATEWAY].site_id, since))


async def accept_orders(request: web.Request) -> web.Response:
    """POST /orders."""
    batch = OrderBatch.model_validate_json(request[BODY])
    return _answer(await request.app[RUN](order_services.accept_orders, request.app[HUB], request[GATEWAY], batch))


async def orders(request: web.Request) -> web.Response:
    """GET /orders?after=N."""
    after = query_number(request, "after")
    run = request.app[RUN]
    return _answer(await run(order_services.orders_for_site, request.app[HUB], request[GATEWAY].site_id, after))


async def courses(request: web.Request) -> web.Response:
    """GET /courses."""
    return _answer(await request.app[RUN](site_course.courses_for_site, request.app[HUB], request[GATEWAY].site_id))


async def accept_site_acts(request: web.Request) -> web.Response:
    """POST /site-acts."""
    batch = SiteActs.model_validate_json(request[BODY])
    return _answer(await request.app[RUN](site_course.accept_acts, request.app[HUB], request[GATEWAY], batch))


async def identity_doubts(request: web.Request) -> web.Response:
    """GET /identity-doubts."""
    return _answer(await request.app[RUN](site_identity.doubts_for_site, request.app[HUB], request[GATEWAY].site_id))


async def accept_settlements(request: web.Request) -> web.Response:
    """POST /identity-settlements."""
    batch = IdentitySettlements.model_validate_json(request[BODY])
    return _answer(await request.app[RUN](site_identity.accept_settlements, request.app[HUB], request[GATEWAY], batch))


def query_number(request: web.Request, name: str) -> int:
    """Return a whole number of the query, 0 when it is absent. Raises Invalid for anything else."""
    text = request.query.get(name, "0")
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise Invalid(f"{name} must be a whole number")
    return int(text)


def _query_time(request: web.Request, name: str) -> datetime:
    """Return a time of the query, the beginning of time when it is absent. Raises Invalid for anything else."""
    try:
        moment = datetime.fromisoformat(request.query.get(name) or "0001-01-02T00:00:00+00:00")
    except ValueError as exc:
        raise Invalid(f"{name} must be a time in ISO 8601") from exc
    if moment.tzinfo is None:
        raise Invalid(f"{name} must have its offset from UTC")
    return moment.astimezone(UTC)


def _answer(model: WireModel, status: int = 200) -> web.Response:
    return web.Response(body=model.model_dump_json(), status=status, content_type="application/json")
