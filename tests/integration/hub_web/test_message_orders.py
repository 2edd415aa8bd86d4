"""A refused HL7 message is opened on the coordinator's desk as the order's form; its repetitions are known again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import func, select

from reading_queue.db.message_tables import OrderCorrection, OrderMessage, PlacerOrder
from reading_queue.db.tables import ClinicOrder
from reading_queue.services.hub import Hub
from reading_queue.services.order_messages.desk import RETRIED_MAX
from reading_queue.services.order_messages.intake import take_message
from reading_queue.services.order_messages.keeping import prune_order_messages
from storage.contract.identifiers import new_id
from storage.contract.orders import Order, OrderOrigin, OrderState
from storage.hl7.local_codes import LocalCodes
from storage.hl7.message import Message, parse_message
from storage.ledger.tables import AuditEvent
from tests.integration.gateway_orders.sending import EXAMPLE, ORDERED, PID, RESIDENT, changed, message, told
from tests.integration.hub_web.county import COORDINATOR, FIRST_SITE, OTHER_TECHNICIAN, TECHNICIAN, County
from tests.integration.hub_web.serving import Answer, Visitor
from tests.integration.hub_web.test_order_messages_page import PAGE, SENDER, Visitors, acts
from tests.support.clock import SteerableClock
from tests.support.order_forms import form_in, problem_of

pytestmark = pytest.mark.postgres

NO_MODALITY = changed("|CT|", "|RAD|", *EXAMPLE)


@pytest.fixture
def hub(hub: Hub) -> Hub:
    codes = LocalCodes(consents=frozenset({"REMOTE-READ"}))
    return replace(hub, order_senders={SENDER.name: replace(SENDER, codes=codes)})


@pytest.fixture
def someone(browser_of: Visitors, county: County) -> Visitor:
    return browser_of(COORDINATOR)


def send(hub: Hub, *segments: str, control_id: str = "C1") -> Message:
    answer = take_message(hub, SENDER, message(*segments, control_id=control_id), "192.0.2.7")
    return parse_message(answer, "UNICODE UTF-8")


def newest(hub: Hub) -> OrderMessage:
    with hub.transaction() as session:
        return session.scalars(select(OrderMessage).order_by(OrderMessage.message_id.desc()).limit(1)).one()


def orders(hub: Hub) -> list[Order]:
    with hub.transaction() as session:
        found = session.scalars(select(ClinicOrder.content).order_by(ClinicOrder.change_number))
        return [Order.model_validate(content) for content in found]


def address(row: OrderMessage) -> str:
    return f"{PAGE}/{row.message_id}/order"


def correct(someone: Visitor, row: OrderMessage, **changes: str) -> Answer:
    form = form_in(someone.get(address(row)))
    return someone.post(address(row), **{"confirmed": "history,question,consent"} | form | changes)


def test_what_could_be_read_is_filled_in_and_what_was_wrong_marked(hub: Hub, someone: Visitor) -> None:
    assert told(send(hub, *NO_MODALITY, "IPC|||||||||CT1")) == ("AE", ["OBR-24"])
    row = newest(hub)
    assert address(row) in someone.get(PAGE).text
    page = someone.get(address(row))
    form = form_in(page)
    expected = {"patient_number": "M0042", "patient_name": "王秀兰", "sex": "F", "identity_number": RESIDENT}
    expected |= {"accession_number": "ACC1", "procedure_name": "胸部CT平扫", "visit_kind": "I", "modality": ""}
    expected |= {"scheduled_at": "2026-03-02T09:30", "station_ae_title": "CT1", "site_id": FIRST_SITE}
    assert {name: form[name] for name in expected} == expected
    assert problem_of(page, "modality").startswith("OBR-24 不认识该编码对应的设备类型")
    assert problem_of(page, "patient_number") == ""
    assert acts(hub) == [(str(row.message_id), "opened")]
    someone.post("/language", language="en")
    assert problem_of(someone.get(address(row)), "modality").startswith("OBR-24 No modality is known by this code")


def test_corrected_order_is_known_by_the_placers_number_and_its_message_stays(
    hub: Hub,
    someone: Visitor,
    county: County,
) -> None:
    send(hub, *NO_MODALITY, "ZDS|1.2.840.99.7^HIS^Application^DICOM")
    kept = newest(hub)
    answer = correct(someone, kept, modality="CT")
    (order,) = orders(hub)
    assert answer.headers["Location"] == f"/clinic/orders/{order.order_id}?done=order_entered"
    assert (order.modality, order.accession_number, order.procedure_code) == ("CT", "ACC1", "CTCHEST")
    by = county.viewer(COORDINATOR).account_id
    assert (order.origin, order.entered_by, order.study_uid) == (OrderOrigin.HUB, by, "1.2.840.99.7")
    row = newest(hub)
    assert (row.content, row.state, row.order_ids, row.needs_somebody) == (
        kept.content,
        "taken",
        [order.order_id],
        False,
    )
    with hub.transaction() as session:
        assert session.get_one(PlacerOrder, (FIRST_SITE, "HIS", "P1")).order_id == order.order_id
        (made,) = session.scalars(select(OrderCorrection))
        assert (made.order_id, made.faults[0]["where"], made.account_id) == (order.order_id, "OBR-24", by)
        of_order = session.scalars(select(AuditEvent).where(AuditEvent.object_id == order.order_id)).one()
        assert (of_order.action, of_order.detail["message_id"]) == ("C", row.message_id)
    assert acts(hub) == [(str(row.message_id), act) for act in ("opened", "entered")]
    assert "更正并登记了申请单" in someone.get(f"{PAGE}?all=1").text


def test_repetition_is_answered_with_the_order_and_what_says_something_else_is_not(
    hub: Hub,
    someone: Visitor,
) -> None:
    send(hub, *NO_MODALITY)
    correct(someone, newest(hub), modality="CT")
    for control_id in ("C1", "C2"):
        again = send(hub, *NO_MODALITY, control_id=control_id)
        assert (told(again), again.get("ORC", 2), again.get("ORC", 3)) == (("AA", []), "P1", "ACC1")
    assert told(send(hub, *changed("|RAD|", "|NUC|", *NO_MODALITY), control_id="C3")) == ("AE", ["OBR-24"])
    assert "/change?message=" in someone.get(address(newest(hub))).headers["Location"]  # its order is here already
    change = changed("ORC|NW|", "ORC|XO|", *changed("肺部感染？", "结核？", *EXAMPLE))
    assert told(send(hub, *change, control_id="C4"))[0] == "AA"
    (order,) = orders(hub)
    assert (order.version, order.question) == (2, "结核？")


def test_what_the_his_cancelled_meanwhile_is_cancelled_as_soon_as_the_order_is_made(hub: Hub, someone: Visitor) -> None:
    send(hub, *NO_MODALITY)
    row = newest(hub)
    send(hub, PID, "ORC|CA|X^HIS", control_id="X")
    with hub.transaction() as session:  # as many others that nobody knows as are looked at together
        columns = [one for one in OrderMessage.__table__.columns if one.name not in {"message_id", "control_id"}]
        copies = select(*columns, func.generate_series(1, RETRIED_MAX).cast(sa.Text)).where(
            OrderMessage.control_id == "X"
        )
        session.execute(sa.insert(OrderMessage).from_select([*columns, "control_id"], copies))
    assert told(send(hub, *changed("ORC|NW|", "ORC|CA|", *EXAMPLE), control_id="C2")) == ("AE", ["ORC-2"])
    other = changed("ACC1", "ACC7", *changed("ORC|NW|P1", "ORC|CA|P7", *EXAMPLE))
    assert told(send(hub, *other, control_id="C3")) == ("AE", ["ORC-2"])
    correct(someone, row, modality="CT")
    (order,) = orders(hub)
    assert (order.state, order.version) == (OrderState.CANCELLED, 2)
    with hub.transaction() as session:
        waiting = select(OrderMessage.control_id).where(OrderMessage.state == "refused")
        assert session.scalars(waiting.where(OrderMessage.control_id.startswith("C"))).all() == ["C3"]
    assert told(send(hub, *NO_MODALITY, control_id="C4")) == ("AE", ["OBR-24"])


def test_refused_change_opens_the_orders_own_form_with_what_it_says(hub: Hub, someone: Visitor) -> None:
    send(hub, *EXAMPLE)
    obr = "OBR|1|P1^HIS" + "|" * 22 + "RAD" + "|" * 7 + "^结核？"
    consent = "CON|1|REMOTE-READ|||||||||A||20260301180000"
    assert told(send(hub, PID, "ORC|XO|P1^HIS", obr, consent, control_id="C2")) == ("AE", ["OBR-24"])
    row, (before,) = newest(hub), orders(hub)
    form_address = f"/clinic/orders/{before.order_id}/change"
    assert someone.get(address(row)).headers["Location"] == f"{form_address}?message={row.message_id}"
    assert f"{form_address}?message={row.message_id}" in someone.get(f"{PAGE}/{row.message_id}").text
    page = someone.get(f"{form_address}?message={row.message_id}")
    form = form_in(page)
    assert (form["question"], form["modality"], form["history"]) == ("结核？", "CT", before.history)
    assert (form["consent_given_by"], form["consent_at"]) == ("王秀兰", "2026-03-01T18:00")
    assert problem_of(page, "modality").startswith("OBR-24 不认识")
    said = form | {"confirmed": "history,question,consent"}
    refused = someone.post(form_address, **said | {"modality": "XYZ"})
    assert (refused.status, form_in(refused)["message"]) == (422, str(row.message_id))
    assert someone.post(form_address, **said | {"modality": "DX"}).status == 303
    (order,) = orders(hub)
    assert (order.version, order.question, order.modality, order.consent_recorded) == (2, "结核？", "DX", True)
    assert not newest(hub).needs_somebody
    assert acts(hub) == [(str(row.message_id), act) for act in ("shown", "opened", "changed")]
    assert "按消息更改了申请单" in someone.get(f"{PAGE}?all=1").text


def test_refused_cancellation_leads_to_the_order_and_a_change_of_another_patients_fills_no_form(
    hub: Hub, someone: Visitor, browser_of: Visitors
) -> None:
    send(hub, *EXAMPLE)
    (order,) = orders(hub)
    send(hub, *changed("|19491231|", "|19491341|", PID), "ORC|CA|P1^HIS", control_id="C2")
    assert someone.get(address(newest(hub))).headers["Location"] == f"/clinic/orders/{order.order_id}"
    send(hub, "PID|1||M0099^^^HIS^MR||赵^四", "ORC|XO|P1^HIS", control_id="C3")
    row = newest(hub)
    assert someone.get(address(row)).headers["Location"] == f"/clinic/orders/{order.order_id}"
    assert "/change?" not in someone.get(f"{PAGE}/{row.message_id}").text
    change = f"/clinic/orders/{order.order_id}/change"
    assert form_in(someone.get(f"{change}?message={row.message_id}"))["patient_name"] == "王秀兰"
    technician = browser_of(TECHNICIAN)
    assert (technician.get(f"{change}?message={row.message_id}").status, technician.get(change).status) == (403, 200)


def test_each_order_of_a_message_is_made_by_itself_and_the_last_one_settles_it(
    hub: Hub,
    someone: Visitor,
) -> None:
    second = [one.replace("P1^HIS", "P2^HIS").replace("ACC1", "ACC2") for one in ORDERED]
    send(hub, *NO_MODALITY, *changed("|CT|", "|RAD|", *second))
    row = newest(hub)
    page = someone.get(f"{PAGE}/{row.message_id}").text
    assert all(f"{address(row)}?number={number}" in page for number in (1, 2))
    correct(someone, row, modality="CT")
    assert newest(hub).needs_somebody
    correct(someone, row, modality="MR")
    assert [(one.accession_number, one.modality) for one in orders(hub)] == [("ACC1", "CT"), ("ACC2", "MR")]
    assert not newest(hub).needs_somebody
    assert someone.get(address(row)).status == 409


def test_same_sheet_twice_is_one_order_and_who_was_slower_is_told(hub: Hub, someone: Visitor) -> None:
    send(hub, *NO_MODALITY)
    row = newest(hub)
    mine, theirs = (form_in(someone.get(address(row))) | {"confirmed": "consent"} for _ in (1, 2))
    first = someone.post(address(row), **mine | {"modality": "CT"})
    again = someone.post(address(row), **mine | {"modality": "CT"})
    assert (first.status, first.headers["Location"]) == (303, again.headers["Location"])
    assert someone.post(address(row), **theirs | {"modality": "MR"}).status == 409
    assert len(orders(hub)) == 1


@pytest.mark.parametrize(
    ("number", "words"),
    [("ACC9", "另一张申请单已使用此检查号"), ("QINGHUBU000123", "这种格式的检查号由系统自动编排")],
)
def test_number_that_another_order_has_or_may_get_is_refused_and_nothing_is_lost(
    hub: Hub,
    someone: Visitor,
    number: str,
    words: str,
) -> None:
    send(hub, *changed("ACC1", "ACC9", *changed("P1^HIS", "P9^HIS", *EXAMPLE)), control_id="C9")
    send(hub, *NO_MODALITY)
    page = correct(someone, newest(hub), modality="CT", accession_number=number)
    assert (page.status, problem_of(page, "accession_number")) == (422, words)
    assert form_in(page)["patient_number"] == "M0042"
    assert len(orders(hub)) == 1
    assert correct(someone, newest(hub), modality="CT", accession_number="").status == 303
    assert "HUBU" in orders(hub)[-1].accession_number


def test_missing_consent_is_asked_and_one_of_the_message_is_filled_in(hub: Hub, someone: Visitor) -> None:
    send(hub, *NO_MODALITY)
    page = correct(someone, newest(hub), modality="CT", confirmed="")
    assert (page.status, 'id="gaps"' in page.text, orders(hub)) == (422, True, [])
    send(hub, *NO_MODALITY, "CON|1|REMOTE-READ|||||||||A||20260301180000", control_id="C2")
    form = form_in(someone.get(address(newest(hub))))
    assert [form[name] for name in ("consent_recorded", "consent_given_by", "consent_at")] == [
        "yes",
        "王秀兰",
        "2026-03-01T18:00",
    ]


def test_programs_make_and_change_orders_of_refused_messages_by_the_forms_checks(
    hub: Hub, county: County, program_of: Visitors
) -> None:
    program, consent = program_of(COORDINATOR), "CON|1|REMOTE-READ|||||||||A||20260301180000"
    send(hub, *NO_MODALITY, consent)
    path = f"/order-messages/{newest(hub).message_id}"
    (shown,) = program.call("GET", path).json()["orders"]
    assert (shown["number"], shown["is_open"], shown["faults"][0]["where"]) == (1, True, "OBR-24")
    assert (shown["fields"]["patient_name"], shown["accession_number"]) == ("王^秀兰", "ACC1")
    for given in ({}, {"modality": "XYZ"}):
        refused = program.call("POST", f"{path}/orders", given)
        assert (refused.status, refused.json()["faults"][0]["field"]) == (422, "modality")
    sheet = {"order_id": new_id(), "modality": "DX", "question": "结核？", "scheduled_at": "2026-03-03T08:00:30+08:00"}
    for _ in (1, 2):
        made = program.call("POST", f"{path}/orders", sheet)
        assert (made.status, made.json()["order"]["order_id"]) == (201, sheet["order_id"])
    (order,) = orders(hub)
    assert (order.modality, order.question, order.history, order.accession_number) == (
        "DX",
        "结核？",
        "咳嗽两周\n发热三天\n请尽快",
        "ACC1",
    )
    assert (order.procedure_code, order.scheduled_at.second, order.consent_recorded) == ("CTCHEST", 30, True)
    assert told(send(hub, *NO_MODALITY, consent, control_id="C2"))[0] == "AA"
    change = changed("|RAD|", "|NUC|", *changed("ORC|NW|", "ORC|XO|", *NO_MODALITY))
    assert told(send(hub, *change, control_id="C3"))[0] == "AE"
    row = newest(hub)
    (shown,) = program.call("GET", f"/order-messages/{row.message_id}").json()["orders"]
    assert (shown["is_open"], shown["is_change"], shown["order_id"]) == (False, True, order.order_id)
    assert program.call("POST", f"/order-messages/{row.message_id}/orders", {"modality": "CT"}).status == 409
    body = {"version": 1, "message_id": row.message_id, "modality": "CT"}
    assert program_of(TECHNICIAN).call("PATCH", f"/orders/{order.order_id}", body).status == 403
    assert program.call("PATCH", f"/orders/{order.order_id}", body).status == 200
    assert (orders(hub)[0].modality, newest(hub).needs_somebody) == ("CT", False)


def test_form_is_of_coordinators_and_of_messages_that_wait(
    hub: Hub,
    someone: Visitor,
    browser_of: Visitors,
) -> None:
    send(hub, *NO_MODALITY)
    row = newest(hub)
    for login in (TECHNICIAN, OTHER_TECHNICIAN):
        assert browser_of(login).get(address(row)).status == 403
    someone.get(PAGE)
    someone.post(f"{PAGE}/{row.message_id}/dismiss", reason="由 HIS 更正后重新发送")
    assert someone.get(address(row)).status == 409
    send(hub, "NTE|1||no order", control_id="C2")
    assert someone.get(address(newest(hub))).status == 409


def test_messages_go_with_what_was_entered_of_them_and_the_orders_stay(
    hub: Hub,
    hub_clock: SteerableClock,
    someone: Visitor,
) -> None:
    send(hub, *NO_MODALITY)
    correct(someone, newest(hub), modality="CT")
    hub_clock.advance(timedelta(days=hub.policy.order_messages_keep_days + 1).total_seconds())
    assert prune_order_messages(hub) == 1
    assert len(orders(hub)) == 1
