"""A doubt whose a study is, on the desks of clinic, coordinator and reader, and over the JSON API."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from sqlalchemy import select

from reading_queue.db.tables import ClinicOrder
from reading_queue.domain.transitions import CaseState
from reading_queue.services.access.gateway_auth import GatewayIdentity
from reading_queue.services.hub import Hub
from reading_queue.services.orders import orders
from reading_queue.services.reading import reading
from storage.contract.orders import Order
from storage.contract.wire import OrderBatch
from tests.integration.hub_web.county import (
    AUTHOR,
    COORDINATOR,
    FIRST_SITE,
    OTHER_TECHNICIAN,
    TECHNICIAN,
    TEXT,
    County,
)
from tests.integration.hub_web.serving import Visitor

STUDY = "1.2.3.1"
AT_CLINIC = f"/clinic/studies/{FIRST_SITE}/{STUDY}"
BrowserOf = Callable[[str], Visitor]
HELD = "申请单与影像不像同一位患者，已暂停派单"
GOES_ON = "急诊不因此等待"


def hand_in_order(hub: Hub, **changed: Any) -> None:
    """Hand in the study's order, which names another patient than its images do: 赵䶮, a woman born in 1958."""
    now = hub.clock()
    fields = {
        "order_id": "a" * 32,
        "version": 1,
        "site_id": FIRST_SITE,
        "accession_number": "A1",
        "study_uid": STUDY,
        "origin": "console",
        "patient_number": "P.3.1",
        "patient_name": "李小明",
        "sex": "M",
        "birth_date": date(1960, 5, 1),
        "modality": "CT",
        "procedure_name": "胸部平扫",
        "scheduled_at": now,
        "entered_by": "t1",
        "entered_at": now,
        "changed_at": now,
    }
    gateway = GatewayIdentity(gateway_id=f"gateway-{FIRST_SITE}", site_id=FIRST_SITE)
    assert orders.accept_orders(hub, gateway, OrderBatch(orders=(Order.model_validate(fields | changed),))).accepted


def the_doubt(page: str) -> str:
    return page.split('name="conflict_id" value="')[1].split('"', maxsplit=1)[0]


@pytest.mark.parametrize("who", [TECHNICIAN, COORDINATOR])
def test_the_site_or_a_coordinator_sees_both_sides_and_confirms(
    hub: Hub, county: County, browser_of: BrowserOf, who: str
):
    hand_in_order(hub)
    case_id = county.arrive(STUDY)
    desk = browser_of(who)
    page = desk.get(AT_CLINIC).text
    for words in (HELD, "姓名不同", "性别不同", "出生日期不同", "李小明", "1960-05-01", "1958-04-12"):
        assert words in page
    assert "患者身份存疑" in desk.get("/clinic/").text
    address = f"/clinic/cases/{case_id}/identity"
    assert desk.post(address, conflict_id=the_doubt(page), act="confirm", reason=" ").status == 422
    done = desk.post(address, conflict_id=the_doubt(page), act="confirm", reason="登记时写错")
    assert done.headers["Location"].endswith("done=identity")
    page = desk.get(AT_CLINIC).text
    assert "已确认为同一患者" in page
    assert HELD not in page
    county.run_jobs()
    assert [offer.case_id for offer in reading.offers_of(hub, county.viewer(AUTHOR))] == [case_id]


def test_a_name_is_shown_for_correction_as_people_write_it_and_one_left_so_is_no_change(
    hub: Hub, county: County, browser_of: BrowserOf
):
    hand_in_order(hub, patient_name="李^小明")
    case_id = county.arrive(STUDY)
    desk = browser_of(TECHNICIAN)
    page = desk.get(AT_CLINIC).text
    assert 'name="patient_name" maxlength="64" value="李小明"' in page
    person = {"patient_name": "李小明", "birth_date": "1958-04-12", "sex": "F", "reason": "查过身份证"}
    what = {"conflict_id": the_doubt(page), "act": "correct"}
    assert desk.post(f"/clinic/cases/{case_id}/identity", **what, **person).status == 303
    with hub.transaction() as session:
        (content,) = session.scalars(select(ClinicOrder.content)).all()
    assert (content["patient_name"], content["sex"]) == ("李^小明", "F")


def test_the_clinic_corrects_or_unlinks_the_order_on_its_desk(hub: Hub, county: County, browser_of: BrowserOf):
    hand_in_order(hub)
    case_id = county.arrive(STUDY)
    desk, stranger = browser_of(TECHNICIAN), browser_of(OTHER_TECHNICIAN)
    address = f"/clinic/cases/{case_id}/identity"
    what = {"conflict_id": the_doubt(desk.get(AT_CLINIC).text), "reason": "查过身份证"}
    assert stranger.post(address, **what, act="confirm").status == 404
    assert desk.post(address, **what, act="forget").status == 422
    person = {"patient_name": "赵䶮", "birth_date": "1958-04-12", "sex": "M"}
    assert desk.post(address, **what, **person, act="correct").status == 303
    page = desk.get(AT_CLINIC).text
    assert "出生日期不同" not in page
    assert "性别不同" in page
    assert desk.post(address, **what, act="unlink").status == 303
    assert "申请单不属于本检查" in desk.get(AT_CLINIC).text


