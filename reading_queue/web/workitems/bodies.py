"""What the bodies of UPS-RS may be: one dataset of the DICOM JSON model (PS3.18 annex F) that can be kept."""

from __future__ import annotations

import json
import re
from typing import Any, Final, cast

from aiohttp import web

from reading_queue.domain.workitems.content import DicomJson
from storage.dicomweb.errors import BadQuery
from storage.dicomweb.negotiation import JSON_TYPES
from storage.screens.requests import refuse_large_body

BODY_BYTES_MAX: Final = 256 * 1024
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_MEMBERS: Final = frozenset({"vr", "Value", "InlineBinary", "BulkDataURI"})
_UNSTORABLE: Final = re.compile(r"[\x00\ud800-\udfff]")


async def read_dataset(request: web.Request) -> DicomJson:
    """Return the one dataset of the body. Raises BadQuery."""
    refuse_large_body(request, BODY_BYTES_MAX)
    if request.content_type not in JSON_TYPES:
        raise web.HTTPUnsupportedMediaType
    try:
        body: Any = json.loads(await request.read(), parse_constant=_no_number)
        dataset: Any = body[0] if isinstance(body, list) and len(body) == 1 else body
        is_understood = _is_dataset(dataset)
    except (ValueError, RecursionError) as exc:
        raise BadQuery("the body is not JSON") from exc
    if not is_understood:
        raise BadQuery("the body is one dataset in the DICOM JSON model")
    return cast(DicomJson, dataset)


def _no_number(text: str) -> None:
    """Refuse NaN and the infinities, which Python reads and JSON does not have."""
    raise ValueError(text)


def _is_dataset(found: Any) -> bool:
    """Return whether this is a dataset of the DICOM JSON model (PS3.18 annex F), in every item, that can be kept."""
    return isinstance(found, dict) and all(_TAG.fullmatch(tag) and _is_element(one) for tag, one in found.items())


def _is_element(found: Any) -> bool:
    if not isinstance(found, dict) or not found.keys() <= _MEMBERS or not isinstance(found.get("Value", []), list):
        return False
    texts = [text for name, text in found.items() if name != "Value"]
    return all(map(_is_text, texts)) and all(_is_value(one, found.get("vr")) for one in found.get("Value", []))


def _is_value(found: Any, vr: str | None) -> bool:
    if isinstance(found, dict):
        return all(map(_is_text, found.values())) if vr == "PN" else _is_dataset(found)
    return _is_text(found) if isinstance(found, str) else not isinstance(found, list)


def _is_text(found: Any) -> bool:
    return isinstance(found, str) and _UNSTORABLE.search(found) is None
