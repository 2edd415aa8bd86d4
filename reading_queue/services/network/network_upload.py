"""The network taken from files that somebody uploads, and given to them: first told, then done. Administrators only.

Durable: what `load_network` does, in its one transaction. What is done is what was told, or nothing is.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from argon2 import PasswordHasher

from reading_queue.domain.network_changes import Action, Kind
from reading_queue.domain.network_faults import Fault, Path, Place
from reading_queue.domain.roles import Role
from reading_queue.services.access.accounts import PASSWORD_HASHER
from reading_queue.services.access.visibility import Viewer, require
from reading_queue.services.cases.clinic import EXPORT
from reading_queue.services.hub import Hub
from reading_queue.services.network.network import (
    ImportPlan,
    NetworkChanged,
    NetworkLoaded,
    export_network,
    load_network,
    plan_import,
)
from reading_queue.services.network.network_document import NetworkInvalid
from reading_queue.services.network.network_files import read_files
from reading_queue.services.network.network_versions import Author
from storage.ledger.tables import AuditEvent

NEW_ACCOUNTS_MAX: Final = 200  # in one request: each password takes its time on purpose


def plan_upload(hub: Hub, viewer: Viewer, files: Mapping[str, bytes], *, whole: bool) -> ImportPlan:
    """Return what importing the files would do, and change nothing.

    Raises:
        NetworkInvalid: with every fault, by file, line and field.
        Forbidden.
    """
    require(viewer, Role.ADMINISTRATOR)
    return _plan(hub, read_files(files), whole=whole)


def import_upload(
    hub: Hub,
    viewer: Viewer,
    files: Mapping[str, bytes],
    told: str,
    *,
    whole: bool,
    hasher: PasswordHasher = PASSWORD_HASHER,
) -> NetworkLoaded:
    """Import the files as they were told: `told` is the fingerprint of the plan that somebody has agreed to.

    Raises:
        NetworkInvalid, Forbidden.
        NetworkChanged: it would do something else by now.
    """
    require(viewer, Role.ADMINISTRATOR)
    read = read_files(files)
    if _plan(hub, read, whole=whole).fingerprint != told:
        raise NetworkChanged
    document, places, _ = read
    author = Author(viewer.account_id)
    return load_network(hub, document, places, whole=whole, told=told, author=author, hasher=hasher)


def export_for(hub: Hub, viewer: Viewer, as_of: datetime | None = None) -> dict[str, Any]:
    """Return the network, or as it was, as a document; who took it is audited. Raises Forbidden."""
    require(viewer, Role.ADMINISTRATOR)
    document = export_network(hub, as_of)
    with hub.transaction() as session:
        session.add(
            AuditEvent(
                at=hub.clock(),
                event_code=EXPORT,
                action="R",
                account_id=viewer.account_id,
                object_kind="network",
                object_id="export",
                site_id=None,
                outcome="success",
                detail={"as_of": as_of.isoformat()} if as_of is not None else {},
            )
        )
    return document


def _plan(hub: Hub, read: tuple[dict[str, Any], dict[Path, Place], list[Fault]], *, whole: bool) -> ImportPlan:
    plan = plan_import(hub, *read, whole=whole)
    new = [one for one in plan.changes if one.kind is Kind.PERSON and one.action is Action.ADD]
    if len(new) > NEW_ACCOUNTS_MAX:
        fault = Fault("too_many_accounts", (), {"count": len(new), "limit": NEW_ACCOUNTS_MAX})
        _, places, _ = read
        raise NetworkInvalid([fault], places)
    return plan
