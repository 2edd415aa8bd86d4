"""How long an offer stands, and whose limits count for the case. Pure.

An offer stands never longer than the rights on which it rests, which end with days of the site. No later stage makes a
limit longer: those of the stages before it count, whether anybody can be asked there or not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta, tzinfo

from reading_queue.domain.routing import AgreementFacts, CaseFacts, PhysicianFacts, find_agreement

DAY = timedelta(days=1)
Stages = Sequence[tuple[int, Sequence[AgreementFacts]]]  # what each stage reads under, one agreement for a hospital


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


def agreements_by_stage(case: CaseFacts, agreements: Iterable[AgreementFacts]) -> Stages:
    """Return under which agreement each hospital alone may take the case, by stage."""
    of_hospital: dict[str, list[AgreementFacts]] = {}
    for one in agreements:
        of_hospital.setdefault(one.assisting_organisation_id, []).append(one)
    stages: dict[int, list[AgreementFacts]] = {}
    for hospital, own in of_hospital.items():
        usable, _ = find_agreement(case, (hospital,), own)
        if usable is not None:
            stages.setdefault(usable.stage, []).append(usable)
    return sorted(stages.items())


def whose_limits_count(stages: Stages, offered_under: Collection[str]) -> set[str]:
    """Return the agreements under which a case is offered, and those of every stage before the last of them."""
    reached = [stage for stage, some in stages if any(one.agreement_id in offered_under for one in some)]
    before = (some for stage, some in stages if reached and stage < reached[-1])
    return {*offered_under, *(one.agreement_id for some in before for one in some)}
