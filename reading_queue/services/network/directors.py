"""Who is duty director (总值班) of an organisation now: by its dated roster, else by that of the organisation above.

A roster is kept as it is written, in the organisation's own time; each change of it is a version, dated and audited.
Runs inside the caller's transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from reading_queue.db.conditions import among
from reading_queue.db.director_tables import DutyDirector
from reading_queue.db.network_tables import Absence
from reading_queue.db.tables import Account, Organisation, Physician
from reading_queue.domain.network_changes import Kind
from reading_queue.services.network.duty import parse_duty, periods_of, until_last_day
from reading_queue.services.network.network_versions import NOBODY_KNOWN, Author, record_versions
from reading_queue.services.routing.routing_facts import load_lineage

ONE_DAY: Final = 1


@dataclass(frozen=True, slots=True)
class DirectorsOnDuty:
    """Who is told, and whose directors they are; nobody of no organisation where no roster names anybody now."""

    organisation_id: str | None = None
    account_ids: tuple[str, ...] = ()


def find_directors(session: Session, organisation_id: str, now: datetime) -> DirectorsOnDuty:
    """Return the directors on duty now of the organisation, else of the nearest one above it that has any.

    Who is away, or whose account is closed, is not on duty.
    """
    lineage = load_lineage(session, organisation_id)
    return next(iter(up_the_line(lineage, load_on_duty(session, now, lineage))), DirectorsOnDuty())


def load_on_duty(
    session: Session, now: datetime, organisation_ids: Sequence[str] | None = None
) -> dict[str, tuple[str, ...]]:
    """Return the accounts of all directors who are on duty now, by organisation: of these, or of every one."""
    on_duty: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
    directors = (
        select(DutyDirector, Organisation.time_zone, Account.last_day)
        .join(Organisation, Organisation.organisation_id == DutyDirector.organisation_id)
        .join(Account, Account.account_id == DutyDirector.account_id)
        .where(Account.disabled_at.is_(None), ~_is_away(now))
        .order_by(Account.login)
    )
    if organisation_ids is not None:
        directors = directors.where(DutyDirector.organisation_id.in_(organisation_ids))
    for row, time_zone, last_day in session.execute(directors):
        if is_on_duty(row.duty, time_zone, now, last_day):
            on_duty[row.organisation_id] += (row.account_id,)
    return dict(on_duty)


def up_the_line(lineage: Sequence[str], on_duty: Mapping[str, tuple[str, ...]]) -> list[DirectorsOnDuty]:
    """Return the directors of the organisations of the lineage that have any on duty, the nearest first."""
    return [DirectorsOnDuty(code, on_duty[code]) for code in lineage if code in on_duty]


def is_on_duty(duty: Any, time_zone: str, now: datetime, last_day: date | None = None) -> bool:
    """Return whether this written duty names this moment; the end of a shift is not part of it.

    `last_day`: that of the person, after which no duty counts.
    """
    periods = until_last_day(periods_of(parse_duty(duty), time_zone, now, ONE_DAY), last_day, time_zone)
    return any(start <= now < end for start, end in periods)


def organisations_directed(session: Session, account_id: str, now: datetime) -> tuple[str, ...]:
    """Return the organisations whose director the person is now by their own rosters, in order."""
    directed = load_on_duty(session, now)
    return tuple(sorted(code for code, accounts in directed.items() if account_id in accounts))


def record_director(
    session: Session, whose: tuple[str, str, str], duty: Any, now: datetime, author: Author = NOBODY_KNOWN
) -> bool:
    """Make this the duty of a director from now on; return whether it is new.

    `whose`: organisation id, account id, login. `duty`: as `network_parts.written_duty` writes it.
    """
    return bool(record_directors(session, {whose: duty}, now, author))


def record_directors(
    session: Session, duties: Mapping[tuple[str, str, str], Any], now: datetime, author: Author = NOBODY_KNOWN
) -> int:
    """Make each of these the duty of a director, as `record_director` does; return how many are new."""
    held = select(DutyDirector).where(
        among(DutyDirector.organisation_id, {organisation for organisation, *_ in duties})
    )
    rows = {(row.organisation_id, row.account_id): row for row in session.scalars(held)} if duties else {}
    for (organisation_id, account_id, _), duty in duties.items():
        row = rows.get((organisation_id, account_id))
        if row is None:
            row = DutyDirector(organisation_id=organisation_id, account_id=account_id)
            session.add(row)
        row.duty = duty
    session.flush()
    said = [(Kind.DIRECTOR, f"{code}:{login}", {"duty": duty}) for (code, _, login), duty in duties.items()]
    return record_versions(session, said, now, author)


def _is_away(now: datetime) -> Any:
    """Return the condition that the director of the row is a physician who is away."""
    of_director = (Physician.account_id == DutyDirector.account_id, Absence.physician_id == Physician.physician_id)
    return exists().where(*of_director, Absence.ended_at.is_(None), Absence.since <= now, Absence.until > now)
