"""What may be deleted, by whom, and that it is then gone for good and stays so."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import select

from reading_queue.db.schema import upgrade
from reading_queue.db.tables import Case, ClinicOrder
from reading_queue.domain.roles import Role
from reading_queue.errors import Conflict, Forbidden, Invalid, NotFound, ReauthenticationNeeded
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.arrival import deposits
from reading_queue.services.arrival.custody import ledger_of
from reading_queue.services.arrival.deposit_leftovers import quarantine_prefix
from reading_queue.services.holdings import retention
from reading_queue.services.holdings.erasing import erase, relaunch_erasures
from reading_queue.services.holdings.rebuilding import rebuild
from reading_queue.services.holdings.retention import (
    MustBeKept,
    SamePerson,
    decide_deletion,
    list_due,
    request_deletion,
)
from reading_queue.services.hub import Hub
from storage.catalogue.keeping_tables import Deletion, DeletionRequest, Hold
from storage.catalogue.snapshot import differences
from storage.catalogue.tables import Instance, Pack, Patient, Series, Study
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid
from storage.ledger.tables import AuditEvent, OutboxMessage
from storage.objects.protocol import StoreUnavailable
from tests.integration.hub_intake.conftest import OTHER_SITE, SITE
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn
from tests.integration.hub_intake.studies import STUDY, make_manifest
from tests.integration.hub_keeping.keeping import Sender, lines_of, sweep
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

YEAR = timedelta(days=365.25).total_seconds()
LATER = Uid("1.2.826.0.1.3680043.8.498.7.2")
WHY = "its time is over"


@pytest.fixture
def sender(gateway: GatewayStandIn, network: Hub) -> Sender:
    return Sender(gateway, network)


@pytest.fixture
def kept(sender: Sender, network: Hub) -> Hub:
    """A hub that keeps one study of two packs, whose report is home."""
    slices = sender.slices(range(1, 5))
    sender.send(slices[:2], slices[2:])
    sweep(network)
    with network.transaction() as session:
        session.execute(sa.update(Case).values(state="acknowledged"))
    return network


@pytest.fixture
def old(kept: Hub, hub_clock: SteerableClock) -> Hub:
    """The same thirty years later."""
    hub_clock.advance(30.1 * YEAR)
    return kept


def person(hub: Hub, name: str = "one", role: Role = Role.COORDINATOR, site_id: str = SITE) -> Viewer:
    return Viewer(name, name, name, role, f"{site_id}-01", site_id, None, "en", hub.clock())


def order_of(hub: Hub, kind: str, study: Uid = STUDY) -> None:
    """Let the study's order say how the patient came."""
    with hub.transaction() as session:
        gateway_id = session.execute(sa.text("SELECT gateway_id FROM gateways LIMIT 1")).scalar_one()
        session.add(
            ClinicOrder(
                order_id=kind * 8,
                site_id=SITE,
                accession_number=f"A-1-{kind}",
                study_uid=study,
                order_version=1,
                state="done",
                lane="routine",
                content={"visit_kind": kind},
                gateway_id=gateway_id,
                received_at=hub.clock(),
                change_number=ord(kind),
            )
        )


def delete(hub: Hub) -> str:
    """Have two persons delete the study, and the job do it."""
    request_id = request_deletion(hub, person(hub), SITE, STUDY, WHY)
    decide_deletion(hub, person(hub, "other"), request_id, approve=True)
    erase(hub, request_id)
    return request_id


def rows(hub: Hub) -> int:
    with hub.transaction() as session:
        return sum(len(session.scalars(select(table)).all()) for table in (Patient, Study, Series, Pack, Instance))


def test_two_persons_delete_a_study_and_what_is_left_says_so(old: Hub) -> None:
    old.objects.put(f"{quarantine_prefix(SITE, STUDY)}1.2-other.dcm", b"other contents", 14)
    with old.transaction() as session:
        grant_id = session.execute(sa.text("SELECT grant_id FROM grants LIMIT 1")).scalar_one()
    old.objects.put(f"quarantine/{grant_id}/{'0' * 64}.tar", b"a pack that was refused", 23)
    request_id = delete(old)
    assert rows(old) == 0
    assert list(old.objects.list_keys("")) == [f"deletions/{SITE}/{STUDY}.json"]
    with old.transaction() as session:
        tombstone = session.scalars(select(Deletion)).one()
        assert session.get_one(DeletionRequest, request_id).state == "done"
        codes = session.scalars(select(AuditEvent.event_code).where(AuditEvent.object_id == STUDY)).all()
    assert (tombstone.content["requested_by"], tombstone.content["approved_by"]) == ("one", "other")
    assert len(tombstone.content["stored_sha256s"]) == 4
    assert "王" not in str(tombstone.content)
    assert set(codes) == {"110105"}
    assert [line.hop for line in ledger_of(old, STUDY, SITE)][-1] == Hop.DELETED
    erase(old, request_id)


