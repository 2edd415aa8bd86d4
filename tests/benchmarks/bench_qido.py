"""How long a search takes in an archive of a million studies: QIDO-RS at a real hub, over HTTP.

The hub is the whole program on its embedded PostgreSQL. Every search is asked by a coordinator, who oversees all sites,
and by a physician, whose right is to the cases that they have read and to the same patients' other studies. In the same
archive: how long a large study takes into the catalogue.
"""

from __future__ import annotations

import itertools
import random
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any, Final
from urllib.parse import urlencode

import sqlalchemy as sa
import urllib3
from sqlalchemy.orm import Session

from reading_queue.embedded.postgres import find_postgres_url
from storage.catalogue.indexing import index_packs
from storage.catalogue.pinyin import readings
from storage.ledger.tables import Site
from tests.benchmarks.archive_of_studies import STUDIES_PER_DAY, fill, let_read, name_of
from tests.benchmarks.harness import Bench, Goal, benchmark
from tests.integration.catalogue.studies import NOW, PATIENT, make_packs, study_facts
from tests.support.network import SITE, RunningNetwork, running_network

SMALL, LARGE = 10_000, 1_000_000
ASKED = 100  # searches of each kind by each person
READ, READ_EVERY = 1_000, 9
PHYSICIAN = "zhou.wei"
PAGE = 50
SEED = 18
COMMITS, INSTANCES, PACKS = 5, 2_000, 60

Queries = Mapping[str, Callable[[int], dict[str, str | int]]]


def _day(number: int) -> str:
    return f"{date(2026, 3, 1) - timedelta(days=number // STUDIES_PER_DAY):%Y%m%d}"


def pinyin_of(number: int) -> str:
    """Return how a patient's name is typed by who has no Chinese keyboard."""
    return "".join(readings(letter)[0] for letter in name_of(number) if letter != "^")


def initials_of(number: int) -> str:
    """Return the initials of that."""
    return "".join(readings(letter)[0][0] for letter in name_of(number) if letter != "^")


# Of a study picked at random from the newest `READ * READ_EVERY`, which both archives hold and the physician may see.
QUERIES: Final[Queries] = {
    "patient number": lambda number: {"PatientID": f"P{number // 3:08}"},
    "patient number begins": lambda number: {"PatientID": f"P{number // 3:08}"[:-1] + "*"},
    "patient name": lambda number: {"PatientName": name_of(number), "limit": PAGE},
    "patient name begins": lambda number: {"PatientName": name_of(number)[:-1] + "*", "limit": PAGE},
    "patient pinyin": lambda number: {"PatientName": pinyin_of(number), "fuzzymatching": "true", "limit": PAGE},
    "patient initials": lambda number: {"PatientName": initials_of(number), "fuzzymatching": "true", "limit": PAGE},
    "day": lambda number: {"StudyDate": _day(number), "limit": PAGE},
    "days and modality": lambda number: {
        "StudyDate": f"{_day(number + 5 * STUDIES_PER_DAY)}-{_day(number)}", "ModalitiesInStudy": "CT", "limit": PAGE,
    },
    "newest": lambda _: {"limit": PAGE},
    "accession": lambda number: {"AccessionNumber": f"A{number:09}"},
    "accession begins": lambda number: {"AccessionNumber": f"A{number:09}"[:-2] + "*"},
}  # fmt: skip

FINDS_MORE: Final = ("patient name", "patient name begins", "patient pinyin", "patient initials")


