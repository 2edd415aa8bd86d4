"""How long an offer stands: never longer than the rights on which it rests, which end with days of the site. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta, tzinfo

from reading_queue.domain.routing import AgreementFacts, CaseFacts, PhysicianFacts, find_agreement

DAY = timedelta(days=1)


def last_day_of_right(case: CaseFacts, physician: PhysicianFacts, agreements: Sequence[AgreementFacts]) -> date:
    """Return until when the physician may read the case, by agreements that follow one another and by their licence.

    It is the day before `case.local_date` where no agreement lets them today.
    """
    unlimited = [replace(one, cases_per_day_max={}) for one in agreements]  # today's limit says nothing of tomorrow
    day = case.local_date - DAY
    while day < physician.licence_valid_until:
        agreement, _ = find_agreement(replace(case, local_date=day + DAY), physician.hospitals, unlimited)
        if agreement is None:
            break
        day = agreement.valid_until
    return min(day, physician.licence_valid_until)


def stands_until(wanted: datetime, last_day: date, zone: tzinfo) -> datetime:
    """Return the moment that is wanted, or the end of the last day in this zone where that comes before."""
    if wanted.astimezone(zone).date() <= last_day:
        return wanted
    return datetime.combine(last_day + DAY, time.min, zone)
