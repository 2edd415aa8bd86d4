"""The console's web application: every address in one table, those of a clinic alone in another.

Holds nothing that must survive: sessions and everything else are rows of the journal.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.console import (
    action_pages,
    desk_pages,
    import_pages,
    login,
    order_correction_pages,
    order_message_pages,
    order_pages,
    quarantine_pages,
    report_pages,
    study_pages,
)
from gateway.console.keys import DESK, RUN, TEMPLATES, Desk
from gateway.console.middlewares import (
    answer_errors,
    limit_bodies,
    log_requests,
    open_session,
    refuse_forgery,
    secure_headers,
    streamed,
)
from gateway.console.rendering import FILES, build_templates
from gateway.console.unchanged import CHANGES, answer_unchanged, close_changes
from gateway.journal.changes import ChangeWatch
from storage.screens.offload import Offload
from storage.screens.static_files import ASSETS_DIR

# What brings images here, and orders for scanners: nothing of it would ever leave a gateway in reader mode.
SITE_ROUTES: Final = (
    web.get("/orders", order_pages.orders, name="orders"),
    web.post("/orders", order_pages.search, name="orders.search"),
    web.get("/orders/new", order_pages.new, name="orders.new"),
    web.post("/orders/new", order_pages.enter, name="orders.enter"),
    web.post("/orders/check", order_pages.check, name="orders.check"),
    web.get("/orders/messages", order_message_pages.order_messages, name="order_messages"),
    web.get("/orders/messages/{message_id}", order_message_pages.order_message, name="order_message"),
    web.get("/orders/messages/{message_id}/order", order_correction_pages.correction_form, name="order_message.form"),
    web.post("/orders/messages/{message_id}/order", order_correction_pages.correct, name="order_message.correct"),
    web.post("/orders/messages/{message_id}/{verb}", order_message_pages.act, name="order_message.act"),
    web.get("/orders/{order_id}", order_pages.order_page, name="order"),
    web.get("/orders/{order_id}/change", order_pages.change_form, name="order.change_form"),
    web.post("/orders/{order_id}/change", order_pages.change, name="order.change"),
    web.post("/orders/{order_id}/cancel", order_pages.cancel, name="order.cancel"),
    web.get("/orders/{order_id}/slip", order_pages.slip, name="order.slip"),
    web.get("/imports", import_pages.list_page, name="imports"),
    web.post("/imports", import_pages.start, name="imports.start"),
    web.post("/imports/upload", streamed(import_pages.upload), name="imports.upload"),
    web.post("/imports/{import_id}/join", import_pages.join_order, name="imports.join"),
    web.post("/imports/{import_id}/cancel", import_pages.cancel, name="imports.cancel"),
)
ROUTES: Final = (
    web.get("/", login.home, name="home"),
    web.get("/login", login.login_page, name="login"),
    web.post("/login", login.login, name="login.post"),
    web.post("/logout", login.logout, name="logout"),
    web.post("/language", login.change_language, name="language"),
    *FILES.routes,
    web.get("/studies", study_pages.studies, name="studies"),
    web.post("/studies", study_pages.search, name="studies.search"),
    web.get("/studies/{study_uid}", study_pages.study, name="study"),
    web.post("/studies/{study_uid}/{verb}", action_pages.act_on_study, name="study.act"),
    web.post("/line/{verb}", action_pages.act_on_line, name="line.act"),
    web.post("/deliveries/now", action_pages.hurry_deliveries, name="deliveries.now"),
    web.get("/attention", desk_pages.attention, name="attention"),
    web.post("/attention/{subject}/settled", desk_pages.settled, name="attention.settled"),
    web.get("/quarantine", quarantine_pages.quarantine, name="quarantine"),
    web.post("/quarantine/{quarantine_id}/{verb}", quarantine_pages.act, name="quarantine.act"),
    web.get("/line", desk_pages.line, name="line"),
    web.get("/reports", report_pages.reports, name="reports"),
    web.get("/reports/{document_id}", report_pages.report, name="report"),
    web.get("/reports/{document_id}/print", report_pages.print_page, name="report.print"),
    web.get("/reports/{document_id}/report.pdf", report_pages.pdf, name="report.pdf"),
    web.post("/reports/{document_id}/deliveries/{verb}", action_pages.act_on_delivery, name="report.delivery"),
    web.get("/reports/{document_id}/newest", report_pages.newest, name="report.newest"),
)


def build_app(desk: Desk, run: Offload) -> web.Application:
    """Return the application; `run` stays the caller's to close."""
    app = web.Application(
        middlewares=[log_requests, answer_errors, limit_bodies, open_session, answer_unchanged, refuse_forgery]
    )
    app[CHANGES] = ChangeWatch(desk.journal.path)
    app.on_cleanup.append(close_changes)
    app[DESK], app[RUN], app[ASSETS_DIR] = desk, run, desk.console.assets_dir
    app[TEMPLATES] = build_templates(desk.console.time_zone, serves_site=desk.serves_site)
    app.on_response_prepare.append(secure_headers)
    app.add_routes((*ROUTES, *SITE_ROUTES) if desk.serves_site else ROUTES)
    return app