def test_deleted_study_is_not_taken_in_again(old: Hub, sender: Sender) -> None:
    slices = sender.slices(range(1, 5))
    delete(old)
    problem = sender.gateway.post("/manifests", make_manifest(SITE, slices, revision=9)).problem()
    assert (problem.status, problem.code) == (410, "study_deleted")
    technician = person(old, role=Role.TECHNICIAN)
    with old.transaction() as session, pytest.raises(deposits._NotAllowed, match="was deleted here"):
        deposits._find_shelf(session, technician, STUDY, [], old.clock())
    assert rows(old) == 0


@pytest.mark.parametrize(
    ("kind", "years", "may"), [("O", 14.9, False), ("O", 15.1, True), ("E", 15.1, True), ("I", 15.1, False)]
)
def test_law_decides_by_how_the_patient_came(
    kept: Hub, hub_clock: SteerableClock, kind: str, years: float, may: bool
) -> None:
    order_of(kept, kind)
    hub_clock.advance(years * YEAR)
    assert [one.study_uid for one in list_due(kept, person(kept))] == ([STUDY] if may else [])
    if may:
        assert request_deletion(kept, person(kept), SITE, STUDY, WHY)
        return
    with pytest.raises(MustBeKept, match="until 20"):
        request_deletion(kept, person(kept), SITE, STUDY, WHY)


