"""The signed report as ORU^R01: what a HIS reads in it, checked by two other HL7 libraries."""

from __future__ import annotations

import base64
from datetime import UTC, date, datetime

import hl7
import pytest
from hl7apy.parser import parse_message as parse_with_hl7apy
from hl7apy.validation import VALIDATION_LEVEL

from gateway.hl7.oru import build_oru, control_id, is_national_id
from gateway.targets import MessageSettings
from storage.contract.orders import Order
from storage.contract.signed_report import SINGLE_PHYSICIAN_WORDS, PatientIdentity, SignedReport
from storage.hl7.message import Message, parse_message
from tests.support.reports import (
    report_content,
    report_of_one,
    report_of_two_orders,
    report_with_evidence,
    report_with_opinion,
    reported_study,
)

ID_NUMBER = "11010519491231002X"  # the example of GB 11643
NOW = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)
SETTINGS = MessageSettings(sending_facility="COUNTY", receiving_facility="TOWN")


def report(**changes: object) -> SignedReport:
    return report_content(**changes)


def read(message: bytes) -> Message:
    return parse_message(message, "UNICODE UTF-8")


def observations(message: Message) -> dict[str, int]:
    return {message.at(place, 3, 2): place for place in message.named("OBX")}


def test_a_his_finds_patient_order_text_and_both_physicians() -> None:
    told = read(build_oru(report(), SETTINGS, "id1", None))
    assert [told.get("MSH", field) for field in (4, 6, 9, 10, 12, 18)] == [
        "COUNTY", "TOWN", "ORU", "id1", "2.5.1", "UNICODE UTF-8",
    ]  # fmt: skip
    assert (told.get("PID", 3), told.get("PID", 3, 5)) == ("P20260001", "MR")
    assert (told.get("PID", 5), told.get("PID", 5, 2), told.get("PID", 5, 8)) == ("张", "三䶮", "I")
    assert told.get("PID", 5, repetition=2) == "Zhang"
    assert (told.get("PID", 7), told.get("PID", 8)) == ("19491231", "F")
    assert told.get("OBR", 7) == "20260302083000+0800"  # the site's own time, with its offset
    assert told.get("OBR", 22) == "20260302093000+0800"
    assert (told.get("OBR", 18), told.get("OBR", 24), told.get("OBR", 25)) == ("A2026-0001", "CT", "F")
    assert told.get("OBR", 32, subcomponent=2) == "王芳"
    assert told.get("OBR", 33, subcomponent=2) == "李明"
    places = observations(told)
    assert told.at(places["DICOM Study"], 5) == report().studies[0].study_uid
    assert told.at(places["Findings"], 5) == report().findings
    assert told.at(places["Impressions"], 5) == report().impression
    assert told.at(places["Recommendations"], 5) == report().recommendation
    assert {told.at(place, 11) for place in places.values()} == {"F"}
    assert told.at(places["Impressions"], 8) == ""


def test_a_correction_and_a_critical_value_say_so() -> None:
    told = read(build_oru(report(report_version=2, critical=True), SETTINGS, "id1", None))
    places = observations(told)
    assert told.get("OBR", 25) == "C"
    assert {told.at(place, 11) for place in places.values()} == {"C"}
    assert told.at(places["Impressions"], 8) == "AA"
    assert told.at(places["Findings"], 8) == ""


def test_a_void_report_is_posted_as_wrong_without_its_pdf() -> None:
    told = read(build_oru(report(), SETTINGS, "id1", b"%PDF", is_void=True))
    assert told.get("OBR", 25) == "C"
    assert {told.at(place, 11) for place in told.named("OBX")} == {"W"}
    assert "ED" not in {told.at(place, 2) for place in told.named("OBX")}
    assert "作废" in told.get("NTE", 3)
    assert [told.get("OBR", field) for field in (3, 18)] == ["A2026-0001", "A2026-0001"]  # by which the HIS finds it
    assert control_id("d", "hl7:his", is_void=True) != control_id("d", "hl7:his")


def test_the_pdf_comes_back_to_the_byte() -> None:
    pdf = bytes(range(256)) * 9
    told = read(build_oru(report(), SETTINGS, "id1", pdf))
    place = observations(told)["Diagnostic Imaging Report"]
    assert told.at(place, 2) == "ED"
    assert [told.at(place, 5, number) for number in (2, 3, 4)] == ["application", "pdf", "Base64"]
    assert base64.b64decode(told.at(place, 5, 5)) == pdf


