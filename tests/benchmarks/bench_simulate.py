"""How long a simulated province takes for a day, and whether a study costs there what it costs in one county.

No peer: the goals are a number of seconds, and the ratio of the processor's time for one study in the province to that
in single counties of the same shape, before it and after it. A county alone has its own municipal and provincial
hospital with two people each, more than its share of them in the province; it is given as many studies for each
physician, because what waits costs more than what is taken at once. The ratio without that stands beside it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from reading_queue.commands.simulated_network import network_of
from reading_queue.simulation import Rules, parse_demand, province, simulate
from reading_queue.simulation.province import STUDIES_PER_SITE
from tests.benchmarks.harness import Bench, Goal, benchmark

BEGIN = datetime(2026, 3, 2, tzinfo=ZoneInfo("Asia/Shanghai"))
COUNTIES, SITES = 100, 15
COUNTY_SEEDS = range(10)  # a single county is small: several of its days together


@benchmark(Goal("simulate.s", "s", at_most=300), Goal("simulate.cost", "x", at_most=1.2))
def simulated_province(bench: Bench) -> None:
    """One day of 100 counties, 1,500 sites, 1,500 physicians and some 60,000 studies; and of one county alone."""
    share = physicians_of(1) * COUNTIES / physicians_of(COUNTIES)
    before = [a_day(1, seed, share) for seed in COUNTY_SEEDS]
    idler = [a_day(1, seed) for seed in COUNTY_SEEDS]
    whole = a_day(COUNTIES, 1)
    after = [a_day(1, seed, share) for seed in COUNTY_SEEDS]
    small, idle = cost((*before, *after)), cost(idler)
    detail = {
        "province": whole,
        "county_ms_per_study": small * 1000,
        "county_studies": statistics.mean(each["studies"] for each in before),
        "ratio_to_county_with_spare_physicians": cost([whole]) / idle,
    }
    bench.record("simulate.s", whole["wall_s"], detail)
    bench.record("simulate.cost", cost([whole]) / small, detail)


def cost(days: Sequence[Mapping[str, float]]) -> float:
    """Return the seconds of the processor for one study."""
    return sum(day["cpu_s"] for day in days) / sum(day["studies"] for day in days)


def physicians_of(counties: int) -> int:
    """Return how many physicians such a province has."""
    return len(province(BEGIN, 1, counties, SITES)["physicians"])


def a_day(counties: int, seed: int, share: float = 1.0) -> dict[str, float]:
    """Simulate one day, with `share` times the studies, and count it; the network is read before the clock runs."""
    document = province(BEGIN, 1, counties, SITES)
    document["simulation"] = {"studies_per_site_per_day": {"township": STUDIES_PER_SITE * share}}
    network = network_of(document, BEGIN, 1)
    demand = parse_demand(document["simulation"])
    wall, cpu = time.monotonic(), time.process_time()
    outcome = simulate(network, demand, Rules(), BEGIN, 1, seed)
    summary = outcome.summary()
    return {
        "wall_s": time.monotonic() - wall,
        "cpu_s": time.process_time() - cpu,
        "studies": len(outcome.cases),
        "physicians": len(network.physicians),
        "rankings": outcome.rankings,
        "share_met": summary["all"]["share_met"],
    }
