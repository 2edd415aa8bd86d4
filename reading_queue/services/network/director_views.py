"""The duty directors of an organisation as a coordinator sees them: each roster, and who is told now. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.db.director_tables import DutyDirector
from reading_queue.db.tables import Account, Organisation
from reading_queue.domain.network_changes import Kind
from reading_queue.domain.roles import Role
from reading_queue.services.local_words import organisation_name
from reading_queue.services.network.directors import find_directors, is_on_duty
from reading_queue.services.network.network_history import VersionLine, history_of, present_version


@dataclass(frozen=True, slots=True)
class DirectorLine:
    """One person's duty as director."""

    login: str
    name: str
    duty: Any  # as it was written
    on_duty: bool  # by the roster; who is away is not told all the same
    disabled: bool
    version: int
    history: tuple[VersionLine, ...]


@dataclass(frozen=True, slots=True)
class DirectorsView:
    """Who is told now, of which organisation (a name; nobody: the coordinators), and all rosters of this one."""

    on_duty: tuple[str, ...]  # names
    of: str
    listed: tuple[DirectorLine, ...]
    people: tuple[tuple[str, str], ...]  # logins and names of those who can be added


def view_directors(session: Session, organisation: Organisation, language: str, now: datetime) -> DirectorsView:
    """Return the directors of an organisation."""
    code = organisation.organisation_id
    own = select(DutyDirector, Account).join(Account, Account.account_id == DutyDirector.account_id)
    rows = session.execute(own.where(DutyDirector.organisation_id == code).order_by(Account.login)).all()
    found = find_directors(session, code, now)
    of = session.get(Organisation, found.organisation_id) if found.organisation_id is not None else None
    names = select(Account.display_name).where(Account.account_id.in_(found.account_ids)).order_by(Account.login)
    others = select(Account.login, Account.display_name).where(
        Account.organisation_id == code,
        Account.role != Role.TECHNICIAN,
        Account.disabled_at.is_(None),
        Account.account_id.not_in([row.account_id for row, _ in rows]),
    )
    return DirectorsView(
        on_duty=tuple(session.scalars(names)),
        of="" if of is None else organisation_name(of.name, of.name_en, language),
        listed=tuple(_line(session, row, account, organisation.time_zone, now) for row, account in rows),
        people=tuple((login, f"{name} ({login})") for login, name in session.execute(others.order_by(Account.login))),
    )


def _line(session: Session, row: DutyDirector, account: Account, time_zone: str, now: datetime) -> DirectorLine:
    subject = f"{row.organisation_id}:{account.login}"
    return DirectorLine(
        login=account.login,
        name=account.display_name,
        duty=row.duty,
        on_duty=is_on_duty(row.duty, time_zone, now, account.last_day),
        disabled=account.disabled_at is not None,
        version=present_version(session, Kind.DIRECTOR, subject),
        history=history_of(session, Kind.DIRECTOR, subject),
    )
