"""Links that follow from what sites say: made, suggested, taken back; once, and whoever comes first."""

from __future__ import annotations

import threading
from datetime import date
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import select, text

from reading_queue.services.hub import Hub
from reading_queue.services.patients import identity_keys, linking
from reading_queue.services.patients.link_asking import LINK_JOB, ask_for_all
from storage.catalogue.link_tables import PatientLink, PatientMatchKey, StudyIdentity
from storage.catalogue.tables import Study
from storage.ledger.tables import AuditEvent, OutboxMessage
from tests.integration.hub_intake.conftest import OTHER_SITE, SITE
from tests.integration.hub_linking.patients import Clinic, links_of, record_of, resident_id, run_links, states_of
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

NUMBER = resident_id()
HEADERS_WITH_ID: list[dict[str, Any]] = [
    {"PatientID": NUMBER},
    {"OtherPatientIDs": ["H-17", NUMBER.lower()]},
]


def ordered_with_id(clinic: Clinic, **said: Any) -> None:
    clinic.order(identity_kind="resident", identity_number=NUMBER, link=False, **said)
    clinic.study()


def doubts_and_odd(link: PatientLink) -> tuple[list[str], dict[str, str]]:
    return link.comparison["doubts"], {k: v for k, v in link.comparison["traits"].items() if v != "agrees"}


@pytest.mark.parametrize("header", HEADERS_WITH_ID)
def test_number_of_an_order_and_number_of_headers_link_when_all_agrees(
    network: Hub, qinghe: Clinic, baishan: Clinic, header: dict[str, Any]
) -> None:
    ordered_with_id(qinghe)
    assert links_of(network) == []
    baishan.study(**header)
    (link,) = links_of(network)
    assert (link.state, link.site_a, link.site_b, link.is_by_person) == ("linked", OTHER_SITE, SITE, False)
    assert doubts_and_odd(link) == ([], {})
    with network.transaction() as session:
        (event,) = session.scalars(select(AuditEvent).where(AuditEvent.object_kind == "patient_link"))
    assert (event.account_id, event.object_id, event.detail["became"]) == (None, link.link_id, "linked")


def test_order_after_the_images_links_as_well_and_the_old_number_is_the_same_number(
    network: Hub, qinghe: Clinic, baishan: Clinic
) -> None:
    qinghe.study()
    baishan.study(OtherPatientIDs=NUMBER)
    assert states_of(network) == ["suggested"]
    qinghe.order(identity_kind="old_resident", identity_number=NUMBER[:6] + NUMBER[8:17])
    assert states_of(network) == ["linked"]


def test_other_patient_ids_in_a_sequence_count(network: Hub, qinghe: Clinic, baishan: Clinic) -> None:
    from pydicom.dataset import Dataset

    other = Dataset()
    other.PatientID, other.IssuerOfPatientID, other.TypeOfPatientID = NUMBER, "NNCHN", "TEXT"
    qinghe.study(OtherPatientIDsSequence=[other])
    ordered_with_id(baishan)
    assert states_of(network) == ["linked"]


@pytest.mark.parametrize(
    ("header", "odd"),
    [
        ({"PatientName": "WANG^FANG", "OtherPatientIDs": NUMBER}, {"name": "similar"}),
        ({"PatientName": "李^娜", "OtherPatientIDs": NUMBER}, {"name": "differs"}),
        ({"PatientSex": "", "OtherPatientIDs": NUMBER}, {"sex": "unknown"}),
        ({"PatientBirthDate": "19800228", "OtherPatientIDs": NUMBER}, {"birth_date": "differs"}),
        ({"PatientName": "FANG^WANG"}, {"name": "similar", "national_id": "unknown"}),
        ({}, {"national_id": "unknown"}),
    ],
)
def test_what_does_not_agree_in_all_is_suggested_with_what_does_not(
    network: Hub, qinghe: Clinic, baishan: Clinic, header: dict[str, Any], odd: dict[str, str]
) -> None:
    ordered_with_id(qinghe)
    baishan.study(**header)
    (link,) = links_of(network)
    assert (link.state, doubts_and_odd(link)[1]) == ("suggested", odd)


@pytest.mark.parametrize(
    "header",
    [
        {"PatientName": "李^娜"},
        {"PatientBirthDate": ""},
        {"PatientSex": "M"},
        {"OtherPatientIDs": resident_id(serial=18)},
    ],
)
def test_others_are_not_suggested(network: Hub, qinghe: Clinic, baishan: Clinic, header: dict[str, Any]) -> None:
    ordered_with_id(qinghe)
    baishan.study(**header)
    assert links_of(network) == []


def test_records_of_one_site_are_never_linked(network: Hub, qinghe: Clinic) -> None:
    ordered_with_id(qinghe)
    qinghe.study(PatientID=NUMBER)
    assert links_of(network) == []


