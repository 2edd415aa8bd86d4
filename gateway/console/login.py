"""Logging in and out, and the language of the pages."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.console import accounts
from gateway.console.errors import AccountsTooOld, LoginRefused
from gateway.console.keys import DESK, TOKEN, find_viewer, get_viewer, in_thread
from gateway.console.language import translate
from gateway.console.middlewares import cookie_name, is_secure
from gateway.console.parsing import field
from gateway.console.rendering import page
from gateway.journal.accounts import list_accounts
from gateway.journal.identity import find_identity
from storage.screens.requests import local_address, redirect
from storage.screens.words import LANGUAGE_COOKIE

YEAR_S: Final = 365 * 24 * 3600
HOME: Final = "/studies"


async def home(request: web.Request) -> web.StreamResponse:
    """Send everybody to today's studies."""
    return redirect(HOME if find_viewer(request) is not None else "/login")


async def login_page(request: web.Request) -> web.StreamResponse:
    """Show the form; who is logged in already goes on."""
    if find_viewer(request) is not None:
        return redirect(HOME)
    return await _form(request, next_path=local_address(request.query.get("next", HOME), HOME))


async def login(request: web.Request) -> web.StreamResponse:
    """Check the password and set the session's cookie."""
    desk = request.config_dict[DESK]
    form = await request.post()
    name, next_path = field(form, "login"), local_address(field(form, "next"), HOME)
    password = form.get("password")
    given = password if isinstance(password, str) else ""
    try:
        token = await in_thread(request, accounts.login, desk.journal, desk.rules, name, given, desk.clock())
    except LoginRefused:
        minutes = max(1, desk.console.login_lock_s // 60)
        words = translate("login.refused", minutes=minutes, hub=desk.settings.hub.url)
        return await _form(request, next_path=next_path, name=name, problem=words, status=401)
    except AccountsTooOld:
        words = translate("login.too_old", days=f"{desk.console.accounts_offline_days:g}")
        return await _form(request, next_path=next_path, name=name, problem=words, status=401)
    response = redirect(next_path)
    response.set_cookie(
        cookie_name(request),
        token,
        max_age=round(desk.rules.session.total_seconds()),
        httponly=True,
        secure=is_secure(request),
        samesite="Strict",
        path="/",
    )
    return response


async def logout(request: web.Request) -> web.StreamResponse:
    """End the session and forget its cookie."""
    desk = request.config_dict[DESK]
    await in_thread(request, accounts.logout, desk.journal, get_viewer(request), request[TOKEN], desk.clock())
    response = redirect("/login")
    response.del_cookie(cookie_name(request), path="/", secure=is_secure(request), httponly=True, samesite="Strict")
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


async def change_language(request: web.Request) -> web.StreamResponse:
    """Remember the language for this browser."""
    form = await request.post()
    language = field(form, "language")
    if language not in accounts.LANGUAGES:
        raise web.HTTPBadRequest
    response = redirect(local_address(field(form, "next"), "/"))
    response.set_cookie(
        LANGUAGE_COOKIE, language, max_age=YEAR_S, httponly=True, secure=is_secure(request), samesite="Strict", path="/"
    )
    return response


async def _form(
    request: web.Request, *, next_path: str, name: str = "", problem: str = "", status: int = 200
) -> web.Response:
    journal = request.config_dict[DESK].journal
    identity = await in_thread(request, find_identity, journal)
    return page(
        request,
        "login.html",
        status=status,
        next_path=next_path,
        name=name,
        problem=problem,
        site_name=identity.site_name if identity else "",
        has_accounts=bool(await in_thread(request, list_accounts, journal)),
    )