def test_a_coordinator_finds_the_held_case_among_what_needs_attention(hub: Hub, county: County, browser_of: BrowserOf):
    hand_in_order(hub)
    county.arrive(STUDY)
    page = browser_of(COORDINATOR).get("/coordinator/").text
    assert HELD in page
    assert AT_CLINIC in page


def test_the_reader_of_an_emergency_is_warned_and_the_verifier_ticks_that_they_have_checked(
    hub: Hub, county: County, browser_of: BrowserOf
):
    hand_in_order(hub, lane="stat")
    case_id = county.arrive(STUDY)
    reader = browser_of(AUTHOR)
    address = f"/radiologist/cases/{case_id}"
    assert GOES_ON in reader.get(address).text
    county.submit(case_id)
    task_id = county.task(case_id)
    reading.claim(hub, county.viewer("lin.shu"), task_id)
    verifier = browser_of("lin.shu")
    assert "confirm_identity" in verifier.get(address).text
    text = {"findings": TEXT.findings, "impression": TEXT.impression, "recommendation": TEXT.recommendation}
    refused = verifier.post(f"{address}/tasks/{task_id}/sign", **text, confirm="yes")
    assert refused.status == 409
    assert "勾选“我已核对”" in refused.text
    assert TEXT.impression in refused.text
    signed = verifier.post(f"{address}/tasks/{task_id}/sign", **text, confirm="yes", confirm_identity="yes")
    assert signed.status == 303


def test_a_doubt_that_comes_up_while_a_case_is_read_asks_to_check_and_does_not_say_that_nobody_has_it(
    hub: Hub, county: County, browser_of: BrowserOf
):
    case_id = county.arrive(STUDY)
    reading.claim(hub, county.viewer(AUTHOR), county.task(case_id))
    hand_in_order(hub)
    for who, address in (
        (AUTHOR, f"/radiologist/cases/{case_id}"),
        (TECHNICIAN, f"/clinic/studies/{FIRST_SITE}/{STUDY}"),
    ):
        page = browser_of(who).get(address).text
        assert ("签名前请先核对" in page, "已暂停派单" in page) == (True, False), who


def test_programs_see_and_settle_a_doubt(hub: Hub, county: County, program_of: BrowserOf):
    hand_in_order(hub)
    case_id = county.arrive(STUDY)
    program = program_of(TECHNICIAN)
    (doubt,) = program.get(f"/api/v1/cases/{case_id}").json()["case"]["doubts"]
    assert (doubt["mismatches"], doubt["holds"]) == (["name", "birth_date", "sex"], True)
    address = f"/identity-conflicts/{doubt['conflict_id']}"
    person = {"patient_name": "赵䶮", "birth_date": "1958-04-12", "sex": "F", "reason": "查过身份证"}
    assert program.call("POST", f"{address}/correct-order", person).status == 204
    (doubt,) = program.get(f"/api/v1/cases/{case_id}").json()["case"]["doubts"]
    assert doubt["settlement"] == "corrected"
    assert program.call("POST", f"{address}/confirm", {"reason": "again"}).status == 409


def test_programs_say_at_signing_that_they_have_checked(hub: Hub, county: County, program_of: BrowserOf):
    case_id = county.arrive(STUDY)
    task_id = county.task(case_id)
    reading.claim(hub, county.viewer(AUTHOR), task_id)
    hand_in_order(hub)
    program = program_of(AUTHOR)
    text = {"findings": TEXT.findings, "impression": TEXT.impression} | program.seen(case_id)
    address = f"/reading-tasks/{task_id}/submit"
    assert program.call("POST", address, text).json()["code"] == "order_change_unseen"  # it came after the claim
    news = program.get(f"/api/v1/cases/{case_id}").json()["case"]["order_news"]
    seen = {"orders": [{name: one[name] for name in ("order_id", "order_version")} for one in news]}
    assert program.call("POST", f"/reading-tasks/{task_id}/acknowledge-orders", seen).status == 204
    assert program.call("POST", address, text).json()["code"] == "identity_unconfirmed"
    assert program.call("POST", address, text | {"confirm_identity": True}).status == 200
    assert program.get(f"/api/v1/cases/{case_id}").json()["case"]["summary"]["state"] == CaseState.PENDING_REVIEW