def test_second_record_of_a_site_makes_a_link_a_question(network: Hub, qinghe: Clinic, baishan: Clinic) -> None:
    ordered_with_id(qinghe)
    baishan.study(PatientID=NUMBER)
    assert states_of(network) == ["linked"]
    baishan.study(PatientID="P-0002", OtherPatientIDs=NUMBER)
    assert states_of(network) == ["suggested", "suggested"]
    assert {doubt for link in links_of(network) for doubt in link.comparison["doubts"]} == {"id_shared"}


def test_record_without_studies_is_nobody_to_link_and_in_nobodys_way(
    network: Hub, qinghe: Clinic, baishan: Clinic
) -> None:
    """As after a merge: all studies of one record have become another one's."""
    ordered_with_id(qinghe)
    baishan.study(PatientID="P-0002", OtherPatientIDs=NUMBER)
    duplicate = baishan.study(PatientID="P-0003", OtherPatientIDs=NUMBER)
    assert states_of(network) == ["suggested", "suggested"]
    kept, empty = (record_of(network, OTHER_SITE, number).patient_id for number in ("P-0002", "P-0003"))
    with network.transaction() as session:
        session.execute(sa.update(Study).where(Study.study_uid == duplicate).values(patient_id=kept))
    for patient_id in (kept, empty):
        linking.link(network, patient_id)
    assert states_of(network) == ["linked"]


def test_record_that_contradicts_itself_is_a_question(network: Hub, qinghe: Clinic, baishan: Clinic) -> None:
    ordered_with_id(qinghe)
    baishan.study(OtherPatientIDs=NUMBER)
    assert states_of(network) == ["linked"]
    baishan.study(PatientBirthDate="19610101")
    (link,) = links_of(network)
    assert (link.state, link.comparison["doubts"]) == ("suggested", ["disputed"])


def test_number_of_somebody_else_is_not_believed(network: Hub, qinghe: Clinic, baishan: Clinic) -> None:
    """Two children under their mother's number, each with the name that a ward gives: nobody is linked by it."""
    mothers = resident_id(date(1955, 1, 1))
    for clinic in (qinghe, baishan):
        clinic.study(PatientID=mothers, PatientName="张丽之子", PatientSex="M", PatientBirthDate="20260101")
    (link,) = links_of(network)
    assert (link.state, link.comparison["doubts"]) == ("suggested", ["id_unproved"])


def test_mothers_number_on_a_newborns_order_is_no_number_of_the_newborn(
    network: Hub, qinghe: Clinic, baishan: Clinic
) -> None:
    qinghe.order(identity_kind="newborn", identity_number=NUMBER, birth_order=1)
    qinghe.study(PatientName="王芳之女")
    baishan.study(PatientID=NUMBER)
    assert links_of(network) == []


@pytest.mark.parametrize(
    "changed",
    [{"state": "cancelled", "state_reason": "wrong patient"}, {"patient_number": "P-0002"}, {"identity_kind": "other"}],
)
def test_number_that_is_taken_back_takes_the_link_back(
    network: Hub, qinghe: Clinic, baishan: Clinic, changed: dict[str, str]
) -> None:
    said = {"identity_kind": "resident", "identity_number": NUMBER}
    order_id = qinghe.order(**said)
    number = order_id.removeprefix(SITE)
    qinghe.study(PatientName="LI^NA")
    baishan.study(PatientID=NUMBER)
    assert states_of(network) == ["suggested"]
    again = {"order_id": order_id, "version": 2, "accession_number": f"N-{int(number)}", **said, **changed}
    qinghe.order(**again, study_uid=f"2.25.{int(number)}")
    assert links_of(network) == []
    with network.transaction() as session:
        became = [
            row.detail["became"]
            for row in session.scalars(select(AuditEvent).order_by(AuditEvent.audit_id))
            if row.object_kind == "patient_link"
        ]
    assert became == ["suggested", "withdrawn"]


def test_looking_again_changes_nothing(network: Hub, qinghe: Clinic, baishan: Clinic) -> None:
    ordered_with_id(qinghe)
    baishan.study(OtherPatientIDs=NUMBER)
    before = [(link.link_id, link.version) for link in links_of(network)]
    for site in (SITE, OTHER_SITE):
        linking.link(network, record_of(network, site).patient_id)
    assert [(link.link_id, link.version) for link in links_of(network)] == before


@pytest.mark.parametrize("_round", range(4))
def test_two_that_come_at_once_make_one_link(network: Hub, qinghe: Clinic, baishan: Clinic, _round: int) -> None:
    qinghe.study(link=False, OtherPatientIDs=NUMBER)
    baishan.study(link=False, PatientID=NUMBER)
    both = [record_of(network, SITE).patient_id, record_of(network, OTHER_SITE, NUMBER).patient_id]
    together, failures = threading.Barrier(4), []

    def work(patient_id: str) -> None:
        try:
            together.wait(60)
            linking.link(network, patient_id)
        except Exception as exc:  # noqa: BLE001 -- carried out of the thread and asserted on
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(patient_id,)) for patient_id in both * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert states_of(network) == ["linked"]


