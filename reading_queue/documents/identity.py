"""Names of a report's documents, derived from the report: rendered twice, a document is the same document.

Pure. Nothing is stored here; the same report gives the same names on every machine and after every restart.
"""

from __future__ import annotations

import uuid
from typing import Final

from storage.contract.identifiers import Uid
from storage.contract.wire import DocumentKind

_NAMESPACE: Final = uuid.UUID("6e1dfa6c-6a0e-5b0b-9e0e-0b6f0f1c9a51")


def document_id(report_id: str, kind: DocumentKind) -> str:
    """Return the document's id, 32 hexadecimal digits."""
    return uuid.uuid5(_NAMESPACE, f"{report_id}/{kind}/document").hex


def instance_uid(report_id: str, kind: DocumentKind) -> Uid:
    """Return the SOP Instance UID of the report's document of this kind, under 2.25 (PS3.5 section B.2)."""
    return _uid(f"{report_id}/{kind}/instance")


def series_uid(report_id: str, kind: DocumentKind) -> Uid:
    """Return the UID of the series that the document alone forms (PS3.3 section C.17.1)."""
    return _uid(f"{report_id}/{kind}/series")


def _uid(name: str) -> Uid:
    return Uid(f"2.25.{uuid.uuid5(_NAMESPACE, name).int}")
