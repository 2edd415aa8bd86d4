"""How long the pure ranking of one case takes among the physicians of a whole province. No peer: the goal is a time."""

from __future__ import annotations

import statistics
import time
from datetime import UTC, datetime, timedelta

from reading_queue.domain.roles import Title
from reading_queue.domain.routing import AgreementFacts, CaseFacts, Phase, PhysicianFacts, rank
from storage.contract.lanes import Lane
from tests.benchmarks.harness import Bench, Goal, benchmark

NOW = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
PHYSICIANS, HOSPITALS, REPEATS = 2_000, 200, 51
MODALITIES = (frozenset[str](), frozenset({"CT"}), frozenset({"US", "MG"}))


@benchmark(Goal("queue.rank.ms", "ms", at_most=20))
def ranking_of_one_case(bench: Bench) -> None:
    """Rank 2,000 physicians of 200 hospitals for one case, most of them eligible; the median, and the slowest."""
    case = CaseFacts("case", Phase.INTERPRETATION, Lane.ROUTINE, "CT", "CHEST", ("clinic", "county"), NOW.date())
    physicians, agreements = everybody(), agreements_of(HOSPITALS)
    times_ms: list[float] = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        ranking = rank(case, physicians, agreements, NOW)
        times_ms.append((time.perf_counter() - began) * 1000)
    counts = {"candidates": len(ranking.candidates), "excluded": ranking.counts()}
    bench.record("queue.rank.ms", statistics.median(times_ms), {"slowest_ms": max(times_ms), **counts})


def everybody() -> list[PhysicianFacts]:
    """Return the physicians: a third reads something else, one in five is off duty, one in nine is full."""
    shift = ((NOW - timedelta(hours=4), NOW + timedelta(hours=4)),)
    return [
        PhysicianFacts(
            physician_id=f"physician-{number:04}",
            organisation_id=f"hospital-{number % HOSPITALS:03}",
            title=Title.ATTENDING,
            licence_valid_until=NOW.date(),
            modalities=MODALITIES[number % len(MODALITIES)],
            duty=() if number % 5 == 0 else shift,
            work_in_progress=number % 9,
            work_in_progress_max=8,
            workload_points=number * 37 % 1_000,
            read_this_patient=number % 500 == 0,
        )
        for number in range(PHYSICIANS)
    ]


def agreements_of(hospitals: int) -> list[AgreementFacts]:
    """Return two agreements for each hospital: with the clinic itself, and with the county above it."""
    nothing, services = frozenset[str](), frozenset({"interpretation"})
    return [
        AgreementFacts(
            f"{above}-{number}",
            above,
            f"hospital-{number:03}",
            nothing,
            nothing,
            services,
            number % 3,
            NOW.date(),
            NOW.date(),
        )
        for number in range(hospitals)
        for above in ("clinic", "county")
    ]
