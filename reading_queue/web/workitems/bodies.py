"""Datasets in the bodies of UPS-RS: in the DICOM JSON model (PS3.18 annex F) or as XML (PS3.19 annex A).

What comes is one dataset that can be kept; XML comes bare, or as the one part of multipart/related.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any, Final, NoReturn, cast

from aiohttp import web

from reading_queue.domain.workitems.content import DicomJson
from reading_queue.errors import HubError
from storage.dicom.xml_model import ITEMS_WITHIN_MAX, NotNativeDicom, dataset_xml, parse_dataset_xml
from storage.dicomweb.errors import BadQuery
from storage.dicomweb.multipart import Multipart
from storage.dicomweb.multipart_reading import MultipartMalformed, MultipartReader, TooManyParts, parse_media_type
from storage.dicomweb.negotiation import DICOM_XML, JSON_TYPES, Taken, choose_datasets, parse_accept
from storage.dicomweb.service import accepted
from storage.screens.requests import refuse_large_body

BODY_BYTES_MAX: Final = 256 * 1024
_TAG: Final = re.compile(r"[0-9A-F]{8}")  # PS3.18 section F.2.2
_MEMBERS: Final = frozenset({"vr", "Value", "InlineBinary", "BulkDataURI"})
_UNSTORABLE: Final = re.compile(r"[\x00\ud800-\udfff]")


class OtherMediaType(HubError):
    """A body is application/dicom+json, or application/dicom+xml, bare or as the one part of multipart/related."""

    code = "unsupported_media_type"
    status = 415


async def read_dataset(request: web.Request) -> DicomJson:
    """Return the one dataset of the body. Raises BadQuery, OtherMediaType."""
    refuse_large_body(request, BODY_BYTES_MAX)
    kind = parse_media_type(request.headers.get("Content-Type", ""))
    is_multipart = kind.essence == "multipart/related"
    given = kind.parameters.get("type", "").lower() if is_multipart else kind.essence
    if given != DICOM_XML and (is_multipart or given not in JSON_TYPES):
        raise OtherMediaType
    body = await request.read()
    try:
        if is_multipart:
            body = _only_part(body, kind.parameters.get("boundary", ""))
        dataset = parse_dataset_xml(body) if given == DICOM_XML else _parse_json(body)
    except (MultipartMalformed, TooManyParts, NotNativeDicom) as exc:
        raise BadQuery(str(exc)) from exc
    if not _is_dataset(dataset):
        words = f"tags in capitals, and sequences at most {ITEMS_WITHIN_MAX} deep inside one another"
        raise BadQuery(f"the body is one dataset in the DICOM JSON model, or as XML: {words}")
    return cast(DicomJson, dataset)


def wanted_form(request: web.Request, *, one: bool = False) -> Taken | None:
    """Return how XML is wanted, None for JSON; `one` when the answer is always one dataset. Raises NotAcceptable."""
    return choose_datasets(parse_accept(accepted(request)), one=one)


def answer_datasets(datasets: Sequence[DicomJson], form: Taken | None) -> web.Response:
    """Return the datasets in a form of `wanted_form`; 204 for none."""
    headers = {"Cache-Control": "no-store", "Vary": "Accept"}
    if not datasets:
        return web.Response(status=204)
    if form is None:
        return web.json_response(datasets, content_type=JSON_TYPES[0], headers=headers)
    documents = [dataset_xml(dataset) for dataset in datasets]
    if not form.is_multipart:
        return web.Response(body=documents[0], content_type=DICOM_XML, headers=headers)
    frame = Multipart(DICOM_XML)
    body = b"".join(frame.made((DICOM_XML, [document]) for document in documents))
    return web.Response(body=body, headers=headers | {"Content-Type": frame.content_type})


def _only_part(body: bytes, boundary: str) -> bytes:
    reader = MultipartReader(boundary, parts_max=1)
    pieces = [event for event in reader.feed(body) if isinstance(event, bytes)]
    reader.close()
    return b"".join(pieces)


def _parse_json(body: bytes) -> Any:
    try:
        found: Any = json.loads(body, parse_constant=_no_number, parse_float=_number)
    except (ValueError, RecursionError) as exc:
        raise BadQuery("the body is not JSON") from exc
    return found[0] if isinstance(found, list) and len(found) == 1 else found


def _no_number(text: str) -> NoReturn:
    """Refuse NaN and the infinities, which Python reads and JSON does not have."""
    raise ValueError(text)


def _number(text: str) -> float:
    """Return a number; one beyond what is kept would be read as infinite."""
    value = float(text)
    return value if math.isfinite(value) else _no_number(text)


def _is_dataset(found: Any, depth: int = 0) -> bool:
    """Return whether this is a dataset of the DICOM JSON model (PS3.18 annex F), in every item, that can be kept."""
    if not isinstance(found, dict) or depth > ITEMS_WITHIN_MAX:
        return False
    return all(_TAG.fullmatch(tag) and _is_element(one, depth) for tag, one in found.items())


def _is_element(found: Any, depth: int) -> bool:
    if not isinstance(found, dict) or not found.keys() <= _MEMBERS or not isinstance(found.get("Value", []), list):
        return False
    texts = [text for name, text in found.items() if name != "Value"]
    return all(map(_is_text, texts)) and all(_is_value(one, found.get("vr"), depth) for one in found.get("Value", []))


def _is_value(found: Any, vr: str | None, depth: int) -> bool:
    if isinstance(found, dict):
        return all(map(_is_text, found.values())) if vr == "PN" else _is_dataset(found, depth + 1)
    return _is_text(found) if isinstance(found, str) else not isinstance(found, list)


def _is_text(found: Any) -> bool:
    return isinstance(found, str) and _UNSTORABLE.search(found) is None
