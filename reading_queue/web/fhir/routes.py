"""The addresses of the FHIR API, who may use each, and how it refuses: OperationOutcome."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

import structlog
from aiohttp import web

from reading_queue.db.connections import is_away
from reading_queue.domain.fhir_content import outcome
from reading_queue.errors import HubError, Unavailable
from reading_queue.services.worklists.fhir_kinds import KINDS
from reading_queue.web.access import EVERYBODY, for_roles
from reading_queue.web.fhir import handlers
from storage.screens.requests import Handler

log = structlog.get_logger(__name__)

PREFIX: Final = "/fhir"
_ISSUES: Final[Mapping[int, str]] = {
    400: "invalid",
    401: "login",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    406: "not-supported",
    411: "required",
    413: "too-long",
    415: "not-supported",
    422: "invalid",
    500: "exception",
    503: "transient",
}


def build_fhir() -> web.Application:
    """Return the application to be mounted under `PREFIX`."""
    app = web.Application(middlewares=[answer_outcomes])
    app.router.add_get("/metadata", handlers.metadata)
    for name in KINDS:
        app.router.add_get(f"/{name}", for_roles(partial(handlers.search, resource_type=name), *EVERYBODY))
        by_form = partial(handlers.search_by_form, resource_type=name)
        app.router.add_post(f"/{name}/_search", for_roles(by_form, *EVERYBODY))
        app.router.add_get(f"/{name}/{{id}}", for_roles(partial(handlers.read, resource_type=name), *EVERYBODY))
    return app


@web.middleware
async def answer_outcomes(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every refusal into an OperationOutcome; what makes no sense is 400, as FHIR has it."""
    try:
        handlers.require_json(request)
        return await handler(request)
    except HubError as error:
        status = 400 if error.status == 422 else error.status
        return _refuse(error.status, error.detail, status=status)
    except web.HTTPNotAcceptable as error:
        return _refuse(error.status, f"the hub answers {handlers.FHIR_JSON} alone")
    except web.HTTPException as error:
        if error.status < 400:
            raise
        words = f"{error.reason}: the types of resources are {', '.join(KINDS)}; they are read and searched with GET, "
        words += "or searched with POST to _search, as a form"
        refused = _refuse(error.status, words)
        if isinstance(error, web.HTTPMethodNotAllowed):
            refused.headers["Allow"] = error.headers["Allow"]
        return refused
    except web.RequestPayloadError:
        return _refuse(400, "the request's body is not what its headers say")
    except Exception as exc:
        if is_away(exc):
            log.warning("database_away", reason=type(exc).__name__)
            return _refuse(Unavailable.status, Unavailable().detail)
        log.exception("fhir_request_failed")
        return _refuse(500, "the hub failed inside; the failure is in its log")


def _refuse(kind: int, words: str, *, status: int | None = None) -> web.Response:
    return handlers.fhir_json(outcome(_ISSUES.get(kind, "processing"), words), status=status or kind)
