"""What every request passes, outermost first: a name and a log line, errors into pages, who asks, no forgery.

Logs carry the route's pattern, never the address itself, a query or a body: those may name a patient.
"""

from __future__ import annotations

import logging
from typing import Final
from urllib.parse import quote

import structlog
from aiohttp import hdrs, web

from gateway.console import accounts
from gateway.console.errors import (
    AccountsTooOld,
    BodyUnreadable,
    ConsoleError,
    ForgeryRefused,
    NotAuthenticated,
    NotFound,
)
from gateway.console.keys import DESK, TOKEN, VIEWER, find_viewer, in_thread
from gateway.console.language import choose_language, translate_or
from gateway.console.rendering import page
from gateway.errors import SpoolFull
from storage.screens.requests import (
    REQUEST_ID,
    SAFE_METHODS,
    Handler,
    bears_token,
    comes_from_our_page,
    is_refresh,
    local_address,
    logged,
    redirect,
    refuse_large_body,
    tell_browser,
)

COOKIE: Final = "counterpart_console"
COOKIE_SECURE: Final = "__Host-counterpart-console"  # a browser takes it over TLS only, for this host only
BODY_BYTES_MAX: Final = 256 * 1024
FORM_TYPES: Final = ("application/x-www-form-urlencoded",)
BROWSER_POLICY: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

log = structlog.get_logger(__name__)
log_requests = logged(log, logging.DEBUG, "console_answered")


def streamed(handler: Handler) -> Handler:
    """Mark a handler that reads a large body itself, piece by piece; its token comes in a header."""
    handler.__dict__["streamed"] = True
    return handler


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what handlers raise into pages."""
    try:
        return await handler(request)
    except (NotAuthenticated, AccountsTooOld) as exc:
        return _to_login(request, exc)
    except ConsoleError as exc:
        return _error_page(request, exc.status, exc.code, exc.detail)
    except SpoolFull:
        return _error_page(request, 507, "disk_full", "The gateway's disk is full.")
    except web.HTTPException as exc:
        if exc.status < 400:
            raise
        return _error_page(request, exc.status, f"http_{exc.status}", exc.reason)
    except ConnectionError:
        raise  # the browser has gone; there is nobody to answer
    except web.RequestPayloadError:
        return _error_page(request, BodyUnreadable.status, BodyUnreadable.code, BodyUnreadable().detail)
    except Exception:
        log.exception("console_request_failed")
        return _error_page(request, 500, "internal", "The gateway failed at this request.")


@web.middleware
async def open_session(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Find out who asks. Nobody is no error here."""
    token = request.cookies.get(cookie_name(request), "")
    if token:
        desk = request.config_dict[DESK]
        active = not is_refresh(request)
        viewer = await in_thread(
            request, accounts.find_viewer, desk.journal, desk.rules, token, desk.clock(), active=active
        )
        if viewer is not None:
            request[VIEWER], request[TOKEN] = viewer, token
    choose_language(request)
    return await handler(request)


@web.middleware
async def refuse_forgery(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let an unsafe request pass only when it came from a page of ours and carries that page's token."""
    if request.method not in SAFE_METHODS:
        viewer = find_viewer(request)
        public_url = request.config_dict[DESK].console.public_url or ""
        if not comes_from_our_page(request, public_url):
            raise ForgeryRefused
        if viewer is not None and not await bears_token(request, viewer.csrf_token, FORM_TYPES):
            raise ForgeryRefused
    return await handler(request)


@web.middleware
async def limit_bodies(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what is larger than any form of ours, but for handlers that stream and set their own limit."""
    if not getattr(request.match_info.handler, "streamed", False):
        refuse_large_body(request, BODY_BYTES_MAX)
    return await handler(request)


async def secure_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Tell browsers what our pages may do."""
    tell_browser(request, response, BROWSER_POLICY, tls=is_secure(request))


def is_secure(request: web.Request) -> bool:
    """Return whether people reach the console over TLS."""
    console = request.config_dict[DESK].console
    return console.speaks_tls or (console.public_url or "").startswith("https://")


def cookie_name(request: web.Request) -> str:
    """Return the name of the session cookie."""
    return COOKIE_SECURE if is_secure(request) else COOKIE


def _error_page(request: web.Request, status: int, code: str, detail: str) -> web.Response:
    """Answer a page that says what happened and what to do next."""
    words = translate_or(f"error.{code}", detail)
    if is_refresh(request) or "text/html" not in request.headers.get(hdrs.ACCEPT, "text/html"):
        return web.Response(status=status, text=words)
    if status == NotFound.status:
        words = translate_or("error.http_404", detail)
    back = _came_from(request)
    reference = request.get(REQUEST_ID, "")
    return page(request, "error.html", status=status, code=code, words=words, back=back, request_id=reference)


def _came_from(request: web.Request) -> str:
    """Return the page of ours that led here, empty where there is none to go back to."""
    referer = request.headers.get(hdrs.REFERER, "")
    origin = f"{request.scheme}://{request.host}"
    came_from = local_address(referer.removeprefix(origin), "") if referer.startswith(f"{origin}/") else ""
    return "" if came_from == request.rel_url.raw_path_qs else came_from


def _to_login(request: web.Request, refusal: ConsoleError) -> web.StreamResponse:
    if is_refresh(request):
        return web.Response(status=401, headers={"HX-Redirect": "/login"})
    if request.method != hdrs.METH_GET:
        if getattr(request.match_info.handler, "streamed", False):
            return web.Response(status=401, text=translate_or(f"error.{refusal.code}", refusal.detail))
        return redirect("/login")
    return redirect(f"/login?next={quote(request.path)}")
