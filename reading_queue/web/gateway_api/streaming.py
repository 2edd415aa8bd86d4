"""An object's bytes as an answer, from object storage piece by piece, off the event loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

from aiohttp import web

from reading_queue.web.gateway_api.authentication import HUB, RUN
from reading_queue.web.offload import Run


async def stream_object(request: web.Request, key: str, media_type: str, size_bytes: int) -> web.StreamResponse:
    """Answer the object under `key`; raises ObjectMissing and StoreUnavailable before the answer begins."""
    hub, run = request.app[HUB], request.app[RUN]
    opened = hub.objects.open(key)
    chunks = await run(opened.__enter__)
    try:
        response = web.StreamResponse()
        response.content_type = media_type
        response.content_length = size_bytes
        await response.prepare(request)
        await _copy(run, chunks, response)
        await response.write_eof()
        return response
    finally:
        await run(_close, opened)


async def _copy(run: Run, chunks: Iterator[bytes], response: web.StreamResponse) -> None:
    while (chunk := await run(next, chunks, None)) is not None:
        await response.write(chunk)


def _close(opened: AbstractContextManager[Iterator[bytes]]) -> None:
    opened.__exit__(None, None, None)
