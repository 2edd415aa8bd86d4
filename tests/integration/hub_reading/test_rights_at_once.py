"""Who offers a case while the rights on which the offer rests are being changed, on a real database."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from reading_queue.db.tables import Account, Agreement, Organisation, Physician
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.network import network_people, presence
from reading_queue.services.network.agreements import TERMS, record_agreement
from reading_queue.services.network.network_versions import record_organisation, record_physician
from reading_queue.services.routing import routing
from storage.ledger.tables import Site
from tests.integration.hub_reading.test_at_once import waiting_for_locks
from tests.integration.hub_reading.world import COUNTY, SITE, World
from tests.support.waiting import eventually

pytestmark = pytest.mark.postgres


def end_agreement(world: World) -> None:
    with world.hub.transaction() as session:
        row = session.get_one(Agreement, "agreement-city")
        terms = {name: getattr(row, name) for name in TERMS}
        over = world.hub.clock().date() - timedelta(days=2)
        record_agreement(session, row.agreement_id, {**terms, "valid_until": over}, world.hub.clock())


def change_licence(world: World) -> None:
    with world.hub.transaction() as session:
        row = session.get_one(Physician, "physician-wang")
        row.licence_valid_until = world.hub.clock().date() - timedelta(days=2)
        record_physician(session, row, world.hub.clock())


def close_account(world: World) -> None:
    with world.hub.transaction() as session:
        session.get_one(Account, "wang").last_day = world.hub.clock().date() - timedelta(days=2)
    assert network_people.close_leavers(world.hub) == 1


def go_away(world: World) -> None:
    presence.go_away(world.hub, world.viewer("wang"), "physician-wang", world.hub.clock() + timedelta(hours=1), "")


def leave_the_county(world: World) -> None:
    with world.hub.transaction() as session:
        row = session.get_one(Organisation, SITE)
        row.parent_id = None
        record_organisation(session, row, world.hub.clock())


CHANGES = [end_agreement, change_licence, close_account, go_away, leave_the_county]


@pytest.fixture
def far(world: World) -> Viewer:
    """Somebody of a later stage, who may read whatever becomes of wang's rights."""
    world.add_agreement("agreement-county", requesting=SITE, assisting=COUNTY, stage=3)
    return world.add_physician("far", organisation=COUNTY)


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_offered_by_rights_that_were_changed_meanwhile_goes_to_others(
    world: World, hub: Hub, wang: Viewer, far: Viewer, change: Callable[[World], None]
):
    case_id = world.declare("1.2.3")
    world.catalogue("1.2.3")
    task_id = world.open_task(case_id).reading_task_id
    while world.publish_one() is not None:
        pass
    with ThreadPoolExecutor(2) as pool:
        with hub.transaction() as session:
            session.get_one(Site, SITE, with_for_update=True)  # stops the router when it has decided
            offering = pool.submit(routing.route, hub, task_id)
            eventually(lambda: waits_or_is_over(hub, 1), every_s=0.005)
            changing = pool.submit(change, world)
            eventually(lambda: waits_or_is_over(hub, 2, over=changing.done()), every_s=0.005)
        offering.result(timeout=10)
        changing.result(timeout=10)
    world.run_jobs()
    assert world.offered_to(case_id, wang, far) == ["far"]


def waits_or_is_over(hub: Hub, waiting: int, *, over: bool = False) -> None:
    assert over or waiting_for_locks(hub) == waiting
