"""What every request of a page passes, whichever program serves it: a name, a line in the log, no forgery, headers.

Logs tell the route, never the path or the query: those may name a patient.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from storage.contract.identifiers import new_id

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REQUEST_ID = web.RequestKey("REQUEST_ID", str)

CSRF_FIELD: Final = "csrf_token"
CSRF_HEADER: Final = "X-CSRF-Token"
SAFE_METHODS: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})


def is_refresh(request: web.Request) -> bool:
    """Return whether a page asks for a part of itself again, by itself: nobody's activity and nobody's look."""
    return request.headers.get("HX-Request") == "true"


def logged(logger: structlog.stdlib.BoundLogger, level: int, event: str) -> Middleware:
    """Return what gives each request an id and writes one line at this level of `logging` when it is answered."""

    @web.middleware
    async def log_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[REQUEST_ID] = new_id()
        started = time.monotonic()
        status = 500
        with structlog.contextvars.bound_contextvars(request_id=request[REQUEST_ID]):
            try:
                response = await handler(request)
                status = response.status
                return response
            except web.HTTPException as exc:
                status = exc.status
                raise
            finally:
                resource = request.match_info.route.resource
                logger.log(
                    level,
                    event,
                    method=request.method,
                    route=resource.canonical if resource is not None else "unknown",
                    status=status,
                    elapsed_ms=round((time.monotonic() - started) * 1000),
                )

    return log_requests


def refuse_large_body(request: web.Request, bytes_max: int) -> None:
    """Raise 411 or 413 unless the request's body says its length, and it is at most `bytes_max`."""
    if not request.body_exists:
        return
    if request.content_length is None:
        raise web.HTTPLengthRequired
    if request.content_length > bytes_max:
        raise web.HTTPRequestEntityTooLarge(max_size=bytes_max, actual_size=request.content_length)


def comes_from_our_page(request: web.Request, public_url: str) -> bool:
    """Judge by what only a browser sends and no page can forge; a program sends neither header."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        return False
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None:
        return True
    ours = {request.host, urlsplit(public_url).netloc}
    return urlsplit(origin).netloc in ours - {""}


async def bears_token(request: web.Request, expected: str, form_types: tuple[str, ...]) -> bool:
    """Return whether the request bears its page's token, in a header or in a form of one of these media types."""
    given = request.headers.get(CSRF_HEADER)
    if given is None and request.content_type in form_types:
        field = (await request.post()).get(CSRF_FIELD)
        given = field if isinstance(field, str) else None
    return given is not None and hmac.compare_digest(given.encode(), expected.encode())


def tell_browser(request: web.Request, response: web.StreamResponse, policy: Mapping[str, str], *, tls: bool) -> None:
    """Set the headers of every answer, and those of `policy` that the handler left out."""
    headers = response.headers
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "same-origin"
    if REQUEST_ID in request:
        headers["X-Request-Id"] = request[REQUEST_ID]
    if tls:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    for name, value in policy.items():
        headers.setdefault(name, value)


def redirect(to: str) -> web.Response:
    """Answer "look there with GET" (303); `to` is an address of ours."""
    return web.Response(status=303, headers={"Location": to})


def local_address(text: str, otherwise: str) -> str:
    """Return `text` when it is a path on this host, else `otherwise`: a link may not lead people elsewhere."""
    is_path = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable()
    return text if is_path else otherwise
