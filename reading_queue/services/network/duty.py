"""Duty as it was written, made into the periods that routing reads. Past duty stays as it was.

Duty is "always", a weekly roster, or a list of periods (`network_document.DutyPart`, `RosterPart`). The periods of
`always` and of a roster reach `DUTY_DAYS` from the moment at which they are written; a sweep writes them on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter
from sqlalchemy import (
    Insert,
    and_,
    column,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from reading_queue.db.conditions import among
from reading_queue.db.network_tables import DutyPeriod
from reading_queue.db.tables import Account, Organisation, Physician
from reading_queue.domain.roster import Period, gaps, merged
from reading_queue.services.hub import Hub
from reading_queue.services.network.network_parts import Duty, RosterPart

DUTY_DAYS: Final = 366
KNOWN_AHEAD_DAYS: Final = 330  # no less than this of what recurs is written out
EXTENDED_AT_ONCE: Final = 50  # physicians in one run of the sweep
WRITTEN_AT_ONCE: Final = 100  # physicians whose duty is written out by one statement
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
    write_duties(session, [(physician, time_zone)], now)


def write_duties(session: Session, whose: Sequence[tuple[Physician, str]], now: datetime) -> None:
    """Do the same for each of these physicians, whose hospitals are in these time zones, a few statements for many."""
    for begin in range(0, len(whose), WRITTEN_AT_ONCE):
        _write_some(session, whose[begin : begin + WRITTEN_AT_ONCE], now)


def _write_some(session: Session, whose: Sequence[tuple[Physician, str]], now: datetime) -> None:
    lasting = select(Account.account_id, Account.last_day).where(
        among(Account.account_id, (physician.account_id for physician, _ in whose))
    )
    last_days = dict(session.execute(lasting).all())
    begun, there = _periods_to_come(session, [physician.physician_id for physician, _ in whose], now)
    ended: list[dict[str, Any]] = []
    gone: list[str] = []
    fresh: list[tuple[str, datetime, datetime]] = []
    for physician, time_zone in whose:
        written = periods_of(parse_duty(physician.duty), time_zone, now, DUTY_DAYS)
        coming = until_last_day(written, last_days[physician.account_id], time_zone)
        for duty_period_id in begun[physician.physician_id]:
            goes_on = bool(coming) and coming[0][0] <= now
            ended.append({"duty_period_id": duty_period_id, "ends_at": coming.pop(0)[1] if goes_on else now})
        wanted = {(max(starts_at, now), ends_at) for starts_at, ends_at in coming}
        known = there[physician.physician_id]
        gone += [duty_period_id for period, duty_period_id in known.items() if period not in wanted]
        fresh += [(physician.physician_id, *period) for period in sorted(wanted - known.keys())]
    if ended:
        session.execute(update(DutyPeriod), ended)
    if gone:
        removed = delete(DutyPeriod).where(among(DutyPeriod.duty_period_id, gone))
        session.execute(removed.execution_options(synchronize_session=False))
    if fresh:
        session.execute(_insert(fresh))


def _periods_to_come(
    session: Session, physician_ids: Sequence[str], now: datetime
) -> tuple[Mapping[str, list[str]], Mapping[str, dict[Period, str]]]:
    """Return by physician the ids of the periods that have begun and are not over, and of those that have not begun."""
    begun: defaultdict[str, list[str]] = defaultdict(list)
    there: defaultdict[str, dict[Period, str]] = defaultdict(dict)
    coming = select(DutyPeriod.physician_id, DutyPeriod.duty_period_id, DutyPeriod.starts_at, DutyPeriod.ends_at).where(
        among(DutyPeriod.physician_id, physician_ids), DutyPeriod.ends_at > now
    )
    for physician_id, duty_period_id, starts_at, ends_at in session.execute(coming):
        if starts_at < now:
            begun[physician_id].append(duty_period_id)
        else:
            there[physician_id][starts_at, ends_at] = duty_period_id
    return begun, there


def _insert(periods: Sequence[tuple[str, datetime, datetime]]) -> Insert:
    """Return the statement that inserts all of these: a year's duty of a province is some hundred thousand rows."""
    rows = [
        {"physician_id": physician_id, "starts_at": starts_at.isoformat(), "ends_at": ends_at.isoformat()}
        for physician_id, starts_at, ends_at in periods
    ]
    for row in rows:
        row["duty_period_id"] = f"{row['physician_id']}:{row['starts_at']}"
    columns = DutyPeriod.__table__.columns
    written = func.jsonb_to_recordset(literal(rows, JSONB)).table_valued(
        *(column(one.name, one.type) for one in columns)
    )
    return insert(DutyPeriod).from_select(
        [one.name for one in columns], select(written.render_derived(with_types=True))
    )


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
        write_duties(session, [(physician, time_zone) for physician, time_zone in rows], now)
    return len(rows)


def gaps_of(duties: Iterable[tuple[Any, str, date | None]], now: datetime, days: int) -> list[Period]:
    """Return when nobody is on duty in the days to come, of people with this written duty, time zone and last day."""
    periods: list[Period] = []
    for written, zone, last_day in duties:
        periods += until_last_day(periods_of(parse_duty(written), zone, now, days), last_day, zone)
    return gaps(periods, now, now + timedelta(days=days))
