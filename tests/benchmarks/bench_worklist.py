"""How long a page of an open worklist takes over HTTP, with a hundred thousand cases that wait to be read.

A coordinator pages and filters all of them; a physician pages, filters and searches those that are offered to them.
The desks' pages are asked for as a browser does, and the JSON API as another program does.
"""

from __future__ import annotations

import itertools
import json
import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.benchmarks.bench_qido import percentile_95
from tests.benchmarks.harness import Bench, Goal, benchmark
from tests.benchmarks.open_cases import PHYSICIANS, fill_worklist
from tests.benchmarks.reading_pool import add_physicians, running_reading_hub
from tests.integration.hub_web.serving import Visitor

CASES = 100_000
ASKED = 60  # of each kind by each person
COORDINATOR, PHYSICIAN = "coordinator", "zhou.wei"
SEED = 5

Ask = Callable[[random.Random], tuple[str, str, dict[str, Any] | None]]  # method, address, body


def _lane(pick: random.Random) -> str:
    return pick.choice(("stat", "urgent", "routine"))


ASKS: Final[Mapping[str, Mapping[str, Ask]]] = {
    COORDINATOR: {
        "newest": lambda _: ("GET", "/api/v1/studies", None),
        "page": lambda _: ("GET", "/clinic/", None),
        "waiting": lambda _: ("GET", "/api/v1/studies?progress=waiting", None),
        "lane": lambda pick: ("GET", f"/api/v1/studies?progress=waiting&lane={_lane(pick)}", None),
        "late": lambda _: ("GET", "/api/v1/studies?late=1", None),
        "late of a lane": lambda _: ("GET", "/api/v1/studies?late=1&lane=stat", None),
        "deep": lambda pick: ("GET", f"/api/v1/studies?before=open-{pick.randrange(CASES)}", None),
        "number": lambda pick: ("POST", "/api/v1/studies/search", {"text": f"W{pick.randrange(CASES):08}"}),
        "name": lambda pick: ("POST", "/api/v1/studies/search", {"text": pick.choice(("王伟", "李娜", "zhangmin"))}),
    },
    PHYSICIAN: {
        "page": lambda _: ("GET", "/radiologist/", None),
        "offers": lambda _: ("GET", "/api/v1/offers?limit=50", None),
        "lane": lambda pick: ("GET", f"/api/v1/offers?limit=50&lane={_lane(pick)}", None),
        "modality": lambda pick: ("GET", f"/api/v1/offers?limit=50&modality={pick.choice(('CT', 'DX'))}", None),
        "late": lambda _: ("GET", "/api/v1/offers?limit=50&late=1", None),
        "deep": lambda pick: ("GET", f"/api/v1/offers?limit=50&after=open-{pick.randrange(CASES)}", None),
        "name": lambda pick: ("POST", "/api/v1/offers/search", {"text": pick.choice(("王", "李", "zhang"))}),
    },
}


@benchmark(Goal("queue.worklist.p95.ms", "ms", at_most=100))
def worklist(bench: Bench) -> None:
    """Page, filter and search as a coordinator and as a physician."""
    with running_reading_hub(bench.directory / "hub") as running:
        add_physicians(running.hub, PHYSICIANS)
        offered = fill_worklist(running.hub.engine, CASES, PHYSICIAN)
        people = {login: Person(running.url, login, running.password_of(login)) for login in ASKS}
        times: dict[str, list[float]] = {f"{login}: {kind}": [] for login, asks in ASKS.items() for kind in asks}
        pick = random.Random(SEED)
        for turn, (login, asks) in itertools.product(range(ASKED + 1), ASKS.items()):
            for kind, ask in asks.items():
                took_ms = people[login].ask(*ask(pick))
                if turn:  # the first one of each warms up
                    times[f"{login}: {kind}"].append(took_ms)
    detail = {
        "cases": CASES,
        "physicians": PHYSICIANS,
        "offers_of_the_physician": offered,
        "p95_ms": {name: round(percentile_95(each), 1) for name, each in times.items()},
        "median_ms": {name: round(statistics.median(each), 1) for name, each in times.items()},
    }
    bench.say("\n".join(f"  {name}: p95 {value} ms" for name, value in detail["p95_ms"].items()))
    bench.record("queue.worklist.p95.ms", max(map(percentile_95, times.values())), detail)


class Person:
    """One person's requests: a browser's at the desk, a program's at the API."""

    def __init__(self, url: str, login: str, password: str) -> None:
        self._browser, self._program = Visitor(url), Visitor(url)
        self._browser.log_in(login, password)
        self._program.take_token(login, password)

    def ask(self, method: str, address: str, body: dict[str, Any] | None) -> float:
        """Return how many milliseconds an answer takes."""
        asks = self._program if address.startswith("/api/") else self._browser
        text = json.dumps(body) if body is not None else None
        headers = {"Content-Type": "application/json"} if body is not None else {}
        started = time.perf_counter()
        answer = asks.send(method, address, body=text, headers=headers)
        took_ms = (time.perf_counter() - started) * 1000
        assert answer.status == 200, answer.text
        return took_ms
