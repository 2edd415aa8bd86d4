"""Hours in which nobody who may read for a county is on duty, found in the roster alone. Pure.

A verification needs a physician of sufficient title beside the author, so that its gaps may be longer. A roster that
leaves the same hours of several days open is one gap with several spans.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from reading_queue.domain.roles import VERIFIER_TITLE_MIN
from reading_queue.domain.routing import Phase
from reading_queue.simulation.network import Network, RosteredPhysician, periods_within

SHORTEST_S: Final = 60.0  # a change of shifts is no gap
Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Gap:
    """The same open hours of one or several days, in seconds from the beginning, for `sites` of the county."""

    county_id: str
    sites: int
    phase: Phase
    from_local: str  # 22:00, or 03-07 22:00 when it is longer than a day
    until_local: str
    spans_s: tuple[Span, ...]

    def holds(self, at_s: float) -> bool:
        """Return whether this moment lies in the gap."""
        return any(begin <= at_s < end for begin, end in self.spans_s)


def find_gaps(network: Network, begin: datetime, days: int) -> list[Gap]:
    """Return the gaps of all counties, longest together first."""
    end = begin + timedelta(days=days)
    staff: dict[str, list[RosteredPhysician]] = defaultdict(list)
    for physician in network.physicians:
        for organisation_id in physician.facts.hospitals:
            staff[organisation_id].append(physician)
    sites: dict[tuple[str, tuple[str, ...]], int] = defaultdict(int)
    for hospital in network.hospitals.values():
        if hospital.sends:
            who = network.assisting(hospital.organisation_id)
            sites[network.county_of(hospital.organisation_id), who] += 1
    gaps = [
        gap
        for (county_id, assisting), count in sites.items()
        if assisting
        for phase in (Phase.INTERPRETATION, Phase.VERIFICATION)
        for gap in _gaps_of(county_id, count, phase, _who_may(staff, assisting, phase), begin, end)
    ]
    return sorted(gaps, key=lambda gap: (-sum(stop - start for start, stop in gap.spans_s), gap.county_id, gap.phase))


def _who_may(
    staff: dict[str, list[RosteredPhysician]], assisting: Iterable[str], phase: Phase
) -> list[RosteredPhysician]:
    everybody = [physician for organisation in assisting for physician in staff[organisation]]
    if phase is not Phase.VERIFICATION:
        return everybody
    return [one for one in everybody if one.facts.title.rank >= VERIFIER_TITLE_MIN.rank]


def _gaps_of(
    county_id: str, sites: int, phase: Phase, physicians: Sequence[RosteredPhysician], begin: datetime, end: datetime
) -> Iterable[Gap]:
    alike: dict[tuple[str, str], list[Span]] = defaultdict(list)
    for start, stop in _open_spans(physicians, begin, end):
        words = "%H:%M" if stop - start <= timedelta(days=1) else "%m-%d %H:%M"
        span = ((start - begin).total_seconds(), (stop - begin).total_seconds())
        if span[1] - span[0] > SHORTEST_S:
            alike[f"{start:{words}}", f"{stop:{words}}"].append(span)
    for (from_local, until_local), spans in alike.items():
        yield Gap(county_id, sites, phase, from_local, until_local, tuple(spans))


def _open_spans(
    physicians: Sequence[RosteredPhysician], begin: datetime, end: datetime
) -> Iterable[tuple[datetime, datetime]]:
    covered = sorted(period for one in physicians for period in periods_within(one, begin, end))
    reached = begin
    for start, stop in covered:
        if start > reached:
            yield reached.astimezone(begin.tzinfo), start.astimezone(begin.tzinfo)
        reached = max(reached, stop)
    if reached < end:
        yield reached.astimezone(begin.tzinfo), end
