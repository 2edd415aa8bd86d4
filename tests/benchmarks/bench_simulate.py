"""How long a simulated province takes for a day, and whether a study costs there what it costs in one county.

No peer: the goals are a number of seconds, and the ratio of the processor's time for one study in the province to that
in single counties of the same shape, before it and after it.
"""

from __future__ import annotations

import statistics
import time
from datetime import datetime
from zoneinfo import ZoneInfo

from reading_queue.commands.simulated_network import network_of
from reading_queue.simulation import Rules, parse_demand, province, simulate
from tests.benchmarks.harness import Bench, Goal, benchmark

BEGIN = datetime(2026, 3, 2, tzinfo=ZoneInfo("Asia/Shanghai"))
COUNTIES, SITES = 100, 15
COUNTY_SEEDS = range(10)  # a single county is small: several of its days together


@benchmark(Goal("simulate.s", "s", at_most=300), Goal("simulate.cost", "x", at_most=1.2))
def simulated_province(bench: Bench) -> None:
    """One day of 100 counties, 1,500 sites, 1,500 physicians and some 60,000 studies; and of one county alone."""
    before = [a_day(1, seed) for seed in COUNTY_SEEDS]
    whole = a_day(COUNTIES, 1)
    after = [a_day(1, seed) for seed in COUNTY_SEEDS]
    small = [each["cpu_s"] / each["studies"] for each in (*before, *after)]
    detail = {"province": whole, "county_ms_per_study": [round(one * 1000, 3) for one in small]}
    bench.record("simulate.s", whole["wall_s"], detail)
    bench.record("simulate.cost", whole["cpu_s"] / whole["studies"] / statistics.mean(small), detail)


def a_day(counties: int, seed: int) -> dict[str, float]:
    """Simulate one day and count it; the network is read before the clock runs."""
    document = province(BEGIN, 1, counties, SITES)
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
