"""The signed report as it travels."""

from __future__ import annotations

import base64
import hashlib
import json

from reading_queue.documents.envelope import build_signed_report
from tests.support.reports import report_content

SIGNATURES = [{"role": "verifier", "alg": "Ed25519", "key_id": "k", "value": "v"}]


def test_the_signed_bytes_come_out_as_they_were_signed() -> None:
    signed = report_content().canonical()
    envelope = json.loads(build_signed_report(signed, SIGNATURES))
    padding = "=" * (-len(envelope["content"]) % 4)
    assert base64.urlsafe_b64decode(envelope["content"] + padding) == signed
    assert envelope["content_sha256"] == hashlib.sha256(signed).hexdigest()
    assert envelope["signatures"] == SIGNATURES


def test_the_envelope_itself_is_canonical() -> None:
    envelope = build_signed_report(b"{}", SIGNATURES)
    assert envelope == json.dumps(json.loads(envelope), sort_keys=True, separators=(",", ":")).encode()
