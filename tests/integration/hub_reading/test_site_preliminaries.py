"""What an emergency's author has signed reaches the clinic's own gateway at once and is answered, over the real API."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select

from gateway.hub import HubClient
from gateway.hub.course import CourseSync
from gateway.hub.preliminaries import PreliminarySync
from gateway.journal.custody import custody_of
from gateway.journal.database import Journal
from gateway.journal.preliminaries import PreliminaryRow, find_preliminary, list_preliminaries, list_taken_back
from gateway.operations import Asker, NotPossible
from gateway.site_acts import acknowledge_preliminary
from reading_queue.db.course_tables import PreliminaryAcknowledgement
from reading_queue.domain.roles import Role, Title
from reading_queue.errors import Forbidden, Invalid, NotFound
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.reading import reading
from reading_queue.services.reports import site_preliminaries
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid
from storage.contract.lanes import Lane
from tests.integration.hub_intake.http_server import HubServer
from tests.integration.hub_reading.test_course import person
from tests.integration.hub_reading.world import COUNTY, SITE, TEXT, World
from tests.support.clock import SteerableClock
from tests.support.gateway_client import enrolled_client
from tests.support.waiting import keeps

pytestmark = pytest.mark.postgres

STUDY = Uid("1.2.3")
WITHIN_S = 1.5  # of a change at the hub, with a long poll open
POLL_S = 20


@dataclass
class Console:
    """The clinic's gateway, as far as it speaks of preliminary reports."""

    hub: Hub
    path: Path
    client: HubClient
    clock: SteerableClock
    told: int = 0

    @property
    def journal(self) -> Journal:
        """Opened anew each time: what is asked of it has survived a restart."""
        return Journal(self.path)

    def _note(self) -> None:
        self.told += 1

    def loop(self, client: HubClient | None = None) -> PreliminarySync:
        return PreliminarySync(
            self.journal,
            client or self.client,
            long_poll_s=POLL_S,
            retry_delay_max_s=1,
            clock=self.clock,
            on_new=self._note,
        )

    def sync(self) -> None:
        self.loop().step()

    def shown(self) -> PreliminaryRow:
        row = find_preliminary(self.journal, STUDY)
        assert row is not None
        return row

    def acknowledge(self, submission_id: str, told: str = "急诊科赵医生") -> None:
        acknowledge_preliminary(self.journal, Asker("li", self.clock()), STUDY, submission_id, told)

    def tell(self) -> None:
        CourseSync(self.journal, self.client, retry_delay_max_s=1).step()


@pytest.fixture
def console(world: World, hub: Hub, hub_clock: SteerableClock, tmp_path: Path) -> Iterator[Console]:
    person(world, "li", Role.TECHNICIAN, SITE)
    with HubServer(hub) as server, enrolled_client(hub, server.url, SITE) as client:
        yield Console(hub, tmp_path / "journal.sqlite", client, hub_clock)


@pytest.fixture
def lin(world: World) -> Viewer:
    return world.add_physician("lin", title=Title.CHIEF)


def acknowledged(hub: Hub) -> list[tuple[str, str, str]]:
    with hub.transaction() as session:
        rows = session.scalars(select(PreliminaryAcknowledgement)).all()
        return [(row.submission_id, row.account_id, row.told) for row in rows]


def test_clinic_has_it_within_a_moment_of_the_authors_signature(world: World, wang: Viewer, console: Console):
    numbers = itertools.count(1)

    def took_s() -> float:
        number = next(numbers)
        study = Uid(f"{STUDY}.{number}")
        case_id = world.arrive(study, lane=Lane.STAT)
        loop = console.loop()
        loop.step()
        waiting = threading.Thread(target=loop.step)
        waiting.start()
        submission_id = world.submit(wang, case_id)
        began = time.monotonic()
        waiting.join(2 * POLL_S)
        took = time.monotonic() - began
        row = find_preliminary(console.journal, study)
        assert row is not None
        shown = (row.report.submission_id, row.report.impression, row.report.author.name)
        assert shown == (submission_id, TEXT.impression, "Wang")
        assert row.waits
        assert [event.hop for event in custody_of(console.journal, study)] == [Hop.PRELIMINARY_FETCHED]
        assert console.told == number
        return took

    keeps(WITHIN_S, took_s)


@pytest.mark.parametrize("lane", [Lane.ROUTINE, Lane.BACKGROUND])
def test_what_is_no_emergency_waits_for_its_second_physician(world: World, wang: Viewer, console: Console, lane: Lane):
    world.submit(wang, world.arrive(lane=lane))
    console.sync()
    assert find_preliminary(console.journal, STUDY) is None


