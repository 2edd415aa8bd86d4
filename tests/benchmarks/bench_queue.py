"""How fast committed cases become offers, and whether a claim is ever double or lost: PostgreSQL and RabbitMQ, no peer.

`queue.offers`: this process commits cases at a steady rate through the hub's own services, as the verification of packs
does; the hub's scheduler relays, its one worker process ranks and offers. The time of a case is from the moment that
its row calls ready to that of its offer. `queue.double.claims`: as many threads as physicians claim from one pool of
tasks, several for each, at once.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import date

from sqlalchemy import select

from gateway.clock import utc_now
from reading_queue.db.tables import Case, ReadingTask
from reading_queue.domain.roles import Title
from reading_queue.domain.routing import AgreementFacts, CaseFacts, Phase, PhysicianFacts, rank
from reading_queue.errors import AlreadyClaimed, NotOffered
from reading_queue.services import claims
from reading_queue.services.visibility import Viewer
from storage.contract.lanes import Lane
from tests.benchmarks.harness import Bench, Goal, benchmark
from tests.benchmarks.reading_pool import ReadingHub, add_physicians, fill_pool, running_reading_hub
from tests.support.waiting import eventually

RATE_PER_S, CASES = 60, 1200
WARM_UP = 60
WITHIN_S = 120.0
PHYSICIANS, CLAIMS, OFFERED_TO = 200, 10_000, 3
RANKED, RANK_REPEATS = 2_000, 50


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
    warm = [running.arrive(number) for number in range(WARM_UP)]
    eventually(lambda: offered(running, warm), WITHIN_S)
    began, case_ids = time.monotonic(), []
    for number in range(CASES):
        case_ids.append(running.arrive(WARM_UP + number))
        time.sleep(max(0.0, began + (number + 1) / RATE_PER_S - time.monotonic()))
    committed_s = time.monotonic() - began
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


@benchmark(Goal("queue.rank.ms", "ms", at_most=20))
def ranking(bench: Bench) -> None:
    """Rank 2,000 physicians of 20 hospitals for one case."""
    now = utc_now()
    case = CaseFacts("case", Phase.INTERPRETATION, Lane.ROUTINE, "CT", "CHEST", ("clinic", "county"), now.date())
    physicians = [
        PhysicianFacts(
            physician_id=f"p{number}",
            organisation_id=f"h{number % 20}",
            title=list(Title)[number % 4],
            licence_valid_until=date(2099, 1, 1),
            modalities=frozenset() if number % 3 else frozenset({"MR"}),
            duty=((now, now.replace(year=now.year + 1)),) if number % 2 else (),
            work_in_progress=number % 6,
            work_in_progress_max=5,
            workload_points=number * 37 % 900,
            read_this_patient=number % 97 == 0,
        )
        for number in range(RANKED)
    ]
    agreements = [
        AgreementFacts(
            agreement_id=f"a{number}-{site}",
            requesting_organisation_id=site,
            assisting_organisation_id=f"h{number}",
            modalities=frozenset(),
            body_regions=frozenset(),
            services=frozenset({"interpretation", "verification"}),
            stage=1 + number % 3,
            valid_from=date(2020, 1, 1),
            valid_until=date(2099, 1, 1),
        )
        for number in range(20)
        for site in ("clinic", "county")
    ]
    times_ms = []
    for _ in range(RANK_REPEATS):
        began = time.perf_counter()
        found = rank(case, physicians, agreements, now)
        times_ms.append((time.perf_counter() - began) * 1000)
    detail = {"physicians": RANKED, "candidates": len(found.candidates), "max_ms": round(max(times_ms), 2)}
    bench.record("queue.rank.ms", statistics.median(times_ms), detail)
