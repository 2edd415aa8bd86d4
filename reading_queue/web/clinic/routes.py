"""The addresses of the clinic's desk, below /clinic."""

from __future__ import annotations

from aiohttp import web

from reading_queue.domain.roles import Role
from reading_queue.web.access import EVERYBODY, for_roles
from reading_queue.web.clinic import course, order_changes, orders, views

WITH_SITES = (Role.TECHNICIAN, Role.COORDINATOR, Role.ADMINISTRATOR)

ROUTES = (
    web.get("/", for_roles(views.studies, *WITH_SITES), name="clinic.studies"),
    web.post("/", for_roles(views.search, *WITH_SITES), name="clinic.search"),
    web.get("/studies/{site_id}/{study_uid}", for_roles(views.study, *EVERYBODY), name="clinic.study"),
    web.post("/cases/{case_id}/answer", for_roles(course.answer, *WITH_SITES), name="clinic.answer"),
    web.post("/cases/{case_id}/withdraw", for_roles(course.withdraw, *WITH_SITES), name="clinic.withdraw"),
    web.post("/cases/{case_id}/receive", for_roles(course.receive, Role.TECHNICIAN), name="clinic.receive"),
    web.post("/cases/{case_id}/resubmit", for_roles(course.resubmit, *WITH_SITES), name="clinic.resubmit"),
    web.post("/cases/{case_id}/acknowledge", for_roles(course.acknowledge, *WITH_SITES), name="clinic.acknowledge"),
    web.post("/cases/{case_id}/identity", for_roles(course.identity, *WITH_SITES), name="clinic.identity"),
    web.post("/cases/{case_id}/join", for_roles(course.join, *WITH_SITES), name="clinic.join"),
    web.post("/cases/{case_id}/separate", for_roles(course.separate, *WITH_SITES), name="clinic.separate"),
    web.post("/cases/{case_id}/void", for_roles(course.void, Role.COORDINATOR), name="clinic.void"),
    web.get("/orders", for_roles(orders.lists, *WITH_SITES), name="clinic.orders"),
    web.get("/orders/all", for_roles(orders.all_orders, *WITH_SITES), name="clinic.all_orders"),
    web.post("/orders/all", for_roles(orders.all_orders, *WITH_SITES), name="clinic.find_orders"),
    web.get("/orders/new", for_roles(orders.new, *WITH_SITES), name="clinic.new_order"),
    web.post("/orders/new", for_roles(orders.enter, *WITH_SITES), name="clinic.enter_order"),
    web.get("/orders/{order_id}", for_roles(orders.show, *WITH_SITES), name="clinic.order"),
    web.get("/orders/{order_id}/change", for_roles(order_changes.change_form, *WITH_SITES), name="clinic.order_form"),
    web.post("/orders/{order_id}/change", for_roles(order_changes.change, *WITH_SITES), name="clinic.change_order"),
    web.post("/orders/{order_id}/notes", for_roles(order_changes.note, *WITH_SITES), name="clinic.note_order"),
    web.post("/orders/{order_id}/cancel", for_roles(orders.cancel, *WITH_SITES), name="clinic.cancel_order"),
    web.post("/orders/{order_id}/match", for_roles(orders.match, *WITH_SITES), name="clinic.match_order"),
    web.get("/cases/{case_id}/report.pdf", for_roles(views.report_pdf, *EVERYBODY), name="clinic.pdf"),
)
