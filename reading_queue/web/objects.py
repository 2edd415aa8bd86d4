"""The directory store's presigned addresses: PUT takes exactly what was signed for, GET gives the object or a range.

Promises: an answer of 200 to a PUT means the object is durable, with the size and digest that were signed; anything
else leaves nothing behind. Memory is bounded by READ_BYTES for each request, whatever the object's size. Whoever holds
an address may use it: there is no session and no cookie here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import web

from reading_queue.web.offload import Run
from storage.contract.wire import Problem
from storage.objects.directory import DirectoryStore, PresignedExpired, PresignedInvalid, PresignedTerms, Upload
from storage.objects.protocol import ObjectMissing, ObjectRejected, StoreUnavailable

READ_BYTES: Final = 512 * 1024
SILENCE_S: Final = 60.0  # between two bytes of an upload; a slow line is fine, a dead one is not
PROBLEM_JSON: Final = "application/problem+json"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = structlog.get_logger(__name__)


class _Refused(Exception):
    """This request cannot be answered; how is in its arguments."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(code)
        self.status, self.code, self.detail = status, code, detail


def build_objects_app(store: DirectoryStore, run: Run) -> web.Application:
    """Return the application that answers the addresses which `store` has signed; `run` calls off the event loop."""

    async def put(request: web.Request) -> web.StreamResponse:
        key = request.match_info["key"]
        terms = _verify(store, request, key)
        size_bytes = _size_as_signed(request, terms)
        upload = await run(store.begin_put, key, size_bytes, terms.sha256)
        try:
            await _receive(request, upload, run)
            await run(upload.finish)
        finally:
            upload.abort()
        return web.Response()

    async def get(request: web.Request) -> web.StreamResponse:
        key = request.match_info["key"]
        _verify(store, request, key)
        size_bytes = (await run(store.stat, key)).size_bytes
        response, offset, length = _prepare_answer(request, size_bytes)
        if request.method == "HEAD":
            return response
        with ExitStack() as stack:
            chunks = await run(stack.enter_context, store.open(key, offset=offset, length=length))
            await response.prepare(request)
            while chunk := await run(next, chunks, b""):
                await response.write(chunk)
        await response.write_eof()
        return response

    app = web.Application(middlewares=[_refuse_in_words])
    app.add_routes([web.put("/{key:.+}", put), web.get("/{key:.+}", get)])
    return app


def _verify(store: DirectoryStore, request: web.Request, key: str) -> PresignedTerms:
    if not request.query_string.isascii() or not request.query.get("signature", "").isascii():
        raise PresignedInvalid("this address was not signed by this hub, or was changed")
    method = "GET" if request.method == "HEAD" else request.method
    return store.verify_presigned(method, key, request.query)


def _size_as_signed(request: web.Request, terms: PresignedTerms) -> int:
    if terms.size_bytes is None:
        raise PresignedInvalid("this address allows no upload")
    if request.content_length is None:
        raise _Refused(HTTPStatus.LENGTH_REQUIRED, "length_required", "an upload names its Content-Length")
    if request.content_length != terms.size_bytes:
        raise _Refused(
            HTTPStatus.BAD_REQUEST,
            "wrong_size",
            f"{terms.size_bytes} bytes were granted, {request.content_length} are announced; nothing was stored",
        )
    return terms.size_bytes


async def _receive(request: web.Request, upload: Upload, run: Run) -> None:
    buffer = bytearray()
    while True:
        async with asyncio.timeout(SILENCE_S):
            chunk = await request.content.readany()
        buffer += chunk
        if buffer and (not chunk or len(buffer) >= READ_BYTES):
            await run(upload.write, bytes(buffer))
            buffer.clear()
        if not chunk:
            return


def _prepare_answer(request: web.Request, size_bytes: int) -> tuple[web.StreamResponse, int, int]:
    """Return the answer without its body, and which bytes belong into it."""
    headers = {"Accept-Ranges": "bytes", "Cache-Control": "private, no-store"}
    try:
        start, stop, _ = request.http_range.indices(size_bytes)
    except ValueError as exc:
        raise _Refused(HTTPStatus.BAD_REQUEST, "range_invalid", "a range looks like bytes=0-99") from exc
    ranged = request.headers.get("Range") is not None
    if ranged and start >= stop:
        words = f"the object has {size_bytes} bytes"
        raise _Refused(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "range_outside", words)
    if ranged:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size_bytes}"
    response = web.StreamResponse(status=206 if ranged else 200, headers=headers)
    response.content_type = "application/octet-stream"
    response.content_length = stop - start
    return response, start, stop - start


@web.middleware
async def _refuse_in_words(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except _Refused as exc:
        return _problem(exc.status, exc.code, exc.detail)
    except PresignedExpired as exc:
        return _problem(HTTPStatus.FORBIDDEN, "grant_expired", str(exc))
    except PresignedInvalid as exc:
        return _problem(HTTPStatus.FORBIDDEN, "address_invalid", str(exc))
    except ObjectMissing:
        return _problem(HTTPStatus.NOT_FOUND, "object_missing", "there is no such object")
    except ObjectRejected as exc:
        return _problem(HTTPStatus.BAD_REQUEST, "object_rejected", str(exc))
    except StoreUnavailable as exc:
        _log.error("object_store_unavailable", reason=str(exc))
        return _problem(HTTPStatus.SERVICE_UNAVAILABLE, "store_unavailable", str(exc))
    except TimeoutError:
        words = f"nothing came for {SILENCE_S:g} s; nothing was stored"
        return _problem(HTTPStatus.REQUEST_TIMEOUT, "upload_stalled", words)


def _problem(status: int, code: str, detail: str) -> web.Response:
    """Answer problem details and close the connection: the rest of a refused body is not read."""
    problem = Problem(title=HTTPStatus(status).phrase, status=status, code=code, detail=detail)
    answer = web.Response(text=problem.model_dump_json(), status=status, content_type=PROBLEM_JSON)
    answer.force_close()
    return answer
