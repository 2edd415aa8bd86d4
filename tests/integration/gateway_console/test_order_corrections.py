"""A refused HL7 message is opened as the order's form, corrected and sent; its repetitions are known again."""

from __future__ import annotations

import re

import pytest

from gateway.his_orders.intake import build_intake
from gateway.journal.accounts import take_over_accounts
from gateway.journal.message_corrections import corrections_of_message
from gateway.journal.order_messages import ROWS_MAX, KeptMessage, find_placer, list_messages
from gateway.journal.orders import list_orders
from storage.contract.orders import OrderOrigin, OrderState
from storage.hl7.message import Message, parse_message
from tests.integration.gateway_console.conftest import Browser, Clinic, Page, enrol, hub_account
from tests.integration.gateway_orders.sending import EXAMPLE, ORDERED, PID, RESIDENT, changed, message, told
from tests.support.order_forms import form_in, problem_of

NO_MODALITY = changed("|CT|", "|RAD|", *EXAMPLE)
WRONG_ID = changed(RESIDENT, "110105194912310021", *EXAMPLE)


@pytest.fixture
def someone(clinic: Clinic) -> Browser:
    enrol(clinic.journal, clinic.clock)
    return clinic.logged_in()


def send(clinic: Clinic, *segments: str, control_id: str = "C1") -> Message:
    intake = build_intake(clinic.desk.settings, clinic.journal, clinic.clock)
    return parse_message(intake.handle(message(*segments, control_id=control_id), "192.0.2.7"), "UNICODE UTF-8")


def newest(clinic: Clinic) -> KeptMessage:
    return max(list_messages(clinic.journal), key=lambda kept: kept.message_id)


def test_what_could_be_read_is_filled_in_and_what_was_wrong_marked(clinic: Clinic, someone: Browser) -> None:
    assert told(send(clinic, *NO_MODALITY)) == ("AE", ["OBR-24"])
    kept = newest(clinic)
    assert f"/orders/messages/{kept.message_id}/order" in someone.get("/orders/messages").text
    page = someone.get(f"/orders/messages/{kept.message_id}/order")
    form = form_in(page)
    assert {name: form[name] for name in ("patient_number", "patient_name", "patient_name_latin", "sex")} == {
        "patient_number": "M0042",
        "patient_name": "王秀兰",
        "patient_name_latin": "Wang Xiulan",
        "sex": "F",
    }
    assert (form["identity_kind"], form["identity_number"], form["birth_date"]) == ("resident", RESIDENT, "1949-12-31")
    assert (form["procedure_name"], form["accession_number"], form["visit_kind"]) == ("胸部CT平扫", "ACC1", "I")
    assert form["scheduled_at"] == "2026-03-02T09:30"
    assert "发热三天" in form["history"]
    assert form["question"] == "肺部感染？"
    assert form["modality"] == ""
    assert (
        problem_of(page, "modality")
        == "OBR-24 不认识该编码对应的设备类型：请使用 CT、DX、US 等 DICOM 编码，或在设置中配置"
    )
    assert problem_of(page, "patient_number") == ""


@pytest.mark.parametrize(
    ("segments", "field"),
    [
        (WRONG_ID, "identity_number"),
        (changed("|19491231|", "|19491341|", *EXAMPLE), "birth_date"),
        (changed("|F", "|X", *EXAMPLE), "sex"),
        (changed("M0042^^^HIS^MR~", "", *EXAMPLE), "patient_number"),
        (changed("20260302093000", "2026-03-02", *EXAMPLE), "scheduled_at"),
        (changed("||R", "||ZZ", *EXAMPLE), "lane"),
        (changed("CTCHEST^胸部CT平扫^L", "", *EXAMPLE), "procedure_name"),
    ],
)
def test_each_fault_is_beside_its_field(
    clinic: Clinic, someone: Browser, segments: tuple[str, ...], field: str
) -> None:
    assert told(send(clinic, *segments))[0] == "AE"
    page = someone.get(f"/orders/messages/{newest(clinic).message_id}/order")
    assert page.status == 200
    assert re.search(r"[\u4e00-\u9fff]{4,}", problem_of(page, field))


def correct(clinic: Clinic, someone: Browser, kept: KeptMessage, **changes: str) -> Page:
    form = form_in(someone.get(f"/orders/messages/{kept.message_id}/order"))
    confirmed = {"confirmed": "history,question,consent"}
    return someone.post(f"/orders/messages/{kept.message_id}/order", **form | confirmed | changes)