def test_studies_that_must_stay_longer_do_not_hide_those_that_may_go(
    kept: Hub, sender: Sender, hub_clock: SteerableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = sender.slices(range(1, 2), LATER, StudyDate="20270301", PatientID="P-0002", AccessionNumber="A-2")
    sender.send(newer, study=LATER)
    order_of(kept, "O", LATER)
    with kept.transaction() as session:
        session.execute(sa.update(Case).values(state="acknowledged"))
    hub_clock.advance(16.1 * YEAR)
    monkeypatch.setattr(retention, "LISTED_MAX", 1)
    assert [one.study_uid for one in list_due(kept, person(kept))] == [LATER]


def test_patients_later_visit_keeps_the_earlier_study_too(kept: Hub, sender: Sender, hub_clock: SteerableClock) -> None:
    hub_clock.advance(20 * YEAR)
    sender.send(sender.slices(range(1, 2), LATER, StudyDate="20460301"), study=LATER)
    hub_clock.advance(11 * YEAR)
    with pytest.raises(MustBeKept, match="until 2076-03-01"):
        request_deletion(kept, person(kept), SITE, STUDY, WHY)


def test_one_person_alone_deletes_nothing(old: Hub) -> None:
    request_id = request_deletion(old, person(old), SITE, STUDY, WHY)
    assert request_deletion(old, person(old, "other"), SITE, STUDY, WHY) == request_id
    with pytest.raises(SamePerson):
        decide_deletion(old, person(old), request_id, approve=True)
    erase(old, request_id)
    assert rows(old) > 0
    with pytest.raises(sa.exc.IntegrityError), old.transaction() as session:
        session.execute(sa.update(DeletionRequest).values(decided_by="one"))


def test_what_was_refused_stays_and_may_be_asked_again(old: Hub) -> None:
    request_id = request_deletion(old, person(old), SITE, STUDY, WHY)
    decide_deletion(old, person(old, "other"), request_id, approve=False)
    with pytest.raises(Conflict, match="already"):
        decide_deletion(old, person(old, "other"), request_id, approve=True)
    erase(old, request_id)
    assert rows(old) > 0
    assert request_deletion(old, person(old), SITE, STUDY, WHY) != request_id


def test_hold_keeps_a_study_whatever_its_age(old: Hub) -> None:
    request_id = request_deletion(old, person(old), SITE, STUDY, WHY)
    hold_id = retention.place_hold(old, person(old, "third"), SITE, STUDY, "a court asks for it")
    with pytest.raises(MustBeKept, match="held"):
        decide_deletion(old, person(old, "other"), request_id, approve=True)
    assert list_due(old, person(old)) == []
    retention.release_hold(old, person(old, "third"), hold_id)
    retention.release_hold(old, person(old), hold_id)
    decide_deletion(old, person(old, "other"), request_id, approve=True)
    with pytest.raises(Conflict, match="has begun"):
        retention.place_hold(old, person(old), SITE, STUDY, "too late for it")
    with old.transaction() as session:
        hold = session.scalars(select(Hold)).one()
    assert (hold.placed_by, hold.released_by, hold.is_recorded) == ("third", "third", True)


def test_study_that_is_being_read_stays(old: Hub) -> None:
    with old.transaction() as session:
        session.execute(sa.update(Case).values(state="reading"))
    with pytest.raises(MustBeKept, match="being read"):
        request_deletion(old, person(old), SITE, STUDY, WHY)


def test_only_who_oversees_the_site_and_has_given_a_password_lately_decides(old: Hub) -> None:
    for viewer in (person(old, role=Role.TECHNICIAN), person(old, role=Role.PHYSICIAN)):
        with pytest.raises(Forbidden):
            request_deletion(old, viewer, SITE, STUDY, WHY)
    with pytest.raises(NotFound):
        request_deletion(old, person(old, site_id=OTHER_SITE), SITE, STUDY, WHY)
    stale = replace(person(old), authenticated_at=old.clock() - timedelta(hours=1))
    with pytest.raises(ReauthenticationNeeded):
        request_deletion(old, stale, SITE, STUDY, WHY)
    with pytest.raises(Invalid, match="why"):
        request_deletion(old, person(old), SITE, STUDY, " . ")
    with old.transaction() as session:
        assert session.scalars(select(DeletionRequest)).all() == []


def test_deletion_that_was_cut_off_is_finished(old: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    request_id = request_deletion(old, person(old), SITE, STUDY, WHY)
    decide_deletion(old, person(old, "other"), request_id, approve=True)
    erased: list[str] = []
    real = type(old.objects).erase

    def die_at_the_third(store: object, key: str) -> None:
        if len(erased) == 2:
            raise StoreUnavailable(key)
        erased.append(key)
        real(store, key)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(type(old.objects), "erase", die_at_the_third)
        with pytest.raises(StoreUnavailable):
            erase(old, request_id)
    assert rows(old) > 0
    erase(old, request_id)
    assert rows(old) == 0
    assert list(old.objects.list_keys("studies/")) == []


def test_lost_job_is_launched_again(old: Hub, hub_clock: SteerableClock) -> None:
    request_id = request_deletion(old, person(old), SITE, STUDY, WHY)
    decide_deletion(old, person(old, "other"), request_id, approve=True)
    with old.transaction() as session:
        session.execute(sa.delete(OutboxMessage))
    assert relaunch_erasures(old) == 0
    hub_clock.advance(120)
    assert relaunch_erasures(old) == 1


def test_other_studies_of_the_patient_stay(kept: Hub, sender: Sender, hub_clock: SteerableClock) -> None:
    sender.send(sender.slices(range(1, 2), LATER), study=LATER)
    hub_clock.advance(31 * YEAR)
    delete(kept)
    with kept.transaction() as session:
        assert [one.study_uid for one in session.scalars(select(Study))] == [LATER]
        assert len(session.scalars(select(Patient)).all()) == 1


def test_new_catalogue_keeps_what_is_held_and_does_not_take_in_what_was_deleted(
    kept: Hub, sender: Sender, empty_database: sa.Engine, hub_clock: SteerableClock
) -> None:
    sender.send(sender.slices(range(1, 2), LATER), study=LATER)
    retention.place_hold(kept, person(kept), SITE, LATER, "a court asks for it")
    sweep(kept)
    hub_clock.advance(31 * YEAR)
    delete(kept)
    upgrade(empty_database)
    other = replace(kept, engine=empty_database)
    assert rebuild(other).problems == ()
    assert list(differences(iter(lines_of(kept)), iter(lines_of(other)))) == []
    with other.transaction() as session:
        assert session.scalars(select(Hold)).one().study_uid == LATER
        assert session.scalars(select(Deletion)).one().study_uid == STUDY
