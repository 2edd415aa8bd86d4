"""Merges, moves and decisions about contradicted records: what follows, what is refused, what is told."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from reading_queue.db.tables import Case, ReadingTask
from reading_queue.domain.roles import Role
from reading_queue.errors import Conflict, Forbidden, Invalid, NotFound, ReauthenticationNeeded
from reading_queue.services.corrections import amending, amendments
from reading_queue.services.corrections.amendments import (
    list_amendments,
    merge_patients,
    move_study,
    settle_identity,
    withdraw,
)
from reading_queue.services.hub import Hub
from reading_queue.services.reading.notices import load_notices
from storage.catalogue.amendment_records import parse_amendment
from storage.catalogue.amendment_tables import Amendment
from storage.contract.hops import Hop
from storage.ledger.tables import AuditEvent, CustodyEvent, OutboxMessage
from storage.objects.protocol import StoreUnavailable
from tests.integration.hub_amending.amending import FANG, NA, QIANG, WHY, World, facts, person, rebuilt_differs
from tests.integration.hub_intake.conftest import OTHER_SITE, SITE

pytestmark = pytest.mark.postgres


def test_merged_patients_studies_and_those_to_come_belong_to_the_survivor(world: World, other: Hub) -> None:
    one, two = world.arrive(1, FANG), world.arrive(2, NA)
    made = merge_patients(world.hub, world.coordinator, SITE, "P-0001", "P-0002", WHY)
    three = world.arrive(3, FANG)
    assert [world.shown(study) for study in (one, two, three)] == [facts(NA)] * 3
    with pytest.raises(Conflict):
        merge_patients(world.hub, world.coordinator, SITE, "P-0002", "P-0001", WHY)
    assert merge_patients(world.hub, world.coordinator, SITE, "P-0001", "P-0002", WHY) == made
    withdraw(world.hub, world.coordinator, made, "they are two persons")
    assert [world.shown(study) for study in (one, two, three)] == [facts(FANG), facts(NA), facts(FANG)]
    world.settle()
    done, differing = rebuilt_differs(world.hub, other)
    assert (done.problems, differing) == ((), [])


def test_chain_of_merges_ends_at_the_last_survivor_and_comes_apart_in_any_order(world: World, other: Hub) -> None:
    one, two, three = world.arrive(1, FANG), world.arrive(2, NA), world.arrive(3, QIANG)
    first = merge_patients(world.hub, world.coordinator, SITE, "P-0001", "P-0002", WHY)
    second = merge_patients(world.hub, world.coordinator, SITE, "P-0002", "P-0003", WHY)
    assert [world.shown(study) for study in (one, two, three)] == [facts(QIANG)] * 3
    withdraw(world.hub, world.coordinator, first, WHY)
    assert [world.shown(study) for study in (one, two)] == [facts(FANG), facts(QIANG)]
    withdraw(world.hub, world.coordinator, second, WHY)
    assert [world.shown(study) for study in (one, two)] == [facts(FANG), facts(NA)]
    world.settle()
    assert rebuilt_differs(world.hub, other)[1] == []


def test_moved_study_follows_the_record_of_whom_it_belongs_to(world: World, other: Hub) -> None:
    one, two = world.arrive(1, FANG), world.arrive(2, NA)
    before = world.study(one)
    made = move_study(world.hub, world.coordinator, SITE, one, "P-0002", WHY)
    assert world.shown(one) == facts(NA)
    assert world.study(one).revision == before.revision + 1
    world.arrive(4, NA | {"PatientName": "李^丽娜"})
    assert world.shown(one)[1] == "李^丽娜"
    assert world.study(one).revision == before.revision + 2
    world.arrive(1, FANG, range(4, 6))  # late images still name the other patient
    assert world.shown(one)[0] == "P-0002"
    assert world.shown(two) == facts(NA)
    again = move_study(world.hub, world.coordinator, SITE, one, "P-0002", WHY)
    assert again == made
    back = withdraw(world.hub, world.coordinator, made, "it was hers after all")
    assert world.shown(one) == facts(FANG)
    listed = list_amendments(world.hub, world.coordinator, SITE, one)
    assert [(item.amendment_id, item.number, item.withdrawn_by_id) for item in listed] == [
        (back, 2, None),
        (made, 1, back),
    ]
    world.settle()
    assert rebuilt_differs(world.hub, other)[1] == []


@pytest.mark.parametrize(("keep", "birth_date"), [("held", "19800229"), ("new", "19810301")])
def test_contradicted_record_is_settled_by_a_person(world: World, other: Hub, keep: str, birth_date: str) -> None:
    one = world.arrive(1, FANG)
    two = world.arrive(2, FANG | {"PatientBirthDate": "19810301"})
    assert world.patient("P-0001").contradicted_at is not None
    settle_identity(world.hub, world.coordinator, SITE, "P-0001", keep, "asked the clinic")
    assert [world.shown(study)[2] for study in (one, two)] == [birth_date] * 2
    assert world.patient("P-0001").contradicted_at is None
    world.arrive(2, FANG | {"PatientBirthDate": "19810301"}, range(4, 6))
    world.arrive(1, FANG, range(4, 6))
    assert world.patient("P-0001").contradicted_at is None
    with pytest.raises(Conflict):
        settle_identity(world.hub, world.coordinator, SITE, "P-0001", "new" if keep == "held" else "held", WHY)
    world.settle()
    assert rebuilt_differs(world.hub, other)[1] == []


def test_record_is_contradicted_no_more_when_the_other_persons_study_is_moved(world: World) -> None:
    world.arrive(1, FANG)
    two = world.arrive(2, FANG | {"PatientBirthDate": "19810301"})
    world.arrive(3, NA)
    move_study(world.hub, world.coordinator, SITE, two, "P-0002", WHY)
    assert world.patient("P-0001").contradicted_at is None


def test_correction_is_refused_to_whom_it_is_not_for(world: World) -> None:
    one = world.arrive(1, FANG)
    world.arrive(2, NA)
    hub = world.hub
    stale = person(hub)
    with pytest.raises(Forbidden):
        move_study(hub, person(hub, role=Role.PHYSICIAN), SITE, one, "P-0002", WHY)
    with pytest.raises(NotFound):
        move_study(hub, person(hub, site_id=OTHER_SITE), SITE, one, "P-0002", WHY)
    with pytest.raises(NotFound):
        move_study(hub, person(hub), SITE, one, "P-0099", WHY)
    with pytest.raises(Invalid):
        move_study(hub, person(hub), SITE, one, "P-0002", " ")
    world.clock.advance(timedelta(hours=1).total_seconds())
    with pytest.raises(ReauthenticationNeeded):
        move_study(hub, stale, SITE, one, "P-0002", WHY)
    with hub.transaction() as session:
        assert session.scalars(select(Amendment)).all() == []


def test_row_audit_ledger_and_launch_are_one_transaction_and_the_object_lies_there(world: World) -> None:
    one = world.arrive(1, FANG)
    world.arrive(2, NA)
    made = move_study(world.hub, world.coordinator, SITE, one, "P-0002", WHY)
    key = f"studies/{SITE}/{one}/amendments/1.json"
    record = parse_amendment(key, world.hub.objects.read(key))
    assert (record.amendment_id, record.made_by, record.reason) == (made, "one", WHY)
    with world.hub.transaction() as session:
        audit = session.scalars(select(AuditEvent).where(AuditEvent.event_code == "110110")).all()
        line = session.scalars(select(CustodyEvent).where(CustodyEvent.hop == Hop.AMENDED)).one()
        jobs = session.scalars(select(OutboxMessage.job).where(OutboxMessage.subject_id == world.study(one).study_id))
        assert set(jobs) == {"studies.prepare_metadata"}
        assert session.get_one(Amendment, made).is_recorded
    assert [event.detail["amendment_id"] for event in audit if "amendment_id" in event.detail] == [made]
    assert (line.study_uid, line.actor, line.detail["kind"]) == (one, "one", "move")
    assert "李" not in json.dumps(line.detail, ensure_ascii=False)


def test_what_a_killed_process_left_out_of_storage_is_written_by_the_sweep(
    world: World, other: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = world.arrive(1, FANG)
    world.arrive(2, NA)

    def silent(*_: object) -> None:
        raise StoreUnavailable("amendments")

    with monkeypatch.context() as patched:
        patched.setattr(amendments, "put_record", silent)
        with pytest.raises(StoreUnavailable):
            move_study(world.hub, world.coordinator, SITE, one, "P-0002", WHY)
    key = f"studies/{SITE}/{one}/amendments/1.json"
    assert key not in set(world.hub.objects.list_keys(f"studies/{SITE}/{one}/"))
    assert amending.record_amendments(world.hub) == 1
    assert key in set(world.hub.objects.list_keys(f"studies/{SITE}/{one}/"))
    world.settle()
    assert rebuilt_differs(world.hub, other)[1] == []


@pytest.mark.parametrize(("state", "told"), [("offered", False), ("reading", True), ("reviewing", True)])
def test_reader_of_a_corrected_study_must_look_again(world: World, state: str, told: bool) -> None:
    one = world.arrive(1, FANG)
    world.arrive(2, NA)
    with world.hub.transaction() as session:
        case_id = session.scalars(
            select(CustodyEvent.case_id).where(CustodyEvent.study_uid == one, CustodyEvent.hop == Hop.CATALOGUED)
        ).one()
        case = session.get_one(Case, case_id or "")
        case.state, case.claimed_at = state, world.hub.clock() if told else None
        session.execute(update(ReadingTask).where(ReadingTask.case_id == case_id).values(claimed_at=world.hub.clock()))
    move_study(world.hub, world.coordinator, SITE, one, "P-0002", WHY)
    with world.hub.transaction() as session:
        case = session.get_one(Case, case_id or "")
        line = session.scalars(select(CustodyEvent).where(CustodyEvent.hop == Hop.AMENDED)).one()
        assert (case.images_unacknowledged, line.case_id) == (told, case_id)
        assert load_notices(session, case) == (("case.corrected.move",) if told else ())
