"""The addresses of a Bundle's pages, in which no patient is named: what asks for numbers is sealed.

Nothing is kept: who follows a link brings back what they asked, readable by the hub alone and only for the same account
and type; rights are asked anew.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode

from reading_queue.domain.page_places import Place
from reading_queue.errors import Invalid
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.order_messages.sealing import MessageSealed, seal, unseal
from storage.contract.signing import base64url_text, parse_base64url

SEALED: Final = "_sealed"
PERSONAL: Final = frozenset({"identifier", "accession", "patient.identifier"})
_PURPOSE: Final = "fhir searches"

Pairs = Sequence[tuple[str, str]]


def address(hub: Hub, viewer: Viewer, resource_type: str, pairs: Pairs, after: Place | None) -> str:
    """Return the address of the page of this search that begins after a place."""
    personal = [pair for pair in pairs if pair[0] in PERSONAL]
    asked = [(name, value) for name, value in pairs if name != "_cursor" and name not in PERSONAL]
    if personal:
        sealed = seal(hub.keys, json.dumps(personal).encode(), _bound(viewer, resource_type), purpose=_PURPOSE)
        asked.append((SEALED, base64url_text(sealed)))
    if after is not None:
        asked.append(("_cursor", after.text()))
    return f"{hub.public_url.rstrip('/')}/fhir/{resource_type}" + (f"?{urlencode(asked)}" if asked else "")


def opened(hub: Hub, viewer: Viewer, resource_type: str, pairs: Pairs) -> list[tuple[str, str]]:
    """Return what a search asks, with what an address of `address` sealed. Raises Invalid."""
    found: list[tuple[str, str]] = []
    for name, value in pairs:
        if name != SEALED:
            found.append((name, value))
            continue
        try:
            words = unseal(hub.keys, parse_base64url(value), _bound(viewer, resource_type), purpose=_PURPOSE)
        except (MessageSealed, ValueError) as exc:
            raise Invalid(f"{SEALED} is not from a link that you were given for this type: search anew") from exc
        found += [(one[0], one[1]) for one in json.loads(words)]
    return found


def _bound(viewer: Viewer, resource_type: str) -> str:
    return f"{viewer.account_id} {resource_type}"
