"""Duty as it was written, made into the periods that routing reads. Past duty stays as it was.

Duty is "always", a weekly roster, or a list of periods (`network_document.DutyPart`, `RosterPart`). The periods of
`always` and of a roster reach `DUTY_DAYS` from the moment at which they are written; a sweep writes them on.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter
from sqlalchemy import and_, exists, func, insert, or_, select
from sqlalchemy.orm import Session

from reading_queue.db.network_tables import DutyPeriod
from reading_queue.db.tables import Account, Organisation, Physician
from reading_queue.domain.roster import Period, gaps, merged
from reading_queue.services.hub import Hub
from reading_queue.services.network.network_parts import Duty, RosterPart

DUTY_DAYS: Final = 366
KNOWN_AHEAD_DAYS: Final = 330  # no less than this of what recurs is written out
EXTENDED_AT_ONCE: Final = 50  # physicians in one run of the sweep
_DUTY: Final[TypeAdapter[Duty]] = TypeAdapter(Duty)


def parse_duty(written: Any) -> Duty:
    """Return the duty from its JSON as `physicians.duty` keeps it."""
    return _DUTY.validate_python(written)


def periods_of(duty: Duty, time_zone: str, now: datetime, days: int) -> list[Period]:
    """Return the duty that is not over, as the fewest periods; for so many days where it has no end of its own."""
    if duty == "always":
        return [(now, now + timedelta(days=days))]
    if isinstance(duty, RosterPart):
        return duty.periods(time_zone, now, days)
    return merged((one.starts_at, one.ends_at) for one in duty if one.ends_at > now)


def write_duty(session: Session, physician: Physician, time_zone: str, now: datetime) -> None:
    """Put the physician's duty as it is written in place of the periods to come; one that goes on is not broken."""
    of_physician = (DutyPeriod.physician_id == physician.physician_id, DutyPeriod.ends_at > now)
    last_day = session.scalar(select(Account.last_day).where(Account.account_id == physician.account_id))
    coming = until_last_day(periods_of(parse_duty(physician.duty), time_zone, now, DUTY_DAYS), last_day, time_zone)
    rows = session.scalars(select(DutyPeriod).where(*of_physician)).all()
    for row in (row for row in rows if row.starts_at < now):
        goes_on = bool(coming) and coming[0][0] <= now
        row.ends_at = coming.pop(0)[1] if goes_on else now
    there = {(row.starts_at, row.ends_at): row for row in rows if row.starts_at >= now}
    wanted = {(max(starts_at, now), ends_at) for starts_at, ends_at in coming}
    for period, row in there.items():
        if period not in wanted:
            session.delete(row)
    session.flush()
    fresh = [
        {
            "duty_period_id": f"{physician.physician_id}:{starts_at.isoformat()}",
            "physician_id": physician.physician_id,
            "starts_at": starts_at,
            "ends_at": ends_at,
        }
        for starts_at, ends_at in sorted(wanted - there.keys())
    ]
    if fresh:
        session.execute(insert(DutyPeriod), fresh)


def local_today(session: Session, organisation_id: str, now: datetime) -> date:
    """Return today's date where the organisation is."""
    return now.astimezone(ZoneInfo(session.get_one(Organisation, organisation_id).time_zone)).date()


def until_last_day(periods: Iterable[Period], last_day: date | None, time_zone: str) -> list[Period]:
    """Return the periods as far as the end of the person's last day, if one is known."""
    if last_day is None:
        return list(periods)
    end = datetime.combine(last_day + timedelta(days=1), time.min, ZoneInfo(time_zone)).astimezone(UTC)
    return [(starts_at, min(ends_at, end)) for starts_at, ends_at in periods if starts_at < end]


def extend_duty(hub: Hub) -> int:
    """Write out duty that recurs as far ahead as it is to be known, in batches. Return of how many physicians."""
    now = hub.clock()
    far = now + timedelta(days=KNOWN_AHEAD_DAYS)
    of_physician = DutyPeriod.physician_id == Physician.physician_id
    always = (func.jsonb_typeof(Physician.duty) == "string", ~exists().where(of_physician, DutyPeriod.ends_at > far))
    weekly = (Physician.duty["weekly"].astext != "{}", ~exists().where(of_physician, DutyPeriod.starts_at > far))
    due = (
        select(Physician, Organisation.time_zone)
        .join(Organisation, Organisation.organisation_id == Physician.organisation_id)
        .join(Account, Account.account_id == Physician.account_id)
        .where(or_(and_(*always), and_(*weekly)), or_(Account.last_day.is_(None), Account.last_day > far.date()))
        .limit(EXTENDED_AT_ONCE)
        .with_for_update(of=Physician, skip_locked=True)
    )
    with hub.transaction() as session:
        rows = session.execute(due).all()
        for physician, time_zone in rows:
            write_duty(session, physician, time_zone, now)
    return len(rows)


def gaps_of(duties: Iterable[tuple[Any, str, date | None]], now: datetime, days: int) -> list[Period]:
    """Return when nobody is on duty in the days to come, of people with this written duty, time zone and last day."""
    periods: list[Period] = []
    for written, zone, last_day in duties:
        periods += until_last_day(periods_of(parse_duty(written), zone, now, days), last_day, zone)
    return gaps(periods, now, now + timedelta(days=days))
