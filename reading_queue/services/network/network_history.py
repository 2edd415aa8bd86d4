"""How a part of the network came to be what it is: each version with who, when, and what it changed. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.db.network_tables import AgreementVersion, NetworkVersion
from reading_queue.db.tables import Account
from reading_queue.domain.network_changes import Kind
from reading_queue.services.network.agreements import TERMS


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact that a version changed."""

    name: str
    before: Any  # None in a first version
    after: Any


@dataclass(frozen=True, slots=True)
class VersionLine:
    """One version; `by` is a name: of an account, or `by_command` of who ran a command on the hub; empty if unknown."""

    kind: Kind
    number: int
    at: datetime
    by: str
    differences: tuple[Difference, ...]  # none in a first version
    by_command: bool = False


def history_of(session: Session, kind: Kind, subject_id: str) -> tuple[VersionLine, ...]:
    """Return all versions, the newest first."""
    if kind is Kind.AGREEMENT:
        found = select(AgreementVersion).where(AgreementVersion.agreement_id == subject_id)
        rows = session.scalars(found.order_by(AgreementVersion.number)).all()
        said = [(row, {name: _plain(getattr(row, name)) for name in TERMS}) for row in rows]
        return _lines(session, kind, said)
    of_subject = (NetworkVersion.kind == kind, NetworkVersion.subject_id == subject_id)
    versions = session.scalars(select(NetworkVersion).where(*of_subject).order_by(NetworkVersion.number)).all()
    return _lines(session, kind, [(row, row.facts) for row in versions])


def present_version(session: Session, kind: Kind, subject_id: str) -> int:
    """Return the number of the version that counts now, 0 when there is none."""
    if kind is Kind.AGREEMENT:
        found = select(AgreementVersion.number).where(
            AgreementVersion.agreement_id == subject_id, AgreementVersion.replaced_at.is_(None)
        )
    else:
        found = select(NetworkVersion.number).where(
            NetworkVersion.kind == kind, NetworkVersion.subject_id == subject_id, NetworkVersion.replaced_at.is_(None)
        )
    return session.scalar(found) or 0


def _lines(
    session: Session, kind: Kind, said: Iterable[tuple[AgreementVersion | NetworkVersion, Mapping[str, Any]]]
) -> tuple[VersionLine, ...]:
    listed = list(said)
    authors = {row.recorded_by for row, _ in listed if row.recorded_by is not None}
    known = select(Account.account_id, Account.display_name).where(Account.account_id.in_(authors))
    names: dict[str | None, str] = dict(session.execute(known).all()) if authors else {}
    lines: list[VersionLine] = []
    before: Mapping[str, Any] | None = None
    for row, facts in listed:
        differing = () if before is None else _differences(before, facts)
        by, command = names.get(row.recorded_by, row.recorded_as), row.recorded_by is None
        lines.append(VersionLine(kind, row.number, row.recorded_at, by, differing, command))
        before = facts
    return tuple(reversed(lines))


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Difference, ...]:
    return tuple(
        Difference(name, before.get(name), value) for name, value in after.items() if before.get(name) != value
    )


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value
