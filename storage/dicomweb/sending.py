"""How a streamed answer goes on the line: bounded memory, the next piece read while the last one is written.

An answer that breaks off is seen to: the connection is cut, never closed as if all had been said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Final

import structlog
from aiohttp import hdrs, web

from storage.dicomweb.service import Run
from storage.objects.protocol import ObjectStoreError

NOTHING_KEPT: Final = {"Cache-Control": "no-store"}  # in the browser of a shared desk

_log = structlog.get_logger(__name__)


class AnswerBroken(ConnectionError):
    """The answer could not be finished after its head had gone; the connection is cut."""


async def send(
    request: web.Request, run: Run, response: web.StreamResponse, pieces: Generator[bytes]
) -> web.StreamResponse:
    """Send the pieces, each taken off the event loop by `run`, and close them.

    Raises:
        ObjectStoreError: before anything was sent, so that it can be told in words.
        AnswerBroken: later.
    """
    if request.method == hdrs.METH_HEAD:
        await run(pieces.close)
        await response.prepare(request)
        return response
    ahead = asyncio.ensure_future(run(next, pieces, b""))
    try:
        piece = await ahead
        await response.prepare(request)
        try:
            while piece:
                ahead = asyncio.ensure_future(run(next, pieces, b""))
                await response.write(piece)
                piece = await ahead
        except ConnectionError:
            raise  # the client has gone
        except Exception as exc:  # what is sent cannot be taken back, whatever failed
            _cut(request, exc)
            raise AnswerBroken from exc
    finally:
        await asyncio.wait([ahead])  # it works on the generator, which cannot be closed meanwhile
        if not ahead.cancelled():
            ahead.exception()  # seen here or not at all
        await run(pieces.close)
    await response.write_eof()
    return response


def _cut(request: web.Request, exc: Exception) -> None:
    if isinstance(exc, ObjectStoreError):
        _log.warning("answer_broken_off", reason=type(exc).__name__)
    else:
        _log.exception("answer_broken_off", reason=type(exc).__name__)
    if request.transport is not None:
        request.transport.abort()