@benchmark(
    Goal("qido.p95.ms", "ms", at_most=50),
    Goal("qido.flat", "x", at_most=1.5),
    Goal("catalogue.commit.s", "s", at_most=1),
)
def searches(bench: Bench) -> None:
    """Search by patient, date and accession in a small archive and in a large one."""
    with running_network(bench.directory / "network") as network:
        url = find_postgres_url(network.folder / "hub")
        assert url is not None
        engine = sa.create_engine(url)
        fill(engine, 0, SMALL)
        let_read(engine, PHYSICIAN, read=READ, every=READ_EVERY)
        small = measure(network)
        started = time.monotonic()
        fill(engine, SMALL, LARGE)
        filled_s = time.monotonic() - started
        bench.say(f"  {LARGE} studies after {filled_s:.0f} s")
        large = measure(network)
        commits_s = [commit_study(engine, number) for number in range(COMMITS)]
        engine.dispose()
    detail: dict[str, Any] = {
        "studies": LARGE,
        "seconds_to_fill": round(filled_s, 1),
        "p95_ms": {name: round(percentile_95(times), 2) for name, times in large.items()},
        "median_ms": {name: round(statistics.median(times), 2) for name, times in large.items()},
        "median_ms_of_small": {name: round(statistics.median(times), 2) for name, times in small.items()},
        "studies_of_small": SMALL,
        "cases_of_the_physician": READ,
    }
    bench.say("\n".join(f"  {name}: p95 {value} ms" for name, value in detail["p95_ms"].items()))
    bench.record("qido.p95.ms", max(map(percentile_95, large.values())), detail)
    bench.record("qido.flat", flatness(small, large), detail)
    commit = {"seconds": commits_s, "instances": INSTANCES, "packs": PACKS, "studies": LARGE}
    bench.record("catalogue.commit.s", statistics.median(commits_s), commit)


def measure(network: RunningNetwork) -> dict[str, list[float]]:
    """Return the milliseconds of each search, by person and kind; kinds take turns, so that none has a quiet minute."""
    pick = random.Random(SEED)
    clients = {person: Client(network, login) for person, login in PEOPLE.items()}
    times: dict[str, list[float]] = {f"{person}: {kind}": [] for person in clients for kind in QUERIES}
    for turn, (kind, query), (person, client) in itertools.product(range(ASKED + 1), QUERIES.items(), clients.items()):
        number = pick.randrange(READ) * READ_EVERY
        took_ms = client.search(query(number))
        if turn:  # the first one of each warms up
            times[f"{person}: {kind}"].append(took_ms)
    return times


def commit_study(engine: sa.Engine, number: int) -> float:
    """Return how many seconds a large study takes into the catalogue, in one transaction, once its packs are proved."""
    uid = f"2.25.7{number}"
    packs = make_packs(uid, instances=INSTANCES, packs=PACKS)
    started = time.perf_counter()
    with Session(engine) as session, session.begin():
        site_id = session.get_one(Site, SITE).site_id
        index_packs(session, site_id=site_id, patient=PATIENT, study=study_facts(uid), packs=packs, now=NOW)
    return time.perf_counter() - started


PEOPLE: Final = {"coordinator": "coordinator", "physician": PHYSICIAN}


class Client:
    """One person's searches."""

    def __init__(self, network: RunningNetwork, login: str) -> None:
        self._url = f"{network.url}/dicomweb/studies"
        self._headers = {"Authorization": f"Bearer {network.api(login).token}"}
        self._http = urllib3.PoolManager(retries=False, timeout=60)

    def search(self, query: Mapping[str, str | int]) -> float:
        """Return how many milliseconds an answer takes that finds something."""
        started = time.perf_counter()
        answer = self._http.request("GET", f"{self._url}?{urlencode(query)}", headers=self._headers)
        took_ms = (time.perf_counter() - started) * 1000
        assert answer.status == 200, answer.data
        assert len(answer.data) > 2, f"nothing found by {query}"
        return took_ms


def percentile_95(times: list[float]) -> float:
    """Return the time that 95 of 100 searches keep."""
    return statistics.quantiles(times, n=20)[-1]


def flatness(small: Mapping[str, list[float]], large: Mapping[str, list[float]]) -> float:
    """Return how much longer a search takes in the large archive, by medians, of the kind that suffers most.

    Names are left out: the large archive has more people of each name, so that there is more to answer.
    """
    kinds = [kind for kind in small if not kind.endswith(FINDS_MORE)]
    return max(statistics.median(large[kind]) / statistics.median(small[kind]) for kind in kinds)
