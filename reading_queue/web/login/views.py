"""Logging in and out, and the language of the pages."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from reading_queue.domain.roles import Role
from reading_queue.services.access import accounts
from reading_queue.services.access.visibility import Viewer
from reading_queue.web.keys import HUB, SESSION, TOKEN, find_viewer, in_thread
from reading_queue.web.language import translate
from reading_queue.web.middlewares import cookie_name, is_secure
from reading_queue.web.parsing import field
from reading_queue.web.problems import words_of
from reading_queue.web.rendering import page
from storage.screens.requests import local_address, redirect
from storage.screens.words import LANGUAGE_COOKIE

YEAR_S: Final = 365 * 24 * 3600
DESKS: Final = {
    Role.TECHNICIAN: "/clinic/",
    Role.PHYSICIAN: "/radiologist/",
    Role.COORDINATOR: "/coordinator/",
    Role.ADMINISTRATOR: "/coordinator/",
}


async def home(request: web.Request) -> web.StreamResponse:
    """Send everybody to their own desk."""
    viewer = find_viewer(request)
    return redirect(DESKS[viewer.role] if viewer is not None else "/login")


async def login_page(request: web.Request) -> web.StreamResponse:
    """Show the form; who is logged in already goes to their desk."""
    viewer = find_viewer(request)
    if viewer is not None:
        return redirect(DESKS[viewer.role])
    return _form(request, next_path=local_address(request.query.get("next", "/"), "/"))


async def login(request: web.Request) -> web.StreamResponse:
    """Check the password and set the session's cookie."""
    hub = request.config_dict[HUB]
    form = await request.post()
    name, next_path = field(form, "login").strip(), local_address(field(form, "next"), "/")
    try:
        opened = await in_thread(request, accounts.login, hub, name, field(form, "password"), "browser")
    except accounts.LoginRefused:
        words = translate("login.refused", minutes=hub.policy.login_lock_s // 60)
        return _form(request, next_path=next_path, name=name, problem=words, status=401)
    response = redirect(next_path)
    response.set_cookie(
        cookie_name(request),
        opened.token,
        max_age=hub.policy.session_max_s,
        httponly=True,
        secure=is_secure(request),
        samesite="Strict",
        path="/",
    )
    return response


async def logout(request: web.Request, _viewer: Viewer) -> web.StreamResponse:
    """End the session and forget its cookie."""
    await in_thread(request, accounts.logout, request.config_dict[HUB], request[TOKEN])
    response = redirect("/login")
    response.del_cookie(cookie_name(request), path="/", secure=is_secure(request), httponly=True, samesite="Strict")
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


async def password_page(request: web.Request, _viewer: Viewer) -> web.StreamResponse:
    """Show the form for another password."""
    return _password_form(request)


async def change_password(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    """Give who is logged in the password they have chosen."""
    hub, form = request.config_dict[HUB], await request.post()
    new = field(form, "new_password")
    if new != field(form, "password_again"):
        return _password_form(request, translate("password.differs"), 422)
    try:
        await in_thread(request, accounts.change_password, hub, request[TOKEN], field(form, "password"), new)
    except accounts.LoginRefused:
        words = translate("login.refused", minutes=hub.policy.login_lock_s // 60)
        return _password_form(request, words, 422)
    except accounts.PasswordNotAcceptable as exc:
        return _password_form(request, words_of(exc), exc.status)
    return redirect(DESKS[viewer.role])


async def change_language(request: web.Request) -> web.StreamResponse:
    """Remember the language: for the account, or for this browser before anybody logged in."""
    form = await request.post()
    language = field(form, "language")
    if language not in accounts.LANGUAGES:
        raise web.HTTPBadRequest
    viewer = find_viewer(request)
    if viewer is not None:
        await in_thread(request, accounts.set_language, request.config_dict[HUB], viewer, language)
    response = redirect(local_address(field(form, "next"), "/"))
    response.set_cookie(
        LANGUAGE_COOKIE, language, max_age=YEAR_S, httponly=True, secure=is_secure(request), samesite="Strict", path="/"
    )
    return response


def _form(
    request: web.Request, *, next_path: str, name: str = "", problem: str = "", status: int = 200
) -> web.Response:
    return page(request, "login/login.html", status=status, next_path=next_path, name=name, problem=problem)


def _password_form(request: web.Request, problem: str = "", status: int = 200) -> web.Response:
    least = accounts.PASSWORD_CHARACTERS_MIN
    temporary = request[SESSION].password_temporary
    return page(request, "login/password.html", status=status, problem=problem, least=least, temporary=temporary)
