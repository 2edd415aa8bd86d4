"""The addresses of logging in and out and of the language."""

from __future__ import annotations

from aiohttp import web

from reading_queue.web.access import EVERYBODY, for_roles
from reading_queue.web.login import views

ROUTES = (
    web.get("/", views.home, name="home"),
    web.get("/login", views.login_page, name="login"),
    web.post("/login", views.login, name="login.post"),
    web.post("/logout", for_roles(views.logout, *EVERYBODY), name="logout"),
    web.get("/password", for_roles(views.password_page, *EVERYBODY), name="password"),
    web.post("/password", for_roles(views.change_password, *EVERYBODY), name="password.post"),
    web.post("/language", views.change_language, name="language"),
)
