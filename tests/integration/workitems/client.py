"""Another vendor's worklist: UPS-RS over plain HTTP, written from PS3.18 chapter 11 and nothing of ours."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import urllib3

DicomJson = dict[str, Any]
WORKITEMS = "/dicomweb/workitems"


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: urllib3.HTTPHeaderDict
    body: bytes

    @property
    def warning(self) -> str:
        return self.headers.get("Warning", "")

    def json(self) -> Any:
        return json.loads(self.body)

    def ups_status(self) -> str:
        """Return the DIMSE status that a refusal names beside its words."""
        problem = self.json()
        assert problem["detail"]
        return str(problem.get("ups_status", ""))


class Worklist:
    """Works as one person; without a token, as nobody."""

    def __init__(self, url: str, token: str = "") -> None:
        self._url = url
        self._headers = {"Accept": "application/dicom+json"} | ({"Authorization": f"Bearer {token}"} if token else {})

    def send(self, method: str, path: str, body: Any = None) -> Reply:
        if body is None:
            return self.send_bytes(method, path)
        return self.send_bytes(method, path, json.dumps(body).encode(), **{"Content-Type": "application/dicom+json"})

    def send_bytes(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """Send what is encoded already, or ask for another form."""
        with urllib3.PoolManager(retries=False) as http:
            answer = http.request(method, self._url + path, body=body, headers=self._headers | headers)
        return Reply(answer.status, answer.headers, answer.data)

    def ask(self, **keys: str) -> Reply:
        """Search."""
        return self.send("GET", f"{WORKITEMS}?{urlencode(keys)}")

    def found(self, **keys: str) -> list[DicomJson]:
        """Return what a search finds."""
        reply = self.ask(**keys)
        assert reply.status in (200, 204), reply.body
        return list(reply.json()) if reply.status == 200 else []

    def retrieve(self, uid: str) -> DicomJson:
        reply = self.send("GET", f"{WORKITEMS}/{uid}")
        assert reply.status == 200, reply.body
        (workitem,) = reply.json()
        return dict(workitem)

    def change(self, uid: str, state: str, transaction_uid: str | None, **more: Any) -> Reply:
        """Change the state."""
        body = [{"00741000": {"vr": "CS", "Value": [state]}} | more]
        if transaction_uid is not None:
            body[0]["00081195"] = {"vr": "UI", "Value": [transaction_uid]}
        return self.send("PUT", f"{WORKITEMS}/{uid}/state", body)

    def update(self, uid: str, transaction_uid: str, dataset: DicomJson) -> Reply:
        return self.send("POST", f"{WORKITEMS}/{uid}?{transaction_uid}", [dataset])

    def request_cancel(self, uid: str, dataset: DicomJson | None = None) -> Reply:
        return self.send("POST", f"{WORKITEMS}/{uid}/cancelrequest", [dataset] if dataset is not None else None)


def new_transaction() -> str:
    """Return a fresh Transaction UID."""
    return f"2.25.{uuid.uuid4().int}"


def value(dataset: DicomJson, *tags: str) -> Any:
    """Return the first value at a path through sequences; None where there is none."""
    *outer, last = tags
    for tag in outer:
        dataset = (dataset.get(tag, {}).get("Value") or [{}])[0]
    return (dataset.get(last, {}).get("Value") or [None])[0]


def code(value: str, scheme: str, meaning: str) -> DicomJson:
    item = {"00080100": ("SH", value), "00080102": ("SH", scheme), "00080104": ("LO", meaning)}
    return {tag: {"vr": vr, "Value": [text]} for tag, (vr, text) in item.items()}


def sequence(*items: DicomJson) -> DicomJson:
    return {"vr": "SQ", "Value": list(items)}


def performed(workitem_code: str, study_uid: str, *outputs: tuple[str, str]) -> DicomJson:
    """Return what a performer says it has done, with the documents that came of it (class, instance)."""
    references = [
        {"00081150": {"vr": "UI", "Value": [kind]}, "00081155": {"vr": "UI", "Value": [uid]}} for kind, uid in outputs
    ]
    output = {
        "0040E020": {"vr": "CS", "Value": ["DICOM"]},
        "0020000D": {"vr": "UI", "Value": [study_uid]},
        "00081199": sequence(*references),
    }
    item = {
        "00404035": sequence({"00404009": sequence(code("reader", "99OTHER", "reader"))}),
        "00404028": sequence(code("WS1", "99OTHER", "Workstation 1")),
        "00404050": {"vr": "DT", "Value": ["20260302080000+0800"]},
        "00404051": {"vr": "DT", "Value": ["20260302081000+0800"]},
        "00404019": sequence(code(workitem_code, "DCM", "Interpretation")),
    }
    if references:
        item["00404033"] = sequence(output)
    return {"00741216": sequence(item)}
