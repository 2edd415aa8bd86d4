"""Deleting a corrected study leaves nothing of it, and what others need of it stays."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from reading_queue.db.tables import Case
from reading_queue.services.corrections.amendments import merge_patients, move_study
from reading_queue.services.corrections.rejecting import reject
from reading_queue.services.holdings.erasing import erase
from reading_queue.services.holdings.retention import decide_deletion, request_deletion
from storage.catalogue.amendment_tables import Amendment, Refiling, RejectedInstance
from storage.catalogue.tables import Patient
from tests.integration.hub_amending.amending import FANG, NA, QIANG, WHY, World, facts, person
from tests.integration.hub_intake.conftest import SITE

pytestmark = pytest.mark.postgres

YEARS_31_S = 31 * 365.25 * 86_400


def delete(world: World, study: str) -> None:
    with world.hub.transaction() as session:
        session.execute(sa.update(Case).values(state="acknowledged"))
    request_id = request_deletion(world.hub, person(world.hub), SITE, study, "its time is over")
    decide_deletion(world.hub, person(world.hub, "other"), request_id, approve=True)
    erase(world.hub, request_id)


def test_corrected_study_is_deleted_with_its_corrections_and_the_merge_outlives_it(world: World) -> None:
    one, two, three = world.arrive(1, FANG), world.arrive(2, NA), world.arrive(3, QIANG)
    move_study(world.hub, world.coordinator, SITE, one, "P-0002", WHY)
    reject(world.hub, world.coordinator, SITE, one, "113001", WHY, sop_instance_uids=(f"{one}.9.1",))
    merge_patients(world.hub, world.coordinator, SITE, "P-0003", "P-0002", WHY)
    world.clock.advance(YEARS_31_S)
    delete(world, one)
    assert list(world.hub.objects.list_keys(f"studies/{SITE}/{one}/")) == []
    with world.hub.transaction() as session:
        assert [row.kind for row in session.scalars(sa.select(Amendment))] == ["merge"]
        assert session.scalars(sa.select(RejectedInstance)).all() == []
        assert len(session.scalars(sa.select(Refiling)).all()) == 1
        numbers = session.scalars(sa.select(Patient.patient_number).order_by(Patient.patient_number)).all()
    assert list(numbers) == ["P-0002", "P-0003"]
    delete(world, two)
    assert world.shown(three) == facts(NA)
