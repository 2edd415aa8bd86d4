"""The requests of `storage.contract.wire`, one handler each: parse, one service call off the loop, answer."""

from __future__ import annotations

from aiohttp import web

from reading_queue.errors import Invalid
from reading_queue.services import custody, enrolment, intake, returns
from reading_queue.services.gateway_auth import fresh_nonce
from reading_queue.web.gateway_api.authentication import BODY, GATEWAY, HUB, RUN, unsigned
from storage.contract.manifest import Manifest, WireModel
from storage.contract.wire import CommitRequest, CustodyBatch, EnrolmentRequest, GrantRequest, NonceAnswer, Receipt


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


def query_number(request: web.Request, name: str) -> int:
    """Return a whole number of the query, 0 when it is absent. Raises Invalid for anything else."""
    text = request.query.get(name, "0")
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise Invalid(f"{name} must be a whole number")
    return int(text)


def _answer(model: WireModel, status: int = 200) -> web.Response:
    return web.Response(body=model.model_dump_json(), status=status, content_type="application/json")
