"""Refusals as problem details (RFC 9457): a constant code for the machine, words for the person. Never patient data."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from aiohttp import web
from pydantic import ValidationError

from reading_queue.errors import HubError
from storage.contract.wire import Problem

CONTENT_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 5
WRONG_FIELDS_SHOWN_MAX: Final = 5


def problem_response(status: int, code: str, detail: str) -> web.Response:
    """Return a refusal; one that passes by itself says when to come back."""
    problem = Problem(title=HTTPStatus(status).phrase, status=status, code=code, detail=detail)
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status in (429, 503) else None
    return web.Response(body=problem.model_dump_json(), status=status, content_type=CONTENT_TYPE, headers=headers)


def problem_of_refusal(refusal: HubError) -> web.Response:
    """Return a service's refusal in its own words."""
    return problem_response(refusal.status, refusal.code, refusal.detail)


def problem_of_body(error: ValidationError) -> web.Response:
    """Return which fields of a body are wrong and which rule they break, never what they held."""
    wrong = [
        f"{'.'.join(str(part) for part in fault['loc']) or 'body'}: {fault['msg']}"
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    shown = "; ".join(wrong[:WRONG_FIELDS_SHOWN_MAX])
    more = f"; and {len(wrong) - WRONG_FIELDS_SHOWN_MAX} more" if len(wrong) > WRONG_FIELDS_SHOWN_MAX else ""
    return problem_response(422, "body_invalid", shown + more)


def problem_of_http(exc: web.HTTPException) -> web.Response:
    """Return the web framework's own refusal (unknown path, wrong method) as problem details."""
    response = problem_response(exc.status, f"http_{exc.status}", exc.reason)
    if "Allow" in exc.headers:
        response.headers["Allow"] = exc.headers["Allow"]
    return response
