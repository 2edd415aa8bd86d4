"""The hub's public API as the demonstration's people use it: `/api/v1` over plain HTTP."""

from __future__ import annotations

import json
from typing import Any

import urllib3


class Refused(Exception):
    """The hub answered with a refusal; `status` and `code` say which."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"{status} {code}")
        self.status, self.code = status, code


class Unreachable(Exception):
    """The hub does not answer just now."""


class HubApi:
    """One person's connection; logs in again by itself when the hub forgot the session."""

    def __init__(self, url: str, login: str, password: str) -> None:
        self._url, self._login, self._password = url, login, password
        self._pool = urllib3.PoolManager(timeout=urllib3.Timeout(connect=3, read=20), retries=False)
        self._token = ""

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the answer's JSON, or None where there is none.

        Raises:
            Refused: with the hub's status and code.
            Unreachable: the hub does not answer; ask again later.
        """
        if not self._token:
            self._token = self._send("POST", "/session", {"login": self._login, "password": self._password})["token"]
        try:
            return self._send(method, path, body)
        except Refused as refusal:
            if refusal.status == 401 or refusal.code == "reauthentication_needed":
                self._token = ""
            raise

    def _send(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            response = self._pool.request(
                method, f"{self._url}/api/v1{path}", headers=headers, json=body, redirect=False
            )
        except urllib3.exceptions.HTTPError as exc:
            raise Unreachable(str(type(exc).__name__)) from exc
        if response.status >= 500:
            raise Unreachable(str(response.status))
        answer = json.loads(response.data) if response.data else None
        if response.status >= 400:
            raise Refused(response.status, (answer or {}).get("code", ""))
        return answer
