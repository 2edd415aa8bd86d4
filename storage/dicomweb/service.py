"""What the handlers of DICOMweb stand on: the catalogue, the object store, threads, and the caller's right.

Knows nothing of accounts: who may see what comes in as a callable and becomes a condition of every query. Holds
nothing that must survive.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Protocol

from aiohttp import web
from sqlalchemy import Engine, Select
from sqlalchemy.orm import Session

from storage.dicomweb.catalogue_queries import MaySee
from storage.objects.protocol import ObjectStore

DICOM_JSON: Final = "application/dicom+json"
SERVICE: Final = "counterpart"  # who warns
ACCESSED: Final = "110103"  # DICOM Instances Accessed (PS3.15 A.5)


class Run(Protocol):
    """Calls a synchronous function off the event loop."""

    def __call__(self, function: Callable[..., Any], /, *args: Any) -> Awaitable[Any]:
        """Return what the function returns."""


class Access(Protocol):
    """Who may see what, from the part of the hub that knows its people."""

    def may_see(self, request: web.Request) -> MaySee:
        """Return the caller's right; raises when nobody is logged in."""

    def select_seen(self, request: web.Request) -> Select[str, date | None] | None:
        """Return what selects ids and dates of the studies that the right allows, when they are few; else None."""

    def also_shown(self, request: web.Request) -> frozenset[str]:
        """Return for which reasons rejected instances are shown to this caller, who asks for them; else none."""

    def record(self, session: Session, request: web.Request, event_code: str, site_id: str, study_uid: str) -> None:
        """Write to the audit trail that the caller opened the study's images."""


@dataclass(frozen=True, slots=True)
class Service:
    """One catalogue with its objects, and who may see them."""

    engine: Engine
    objects: ObjectStore
    run: Run
    transcode: Run  # for what decodes and encodes: few at a time
    access: Access

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Commit when the block ends; rows stay readable after it, for the store is read outside of transactions."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session


def accepted(request: web.Request) -> list[str]:
    """Return what the request says that it takes; the query stands for the header where it is used (PS3.18 8.3.3.1)."""
    return request.query.getall("accept", []) or request.headers.getall("Accept", [])


def warning_of(*notes: str) -> str:
    """Return the value of a Warning header that tells these notes (PS3.18 section 8.4.3)."""
    return ", ".join(f'299 {SERVICE}: "{note}"' for note in notes)
