"""How fast committed cases become offers, and whether a claim is ever double or lost: PostgreSQL and RabbitMQ, no peer.

`queue.offers`: this process commits cases, whose images are here, at a steady rate through the hub's own services, as
the verification of a last pack does; the hub's scheduler relays, its one worker process ranks and offers. The time of a
case is from the moment that its row calls ready to that of its offer. `queue.double.claims`: as many threads as
physicians claim from one pool of tasks, several for each, at once.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import select

from reading_queue.db.tables import Case, ReadingTask
from reading_queue.errors import AlreadyClaimed, NotOffered
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.reading import claims
from tests.benchmarks.harness import Bench, Goal, benchmark
from tests.benchmarks.reading_pool import ReadingHub, add_physicians, fill_pool, running_reading_hub
from tests.support.waiting import eventually

RATE_PER_S, CASES = 60, 1200
WARM_UP = 60
WITHIN_S = 120.0
PHYSICIANS, CLAIMS, OFFERED_TO = 200, 10_000, 3


@benchmark(
    Goal("queue.offers.per.s", "1/s", at_least=50),
    Goal("queue.offer.p95.s", "s", at_most=1),
    Goal("queue.double.claims", "", at_most=0),
)
def queue(bench: Bench) -> None:
    """Commit cases at a steady rate and see them offered; then let everybody claim at once."""
    with running_reading_hub(bench.directory / "hub") as running:
        if bench.wants("queue.offers.per.s", "queue.offer.p95.s"):
            measure_offers(bench, running)
        if bench.wants("queue.double.claims"):
            measure_claims(bench, running)


def measure_offers(bench: Bench, running: ReadingHub) -> None:
    """Record rate and delay of the offers of CASES cases, once the first WARM_UP are offered."""
    arrivals = [running.declare(number) for number in range(WARM_UP + CASES)]
    for arrival in arrivals[:WARM_UP]:
        running.commit(arrival)
    eventually(lambda: offered(running, [arrival.case_id for arrival in arrivals[:WARM_UP]]), WITHIN_S)
    pace, began = threading.Event(), time.monotonic()
    for number, arrival in enumerate(arrivals[WARM_UP:], start=1):
        running.commit(arrival)
        pace.wait(max(0.0, began + number / RATE_PER_S - time.monotonic()))
    committed_s = time.monotonic() - began
    case_ids = [arrival.case_id for arrival in arrivals[WARM_UP:]]
    found = eventually(lambda: offered(running, case_ids), WITHIN_S)
    waits = [(case.offered_at - case.ready_at).total_seconds() for case in found if case.offered_at and case.ready_at]
    first = min(case.ready_at for case in found if case.ready_at)
    last = max(case.offered_at for case in found if case.offered_at)
    detail = {
        "cases": CASES,
        "asked_per_s": RATE_PER_S,
        "committed_per_s": round(CASES / committed_s, 1),
        "median_s": round(statistics.median(waits), 3),
        "max_s": round(max(waits), 3),
    }
    bench.record("queue.offers.per.s", CASES / (last - first).total_seconds(), detail)
    bench.record("queue.offer.p95.s", statistics.quantiles(waits, n=20)[-1], detail)


def offered(running: ReadingHub, case_ids: list[str]) -> list[Case]:
    """Return the cases; raises AssertionError until all of them are offered."""
    with running.hub.transaction() as session:
        found = list(session.scalars(select(Case).where(Case.case_id.in_(case_ids))))
    waiting = sum(case.offered_at is None for case in found)
    assert not waiting, f"{waiting} cases wait"
    return found


def measure_claims(bench: Bench, running: ReadingHub) -> None:
    """Record how many of CLAIMS tasks have not exactly one holder who was told so."""
    physicians = add_physicians(running.hub, PHYSICIANS)
    fill_pool(running.hub, CLAIMS, PHYSICIANS, OFFERED_TO)
    start, told, refused = threading.Barrier(PHYSICIANS), Counter[str](), Counter[str]()
    lock = threading.Lock()

    def claim_all(place: int, viewer: Viewer) -> None:
        mine = [task for task in range(CLAIMS) if (place - task) % PHYSICIANS < OFFERED_TO]
        start.wait()
        for task in mine:
            try:
                claims.claim(running.hub, viewer, f"pool-{task}")
            except (AlreadyClaimed, NotOffered) as exc:
                with lock:
                    refused[type(exc).__name__] += 1
                continue
            with lock:
                told[f"pool-{task}"] += 1

    began = time.monotonic()
    with ThreadPoolExecutor(PHYSICIANS) as pool:
        for each in [pool.submit(claim_all, place, viewer) for place, viewer in enumerate(physicians)]:
            each.result()
    seconds = time.monotonic() - began
    with running.hub.transaction() as session:
        held = Counter(
            session.scalars(
                select(ReadingTask.reading_task_id).where(
                    ReadingTask.reading_task_id.startswith("pool-"), ReadingTask.state == "in_progress"
                )
            )
        )
    wrong = sum(told[f"pool-{task}"] != 1 or held[f"pool-{task}"] != 1 for task in range(CLAIMS))
    detail = {
        "claims": CLAIMS,
        "physicians": PHYSICIANS,
        "attempts": sum(told.values()) + sum(refused.values()),
        "refused": dict(refused),
        "seconds": round(seconds, 1),
        "doubled": sum(count > 1 for count in told.values()),
        "lost": sum(not told[f"pool-{task}"] for task in range(CLAIMS)),
    }
    bench.record("queue.double.claims", wrong, detail)
