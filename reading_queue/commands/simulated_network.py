"""A network document as the simulation takes it: the same file as an import, nothing from the database."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from reading_queue.domain.routing import POINTS_OF_ONE_RVU, AgreementFacts, PhysicianFacts
from reading_queue.simulation import Hospital, Network, RosteredPhysician, TimedAgreement

if TYPE_CHECKING:
    from reading_queue.domain.network_faults import Places
    from reading_queue.services.network.network_parts import AgreementPart, NetworkDocument, PhysicianPart

WORKLOAD_DAYS: Final = 7  # over which the hub counts workload


def network_of(document: Mapping[str, Any], begin: datetime, days: int, places: Places | None = None) -> Network:
    """Return the network of the document, as parsed from its file. Raises NetworkInvalid with every mistake."""
    from reading_queue.services.network.network_document import parse_network

    return to_simulate(parse_network(document, places), begin, days)


def to_simulate(network: NetworkDocument, begin: datetime, days: int) -> Network:
    """Return the document's network; a physician is known by login."""
    zones = {part.id: part.time_zone for part in network.organisations}
    return Network(
        hospitals={
            part.id: Hospital(part.id, part.kind, part.name, part.parent, part.site is not None, part.name_en)
            for part in network.organisations
        },
        physicians=[_physician(part, zones[part.organisation], begin, days) for part in network.physicians],
        agreements=[
            _agreement(part, requesting) for part in network.agreements for requesting in dict.fromkeys(part.requesting)
        ],
    )


def _physician(part: PhysicianPart, time_zone: str, begin: datetime, days: int) -> RosteredPhysician:
    from reading_queue.services.network.network_parts import RosterPart

    if part.duty == "always":
        duty: tuple[tuple[datetime, datetime], ...] = ((begin - timedelta(days=1), begin + timedelta(days=days + 1)),)
    elif isinstance(part.duty, RosterPart):
        duty = tuple(part.duty.periods(time_zone, begin, days))
    else:
        duty = tuple((period.starts_at, period.ends_at) for period in part.duty or ())
    facts = PhysicianFacts(
        physician_id=part.login,
        organisation_id=part.organisation,
        title=part.title,
        licence_valid_until=part.licence_valid_until,
        modalities=frozenset(part.modalities),
        duty=duty,
        work_in_progress=0,
        work_in_progress_max=part.wip_max,
        workload_points=0,
        also_at=part.also_at,
        specialties=frozenset(part.specialties),
        weekly_points_max=_weekly_points_max(part, days),
    )
    return RosteredPhysician(facts, part.name, part.duty == "always")


def _weekly_points_max(part: PhysicianPart, days: int) -> int | None:
    """Return the limit of seven days; a longer run counts all its work together, so that it has none there."""
    if part.weekly_rvu_max is None or days > WORKLOAD_DAYS:
        return None
    return part.weekly_rvu_max * POINTS_OF_ONE_RVU


def _agreement(part: AgreementPart, requesting: str) -> TimedAgreement:
    facts = AgreementFacts(
        agreement_id=f"{part.id}:{requesting}",
        requesting_organisation_id=requesting,
        assisting_organisation_id=part.assisting,
        modalities=frozenset(part.modalities),
        body_regions=frozenset(part.body_regions),
        services=frozenset(part.services),
        stage=part.stage,
        valid_from=part.valid_from,
        valid_until=part.valid_until,
        cases_per_day_max=part.cases_per_day_max,
    )
    limits = {lane.value: minutes for lane, minutes in part.time_limits_min.items()}
    return TimedAgreement(facts, limits, part.single_physician)