def test_corrected_order_is_known_by_the_placers_number_and_its_message_stays(clinic: Clinic, someone: Browser) -> None:
    data = message(*NO_MODALITY)
    send(clinic, *NO_MODALITY)
    kept = newest(clinic)
    answer = correct(clinic, someone, kept, modality="CT")
    (row,) = list_orders(clinic.journal)
    assert answer.headers["Location"] == f"/orders/{row.order.order_id}?done=order_entered"
    order = row.order
    assert (order.modality, order.patient_name, order.accession_number) == ("CT", "王^秀兰", "ACC1")
    assert (order.procedure_code, order.origin, order.entered_by) == (
        "CTCHEST",
        OrderOrigin.CONSOLE,
        clinic.journal.read("SELECT account_id FROM accounts")[0]["account_id"],
    )
    assert find_placer(clinic.journal, order.order_id) == ("P1", "HIS"), "its report goes back under the HIS's number"
    kept = newest(clinic)
    assert (kept.content, kept.state, kept.order_ids, kept.needs_somebody) == (data, "taken", (order.order_id,), False)
    (made,) = corrections_of_message(clinic.journal, kept.message_id)
    assert (made.order_id, [fault.where for fault in made.faults]) == (order.order_id, ["OBR-24"])
    assert {"order_message_corrected", "order_entered"} <= set(clinic.verbs())
    page = someone.get(f"/orders/messages/{kept.message_id}").text
    assert "高原 于" in page
    assert "OBR-24" in page
    assert f"/orders/messages/{kept.message_id}" in someone.get(f"/orders/{order.order_id}").text


def test_repetition_is_answered_with_the_order_that_was_made(clinic: Clinic, someone: Browser) -> None:
    send(clinic, *NO_MODALITY)
    correct(clinic, someone, newest(clinic), modality="CT")
    again = send(clinic, *NO_MODALITY)
    assert (told(again), again.get("ORC", 3)) == (("AA", []), "ACC1")
    other_id = send(clinic, *NO_MODALITY, control_id="C2")
    assert (told(other_id), other_id.get("ORC", 2), other_id.get("ORC", 3)) == (("AA", []), "P1", "ACC1")
    assert len(list_orders(clinic.journal)) == 1
    assert [kept.needs_somebody for kept in list_messages(clinic.journal)] == [False, False]
    assert told(send(clinic, PID, "ORC|CA|P1^HIS", control_id="C3"))[0] == "AA"
    assert told(send(clinic, *NO_MODALITY, control_id="C4"))[0] == "AE", "the order was cancelled since"


def test_message_that_the_sender_has_mended_as_the_person_did_changes_nothing(clinic: Clinic, someone: Browser) -> None:
    send(clinic, *NO_MODALITY)
    correct(clinic, someone, newest(clinic), modality="CT")
    assert told(send(clinic, *EXAMPLE, control_id="C2"))[0] == "AA"
    (row,) = list_orders(clinic.journal)
    assert row.order.version == 1


def test_message_that_says_something_else_under_that_number_is_refused_as_a_contradiction(
    clinic: Clinic, someone: Browser
) -> None:
    send(clinic, *NO_MODALITY)
    correct(clinic, someone, newest(clinic), modality="CT")
    other = changed("|RAD|", "|NUC|", *NO_MODALITY)
    assert told(send(clinic, *other, control_id="C2")) == ("AE", ["OBR-24"])
    other = changed("胸部CT平扫", "腹部CT平扫", *EXAMPLE)
    assert told(send(clinic, *other, control_id="C3")) == ("AE", ["ORC-2"])
    kept = newest(clinic)
    assert someone.get(f"/orders/messages/{kept.message_id}/order").status == 409, "the order is here already"
    assert len(list_orders(clinic.journal)) == 1


def test_later_change_by_the_sender_finds_the_order(clinic: Clinic, someone: Browser) -> None:
    send(clinic, *NO_MODALITY)
    correct(clinic, someone, newest(clinic), modality="CT")
    change = changed("ORC|NW|", "ORC|XO|", *changed("肺部感染？", "结核？", *EXAMPLE))
    assert told(send(clinic, *change, control_id="C2"))[0] == "AA"
    (row,) = list_orders(clinic.journal)
    assert (row.order.version, row.order.question) == (2, "结核？")


