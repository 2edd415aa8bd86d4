"""A small county to try out: two clinics, a county hospital, a hospital behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from reading_queue.domain.roles import Title
from reading_queue.domain.routing import AgreementFacts, PhysicianFacts
from reading_queue.simulation import Demand, Hospital, Network, RosteredPhysician, Rules, TimedAgreement, simulate
from reading_queue.simulation.outcome import Outcome

BEGIN = datetime(2026, 3, 2, tzinfo=ZoneInfo("Asia/Shanghai"))  # a Monday
DAYS = 2
BUSY = Demand(studies_per_site_per_day={"township": 30})
ROUND_THE_CLOCK = (0, 24)
DAY = (8, 18)

HOSPITALS = (
    Hospital("clinic-1", "township", "一卫生院", "county", True),
    Hospital("clinic-2", "township", "二卫生院", "county", True),
    Hospital("county", "county", "清河县医院", None, False),
    Hospital("city", "municipal", "市医院", None, False),
)


def physician(
    name: str,
    organisation: str = "county",
    *,
    title: Title = Title.ATTENDING,
    hours: tuple[int, int] = ROUND_THE_CLOCK,
    modalities: Sequence[str] = (),
    licence: date = date(2099, 1, 1),
    wip_max: int = 5,
    days: int = DAYS,
) -> RosteredPhysician:
    duty = tuple(
        (BEGIN + timedelta(days=day, hours=hours[0]), BEGIN + timedelta(days=day, hours=hours[1]))
        for day in range(days)
    )
    facts = PhysicianFacts(name, organisation, title, licence, frozenset(modalities), duty, 0, wip_max, 0)
    return RosteredPhysician(facts, name)


def agreement(requesting: str, assisting: str, stage: int) -> TimedAgreement:
    services = frozenset({"interpretation", "verification"})
    facts = AgreementFacts(
        f"{assisting}:{requesting}",
        requesting,
        assisting,
        frozenset(),
        frozenset(),
        services,
        stage,
        date.min,
        date.max,
    )
    return TimedAgreement(facts, {"stat": 60, "urgent": 120})


def county(*physicians: RosteredPhysician, agreements: Sequence[TimedAgreement] | None = None) -> Network:
    usual = (agreement("county", "county", 1), agreement("county", "city", 2))
    return Network(
        {one.organisation_id: one for one in HOSPITALS}, physicians, usual if agreements is None else agreements
    )


def run(network: Network, demand: Demand = BUSY, *, days: int = DAYS, seed: int = 7) -> Outcome:
    return simulate(network, demand, Rules(), BEGIN, days, seed)


def on_duty(one: RosteredPhysician, at_s: float) -> bool:
    return replace(one.facts).on_duty(BEGIN.astimezone(UTC) + timedelta(seconds=at_s))
