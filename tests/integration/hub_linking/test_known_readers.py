"""A patient who is scanned at another township goes to who has read them before, where it is known who they are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select

from reading_queue.db.tables import Case, Organisation
from reading_queue.domain.links import LinkAct
from reading_queue.services.hub import Hub
from reading_queue.services.patients import link_desk
from reading_queue.services.routing import known_readers, routing
from tests.integration.hub_intake.conftest import OTHER_SITE, SITE
from tests.integration.hub_linking.patients import Clinic, links_of, person, resident_id, run_links
from tests.integration.hub_reading.world import CITY, World
from tests.support.plans import read_whole

pytestmark = pytest.mark.postgres

NUMBER = {"OtherPatientIDs": resident_id()}


@pytest.fixture
def world(network: Hub) -> World:
    """One hospital reads for both townships and asks one physician at a time; their county stands above them."""
    world = World(replace(network, policy=replace(network.policy, offer_width=1)))
    with network.transaction() as session:
        session.add(Organisation(organisation_id="county", kind="county", name="county"))
        session.add(Organisation(organisation_id=CITY, kind="municipal", name="city"))
        session.flush()
        for organisation in session.scalars(select(Organisation).where(Organisation.kind == "township")):
            organisation.parent_id = "county"
    world.add_agreement("agreement-city", requesting="county", assisting=CITY, stage=1)
    return world


@pytest.mark.parametrize("is_linked_first", [True, False], ids=["linked, then offered", "offered, then linked"])
def test_who_read_the_patient_elsewhere_is_asked(
    world: World, network: Hub, qinghe: Clinic, baishan: Clinic, is_linked_first: bool
) -> None:
    zhao = world.add_physician("zhao")
    qinghe.study(**NUMBER)
    world.run_jobs()
    world.submit(zhao, case_at(world, SITE))
    an = world.add_physician("an")
    baishan.study(link=False, **NUMBER)
    case_id = case_at(world, OTHER_SITE)
    if is_linked_first:
        run_links(network)
    routing.route(world.hub, world.open_task(case_id).reading_task_id)
    assert world.offered_to(case_id, an, zhao) == (["zhao"] if is_linked_first else ["an"])
    run_links(network)
    world.run_jobs()
    assert world.offered_to(case_id, an, zhao) == (["zhao"] if is_linked_first else ["an", "zhao"])
    assert read_whole(network, known_readers.READERS_OF_PATIENT.params(case_id=case_id)) == set()


def test_a_name_alone_says_nothing_until_a_person_has_confirmed_it(
    world: World, network: Hub, qinghe: Clinic, baishan: Clinic
) -> None:
    zhao = world.add_physician("zhao")
    qinghe.study()
    world.run_jobs()
    world.submit(zhao, case_at(world, SITE))
    an = world.add_physician("an")
    baishan.study()
    world.run_jobs()
    case_id = case_at(world, OTHER_SITE)
    assert world.offered_to(case_id, an, zhao) == ["an"]
    (link,) = links_of(network)
    coordinator = person(network, "county")
    link_desk.decide(network, coordinator, link.link_id, LinkAct.ACCEPT, "证件已核对")
    world.run_jobs()
    assert world.offered_to(case_id, an, zhao) == ["an", "zhao"]


def case_at(world: World, site_id: str) -> str:
    with world.hub.transaction() as session:
        return session.scalars(select(Case.case_id).where(Case.site_id == site_id)).one()