@pytest.mark.parametrize("how", ["corrected", "retried"])
def test_what_the_his_cancelled_meanwhile_is_cancelled_when_the_order_is_made(
    clinic: Clinic, someone: Browser, how: str
) -> None:
    send(clinic, *NO_MODALITY)
    refused = newest(clinic)
    others = [(f"X{number}^HIS", f"X{number}") for number in range(ROWS_MAX)]  # that this gateway never knew
    for number, control_id in (*others, ("P1^HIS", "C2"), ("P9^HIS", "C3")):
        assert told(send(clinic, PID, f"ORC|CA|{number}", control_id=control_id)) == ("AE", ["ORC-2"])
    if how == "corrected":
        correct(clinic, someone, refused, modality="CT")
    else:
        hl7 = clinic.desk.settings.hl7.model_copy(update={"modalities": {"RAD": "CT"}})
        settings = clinic.desk.settings.model_copy(update={"hl7": hl7})
        assert build_intake(settings, clinic.journal, clinic.clock).retry(refused.message_id, "tech").state == "taken"
    (row,) = list_orders(clinic.journal)
    assert row.order.state is OrderState.CANCELLED
    states = {kept.control_id: kept.state for kept in list_messages(clinic.journal, limit=2 * ROWS_MAX)}
    assert [states[one] for one in ("C1", "C2", "C3", "X0")] == ["taken", "taken", "refused", "refused"]


def test_same_sheet_twice_is_one_order(clinic: Clinic, someone: Browser) -> None:
    send(clinic, *NO_MODALITY)
    kept = newest(clinic)
    form = form_in(someone.get(f"/orders/messages/{kept.message_id}/order")) | {"modality": "CT"}
    answers = [someone.post(f"/orders/messages/{kept.message_id}/order", confirmed="consent", **form) for _ in (1, 2)]
    assert answers[0].status == 303
    assert answers[0].headers["Location"] == answers[1].headers["Location"]
    assert len(list_orders(clinic.journal)) == 1


def test_who_was_slower_is_told(clinic: Clinic, someone: Browser) -> None:
    send(clinic, *NO_MODALITY)
    kept = newest(clinic)
    mine, theirs = (form_in(someone.get(f"/orders/messages/{kept.message_id}/order")) for _ in (1, 2))
    address = f"/orders/messages/{kept.message_id}/order"
    assert someone.post(address, **mine | {"modality": "CT", "confirmed": "consent"}).status == 303
    assert someone.post(address, **theirs | {"modality": "MR", "confirmed": "consent"}).status == 409
    assert len(list_orders(clinic.journal)) == 1


def test_what_is_wrong_still_and_what_is_missing_is_asked_as_on_the_form(clinic: Clinic, someone: Browser) -> None:
    send(clinic, *NO_MODALITY)
    kept = newest(clinic)
    page = correct(clinic, someone, kept, modality="", confirmed="")
    assert page.status == 422
    assert problem_of(page, "modality") != ""
    assert form_in(page)["patient_number"] == "M0042", "nothing is lost"
    page = correct(clinic, someone, kept, modality="CT", confirmed="")
    assert (page.status, 'id="gaps"' in page.text) == (200, True)
    assert list_orders(clinic.journal) == []
    assert newest(clinic).state == "refused"


def test_the_studys_uid_of_the_message_is_kept(clinic: Clinic, someone: Browser) -> None:
    send(clinic, *NO_MODALITY, "ZDS|1.2.840.99.7^HIS^Application^DICOM")
    correct(clinic, someone, newest(clinic), modality="CT")
    (row,) = list_orders(clinic.journal)
    assert row.order.study_uid == "1.2.840.99.7"


def test_each_order_of_a_message_is_made_and_then_it_counts_as_taken(clinic: Clinic, someone: Browser) -> None:
    second = changed("P1^HIS", "P2^HIS", *changed("ACC1", "ACC2", *changed("|CT|", "|RAD|", *ORDERED)))
    segments = PID, *ORDERED, *second
    assert told(send(clinic, *segments))[0] == "AE"
    kept = newest(clinic)
    assert "还有 2 张" in someone.get(f"/orders/messages/{kept.message_id}/order").text
    correct(clinic, someone, kept)
    assert newest(clinic).state == "refused"
    assert told(send(clinic, *segments, control_id="C2"))[0] == "AE", "one of them is open still"
    form = form_in(someone.get(f"/orders/messages/{kept.message_id}/order"))
    assert (form["number"], form["accession_number"]) == ("2", "ACC2")
    correct(clinic, someone, kept, modality="DX")
    kept = next(one for one in list_messages(clinic.journal) if one.message_id == kept.message_id)
    assert (kept.state, len(kept.order_ids)) == ("taken", 2)
    assert told(send(clinic, *segments, control_id="C3"))[0] == "AA"


