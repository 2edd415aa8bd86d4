"""A child's study is offered first to who reads children, and the offer says so."""

from __future__ import annotations

from datetime import date

import pytest
from sqlalchemy import update

from reading_queue.db.tables import Physician
from reading_queue.services.hub import Hub
from reading_queue.services.reading import reading
from storage.catalogue.tables import Study
from tests.integration.hub_reading.world import World

pytestmark = pytest.mark.postgres


@pytest.mark.parametrize(("born", "first"), [(date(2020, 5, 1), "tong"), (date(1960, 5, 1), "an")])
def test_a_child_is_offered_first_to_who_reads_children(world: World, hub: Hub, born: date, first: str) -> None:
    an, tong = world.add_physician("an"), world.add_physician("tong")
    with hub.transaction() as session:
        mine = Physician.physician_id == tong.physician_id
        session.execute(update(Physician).where(mine).values(specialties=["paediatric"]))
    world.declare("1.2.3")
    world.catalogue("1.2.3")
    with hub.transaction() as session:
        session.execute(update(Study).values(patient_birth_date=born))
    world.run_jobs()
    offers = {viewer.account_id: reading.offers_of(hub, viewer)[0].why for viewer in (an, tong)}
    assert min(offers, key=lambda name: int(offers[name]["place"])) == first
    assert offers["tong"].get("specialty") == ("paediatric" if first == "tong" else None)
