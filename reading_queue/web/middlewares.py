"""What every request passes, outermost first: a name and a log line, errors into answers, who asks, no forgery.

Logs carry the route's pattern, never the address itself, a query or a body: those may name a patient.
"""

from __future__ import annotations

import logging
from typing import Final

import structlog
from aiohttp import hdrs, web

from reading_queue.db.connections import is_away
from reading_queue.errors import HubError, Invalid, Unavailable
from reading_queue.services.access import accounts
from reading_queue.web.keys import HUB, SESSION, TOKEN, TYPED, in_thread
from reading_queue.web.language import choose_language
from reading_queue.web.problems import FOR_PROGRAMS, error_page, is_mounted, problem, refusal
from storage.screens.requests import (
    CSRF_FIELD,
    REQUEST_ID,
    SAFE_METHODS,
    Handler,
    bears_token,
    comes_from_our_page,
    is_refresh,
    logged,
    refuse_large_body,
    tell_browser,
)

COOKIE: Final = "counterpart"
COOKIE_SECURE: Final = "__Host-counterpart"  # a browser takes it over TLS only, for this host only
BODY_BYTES_MAX: Final = 1024 * 1024
FORM_TYPES: Final = ("application/x-www-form-urlencoded", "multipart/form-data")
BEFORE_A_PASSWORD: Final = ("/password", "/logout", "/language", "/static/", "/api/v1/session")
BROWSER_POLICY: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'self'"
    ),
    "X-Frame-Options": "SAMEORIGIN",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

log = structlog.get_logger(__name__)
log_requests = logged(log, logging.INFO, "request_answered")


class ForgeryRefused(HubError):
    """This request did not come from a page of ours; load the page again and repeat it."""

    code = "forgery_refused"
    status = 403


class BodyUnreadable(HubError):
    """The request's body is not what its headers say."""

    code = "body_unreadable"
    status = 400


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
    except Exception as exc:
        if is_away(exc):
            log.warning("database_away", reason=type(exc).__name__)
            return refusal(request, Unavailable())
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
    session = request.get(SESSION)
    if session is not None and session.password_temporary and not request.path.startswith(BEFORE_A_PASSWORD):
        raise accounts.PasswordChangeNeeded
    return await handler(request)


@web.middleware
async def refuse_forgery(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let an unsafe request of a browser pass only when it came from a page of ours and carries that page's token."""
    if request.method not in SAFE_METHODS:
        session = request.get(SESSION)
        if not comes_from_our_page(request, request.config_dict[HUB].public_url):
            raise ForgeryRefused
        if request.content_type == FORM_TYPES[0] and not request.path.startswith(FOR_PROGRAMS):
            request[TYPED] = await _typed(request)  # a form without files
        if (
            session is not None
            and session.kind == "browser"
            and not await bears_token(request, session.csrf_token, FORM_TYPES)
        ):
            raise ForgeryRefused
    return await handler(request)


async def _typed(request: web.Request) -> dict[str, str]:
    """Return what a person typed into a page, to be shown again. Raises Invalid for what is no text."""
    try:
        typed = await request.post()
    except (UnicodeDecodeError, LookupError) as exc:  # LookupError: a charset that nobody knows
        raise Invalid("the form is not in UTF-8") from exc
    return {name: value for name, value in typed.items() if isinstance(value, str) and not _is_secret(name)}


def _is_secret(name: str) -> bool:
    """Return whether a field of ours is never shown again: every field for a password has that word in its name."""
    return name == CSRF_FIELD or "password" in name


@web.middleware
async def limit_bodies(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what is larger than any form or JSON of ours; a mounted application sets its own limits."""
    if not is_mounted(request):
        refuse_large_body(request, BODY_BYTES_MAX)
    return await handler(request)


async def secure_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Tell browsers what our pages may do; a mounted application decides its own content policy."""
    tell_browser(request, response, {} if is_mounted(request) else BROWSER_POLICY, tls=is_secure(request))


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
