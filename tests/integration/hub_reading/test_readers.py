"""A gateway at the assisting hospital: what it may have follows the claim, what it sends becomes a draft."""

from __future__ import annotations

from datetime import date

import pytest
from sqlalchemy import select, update

from reading_queue.db.tables import Draft, Physician
from reading_queue.errors import NotFound
from reading_queue.services.access.enrolment import issue_reader_code
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.reading import reading
from reading_queue.services.reading.readers import (
    DraftAtDesk,
    NotTheClaimer,
    claimed_cases,
    pack_of_claim,
    record_reader_receipt,
    take_report,
)
from storage.catalogue.tables import Pack, Patient, Study
from storage.contract.identifiers import new_id
from storage.contract.wire import ReaderReceipt, ReaderReport
from storage.ledger.tables import AuditEvent
from tests.integration.hub_reading.test_sweeps_at_once import between
from tests.integration.hub_reading.world import CITY, COUNTY, SITE, TEXT, World

pytestmark = pytest.mark.postgres

STUDY = "1.2.3"


def from_workstation(physician: str, *, study_uid: str | None = STUDY, **changes: str) -> ReaderReport:
    text = {"findings": TEXT.findings, "impression": TEXT.impression, "recommendation": TEXT.recommendation}
    return ReaderReport.model_validate(
        {"message_id": "M1", "study_uid": study_uid, "physician": physician, **text, **changes}
    )


def add_pack(hub: Hub, study_uid: str) -> str:
    pack_id = new_id()
    with hub.transaction() as session:
        study = session.scalars(select(Study).where(Study.study_uid == study_uid)).one()
        session.add(
            Pack(
                pack_id=pack_id,
                study_id=study.study_id,
                pack_sha256="a" * 64,
                object_key="studies/x/packs/a.tar",
                headers_key="studies/x/packs/a.json",
                size_bytes=2048,
                verified_at=hub.clock(),
            )
        )
    return pack_id


@pytest.fixture
def claimed(world: World, hub: Hub, wang: Viewer) -> tuple[str, str]:
    """A case that wang holds, and its reading task."""
    case_id = world.arrive(STUDY)
    task_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, wang, task_id)
    return case_id, task_id


def test_the_hospital_gets_what_its_physicians_hold_and_only_while_they_do(
    hub: Hub, wang: Viewer, claimed: tuple[str, str]
) -> None:
    case_id, task_id = claimed
    pack_id = add_pack(hub, STUDY)
    cases = claimed_cases(hub, CITY).cases
    assert [(case.case_id, case.reading_task_id) for case in cases] == [(case_id, task_id)]
    assert [(study.study_uid, study.prior) for study in cases[0].studies] == [(STUDY, False)]
    assert [pack.pack_id for pack in cases[0].studies[0].packs] == [pack_id]
    assert pack_of_claim(hub, CITY, task_id, pack_id).size_bytes == 2048
    assert claimed_cases(hub, COUNTY).cases == ()
    with pytest.raises(NotFound):
        pack_of_claim(hub, COUNTY, task_id, pack_id)
    reading.release(hub, wang, task_id, "110513")
    assert claimed_cases(hub, CITY).cases == ()
    with pytest.raises(NotFound):
        pack_of_claim(hub, CITY, task_id, pack_id)


def test_a_claim_gives_its_own_packs_alone_and_takes_no_text_once_it_has_ended(
    world: World, hub: Hub, wang: Viewer, claimed: tuple[str, str]
) -> None:
    other = world.open_task(world.arrive("1.2.4")).reading_task_id
    with hub.transaction() as session:
        session.add(Patient(patient_id="patient-2", site_id=SITE, patient_number="P2", name="李四", sex="F"))
        session.flush()
        session.execute(update(Study).where(Study.study_uid == "1.2.4").values(patient_id="patient-2"))
    reading.claim(hub, wang, other)
    pack_id = add_pack(hub, "1.2.4")
    assert pack_of_claim(hub, CITY, other, pack_id).pack_id == pack_id
    with pytest.raises(NotFound):
        pack_of_claim(hub, CITY, claimed[1], pack_id)
    between(hub, "FOR UPDATE", lambda: reading.release(hub, wang, claimed[1], "110513"))
    with pytest.raises(NotTheClaimer):
        take_report(hub, CITY, "gateway-r", from_workstation(wang.login))


def test_another_study_of_the_patient_comes_along_as_long_as_it_is_surely_the_same_person(
    world: World, hub: Hub, wang: Viewer, claimed: tuple[str, str]
) -> None:
    other = world.open_task(world.arrive("1.2.4")).reading_task_id  # offered to wang too
    pack_id = add_pack(hub, "1.2.4")
    assert [(one.study_uid, one.prior) for one in claimed_cases(hub, CITY).cases[0].studies][1:] == [("1.2.4", True)]
    reading.decline(hub, wang, other, "110513")
    assert len(claimed_cases(hub, CITY).cases[0].studies) == 2
    with hub.transaction() as session:
        for study, born in (("1.2.3", date(1960, 1, 1)), ("1.2.4", date(1961, 1, 1))):
            session.execute(update(Study).where(Study.study_uid == study).values(patient_birth_date=born))
    assert len(claimed_cases(hub, CITY).cases[0].studies) == 1
    with pytest.raises(NotFound):
        pack_of_claim(hub, CITY, claimed[1], pack_id)


