"""A gateway reduced to its requests, so that a test can bend every one of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import urllib3
from pydantic import BaseModel

from reading_queue.services.access.enrolment import issue_enrolment_code
from reading_queue.services.hub import Hub
from storage.contract.signing import GatewayKey, sign_request
from storage.contract.wire import (
    GATEWAY_TIME_HEADER,
    NONCE_HEADER,
    CommitRequest,
    EnrolmentAnswer,
    EnrolmentRequest,
    GrantAnswer,
    GrantRequest,
    NonceAnswer,
    Problem,
    TransferAnswer,
)
from tests.integration.hub_intake.studies import PackedStudy
from tests.support.hub import PUBLIC_URL

Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: urllib3.HTTPHeaderDict
    body: bytes

    def into(self, model: type[Answer], status: int = 200) -> Answer:
        assert self.status == status, self.body
        return model.model_validate_json(self.body)

    def problem(self) -> Problem:
        assert self.headers["Content-Type"].startswith("application/problem+json")
        problem = Problem.model_validate_json(self.body)
        assert problem.status == self.status
        assert problem.detail
        return problem


@dataclass
class GatewayStandIn:
    """Signs as one gateway; `clock` is its own, maybe wrong."""

    url: str
    key: GatewayKey
    gateway_id: str
    site_id: str
    audience: str
    at: datetime
    http: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False, maxsize=4))

    def nonce(self) -> str:
        return send(self.http, "GET", f"{self.url}/gateway/v1/nonce").into(NonceAnswer).nonce

    def signed(self, method: str, target: str, body: bytes = b"", **overrides: Any) -> dict[str, str]:
        """Return the headers that sign this request, some parts replaced."""
        parts: dict[str, Any] = {
            "key_id": self.gateway_id,
            "method": method,
            "target": target,
            "body": body,
            "audience": self.audience,
            "created": self.at,
        } | overrides
        parts.setdefault("nonce", None)
        parts["nonce"] = parts["nonce"] or self.nonce()
        key = parts.pop("key", self.key)
        return {GATEWAY_TIME_HEADER: self.at.isoformat()} | sign_request(key, **parts)

    def call(self, method: str, target: str, body: BaseModel | None = None, **overrides: Any) -> Reply:
        raw = body.model_dump_json().encode() if body is not None else b""
        headers = self.signed(method, target, raw, **overrides)
        return send(self.http, method, self.url + target, raw, headers)

    def post(self, path: str, body: BaseModel) -> Reply:
        return self.call("POST", f"/gateway/v1{path}", body)

    def get(self, path: str) -> Reply:
        return self.call("GET", f"/gateway/v1{path}")

    def upload(self, transfer_id: str, packs: list[PackedStudy], bodies: list[bytes] | None = None) -> str:
        """Ask for a grant, PUT the packs (or other `bodies`), and return the grant."""
        request = GrantRequest(packs=tuple(pack.declaration for pack in packs))
        granted = self.post(f"/transfers/{transfer_id}/grants", request).into(GrantAnswer)
        for upload, body in zip(granted.uploads, bodies or [pack.body for pack in packs], strict=True):
            assert send(
                self.http, "PUT", upload.url.replace(PUBLIC_URL, self.url), body, dict(upload.headers)
            ).status in (200, 201, 204)
        return granted.grant_id

    def upload_and_commit(self, transfer_id: str, packs: list[PackedStudy]) -> None:
        grant_id = self.upload(transfer_id, packs)
        request = CommitRequest(pack_sha256s=tuple(pack.declaration.pack_sha256 for pack in packs))
        self.post(f"/grants/{grant_id}/commits", request).into(TransferAnswer, 202)


def send(
    http: urllib3.PoolManager, method: str, url: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> Reply:
    answer = http.request(method, url, body=body or None, headers=headers)
    reply = Reply(answer.status, answer.headers, answer.data)
    if "/gateway/v1" in url:
        assert reply.headers[NONCE_HEADER], "every answer of the API carries a nonce"
    return reply


def enrol_stand_in(hub: Hub, url: str, site_id: str) -> GatewayStandIn:
    """Enrol a fresh key over HTTP."""
    key = GatewayKey.generate()
    request = EnrolmentRequest(
        code=issue_enrolment_code(hub, site_id, issued_by="admin"),
        public_key=key.public_text(),
        software_version="0.1.0",
    )
    http = urllib3.PoolManager(retries=False, maxsize=4)
    reply = send(http, "POST", f"{url}/gateway/v1/enrolments", request.model_dump_json().encode())
    answer = reply.into(EnrolmentAnswer)
    return GatewayStandIn(
        url=url,
        key=key,
        gateway_id=answer.gateway_id,
        site_id=answer.site_id,
        audience=answer.audience,
        at=hub.clock(),
        http=http,
    )
