"""What every request passes, outermost first: a name and a log line, errors into answers, who asks, no forgery.

Logs carry the route's pattern, never the address itself, a query or a body: those may name a patient.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

import structlog
from aiohttp import hdrs, web

from reading_queue.errors import HubError
from reading_queue.services import accounts
from reading_queue.web.keys import HUB, REQUEST_ID, SESSION, TOKEN, in_thread, is_refresh
from reading_queue.web.language import choose_language
from reading_queue.web.problems import FOR_PROGRAMS, error_page, is_mounted, problem, refusal
from storage.contract.identifiers import new_id

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

COOKIE: Final = "counterpart"
COOKIE_SECURE: Final = "__Host-counterpart"  # a browser takes it over TLS only, for this host only
BODY_BYTES_MAX: Final = 1024 * 1024
CSRF_FIELD: Final = "csrf_token"
CSRF_HEADER: Final = "X-CSRF-Token"
SAFE_METHODS: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})
FORM_TYPES: Final = ("application/x-www-form-urlencoded", "multipart/form-data")
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'self'"
)

log = structlog.get_logger(__name__)


class ForgeryRefused(HubError):
    """This request did not come from a page of ours; load the page again and repeat it."""

    code = "forgery_refused"
    status = 403


class BodyUnreadable(HubError):
    """The request's body is not what its headers say."""

    code = "body_unreadable"
    status = 400


@web.middleware
async def log_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request an id and log one line when it is answered."""
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
            log.info(
                "request_answered",
                method=request.method,
                route=resource.canonical if resource is not None else "unknown",
                status=status,
                elapsed_ms=round((time.monotonic() - started) * 1000),
            )


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what handlers raise into pages or problem details."""
    try:
        return await handler(request)
    except HubError as exc:
        return refusal(request, exc)
    except web.HTTPException as exc:
        if is_mounted(request) or exc.status < 400:
            raise
        code = f"http_{exc.status}"
        if request.path.startswith(FOR_PROGRAMS):
            return problem(exc.status, code, exc.reason)
        return error_page(request, exc.status, code, exc.reason)
    except ConnectionError:
        raise  # the client has gone; there is nobody to answer
    except web.RequestPayloadError:
        return refusal(request, BodyUnreadable())
    except Exception:
        log.exception("request_failed")
        detail = f"The hub failed at this request. It is logged under {request[REQUEST_ID]}."
        if request.path.startswith(FOR_PROGRAMS) or is_mounted(request):
            return problem(500, "internal", detail)
        return error_page(request, 500, "internal", detail)


@web.middleware
async def open_session(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Find out who asks: by bearer token for programs, by cookie for browsers. Nobody is no error here."""
    token, kind = _credentials(request)
    if token:
        hub = request.config_dict[HUB]
        session = await in_thread(request, accounts.find_session, hub, token, active=not is_refresh(request))
        if session is not None and session.kind == kind:
            request[SESSION], request[TOKEN] = session, token
    choose_language(request)
    return await handler(request)


@web.middleware
async def refuse_forgery(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let an unsafe request of a browser pass only when it came from a page of ours and carries that page's token."""
    if request.method not in SAFE_METHODS:
        session = request.get(SESSION)
        if not _from_our_page(request):
            raise ForgeryRefused
        if session is not None and session.kind == "browser" and not await _has_token(request, session.csrf_token):
            raise ForgeryRefused
    return await handler(request)


@web.middleware
async def limit_bodies(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what is larger than any form or JSON of ours; a mounted application sets its own limits."""
    if request.body_exists and not is_mounted(request):
        if request.content_length is None:
            raise web.HTTPLengthRequired
        if request.content_length > BODY_BYTES_MAX:
            raise web.HTTPRequestEntityTooLarge(max_size=BODY_BYTES_MAX, actual_size=request.content_length)
    return await handler(request)


async def secure_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Tell browsers what our pages may do; a mounted application decides its own content policy."""
    headers = response.headers
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "same-origin"
    if REQUEST_ID in request:
        headers["X-Request-Id"] = request[REQUEST_ID]
    if is_secure(request):
        headers["Strict-Transport-Security"] = "max-age=31536000"
    if not is_mounted(request):
        headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        headers.setdefault("X-Frame-Options", "SAMEORIGIN")
        headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
        headers.setdefault("Cache-Control", "no-store")


def is_secure(request: web.Request) -> bool:
    """Return whether people reach the hub over TLS."""
    return request.config_dict[HUB].public_url.startswith("https://")


def cookie_name(request: web.Request) -> str:
    """Return the name of the session cookie."""
    return COOKIE_SECURE if is_secure(request) else COOKIE


def _credentials(request: web.Request) -> tuple[str, str]:
    scheme, _, value = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip(), "api"
    return request.cookies.get(cookie_name(request), ""), "browser"


def _from_our_page(request: web.Request) -> bool:
    """Judge by what only a browser sends and no page can forge; a program sends neither header."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        return False
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None:
        return True
    ours = {request.host, urlsplit(request.config_dict[HUB].public_url).netloc}
    return urlsplit(origin).netloc in ours


async def _has_token(request: web.Request, expected: str) -> bool:
    given = request.headers.get(CSRF_HEADER)
    if given is None and request.content_type in FORM_TYPES:
        field = (await request.post()).get(CSRF_FIELD)
        given = field if isinstance(field, str) else None
    return given is not None and hmac.compare_digest(given.encode(), expected.encode())
