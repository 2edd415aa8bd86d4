"""What FHIR clients find and read: orders, cases, studies and reports, by the same rights as desks and DICOMweb.

Writes the audit trail alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    and_,
    func,
    select,
    tuple_,
)
from sqlalchemy.orm import Session

from reading_queue.domain.fhir_content import (
    INCLUDES,
    REVINCLUDES,
    Found,
    Resource,
    referred,
    versioned,
)
from reading_queue.domain.page_places import Place
from reading_queue.errors import Invalid, NotFound
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases.casework import PATIENT_RECORD
from reading_queue.services.hub import Hub
from reading_queue.services.worklists.fhir_kinds import KINDS, REFERRING, FhirQuery, Kind
from storage.ledger.tables import AuditEvent

REFERRING_MAX: Final = 1000  # resources that refer to the matches of one page, by one reference
QUERY: Final = "110112"  # DCM audit event (PS3.15 A.5)


@dataclass(frozen=True, slots=True)
class FhirPage:
    """Part of what a search found, and where the next part begins; None after the last."""

    found: Found
    next_after: Place | None


def search_resources(hub: Hub, viewer: Viewer, resource_type: str, query: FhirQuery) -> FhirPage:
    """Return the page that a search asks for, what changed last first."""
    now, kind = hub.clock(), KINDS[resource_type]
    compared = [_COMPARISONS[prefix](kind.changed_at, start, end) for prefix, start, end in query.changed]
    with hub.transaction() as session:
        statement = kind.select(viewer, now).where(*kind.conditions(query), *compared)
        counting = select(func.count()).select_from(statement.with_only_columns(kind.key).subquery())
        total = session.scalar(counting) if query.counted else None
        if query.after is not None:
            statement = statement.where(tuple_(kind.changed_at, kind.key) < tuple_(query.after.at, query.after.key))
        places = kind.changed_at.label("place_at"), kind.key.label("place_key")
        statement = statement.add_columns(*places).order_by(kind.changed_at.desc(), kind.key.desc())
        rows = session.execute(statement.limit(query.count + 1)).all()
        _audit(session, viewer, QUERY, "E", resource_type, "search", now)
        shown = rows[: query.count]
        more = Place(shown[-1].place_at, shown[-1].place_key) if len(rows) > query.count else None
        matches = _show(kind, session, [row[:-2] for row in shown])
        included = [
            resource
            for element, target in (INCLUDES[resource_type][name] for name in query.includes)
            for resource in _load(KINDS[target], session, viewer, referred(matches, element), now)
        ]
        for name in query.revincludes:
            included += _load_referring(session, viewer, resource_type, name, matches, now)
        return FhirPage(Found(matches, included, total), more)


def read_resource(hub: Hub, viewer: Viewer, resource_type: str, resource_id: str) -> Resource:
    """Return one resource. Raises NotFound for what is not there, or not the viewer's to see."""
    now, kind = hub.clock(), KINDS[resource_type]
    with hub.transaction() as session:
        found = _load(kind, session, viewer, [resource_id], now)
        if not found:
            raise NotFound(f"there is no such {resource_type}, or you may not see it")
        _audit(session, viewer, PATIENT_RECORD, "R", resource_type, resource_id, now)
        return found[0]


def _load(kind: Kind, session: Session, viewer: Viewer, ids: Sequence[str], now: datetime) -> list[Resource]:
    """Return those of these resources that the viewer may see."""
    if not ids:
        return []
    wanted = kind.select(viewer, now).where(kind.key.in_(ids)).order_by(kind.key)
    return _show(kind, session, session.execute(wanted).all())


def _load_referring(
    session: Session, viewer: Viewer, resource_type: str, name: str, matches: Sequence[Resource], now: datetime
) -> list[Resource]:
    """Return those that refer to the matches by the reference of this name. Raises Invalid for too many."""
    element, source = REVINCLUDES[resource_type][name]
    ids, kind = [match["id"] for match in matches], KINDS[source]
    if not ids:
        return []
    wanted = kind.select(viewer, now).where(REFERRING[name](ids)).order_by(kind.key).limit(REFERRING_MAX + 1)
    rows = session.execute(wanted).all()
    if len(rows) > REFERRING_MAX:
        raise Invalid(f"more than {REFERRING_MAX} resources refer to this page by {name}: ask for fewer with _count")
    return [one for one in _show(kind, session, rows) if set(referred([one], element)) & set(ids)]


def _show(kind: Kind, session: Session, rows: Sequence[Any]) -> list[Resource]:
    return [versioned(resource) for resource in kind.show(session, rows)]


def _audit(
    session: Session, viewer: Viewer, code: str, action: str, resource_type: str, resource_id: str, now: datetime
) -> None:
    session.add(
        AuditEvent(
            at=now,
            event_code=code,
            action=action,
            account_id=viewer.account_id,
            object_kind=resource_type,
            object_id=resource_id,
            outcome="success",
            detail={},
        )
    )


def _is_within(column: Any, start: datetime, end: datetime) -> ColumnElement[bool]:
    return and_(column >= start, column < end)


# FHIR R4 3.1.1.4.7: what is asked for lasts from `start` to before `end`; a resource changes at one moment.
_COMPARISONS: Final[Mapping[str, Callable[[Any, datetime, datetime], ColumnElement[bool]]]] = {
    "eq": _is_within,
    "ne": lambda column, start, end: ~_is_within(column, start, end),
    "gt": lambda column, _start, end: column >= end,
    "sa": lambda column, _start, end: column >= end,
    "ge": lambda column, start, _end: column >= start,
    "lt": lambda column, start, _end: column < start,
    "eb": lambda column, start, _end: column < start,
    "le": lambda column, _start, end: column < end,
}
