"""The requests of gateways at assisting hospitals: parse, one service call off the loop, answer."""

from __future__ import annotations

from aiohttp import web

from reading_queue.services.reading import readers
from reading_queue.web.gateway_api.authentication import BODY, GATEWAY, HUB, RUN, for_readers
from reading_queue.web.gateway_api.streaming import stream_object
from storage.contract.wire import ReaderReceipt, ReaderReport

PACK_MEDIA_TYPE = "application/x-tar"


@for_readers
async def cases(request: web.Request) -> web.Response:
    """GET /reader/cases."""
    answer = await request.app[RUN](readers.claimed_cases, request.app[HUB], _organisation(request))
    return web.Response(body=answer.model_dump_json(), content_type="application/json")


@for_readers
async def pack(request: web.Request) -> web.StreamResponse:
    """GET /reader/tasks/{reading_task_id}/packs/{pack_id}: the bytes, streamed from object storage."""
    task_id, pack_id = request.match_info["reading_task_id"], request.match_info["pack_id"]
    found = await request.app[RUN](readers.pack_of_claim, request.app[HUB], _organisation(request), task_id, pack_id)
    return await stream_object(request, found.object_key, PACK_MEDIA_TYPE, found.size_bytes)


@for_readers
async def receipt(request: web.Request) -> web.Response:
    """POST /reader/tasks/{reading_task_id}/receipts."""
    body = ReaderReceipt.model_validate_json(request[BODY])
    task_id = request.match_info["reading_task_id"]
    await request.app[RUN](readers.record_reader_receipt, request.app[HUB], _organisation(request), task_id, body)
    return web.Response(status=204)


@for_readers
async def report(request: web.Request) -> web.Response:
    """POST /reader/reports."""
    body = ReaderReport.model_validate_json(request[BODY])
    gateway_id = request[GATEWAY].gateway_id
    await request.app[RUN](readers.take_report, request.app[HUB], _organisation(request), gateway_id, body)
    return web.Response(status=204)


def _organisation(request: web.Request) -> str:
    return request[GATEWAY].reads_for or ""
