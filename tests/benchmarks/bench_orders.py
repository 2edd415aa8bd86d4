"""How long a page of the list of orders takes over HTTP, with a hundred thousand of them.

A coordinator and a clinic's technician page, filter and search, at the desk as a browser does and by the JSON API.
"""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Mapping
from typing import Final

from tests.benchmarks.bench_qido import percentile_95
from tests.benchmarks.bench_worklist import Ask, Person
from tests.benchmarks.harness import Bench, Goal, benchmark
from tests.benchmarks.many_orders import fill_orders
from tests.benchmarks.reading_pool import running_reading_hub

ORDERS = 100_000
ASKED = 40  # of each kind by each person
PEOPLE = ("coordinator", "tech.shuangqiao")
SEED = 7
STATES, LANES = ("scheduled", "done", "cancelled", "discontinued"), ("stat", "urgent", "routine")

ASKS: Final[Mapping[str, Ask]] = {
    "page": lambda _: ("GET", "/clinic/orders/all", None),
    "newest": lambda _: ("GET", "/api/v1/orders?limit=50", None),
    "state": lambda pick: ("GET", f"/api/v1/orders?limit=50&state={pick.choice(STATES)}", None),
    "lane": lambda pick: ("GET", f"/api/v1/orders?limit=50&lane={pick.choice(LANES)}", None),
    "both": lambda pick: ("GET", f"/api/v1/orders?state={pick.choice(STATES)}&lane={pick.choice(LANES)}", None),
    "deep": lambda pick: ("GET", f"/api/v1/orders?limit=50&before={1_000_000 + pick.randrange(ORDERS)}", None),
    "number": lambda pick: ("POST", "/api/v1/orders/search", {"text": f"W{pick.randrange(ORDERS):08}"}),
    "beginning": lambda pick: ("POST", "/api/v1/orders/search", {"text": f"B00{pick.randrange(10)}"}),
    "name": lambda pick: ("POST", "/api/v1/orders/search", {"text": pick.choice(("王伟", "李娜", "zhangmin", "王"))}),
}


@benchmark(Goal("queue.orders.p95.ms", "ms", at_most=100))
def orders(bench: Bench) -> None:
    """Page, filter and search as a coordinator and as a technician."""
    with running_reading_hub(bench.directory / "hub") as running:
        fill_orders(running.hub.engine, ORDERS)
        people = {login: Person(running.url, login, running.password_of(login)) for login in PEOPLE}
        times: dict[str, list[float]] = {f"{login}: {kind}": [] for login in PEOPLE for kind in ASKS}
        pick = random.Random(SEED)
        for turn, (login, (kind, ask)) in itertools.product(range(ASKED + 1), itertools.product(PEOPLE, ASKS.items())):
            took_ms = people[login].ask(*ask(pick))
            if turn:  # the first one of each warms up
                times[f"{login}: {kind}"].append(took_ms)
    detail = {
        "orders": ORDERS,
        "p95_ms": {name: round(percentile_95(each), 1) for name, each in times.items()},
        "median_ms": {name: round(statistics.median(each), 1) for name, each in times.items()},
    }
    bench.say("\n".join(f"  {name}: p95 {value} ms" for name, value in detail["p95_ms"].items()))
    bench.record("queue.orders.p95.ms", max(map(percentile_95, times.values())), detail)
