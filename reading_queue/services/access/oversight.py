"""Which part of the network a coordinator answers for: their own organisation and those below it. Reads only.

An administrator answers for all of it. Whoever reads for these organisations by an agreement concerns them too, but
belongs to others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.db.tables import Agreement, Organisation
from reading_queue.domain.roles import Role
from reading_queue.services.access.visibility import Viewer

MANAGED: Final[Mapping[Role, frozenset[Role]]] = {
    Role.COORDINATOR: frozenset({Role.PHYSICIAN, Role.TECHNICIAN}),
    Role.ADMINISTRATOR: frozenset(Role),
}


def managed_roles(viewer: Viewer) -> frozenset[Role]:
    """Return whose accounts the viewer may make and close, within their own organisations."""
    return MANAGED.get(viewer.role, frozenset())


def own_organisations(session: Session, viewer: Viewer) -> frozenset[str]:
    """Return the organisations whose entries the viewer may change."""
    parents = _load_parents(session)
    if viewer.role is Role.ADMINISTRATOR:
        return frozenset(parents)
    if viewer.role is not Role.COORDINATOR:
        return frozenset()
    return frozenset(one for one in parents if viewer.organisation_id in _lineage(one, parents))


def concerned_organisations(session: Session, viewer: Viewer) -> frozenset[str]:
    """Return the viewer's own organisations and the hospitals that read for them by any agreement."""
    own = own_organisations(session, viewer)
    parents = _load_parents(session)
    requesting = {above for one in own for above in _lineage(one, parents)}
    assisting = select(Agreement.assisting_organisation_id).where(Agreement.requesting_organisation_id.in_(requesting))
    return own | frozenset(session.scalars(assisting))


def lineages(session: Session) -> dict[str, list[str]]:
    """Return for every organisation itself and those above it, nearest first."""
    parents = _load_parents(session)
    return {one: _lineage(one, parents) for one in parents}


def _load_parents(session: Session) -> Mapping[str, str | None]:
    return dict(session.execute(select(Organisation.organisation_id, Organisation.parent_id)).all())


def _lineage(organisation_id: str, parents: Mapping[str, str | None]) -> list[str]:
    """Return the organisation and those above it."""
    found: list[str] = []
    above: str | None = organisation_id
    while above is not None and above not in found:
        found.append(above)
        above = parents.get(above)
    return found