def test_each_study_of_the_case_answers_its_own_order_and_the_pdf_goes_once() -> None:
    other = reported_study(study_uid="1.2.9", accession_number="A2026-0002", study_time="0915")
    told = read(build_oru(report(studies=(reported_study(), other)), SETTINGS, "id1", b"%PDF"))
    places = told.named("OBR")
    assert [told.at(place, 18) for place in places] == ["A2026-0001", "A2026-0002"]
    assert told.at(places[1], 7) == "202603020915"
    assert [told.at(place, 2) for place in told.named("OBX")].count("ED") == 1


def order(**changes: object) -> Order:
    values = {
        "order_id": "order077", "version": 1, "site_id": "qinghe-01", "accession_number": "A2026-0001",
        "study_uid": report().studies[0].study_uid, "origin": "console", "patient_number": "P20260001",
        "patient_name": "张三䶮", "modality": "CT", "procedure_code": "CT-CHEST", "procedure_name": "胸部CT平扫|增强",
        "visit_kind": "E", "visit_number": "门诊88", "entered_by": "li",
        "scheduled_at": NOW, "entered_at": NOW, "changed_at": NOW,
    }  # fmt: skip
    return Order.model_validate(values | changes)


def test_the_sites_order_gives_placer_number_patient_class_and_service_of_its_own_study_alone() -> None:
    other = reported_study(study_uid="1.2.9", accession_number="")
    content = report(studies=(reported_study(), other))
    orders = {content.studies[0].study_uid: order()}
    told = read(build_oru(content, SETTINGS, "id1", None, orders))
    assert [told.get("PV1", field) for field in (1, 2, 19)] == ["1", "E", "门诊88"]
    assert (told.get("PV1", 19, 4), told.get("PV1", 19, 5)) == ("COUNTY", "VN")
    (ordered, unordered), controls = told.named("OBR"), told.named("ORC")
    assert [told.at(place, 2) for place in (ordered, controls[0], unordered, controls[1])] == [
        "order077",
        "order077",
        "",
        "",
    ]
    assert [told.at(place, 3) for place in (ordered, controls[0])] == ["A2026-0001"] * 2
    assert [told.at(place, 3) for place in (unordered, controls[1])] == [content.case_id] * 2
    assert [told.at(ordered, 4, part) for part in range(1, 7)] == [
        "CT-CHEST", "胸部CT平扫|增强", "L", "25045-6", "CT Report", "LN",
    ]  # fmt: skip
    assert (told.at(unordered, 4), told.at(unordered, 4, 3)) == ("25045-6", "LN")
    text = build_oru(content, SETTINGS, "id1", None, orders).decode()
    assert [line[:3] for line in text.split("\r")[:5]] == ["MSH", "PID", "PV1", "ORC", "OBR"]
    assert parse_with_hl7apy(text, validation_level=VALIDATION_LEVEL.TOLERANT, find_groups=True).name == "ORU_R01"


def test_without_an_order_no_patient_class_and_no_placer_are_invented() -> None:
    told = read(build_oru(report(), SETTINGS, "id1", None))
    assert told.named("PV1") == []
    assert (told.get("ORC", 2), told.get("OBR", 2)) == ("", "")
    assert (told.get("ORC", 3), told.get("OBR", 3)) == ("A2026-0001", "A2026-0001")
    assert told.get("OBR", 3, 2) == "COUNTERPART"


@pytest.mark.parametrize(("allowed", "sent"), [(False, ""), (True, ID_NUMBER)])
def test_an_identity_number_goes_only_where_it_may(*, allowed: bool, sent: str) -> None:
    patient = PatientIdentity(patient_number=ID_NUMBER, name="张^三", sex="F", birth_date=date(1949, 12, 31))
    message = build_oru(report(patient=patient), SETTINGS.model_copy(update={"national_id": allowed}), "id1", None)
    assert read(message).get("PID", 3) == sent
    assert (ID_NUMBER.encode() in message) is allowed


@pytest.mark.parametrize(
    ("number", "is_one"),
    [(ID_NUMBER, True), (ID_NUMBER.lower(), True), ("110105194912310021", False), ("P20260001", False), ("", False)],
)
def test_identity_numbers_are_known_by_their_check_character(number: str, *, is_one: bool) -> None:
    assert is_national_id(number) is is_one


@pytest.mark.parametrize("character_set", ["UNICODE UTF-8", "GB 18030-2000"])
def test_both_character_sets_say_every_name(character_set: str) -> None:
    message = build_oru(report(), SETTINGS.model_copy(update={"character_set": character_set}), "id1", None)
    assert read(message).get("PID", 5, 2) == "三䶮"
    assert "三䶮".encode("gb18030" if "GB" in character_set else "utf-8") in message