def test_it_is_acknowledged_once_by_a_named_person_also_without_a_line(
    world: World, wang: Viewer, console: Console, hub: Hub, hub_clock: SteerableClock
):
    case_id = world.arrive(lane=Lane.URGENT)
    submission_id = world.submit(wang, case_id)
    console.sync()
    console.acknowledge(submission_id)
    said_at = hub_clock()
    with pytest.raises(NotPossible):
        console.acknowledge(submission_id, "another")
    assert not console.shown().waits
    assert list_preliminaries(console.journal, 9)[0].told is not None
    hub_clock.advance(60)
    for _ in range(2):
        console.tell()
    assert acknowledged(hub) == [(submission_id, "li", "急诊科赵医生")]
    with hub.transaction() as session:
        assert session.get_one(PreliminaryAcknowledgement, submission_id).at == said_at
    assert world.hops(case_id).count(Hop.PRELIMINARY_ACKNOWLEDGED) == 1


def test_the_first_of_two_faces_counts(world: World, wang: Viewer, console: Console, hub: Hub):
    submission_id = world.submit(wang, world.arrive(lane=Lane.STAT))
    console.sync()
    desk = person(world, "zhou", Role.TECHNICIAN, SITE)
    assert site_preliminaries.acknowledge(hub, desk, submission_id, "值班医生")
    console.acknowledge(submission_id)
    console.tell()
    assert acknowledged(hub) == [(submission_id, "zhou", "值班医生")]


def test_only_the_site_acknowledges_and_says_who_was_told(world: World, wang: Viewer, console: Console, hub: Hub):
    submission_id = world.submit(wang, world.arrive(lane=Lane.STAT))
    desk = person(world, "zhou", Role.TECHNICIAN, SITE)
    with pytest.raises(Invalid):
        site_preliminaries.acknowledge(hub, desk, submission_id, "  ")
    with pytest.raises(NotFound):
        site_preliminaries.acknowledge(hub, desk, "nothing", "x")
    with pytest.raises(Forbidden):
        site_preliminaries.acknowledge(hub, wang, submission_id, "x")
    with pytest.raises(NotFound):
        site_preliminaries.acknowledge(hub, person(world, "qi", Role.TECHNICIAN, COUNTY), submission_id, "x")
    assert acknowledged(hub) == []


def test_what_the_second_physician_gives_back_is_shown_as_taken_back_until_another_comes(
    world: World, wang: Viewer, lin: Viewer, console: Console, hub: Hub
):
    case_id = world.arrive(lane=Lane.STAT)
    first = world.submit(wang, case_id)
    console.sync()
    review = world.open_task(case_id).reading_task_id
    reading.claim(hub, lin, review)
    reading.return_to_author(hub, lin, review, "左右写反")
    console.sync()
    assert console.shown().ended_at is not None
    assert [row.report.submission_id for row in list_taken_back(console.journal, 9)] == [first]
    with pytest.raises(NotPossible):
        console.acknowledge(first)
    world.run_jobs()
    second = world.submit(wang, case_id)
    console.sync()
    row = console.shown()
    assert (row.report.submission_id, row.ended_at, row.waits) == (second, None, True)
    assert list_taken_back(console.journal, 9) == []


def test_it_stays_until_the_signed_report_is_here(world: World, wang: Viewer, lin: Viewer, console: Console, hub: Hub):
    case_id = world.arrive(lane=Lane.STAT)
    world.submit(wang, case_id)
    console.sync()
    review = world.open_task(case_id).reading_task_id
    reading.claim(hub, lin, review)
    reading.sign(hub, lin, review, None)
    console.sync()
    assert console.shown().report.is_final_signed
    with console.journal.transaction() as connection:
        connection.execute(
            "INSERT INTO documents (document_id, cursor, case_id, kind, descriptor, state, next_attempt_at)"
            " VALUES ('d', 1, ?, 'report_json', '{}', 'fetched', '2026-03-02T01:00:00+00:00')",
            (case_id,),
        )
    assert find_preliminary(console.journal, STUDY) is None
    assert list_preliminaries(console.journal, 9) == []


def test_line_that_is_down_costs_time_and_loses_nothing(world: World, wang: Viewer, console: Console):
    submission_id = world.submit(wang, world.arrive(lane=Lane.STAT))
    nowhere = HubClient("http://127.0.0.1:9", None, clock=console.clock, connect_timeout_s=1, read_timeout_s=1)
    with contextlib.closing(nowhere):
        assert console.loop(nowhere).step() > 0
    assert find_preliminary(console.journal, STUDY) is None
    console.sync()
    console.acknowledge(submission_id)
    with contextlib.closing(
        HubClient("http://127.0.0.1:9", None, clock=console.clock, connect_timeout_s=1, read_timeout_s=1)
    ) as nowhere:
        console.loop(nowhere).step()
    console.sync()
    assert console.told == 1, "it came once"
    assert console.shown().told is not None