def test_the_text_becomes_the_draft_of_its_writer_and_is_signed_at_the_desk(
    world: World, hub: Hub, wang: Viewer, claimed: tuple[str, str]
) -> None:
    case_id, task_id = claimed
    for _ in range(2):
        take_report(hub, CITY, "gateway-r", from_workstation(wang.login))
    with hub.transaction() as session:
        draft = session.get_one(Draft, case_id)
        events = session.scalars(select(AuditEvent).where(AuditEvent.object_id == case_id)).all()
    assert (draft.findings, draft.author_id, draft.source) == (TEXT.findings, wang.physician_id, "workstation")
    assert sum(event.detail.get("event") == "draft_from_workstation" for event in events) == 1
    assert world.case(case_id).state == "reading"  # nobody has signed
    assert "draft_came" in [str(hop) for hop in world.hops(case_id)]
    reading.submit(hub, wang, task_id, TEXT, confirm=True)
    assert world.case(case_id).state == "pending_review"


@pytest.mark.parametrize(
    ("physician", "study_uid", "accession"),
    [("zhao", STUDY, ""), ("nobody", STUDY, ""), ("wang", "1.2.99", ""), ("wang", None, ""), ("wang", None, "A-OTHER")],
)
def test_what_is_not_the_claimers_own_case_is_refused(
    hub: Hub, zhao: Viewer, claimed: tuple[str, str], physician: str, study_uid: str | None, accession: str
) -> None:
    with pytest.raises(NotTheClaimer):
        take_report(
            hub, CITY, "gateway-r", from_workstation(physician, study_uid=study_uid, accession_number=accession)
        )


def test_another_hospitals_gateway_cannot_write_for_its_physician(
    hub: Hub, wang: Viewer, claimed: tuple[str, str]
) -> None:
    with pytest.raises(NotTheClaimer):
        take_report(hub, COUNTY, "gateway-r", from_workstation(wang.login))


def test_a_draft_of_the_desk_is_not_replaced_and_one_of_the_workstation_is(
    hub: Hub, wang: Viewer, claimed: tuple[str, str]
) -> None:
    case_id, task_id = claimed
    take_report(hub, CITY, "gateway-r", from_workstation(wang.login))
    take_report(hub, CITY, "gateway-r", from_workstation(wang.login, message_id="M2", impression="肺结节，建议随访。"))
    with hub.transaction() as session:
        version = session.get_one(Draft, case_id).version
    reading.save_draft(hub, wang, task_id, TEXT, version)
    with pytest.raises(DraftAtDesk):
        take_report(hub, CITY, "gateway-r", from_workstation(wang.login, message_id="M3", findings="另一段文字"))


def test_what_became_of_the_case_there_is_in_the_ledger_also_after_the_claim(
    world: World, hub: Hub, wang: Viewer, claimed: tuple[str, str]
) -> None:
    case_id, task_id = claimed
    delivered = ReaderReceipt(step="delivered", target="pacs:main", at=hub.clock())
    for _ in range(2):
        record_reader_receipt(hub, CITY, task_id, delivered)
    reading.release(hub, wang, task_id, "110513")
    record_reader_receipt(hub, CITY, task_id, ReaderReceipt(step="withdrawn", target="spool", at=hub.clock()))
    assert [str(hop) for hop in world.hops(case_id)].count("at_reader") == 2
    with pytest.raises(NotFound):
        record_reader_receipt(hub, COUNTY, task_id, delivered)


def test_a_guest_s_claim_comes_to_the_hospital_under_whose_agreement_it_is_read(
    world: World, hub: Hub, wang: Viewer, claimed: tuple[str, str]
) -> None:
    """The guest's own hospital has no agreement with the site, and is given nothing of it."""
    _, task_id = claimed
    with hub.transaction() as session:
        guest = session.get_one(Physician, wang.physician_id)
        guest.organisation_id, guest.also_at = COUNTY, [CITY]
    pack_id = add_pack(hub, STUDY)
    (case,) = claimed_cases(hub, CITY).cases
    assert case.reading_task_id == task_id
    assert claimed_cases(hub, COUNTY).cases == ()
    assert pack_of_claim(hub, CITY, task_id, pack_id).pack_id == pack_id
    with pytest.raises(NotFound):
        pack_of_claim(hub, COUNTY, task_id, pack_id)
    receipt = ReaderReceipt(step="delivered", target="pacs:main", at=hub.clock())
    record_reader_receipt(hub, CITY, task_id, receipt)
    with pytest.raises(NotFound):
        record_reader_receipt(hub, COUNTY, task_id, receipt)
    login = wang.login
    with pytest.raises(NotTheClaimer):
        take_report(hub, COUNTY, "gateway-county", from_workstation(login))
    take_report(hub, CITY, "gateway-city", from_workstation(login))
    with hub.transaction() as session:
        assert session.scalars(select(Draft)).one().findings == TEXT.findings


def test_a_hospital_that_only_guests_read_for_may_have_a_reader_gateway(world: World, hub: Hub, wang: Viewer) -> None:
    with hub.transaction() as session:
        for physician in session.scalars(select(Physician)):
            physician.organisation_id, physician.also_at = COUNTY, [CITY]
    assert issue_reader_code(hub, CITY, "admin")
    with pytest.raises(NotFound):
        issue_reader_code(hub, "nowhere", "admin")
