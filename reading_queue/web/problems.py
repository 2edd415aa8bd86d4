"""How a refusal leaves the hub: problem details (RFC 9457) for programs, a page with words for people."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from aiohttp import web

from reading_queue.errors import (
    ConfirmationNeeded,
    HubError,
    ImagesChanged,
    Invalid,
    NotAuthenticated,
    TextNotAcceptable,
)
from reading_queue.services.access.accounts import PasswordChangeNeeded
from reading_queue.services.network.network_document import NetworkInvalid
from reading_queue.services.orders.order_entry import OrderGapsUnconfirmed, OrderNotAcceptable, OrdersContradict
from reading_queue.services.reports.single_signing import SecondPhysicianNeeded
from reading_queue.web.keys import MOUNTS
from reading_queue.web.language import in_words, translate, translate_or
from reading_queue.web.rendering import page
from storage.screens.order_form import FieldFault
from storage.screens.requests import REQUEST_ID, is_refresh, redirect

PROBLEM_JSON: Final = "application/problem+json"
FOR_PROGRAMS: Final = ("/api/", "/dicomweb/", "/fhir/")


def is_mounted(request: web.Request) -> bool:
    """Return whether another part's application answers this address."""
    return request.path.startswith(request.config_dict[MOUNTS])


def refusal(request: web.Request, error: HubError) -> web.StreamResponse:
    """Answer an error of a use case."""
    if request.path.startswith(FOR_PROGRAMS) or is_mounted(request):
        return _later(error, problem(error.status, error.code, error.detail, **_extras(error)))
    if isinstance(error, NotAuthenticated):
        return _to_login(request)
    if isinstance(error, PasswordChangeNeeded):
        return (
            web.Response(status=403, headers={"HX-Redirect": "/password"})
            if is_refresh(request)
            else redirect("/password")
        )
    return _later(error, error_page(request, error.status, error.code, error.detail))


def _later(error: HubError, response: web.StreamResponse) -> web.StreamResponse:
    """Say when to ask again (RFC 9110 section 10.2.3), where that helps."""
    if error.retry_after_s:
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response


def fault_words(fault: FieldFault) -> str:
    """Return what a person reads beside a field of an order, in the language of this request."""
    words = translate_or(f"fault.{fault.code}", translate_or("fault.other", fault.code))
    return words.replace("{limit}", str(fault.limit))


def words_of(error: HubError) -> str:
    """Return what a person reads of an error, in the language of this request."""
    match error:
        case TextNotAcceptable():
            return " ".join(translate_or(f"wording.{sentence}", sentence) for sentence in error.problems)
        case OrdersContradict() if error.fields:
            named = translate_or("order.and", ", ").join(translate_or(f"order.{name}", name) for name in error.fields)
            return f"{translate_or('error.orders_contradict', error.detail)} {named}"
        case OrderNotAcceptable():
            return " ".join(dict.fromkeys(fault_words(fault) for fault in error.faults))
        case ImagesChanged() if error.arrived_count:
            return translate("error.images_arrived", count=error.arrived_count)
        case SecondPhysicianNeeded():
            reasons = (translate(f"alone.{one}") for one in error.obstacles)
            return translate("alone.refused", reasons=translate("order.and").join(reasons))
        case _:
            return _say(error.code, error.detail)


def _say(code: str, detail: str) -> str:
    """Return the words of a refusal: by its code, or by its own sentence where the code says little."""
    own = in_words(detail) if code == Invalid.code else detail
    return own if own != detail else translate_or(f"error.{code}", detail)


def problem(status: int, code: str, detail: str, **extras: Any) -> web.Response:
    """Answer problem details; `code` is constant, `detail` is words."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "code": code, "detail": detail}
    return web.json_response(body | extras, status=status, content_type=PROBLEM_JSON)


def error_page(request: web.Request, status: int, code: str, detail: str) -> web.Response:
    """Answer a page that says what happened and what to do next."""
    if is_refresh(request):  # a page that refreshes itself keeps what it shows
        return web.Response(status=status, text=detail)
    words = _say(code, detail)
    return page(request, "error.html", status=status, code=code, words=words, request_id=request.get(REQUEST_ID, ""))


def _to_login(request: web.Request) -> web.StreamResponse:
    if is_refresh(request):
        return web.Response(status=401, headers={"HX-Redirect": "/login"})
    if request.method != "GET":
        return redirect("/login")
    return redirect(f"/login?next={quote(request.path)}")


def _extras(error: HubError) -> dict[str, Any]:
    match error:
        case TextNotAcceptable():
            return {"problems": list(error.problems)}
        case OrderNotAcceptable():
            return {
                "faults": [{"field": one.field, "code": one.code, "words": fault_words(one)} for one in error.faults]
            }
        case ImagesChanged():
            return {"arrived_count": error.arrived_count}
        case SecondPhysicianNeeded():
            return {"obstacles": list(error.obstacles)}
        case NetworkInvalid():
            return {"problems": list(error.problems)}
        case OrderGapsUnconfirmed():
            return {"gaps": list(error.gaps)}
        case ConfirmationNeeded():
            return {"warnings": list(error.warnings)}
        case _:
            return {}