def test_what_makes_no_order_is_not_opened_as_one(clinic: Clinic, someone: Browser) -> None:
    cancel = changed("ORC|NW|", "ORC|CA|", *EXAMPLE)
    assert told(send(clinic, *cancel))[0] == "AE"
    unreadable = build_intake(clinic.desk.settings, clinic.journal, clinic.clock)
    unreadable.handle(b"no HL7", "192.0.2.7")
    for kept in list_messages(clinic.journal):
        assert someone.get(f"/orders/messages/{kept.message_id}/order").status == 409
    assert '/order"' not in someone.get("/orders/messages").text
    assert someone.get("/orders/messages/99/order").status == 409


@pytest.mark.parametrize("numbers", ["P1^HIS|", "|ACC1"])
@pytest.mark.parametrize("control", ["XO", "CA", "SC"])
def test_refused_change_leads_to_the_order_that_it_means_and_makes_none(
    clinic: Clinic, someone: Browser, control: str, numbers: str
) -> None:
    send(clinic, *EXAMPLE)
    (row,) = list_orders(clinic.journal)
    segments = *changed("|19491231|", "|19491341|", PID), f"ORC|{control}|{numbers}||IP"
    assert told(send(clinic, *segments, control_id="C2"))[0] == "AE"
    kept = newest(clinic)
    for address in ("/orders/messages", f"/orders/messages/{kept.message_id}"):
        assert f'href="/orders/{row.order.order_id}"' in someone.get(address).text
    assert someone.get(f"/orders/messages/{kept.message_id}/order").status == 409
    assert f"/orders/messages/{kept.message_id}/order" not in someone.get("/orders/messages").text


def test_refused_change_opens_the_orders_own_form_with_what_it_says(clinic: Clinic, someone: Browser) -> None:
    send(clinic, *EXAMPLE)
    (row,) = list_orders(clinic.journal)
    obr = "OBR|1|P1^HIS" + "|" * 22 + "RAD" + "|" * 7 + "^结核？"
    assert told(send(clinic, PID, "ORC|XO|P1^HIS", obr, control_id="C2")) == ("AE", ["OBR-24"])
    kept = newest(clinic)
    address = f"/orders/{row.order.order_id}/change"
    assert f"{address}?message={kept.message_id}" in someone.get(f"/orders/messages/{kept.message_id}").text
    page = someone.get(f"{address}?message={kept.message_id}")
    form = form_in(page)
    assert (form["question"], form["modality"], form["history"]) == ("结核？", "CT", row.order.history)
    assert problem_of(page, "modality").startswith("OBR-24 不认识")
    assert someone.post(address, **form | {"modality": "DX", "confirmed": "history,question,consent"}).status == 303
    (row,) = list_orders(clinic.journal)
    assert (row.order.version, row.order.question, row.order.modality) == (2, "结核？", "DX")
    assert not newest(clinic).needs_somebody


def test_change_under_another_patients_number_fills_no_form(clinic: Clinic, someone: Browser) -> None:
    send(clinic, *EXAMPLE)
    (row,) = list_orders(clinic.journal)
    assert told(send(clinic, "PID|1||M0099^^^HIS^MR||赵^四", "ORC|XO|P1^HIS", control_id="C2")) == ("AE", ["PID-3"])
    kept = newest(clinic)
    assert "/change?" not in someone.get(f"/orders/messages/{kept.message_id}").text
    page = someone.get(f"/orders/{row.order.order_id}/change?message={kept.message_id}")
    assert form_in(page)["patient_name"] == "王秀兰"


def test_only_the_clinics_operators_correct_messages(clinic: Clinic, someone: Browser) -> None:
    send(clinic, *NO_MODALITY)
    take_over_accounts(clinic.journal, [hub_account("doctor", role="physician")], "v1", clinic.clock())
    doctor, kept = clinic.logged_in("doctor"), newest(clinic)
    assert doctor.get(f"/orders/messages/{kept.message_id}/order").status == 403
    assert doctor.post(f"/orders/messages/{kept.message_id}/order", modality="CT").status == 403
    send(clinic, *changed("P1^HIS", "P2^HIS", *changed("ACC1", "ACC2", *EXAMPLE)), control_id="C2")
    (row,) = list_orders(clinic.journal)
    assert doctor.get(f"/orders/{row.order.order_id}/change?message={kept.message_id}").status == 403
    assert doctor.get(f"/orders/{row.order.order_id}/change").status == 200
