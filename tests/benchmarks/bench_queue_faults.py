"""How many of 5,000 cases are lost or offered twice while everything under the queue is killed: no peer.

PostgreSQL, RabbitMQ, two schedulers and a worker are separate processes. While this process commits cases at a steady
rate, RabbitMQ is killed and wiped, the worker, its children and the schedulers get SIGKILL, routings die before each of
their statements and after their commit, PostgreSQL is restarted, and the clock of one scheduler jumps. What counts is
read afterwards from the rows of each case.
"""

from __future__ import annotations

import itertools
import time

from tests.benchmarks.harness import Bench, Goal, benchmark
from tests.benchmarks.queue_faults import Faults, await_offers, committing, count, running_faulty_hub

CASES, RATE_PER_S, SEED = 5_000, 40, 7
PAUSE_S = (0.5, 2.0)
WITHIN_S = 600.0
PLAN = (
    "step", "worker", "step", "clock", "child", "step", "wipe", "step", "scheduler", "child", "step", "database",
    "clock", "step", "worker", "step", "child", "step", "scheduler", "step",
)  # fmt: skip


@benchmark(Goal("queue.lost", "", at_most=0), Goal("queue.doubled", "", at_most=0))
def queue_faults(bench: Bench) -> None:
    """Commit cases while everything is hurt in turn; let all come to rest; count."""
    with running_faulty_hub(bench.directory / "faults") as running:
        arrivals = [running.reading.declare(number) for number in range(CASES)]
        began = time.monotonic()
        with committing(running, arrivals, RATE_PER_S) as commits:
            Faults(running, PAUSE_S, SEED).inflict(itertools.cycle(PLAN), until=commits.done)
        committed_s = time.monotonic() - began
        await_offers(running, arrivals, WITHIN_S)
        offered_s = time.monotonic() - began
        running.drain()
        outcome = count(running, arrivals)
    detail = {
        "cases": CASES,
        "faults": dict(running.done),
        "seed": SEED,
        "committed_after_s": round(committed_s, 1),
        "offered_after_s": round(offered_s, 1),
        "dead_jobs": outcome.dead_jobs,
    }
    bench.record("queue.lost", outcome.lost, detail)
    bench.record("queue.doubled", outcome.doubled, detail)
