"""Who and what was in the network when: every change of an organisation, a person, a physician's terms or duty is a new
version, dated and audited; none is lost. Agreements keep theirs in `services.network.agreements`.

The rows of `organisations`, `accounts` and `physicians` hold what counts now; `network_versions` holds all of it, in
the words of the network's file. Whoever writes those rows records the version in the same transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, insert, or_, select, update
from sqlalchemy.orm import Session

from reading_queue.db.conditions import among
from reading_queue.db.network_tables import NetworkVersion
from reading_queue.db.tables import Account, Organisation, Physician
from reading_queue.domain.network_changes import Kind
from reading_queue.services.network.rights import rights_changed
from reading_queue.services.worklists.desk_events import tell_sessions
from storage.ledger.tables import AuditEvent

Said = tuple[Kind, str, Mapping[str, Any]]  # of which kind, of whom or what, and the facts

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
    return bool(record_organisations(session, [row], now, author))


def record_organisations(
    session: Session, rows: Iterable[Organisation], now: datetime, author: Author = NOBODY_KNOWN
) -> int:
    """Keep what each row says now as its newest version; return how many are new."""
    said = [(Kind.ORGANISATION, row.organisation_id, organisation_facts(row)) for row in rows]
    return record_versions(session, said, now, author)


def record_person(session: Session, row: Account, now: datetime, author: Author = NOBODY_KNOWN) -> bool:
    """Keep what the row says now as its newest version; return whether it is new."""
    return bool(record_people(session, [row], now, author))


def record_people(session: Session, rows: Iterable[Account], now: datetime, author: Author = NOBODY_KNOWN) -> int:
    """Keep what each row says now as its newest version; return how many are new."""
    said = [(Kind.PERSON, row.account_id, person_facts(row)) for row in rows]
    if said:
        tell_sessions(session)
    return record_versions(session, said, now, author)


def record_physician(session: Session, row: Physician, now: datetime, author: Author = NOBODY_KNOWN) -> bool:
    """Keep what the row says now, terms and duty, as their newest versions; return whether one is new."""
    return bool(record_physicians(session, [row], now, author))


def record_physicians(session: Session, rows: Iterable[Physician], now: datetime, author: Author = NOBODY_KNOWN) -> int:
    """Keep what each row says now, terms and duty, as their newest versions; return how many are new."""
    said: list[Said] = []
    for row in rows:
        said.append((Kind.PHYSICIAN, row.physician_id, physician_facts(row)))
        said.append((Kind.DUTY, row.physician_id, {"duty": row.duty}))
    return record_versions(session, said, now, author)


def record_versions(session: Session, said: Sequence[Said], now: datetime, author: Author = NOBODY_KNOWN) -> int:
    """Make these the present facts of their subjects, each of which is there once; return how many are new.

    The same facts change nothing. However many they are, it takes the same few statements.
    """
    present = _present(session, said)
    new: list[tuple[Said, int, list[str]]] = []
    for kind, subject_id, facts in said:
        number, before = present.get((kind, subject_id), (0, {}))
        changed = sorted(name for name in facts if name not in before or before[name] != facts[name])
        if changed:
            new.append(((kind, subject_id, facts), number + 1, changed))
    if not new:
        return 0
    _replace(session, [(kind, subject_id) for (kind, subject_id, _), number, _ in new if number > 1], now)
    by = {"recorded_by": author.account_id, "recorded_as": author.command_as}
    versions = [
        {"kind": kind.value, "subject_id": subject_id, "number": number, "facts": dict(facts)}
        | {"recorded_at": now, "replaced_at": None, **by}
        for (kind, subject_id, facts), number, _ in new
    ]
    session.execute(insert(NetworkVersion), versions)
    audited = [_audit(kind, subject_id, number, changed, now, author) for (kind, subject_id, _), number, changed in new]
    session.add_all(audited)
    session.flush()
    changed_of = _by_kind((kind, subject_id) for (kind, subject_id, _), _, _ in new)
    rights_changed(session, now, physicians=changed_of[Kind.PHYSICIAN], organisations=changed_of[Kind.ORGANISATION])
    return len(new)


def _present(session: Session, said: Iterable[Said]) -> dict[tuple[Kind, str], tuple[int, Mapping[str, Any]]]:
    """Return number and facts of the present versions of these subjects."""
    present: dict[tuple[Kind, str], tuple[int, Mapping[str, Any]]] = {}
    for kind, subject_ids in _by_kind((kind, subject_id) for kind, subject_id, _ in said).items():
        found = select(NetworkVersion.subject_id, NetworkVersion.number, NetworkVersion.facts)
        for subject_id, number, facts in session.execute(found.where(*_present_of(kind, subject_ids))):
            present[kind, subject_id] = (number, facts)
    return present


def _replace(session: Session, subjects: Iterable[tuple[Kind, str]], now: datetime) -> None:
    """End the present versions of these subjects, before their successors: only one version is the present one."""
    for kind, subject_ids in _by_kind(subjects).items():
        ended = update(NetworkVersion).where(*_present_of(kind, subject_ids)).values(replaced_at=now)
        session.execute(ended.execution_options(synchronize_session=False))


def _present_of(kind: Kind, subject_ids: Sequence[str]) -> tuple[ColumnElement[bool], ...]:
    return (
        NetworkVersion.kind == kind,
        among(NetworkVersion.subject_id, subject_ids),
        NetworkVersion.replaced_at.is_(None),
    )


def _by_kind(subjects: Iterable[tuple[Kind, str]]) -> defaultdict[Kind, list[str]]:
    found: defaultdict[Kind, list[str]] = defaultdict(list)
    for kind, subject_id in subjects:
        found[kind].append(subject_id)
    return found


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
