"""A physician's worklist, however long: filtered, searched and paged, and nothing of anybody else in it."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from reading_queue.db.tables import Case
from reading_queue.domain.routing import Phase
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.reading import reading
from reading_queue.services.reading.reading import Worklist, WorklistFilter
from storage.catalogue.name_keys import keys_of_name
from storage.catalogue.pinyin import readings
from storage.catalogue.tables import Study
from storage.contract.lanes import Lane
from tests.integration.hub_reading.world import SITE, World
from tests.support.clock import SteerableClock
from tests.support.statements import statements

pytestmark = pytest.mark.postgres


def ids(listed: Worklist) -> list[str]:
    return [offer.case_id for offer in listed.offers]


def test_pages_follow_the_order_of_urgency_and_end(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer
) -> None:
    late = world.arrive("1.2.1")
    hub_clock.advance(60)
    routine = [world.arrive(f"1.3.{number}") for number in range(3)]
    stat = world.arrive("1.2.9", lane=Lane.STAT)
    with hub.transaction() as session:
        session.get_one(Case, routine[2]).due_at = None
    first = reading.worklist_of(hub, wang, limit=2)
    assert (ids(first), first.found) == ([stat, late], 5)
    second = reading.worklist_of(hub, wang, limit=2, after=first.next_after)
    third = reading.worklist_of(hub, wang, limit=2, after=second.next_after)
    assert sorted(ids(second)) == sorted(routine[:2])
    assert ids(third) == [routine[2]], "what has no limit comes last"
    assert third.next_after is None
    assert (second.found, third.found) == (5, 5)


def test_a_page_takes_as_many_statements_for_thirty_cases_as_for_one(world: World, hub: Hub, wang: Viewer) -> None:
    world.arrive("1.2.0")
    reading.worklist_of(hub, wang, limit=50)
    with statements(hub) as for_one:
        reading.worklist_of(hub, wang, limit=50)
    for number in range(1, 30):
        world.arrive(f"1.2.{number}")
    with statements(hub) as for_thirty:
        listed = reading.worklist_of(hub, wang, limit=50)
    assert len(listed.offers) == 30
    assert len(for_thirty) == len(for_one)


def test_offers_are_filtered_and_what_can_be_chosen_stays(
    world: World, hub: Hub, hub_clock: SteerableClock, wang: Viewer
) -> None:
    routine, stat = world.arrive("1.2.1"), world.arrive("1.2.2", lane=Lane.STAT)
    with hub.transaction() as session:
        session.get_one(Case, routine).modality = "DX"
        session.get_one(Case, stat).due_at = hub_clock.now

    def find(**wanted: object) -> list[str]:
        listed = reading.worklist_of(hub, wang, limit=50, wanted=WorklistFilter(**wanted))  # type: ignore[arg-type]
        assert listed.found == len(listed.offers)
        assert (listed.modalities, listed.sites) == (("CT", "DX"), ((SITE, "清河镇卫生院"),))
        return ids(listed)

    assert find(lane=Lane.STAT) == [stat]
    assert find(modality="DX") == [routine]
    assert find(site_id=SITE) == [stat, routine]
    assert find(site_id="elsewhere") == []
    assert find(phase=Phase.VERIFICATION) == []
    hub_clock.advance(1)
    assert find(late=True) == [stat]


@pytest.mark.parametrize(("text", "found"), [("张伟", True), ("zhang", True), ("李", False), ("1.2.1", False)])
def test_offers_are_searched_as_the_list_of_studies_is(
    world: World, hub: Hub, wang: Viewer, text: str, found: bool
) -> None:
    case_id = world.arrive("1.2.1")
    with hub.transaction() as session:
        session.scalars(sa.select(Study)).one().name_keys = keys_of_name("张伟", readings)
    listed = reading.worklist_of(hub, wang, limit=50, wanted=WorklistFilter(text=text))
    assert ids(listed) == ([case_id] if found else [])


def test_nobody_sees_what_is_offered_to_somebody_else(world: World, hub: Hub, wang: Viewer) -> None:
    world.arrive()
    stranger = world.add_physician("stranger")
    listed = reading.worklist_of(hub, stranger, limit=50)
    assert (listed.offers, listed.found, listed.modalities, listed.sites) == ((), 0, (), ())