def test_the_same_report_gives_the_same_bytes_and_the_control_id_is_its_own() -> None:
    assert build_oru(report(), SETTINGS, "id1", None) == build_oru(report(), SETTINGS, "id1", None)
    ids = {
        control_id("d1", "hl7:his"),
        control_id("d1", "hl7:his"),
        control_id("d2", "hl7:his"),
        control_id("d1", "hl7:b"),
    }
    assert len(ids) == 3
    assert {len(one) for one in ids} == {20}


def test_enhanced_mode_asks_for_both_acknowledgements() -> None:
    told = read(build_oru(report(), SETTINGS.model_copy(update={"acknowledgement": "enhanced"}), "id1", None))
    assert (told.get("MSH", 15), told.get("MSH", 16)) == ("AL", "AL")


def test_times_follow_the_zone_that_is_signed() -> None:
    told = read(
        build_oru(
            report(time_zone="Asia/Urumqi", signed_at=datetime(2026, 3, 2, 1, 30, tzinfo=UTC)), SETTINGS, "i", None
        )
    )
    assert told.get("OBR", 22) == "20260302073000+0600"


def test_two_other_libraries_read_it_as_a_valid_oru() -> None:
    text = build_oru(report(), SETTINGS, "id1", b"%PDF").decode()
    theirs = hl7.parse(text)
    assert str(theirs.extract_field("OBR", 1, 18)) == "A2026-0001"
    assert len(theirs.segments("OBX")) == 5
    message = parse_with_hl7apy(text, validation_level=VALIDATION_LEVEL.TOLERANT, find_groups=True)
    assert message.name == "ORU_R01"
    order = message.oru_r01_patient_result.oru_r01_order_observation
    assert len(order.oru_r01_observation) == 5
    assert order.obr.obr_25.to_er7() == "F"
    assert message.validate() is True


def test_measurements_go_as_numbers_with_their_code_and_unit_and_once_for_all_studies() -> None:
    studies = (reported_study(), reported_study(study_uid="1.2.3", accession_number="A2026-0002"))
    told = read(build_oru(report_with_evidence().model_copy(update={"studies": studies}), SETTINGS, "id1", None))
    places = [place for place in told.named("OBX") if told.at(place, 2) == "NM"]
    assert len(places) == 1
    assert [told.at(places[0], 3, part) for part in (1, 2, 3)] == ["410668003", "Length", "SCT"]
    assert (told.at(places[0], 5), told.at(places[0], 6), told.at(places[0], 6, 3)) == ("23.40517", "mm", "UCUM")


def test_opinion_of_another_hospital_goes_with_who_gave_it() -> None:
    told = read(build_oru(report_with_opinion(), SETTINGS, "id1", None))
    (place,) = [place for place in told.named("OBX") if told.at(place, 3) == "11488-4"]
    assert told.at(place, 5).startswith("省肿瘤医院 林静 2026-03-02 08:50: 建议增强扫描。")


def test_a_report_that_one_physician_signed_says_so() -> None:
    alone = SignedReport.model_validate(report_of_one().model_dump())
    told = read(build_oru(alone, SETTINGS, "id1", None))
    assert told.at(observations(told)["Annotation comment"], 5) == SINGLE_PHYSICIAN_WORDS
    assert "Annotation comment" not in observations(read(build_oru(report(), SETTINGS, "id1", None)))


def test_a_further_order_of_a_study_is_answered_under_its_own_number() -> None:
    given = {"order_id": "b" * 32, "accession_number": "A2026-0002", "study_uid": "2.25.9", "modality": "CT"}
    given |= {"version": 1, "site_id": "t", "origin": "hl7", "patient_number": "P20260001", "patient_name": "张三䶮"}
    times = dict.fromkeys(("scheduled_at", "entered_at", "changed_at"), NOW)
    second = Order.model_validate(given | times | {"procedure_name": "腹部CT平扫", "entered_by": "hl7"})
    message = build_oru(report_of_two_orders(), SETTINGS, "id1", b"%PDF", {"A2026-0002": second})
    told = read(message)
    groups = told.named("OBR")
    assert [told.at(place, 18) for place in groups] == ["A2026-0001", "A2026-0002"]
    assert told.at(groups[1], 2) == second.order_id
    assert [told.at(place, 2) for place in told.named("OBX")].count("ED") == 1
    assert [told.at(place, 5) for place in told.named("OBX")].count(report().impression) == 2
