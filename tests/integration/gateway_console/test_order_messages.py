"""What the HIS sent and the gateway refused is shown with its reason and remedy, tried again, or dismissed."""

from __future__ import annotations

import pytest

from gateway.his_orders.intake import build_intake
from gateway.journal.order_messages import list_messages
from gateway.journal.orders import list_orders
from storage.hl7.message import parse_message
from tests.integration.gateway_console.conftest import Browser, Clinic, enrol
from tests.integration.gateway_orders.sending import EXAMPLE, changed, message


@pytest.fixture
def someone(clinic: Clinic) -> Browser:
    enrol(clinic.journal, clinic.clock)
    return clinic.logged_in()


def send(clinic: Clinic, data: bytes) -> str:
    answer = build_intake(clinic.desk.settings, clinic.journal, clinic.clock).handle(data, "192.0.2.7")
    return parse_message(answer, "UNICODE UTF-8").get("MSA", 1)


def test_refused_message_waits_for_somebody_with_its_reason_until_it_is_dismissed(
    clinic: Clinic, someone: Browser
) -> None:
    assert send(clinic, message(*changed("|CT|", "|RAD|", *EXAMPLE))) == "AE"
    assert "医院信息系统的一条消息被拒绝" in someone.get("/attention").text
    page = someone.get("/orders/messages").text
    assert "OBR-24" in page
    assert "不认识该编码对应的设备类型" in page
    assert "hl7.modalities" in page
    assert "王" not in page  # the patient is named on the message's own page alone
    (kept,) = list_messages(clinic.journal)
    assert "王^秀兰" in someone.get(f"/orders/messages/{kept.message_id}").text
    assert someone.post(f"/orders/messages/{kept.message_id}/dismiss").status == 303
    assert "医院信息系统的一条消息被拒绝" not in someone.get("/attention").text
    assert someone.post(f"/orders/messages/{kept.message_id}/dismiss").status == 409


def test_message_is_taken_when_the_other_order_has_made_way(clinic: Clinic, someone: Browser) -> None:
    assert send(clinic, message(*EXAMPLE)) == "AA"
    contradicting = changed("P1^HIS", "P2^HIS", *changed("M0042", "M0099", *EXAMPLE))
    assert send(clinic, message(*contradicting, control_id="C2")) == "AE"
    kept = list_messages(clinic.journal)[0]
    again = someone.post(f"/orders/messages/{kept.message_id}/retry")
    assert "message_refused_again" in again.headers["Location"]
    with clinic.journal.transaction() as connection:
        connection.execute("DELETE FROM orders")
    again = someone.post(f"/orders/messages/{kept.message_id}/retry")
    assert again.headers["Location"].endswith("message_taken")
    assert [row.order.patient_number for row in list_orders(clinic.journal)] == ["M0099"]
    assert "order_message_retried" in clinic.verbs()
    assert someone.get("/orders/messages?done=message_taken").text.count("已接收") >= 2


def test_who_may_only_look_does_nothing_with_a_message(clinic: Clinic, someone: Browser) -> None:
    assert someone.get("/orders/messages/99").status == 404
    assert someone.post("/orders/messages/99/retry").status == 409
    assert someone.post("/orders/messages/99/burn").status == 404
    assert clinic.browser().get("/orders/messages").status in {303, 401}
