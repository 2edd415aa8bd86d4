"""The border of the gateway API: the body is read within a limit, the request proved, every refusal put into words.

Every answer, refusals too, carries a fresh nonce, so that a gateway never needs a second try to go on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiohttp import web
from pydantic import ValidationError

from reading_queue.db.connections import is_away
from reading_queue.errors import Forbidden, HubError, Unavailable
from reading_queue.services.access.gateway_auth import GatewayIdentity, authenticate, fresh_nonce
from reading_queue.services.hub import Hub
from reading_queue.web.gateway_api.problems import (
    problem_of_body,
    problem_of_http,
    problem_of_refusal,
    problem_response,
)
from reading_queue.web.offload import Run
from storage.contract.wire import NONCE_HEADER
from storage.objects.protocol import ObjectMissing, StoreUnavailable

BODY_BYTES_MAX: Final = 16 * 1024 * 1024  # a manifest of the most instances allowed has about two thirds of it

HUB = web.AppKey("GATEWAY_API_HUB", Hub)
RUN = web.AppKey("GATEWAY_API_RUN", Run)
BODY = web.RequestKey("GATEWAY_API_BODY", bytes)
GATEWAY = web.RequestKey("GATEWAY_API_GATEWAY", GatewayIdentity)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = structlog.get_logger(__name__)


def unsigned(handler: Handler) -> Handler:
    """Mark a handler that anybody may call: the code of an enrolment proves itself, a nonce proves nothing."""
    handler.__dict__["unsigned"] = True
    return handler


def for_readers(handler: Handler) -> Handler:
    """Mark a handler for gateways that serve an assisting hospital's physicians; all others are for those of sites."""
    handler.__dict__["for_readers"] = True
    return handler


@web.middleware
async def refuse_in_words(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every failure with problem details."""
    try:
        return await handler(request)
    except HubError as refusal:
        return problem_of_refusal(refusal)
    except ValidationError as error:
        return problem_of_body(error)
    except StoreUnavailable:
        return problem_of_refusal(Unavailable("The object store does not answer; try again shortly."))
    except ObjectMissing:
        return problem_response(404, "object_missing", "the object store does not hold this any more")
    except web.HTTPException as exc:
        return problem_of_http(exc)
    except web.RequestPayloadError:
        return problem_response(400, "body_unreadable", "the request's body is not what its headers say")
    except Exception as exc:  # noqa: BLE001 -- the border of a request
        if is_away(exc):
            _log.warning("database_away", reason=type(exc).__name__)
            return problem_of_refusal(Unavailable())
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "unknown"
        _log.exception("gateway_request_failed", method=request.method, route=route)
        return problem_response(500, "internal", "the hub failed inside; the failure is in its log")


@web.middleware
async def prove(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Read the body, and let only proved requests through, but for the handlers marked `unsigned`."""
    if request.match_info.http_exception is not None:
        return await handler(request)
    request[BODY] = await _read_body(request)
    if not getattr(request.match_info.handler, "unsigned", False):
        hub, run = request.app[HUB], request.app[RUN]
        request[GATEWAY] = await run(
            authenticate, hub, request.method, request.raw_path, request.headers, request[BODY]
        )
        if (request[GATEWAY].reads_for is not None) != getattr(request.match_info.handler, "for_readers", False):
            raise Forbidden("This gateway's enrolment is for another role: check `mode` in its configuration.")
    return await handler(request)


async def give_nonce(request: web.Request, response: web.StreamResponse) -> None:
    """Put a fresh nonce on the answer, as its headers are about to be sent."""
    response.headers[NONCE_HEADER] = fresh_nonce(request.app[HUB])
    response.headers["Cache-Control"] = "no-store"


async def _read_body(request: web.Request) -> bytes:
    if (request.content_length or 0) > BODY_BYTES_MAX:
        raise web.HTTPRequestEntityTooLarge(max_size=BODY_BYTES_MAX, actual_size=request.content_length or 0)
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > BODY_BYTES_MAX:
            raise web.HTTPRequestEntityTooLarge(max_size=BODY_BYTES_MAX, actual_size=len(body))
    return bytes(body)