def test_change_while_the_job_runs_is_looked_at_too(
    network: Hub, qinghe: Clinic, baishan: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    baishan.study(PatientID=NUMBER)
    qinghe.study(link=False)
    read = identity_keys.read_identity

    def read_slowly(*arguments: Any) -> dict[str, bool]:
        monkeypatch.setattr(identity_keys, "read_identity", read)
        qinghe.order(identity_kind="resident", identity_number=NUMBER, link=False)
        qinghe.study(link=False)
        return read(*arguments)

    monkeypatch.setattr(identity_keys, "read_identity", read_slowly)
    assert run_links(network) == 2
    assert states_of(network) == ["linked"]


def test_lost_job_is_launched_again_once(
    network: Hub, qinghe: Clinic, baishan: Clinic, hub_clock: SteerableClock
) -> None:
    baishan.study(PatientID=NUMBER)
    qinghe.study(OtherPatientIDs=NUMBER, link=False)
    with network.transaction() as session:
        session.execute(sa.delete(OutboxMessage).where(OutboxMessage.job == LINK_JOB))
    assert linking.relaunch_linking(network) == 0, "it may be on its way"
    hub_clock.advance(120)
    assert (linking.relaunch_linking(network), linking.relaunch_linking(network)) == (1, 0)
    assert (run_links(network), states_of(network)) == (1, ["linked"])
    hub_clock.advance(120)
    assert linking.relaunch_linking(network) == 0


def test_all_records_at_once_are_launched_a_few_at_a_time(
    network: Hub, qinghe: Clinic, hub_clock: SteerableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        qinghe.study(PatientID=f"P-{number}")
    hub_clock.advance(1)
    with network.transaction() as session:
        assert ask_for_all(session, network.clock()) == 5
    monkeypatch.setattr(linking, "RELAUNCHED_MAX", 2)
    monkeypatch.setattr(linking, "UNDER_WAY_MAX", 3)
    hub_clock.advance(120)
    assert [linking.relaunch_linking(network) for _ in range(3)] == [2, 2, 0]
    assert run_links(network) == 4
    assert [linking.relaunch_linking(network) for _ in range(2)] == [1, 0]


def test_number_of_very_many_records_is_nobodys(
    network: Hub, qinghe: Clinic, baishan: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linking, "HOLDERS_MAX", 3)
    for number, name in enumerate(("王^一", "李^二", "张^三", "赵^四")):
        clinic = qinghe if number % 2 else baishan
        clinic.study(PatientID=f"P-{number}", PatientName=name, OtherPatientIDs=NUMBER)
    assert links_of(network) == []


def test_many_studies_of_one_patient_are_read_a_few_at_a_time(
    network: Hub, qinghe: Clinic, baishan: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity_keys, "STUDIES_AT_ONCE", 2)
    baishan.study(PatientID=NUMBER)
    for _ in range(5):
        qinghe.study(link=False, OtherPatientIDs=NUMBER)
    assert run_links(network) == 3
    with network.transaction() as session:
        assert len(session.scalars(select(StudyIdentity)).all()) == len(session.scalars(select(Study)).all())
    assert states_of(network) == ["linked"]


def test_all_keys_are_computed_anew_with_another_key_file(network: Hub, qinghe: Clinic, baishan: Clinic) -> None:
    ordered_with_id(qinghe)
    baishan.study(PatientID=NUMBER)
    with network.transaction() as session:
        session.execute(sa.update(PatientMatchKey).values(match_key=sa.func.md5(PatientMatchKey.match_key)))
        session.execute(sa.update(StudyIdentity).values(id_keys={"0": True}))
        assert identity_keys.forget_keys(session, network.clock()) == 2
    for site, number in ((SITE, "P-0001"), (OTHER_SITE, NUMBER)):
        linking.link(network, record_of(network, site, number).patient_id)
    assert states_of(network) == ["linked"]


def test_number_and_name_stand_in_no_table_of_links_and_in_no_message(
    network: Hub, qinghe: Clinic, baishan: Clinic, capfd: pytest.CaptureFixture[str]
) -> None:
    ordered_with_id(qinghe)
    baishan.study(OtherPatientIDs=NUMBER)
    assert states_of(network) == ["linked"]
    tables = ("study_identities", "patient_match_keys", "patient_matching", "patient_links", "outbox", "audit_events")
    with network.transaction() as session:
        for table in tables:
            said = "\n".join(session.scalars(text(f"SELECT to_jsonb(one)::text FROM {table} one")))
            assert said
            assert not [word for word in (NUMBER, "王", "芳", "1980-02-29", "19800229", "P-0001") if word in said], (
                table
            )
    out, err = capfd.readouterr()
    assert NUMBER not in out + err
