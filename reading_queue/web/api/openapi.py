"""The OpenAPI 3.1 description, made from the table of operations and the models they name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from reading_queue.web.api import models
from reading_queue.web.api.operations import Operation

REFERENCE: Final = "#/components/schemas/{model}"
JSON: Final = "application/json"


class Problem(BaseModel):
    """RFC 9457 problem details. `code` is constant; `detail` is words for a person."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    problems: list[str] | None = None
    warnings: list[str] | None = None


def describe(operations: Iterable[Operation]) -> dict[str, Any]:
    """Return the whole description as JSON values."""
    listed = tuple(operations)
    used: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = [
        (models.Credentials, "validation"),
        (models.Token, "serialization"),
        (Problem, "serialization"),
    ]
    for operation in listed:
        if operation.body is not None:
            used.append((operation.body, "validation"))
        if isinstance(operation.answer, type):
            used.append((operation.answer, "serialization"))
    names, definitions = models_json_schema(used, ref_template=REFERENCE)
    paths: dict[str, Any] = {"/session": {"post": _login(names)}}
    for operation in listed:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, names)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Counterpart", "version": "1"},
        "servers": [{"url": "/api/v1"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _login(names: dict[Any, Any]) -> dict[str, Any]:
    return {
        "operationId": "open_session",
        "summary": "Log in and answer a bearer token.",
        "security": [],
        "requestBody": {"required": True, "content": {JSON: {"schema": names[(models.Credentials, "validation")]}}},
        "responses": {
            "201": {
                "description": "Logged in",
                "content": {JSON: {"schema": names[(models.Token, "serialization")]}},
            },
            "default": _refusal(names),
        },
    }


def _operation(operation: Operation, names: dict[Any, Any]) -> dict[str, Any]:
    in_path = re.findall(r"\{(\w+)\}", operation.path)
    parameters = [_parameter(name, "path") for name in in_path] + [
        _parameter(name, "query") for name in operation.query
    ]
    described: dict[str, Any] = {
        "operationId": operation.handler.__name__,
        "summary": (operation.handler.__doc__ or "").strip(),
        "x-roles": [role.value for role in operation.roles],
        "parameters": parameters,
        "responses": {**_answer(operation, names), "default": _refusal(names)},
    }
    if operation.body is not None:
        schema = names[(operation.body, "validation")]
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": schema}}}
    return described


def _parameter(name: str, place: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}}


def _answer(operation: Operation, names: dict[Any, Any]) -> dict[str, Any]:
    match operation.answer:
        case None:
            return {"204": {"description": "Done"}}
        case str(media_type):
            return {"200": {"description": "Done", "content": {media_type: {}}}}
        case model:
            schema = names[(model, "serialization")]
            return {"200": {"description": "Done", "content": {JSON: {"schema": schema}}}}


def _refusal(names: dict[Any, Any]) -> dict[str, Any]:
    schema = names[(Problem, "serialization")]
    return {"description": "Refused, with the reason", "content": {"application/problem+json": {"schema": schema}}}
