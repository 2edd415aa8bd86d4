"""The signed report as it travels: the signed bytes untouched, and the signatures over them.

Pure. The bytes are carried as base64url, never parsed and written again, so the clinic holds exactly what was signed
and can check every signature itself.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from reading_queue.domain.canonical import canonical_bytes, sha256_hex
from storage.contract.signed_report import ENVELOPE_FORMAT


def build_signed_report(content: bytes, signatures: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the canonical JSON (RFC 8785) that carries the signed bytes, their SHA-256 and the signatures."""
    return canonical_bytes(
        {
            "format": ENVELOPE_FORMAT,
            "content": base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii"),
            "content_sha256": sha256_hex(content),
            "signatures": [dict(signature) for signature in signatures],
        }
    )
