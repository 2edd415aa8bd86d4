"""From an HTTP answer to a value or to the right error. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from gateway.hub.errors import HubBusy, HubRefused, HubUnreachable
from storage.contract.wire import Problem

RETRY_AFTER_MAX_S: Final = 3600.0
_WAIT: Final = frozenset({429, 503})
_BROKEN: Final = frozenset({408, 425})

Model = TypeVar("Model", bound=BaseModel)


def parse_answer(model: type[Model], body: bytes) -> Model:
    """Return the hub's answer as `model`; something else in between (a captive portal) counts as unreachable."""
    try:
        return model.model_validate_json(body)
    except ValidationError as exc:
        raise HubUnreachable(f"the answer is not a {model.__name__}; something between us and the hub spoke") from exc


def raise_for_status(status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Return for 2xx, raise the error that says what to do otherwise."""
    if 200 <= status < 300:
        return
    problem = find_problem(body)
    if status in _WAIT:
        words = f"the hub asks to wait: {problem.detail}" if problem is not None else "the hub asks to wait"
        raise HubBusy(f"{words} (HTTP {status})", retry_after_s(headers.get("Retry-After")))
    if status >= 500 or status in _BROKEN:
        raise HubUnreachable(f"the hub failed inside (HTTP {status})")
    if problem is not None:
        raise HubRefused(status, problem.code, problem.detail)
    raise HubRefused(status, f"http_{status}", f"the hub answered HTTP {status} without a reason")


def find_problem(body: bytes) -> Problem | None:
    """Return the refusal's problem details (RFC 9457), None when the body holds none."""
    try:
        return Problem.model_validate_json(body)
    except ValidationError:
        return None


def retry_after_s(header: str | None) -> float | None:
    """Return the seconds of a Retry-After header (RFC 9110 section 10.2.3), clamped; dates are not used by the hub."""
    if header is None or not header.strip().isdecimal():
        return None
    return min(float(header.strip()), RETRY_AFTER_MAX_S)
