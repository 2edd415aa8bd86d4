"""Presigned S3 addresses whose headers are signed too (AWS Signature Version 4, query parameters). Pure.

The SDK signs only the host; here size and digest are part of what is signed, so an address takes exactly the bytes
for which it was given.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import quote

ALGORITHM: Final = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class S3Credentials:
    """Who signs, and for which region."""

    access_key: str
    secret_key: str
    region: str


def presigned_url(
    method: str,
    base_url: str,
    path: str,
    headers: Mapping[str, str],
    *,
    credentials: S3Credentials,
    now: datetime,
    expires_s: int,
) -> str:
    """Return the address of `path` (with its leading slash) at `base_url`, for a request with exactly these headers."""
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    host = base_url.split("://", 1)[1]
    signed = {"host": host, **{name.lower(): value.strip() for name, value in headers.items()}}
    names = ";".join(sorted(signed))
    scope = f"{day}/{credentials.region}/s3/aws4_request"
    query = "&".join(
        f"{name}={quote(value, safe='')}"
        for name, value in sorted(
            {
                "X-Amz-Algorithm": ALGORITHM,
                "X-Amz-Credential": f"{credentials.access_key}/{scope}",
                "X-Amz-Date": stamp,
                "X-Amz-Expires": str(expires_s),
                "X-Amz-SignedHeaders": names,
            }.items()
        )
    )
    escaped_path = quote(path, safe="/")
    header_lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    canonical = "\n".join([method, escaped_path, query, header_lines, names, "UNSIGNED-PAYLOAD"])
    to_sign = "\n".join([ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    signature = hmac.new(_signing_key(credentials, day), to_sign.encode(), hashlib.sha256).hexdigest()
    return f"{base_url}{escaped_path}?{query}&X-Amz-Signature={signature}"


def _signing_key(credentials: S3Credentials, day: str) -> bytes:
    key = f"AWS4{credentials.secret_key}".encode()
    for part in (day, credentials.region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
