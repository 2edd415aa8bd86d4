"""Who and what was in the network when: every change of an organisation, a person, a physician's terms or duty is a new
version, dated and audited; none is lost. Agreements keep theirs in `services.network.agreements`.

The rows of `organisations`, `accounts` and `physicians` hold what counts now; `network_versions` holds all of it, in
the words of the network's file. Whoever writes those rows records the version in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from reading_queue.db.network_tables import NetworkVersion
from reading_queue.db.tables import Account, Organisation, Physician
from reading_queue.domain.network_changes import Kind
from reading_queue.services.worklists.desk_events import tell_sessions
from storage.ledger.tables import AuditEvent

RIGHTS_CHANGED: Final = "110113"  # DCM: security alert
# What the terms of a physician are, by the names of both the network's file and the columns.
PHYSICIAN_TERMS: Final = (
    "title",
    "licence_number",
    "licence_valid_until",
    "modalities",
    "specialties",
    "wip_max",
    "weekly_rvu_max",
    "also_at",
)


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes the network: somebody at a desk, or who ran a command on the hub, by the name they go under there."""

    account_id: str | None = None
    command_as: str = ""

    @property
    def audited(self) -> dict[str, str]:
        """Return what the audit trail says beside the account."""
        return {"command_as": self.command_as} if self.command_as else {}


NOBODY_KNOWN: Final = Author()


def organisation_facts(row: Organisation) -> dict[str, Any]:
    """Return the organisation as the network's file says it."""
    return {
        "kind": row.kind,
        "name": row.name,
        "name_en": row.name_en,
        "parent": row.parent_id,
        "site": row.site_id,
        "time_zone": row.time_zone,
    }


def person_facts(row: Account) -> dict[str, Any]:
    """Return the account as the network's file says it; no password."""
    return {
        "name": row.display_name,
        "role": row.role,
        "organisation": row.organisation_id,
        "language": row.language,
        "disabled": row.disabled_at is not None,
        "last_day": row.last_day.isoformat() if row.last_day is not None else None,
    }


def physician_facts(row: Physician) -> dict[str, Any]:
    """Return the physician's terms as the network's file says them."""
    facts = {name: getattr(row, name) for name in PHYSICIAN_TERMS}
    return {**facts, "licence_valid_until": facts["licence_valid_until"].isoformat()}


def record_organisation(session: Session, row: Organisation, now: datetime, author: Author = NOBODY_KNOWN) -> bool:
    """Keep what the row says now as its newest version; return whether it is new."""
    facts = organisation_facts(row)
    return record_version(session, Kind.ORGANISATION, row.organisation_id, facts, now, author)


def record_person(session: Session, row: Account, now: datetime, author: Author = NOBODY_KNOWN) -> bool:
    """Keep what the row says now as its newest version; return whether it is new."""
    tell_sessions(session)
    return record_version(session, Kind.PERSON, row.account_id, person_facts(row), now, author)


def record_physician(session: Session, row: Physician, now: datetime, author: Author = NOBODY_KNOWN) -> bool:
    """Keep what the row says now, terms and duty, as their newest versions; return whether one is new."""
    terms = record_version(session, Kind.PHYSICIAN, row.physician_id, physician_facts(row), now, author)
    duty = record_version(session, Kind.DUTY, row.physician_id, {"duty": row.duty}, now, author)
    return terms or duty


def record_version(
    session: Session,
    kind: Kind,
    subject_id: str,
    facts: Mapping[str, Any],
    now: datetime,
    author: Author = NOBODY_KNOWN,
) -> bool:
    """Make these the present facts of the subject; return whether they are new. The same facts change nothing."""
    present = session.scalar(
        select(NetworkVersion).where(
            NetworkVersion.kind == kind, NetworkVersion.subject_id == subject_id, NetworkVersion.replaced_at.is_(None)
        )
    )
    before: Mapping[str, Any] = {} if present is None else present.facts
    changed = sorted(name for name in facts if name not in before or before[name] != facts[name])
    if not changed:
        return False
    number = 1 if present is None else present.number + 1
    if present is not None:
        present.replaced_at = now
        session.flush()  # before its successor: only one version is the present one
    version = {"kind": kind.value, "subject_id": subject_id, "number": number, "facts": dict(facts)}
    by = {"recorded_by": author.account_id, "recorded_as": author.command_as}
    session.add(NetworkVersion(**version, recorded_at=now, **by, replaced_at=None))
    session.add(_audit(kind, subject_id, number, changed, now, author))
    session.flush()
    return True


def network_as_of(session: Session, kind: Kind, moment: datetime) -> dict[str, dict[str, Any]]:
    """Return the facts of every subject as they were recorded at the moment, by its id."""
    recorded = select(NetworkVersion.subject_id, NetworkVersion.facts).where(
        NetworkVersion.kind == kind,
        NetworkVersion.recorded_at <= moment,
        or_(NetworkVersion.replaced_at.is_(None), NetworkVersion.replaced_at > moment),
    )
    return dict(session.execute(recorded).all())


def _audit(kind: Kind, subject_id: str, number: int, changed: list[str], now: datetime, author: Author) -> AuditEvent:
    return AuditEvent(
        at=now,
        event_code=RIGHTS_CHANGED,
        action="C" if number == 1 else "U",
        account_id=author.account_id,
        object_kind=kind.value,
        object_id=subject_id,
        site_id=None,
        outcome="success",
        detail={"version": number, "changed": changed, **author.audited},
    )
