"""Technicians act on studies, the line and deliveries; each act is one of the operations of the command line."""

from __future__ import annotations

import pytest

from gateway.journal.accounts import take_over_accounts
from gateway.journal.controls import find_control
from gateway.journal.line import read_line
from storage.contract.identifiers import Uid
from tests.integration.gateway_console.conftest import Browser, Clinic, enrol, hub_account
from tests.integration.gateway_console.day import Day


@pytest.fixture
def day(clinic: Clinic) -> Day:
    enrol(clinic.journal, clinic.clock)
    return Day(clinic)


@pytest.fixture
def under_way(day: Day) -> Uid:
    study_uid = day.study("Wu^Shi=吴^十")
    day.transfer(study_uid, "declared", sent=1)
    return study_uid


def act(someone: Browser, study_uid: Uid, verb: str, **form: str) -> int:
    someone.get(f"/studies/{study_uid}")
    return someone.post(f"/studies/{study_uid}/{verb}", **form).status


def test_study_is_paused_resumed_cancelled_and_tried_again(clinic: Clinic, under_way: Uid):
    someone = clinic.logged_in()
    assert act(someone, under_way, "pause") == 303
    assert find_control(clinic.journal, under_way).paused_at is not None
    assert "已暂停" in someone.get("/studies").text
    assert act(someone, under_way, "resume") == 303
    assert find_control(clinic.journal, under_way).paused_at is None
    assert act(someone, under_way, "cancel") == 303
    page = someone.get(f"/studies/{under_way}").text
    assert "已取消上传" in page
    assert "立即重试" in page
    assert act(someone, under_way, "requeue") == 303
    assert find_control(clinic.journal, under_way).cancelled_at is None
    assert "本院网关 · 高原 · 暂停上传" in someone.get(f"/studies/{under_way}").text


def test_lane_is_changed_by_a_physician_too_and_nothing_else(clinic: Clinic, under_way: Uid):
    take_over_accounts(clinic.journal, [hub_account("doctor", role="physician")], "v1", clinic.clock())
    doctor = clinic.logged_in("doctor")
    assert act(doctor, under_way, "lane", lane="stat") == 303
    assert find_control(clinic.journal, under_way).lane == "stat"
    for verb in ("pause", "cancel", "requeue", "complete"):
        assert act(doctor, under_way, verb) == 403
    assert doctor.post("/line/pause").status == 403
    assert doctor.post("/deliveries/now").status == 403


def test_arriving_study_is_said_to_be_complete(clinic: Clinic, day: Day):
    study_uid = day.study()
    assert act(clinic.logged_in(), study_uid, "complete") == 303
    assert find_control(clinic.journal, study_uid).forced


def test_what_makes_no_sense_is_refused_in_words(clinic: Clinic, under_way: Uid):
    someone = clinic.logged_in()
    someone.get("/studies")
    page = someone.post(f"/studies/{under_way}/resume")
    assert page.status == 409
    assert "此检查没有暂停" in page.text
    assert someone.post("/studies/1.2.3/pause").status == 409
    assert someone.post(f"/studies/{under_way}/explode").status == 404
    assert someone.post(f"/studies/{under_way}/lane", lane="warp").status == 422


def test_line_is_paused_limited_and_let_go_on(clinic: Clinic, day: Day):
    someone = clinic.logged_in()
    assert someone.post("/line/pause").status == 303
    assert read_line(clinic.journal).paused_at is not None
    assert "全部上传已" in someone.get("/line").text
    assert "全部上传已暂停" in someone.get("/attention").text
    assert someone.post("/line/resume").status == 303
    assert someone.post("/line/limit", mbit_s="4.0").status == 303
    assert read_line(clinic.journal).wished_bytes_per_s == 500_000
    assert someone.post("/line/limit", mbit_s="").status == 303
    assert read_line(clinic.journal).wished_bytes_per_s is None
    for wrong in ("x", "-1", "0", "3", "nan"):
        assert someone.post("/line/limit", mbit_s=wrong).status == 422


def test_one_delivery_is_cancelled_and_made_after_all(clinic: Clinic, day: Day):
    report = day.report(day.study(), targets=("pacs:main", "hl7:his"))
    someone = clinic.logged_in()
    assert "取消这次送达" in someone.get(f"/reports/{report}").text
    (row,) = clinic.journal.read("SELECT document_id FROM deliveries WHERE target = 'pacs:main'")
    about = {"document": row["document_id"], "target": "pacs:main"}
    assert someone.post(f"/reports/{report}/deliveries/cancel", **about).status == 303
    assert states_of(clinic) == {"pacs:main": "cancelled", "hl7:his": "due"}
    page = someone.get(f"/reports/{report}").text
    assert "已取消" in page
    assert "再次送达" in page
    (receipt,) = clinic.journal.read("SELECT code, target FROM receipts WHERE step = 'failed'")
    assert tuple(receipt) == ("delivery_cancelled", "pacs:main")  # the hub hears of it
    again = someone.post(f"/reports/{report}/deliveries/cancel", **about)
    assert again.status == 409
    assert "不在等待" in again.text
    assert someone.post(f"/reports/{report}/deliveries/requeue", **about).status == 303
    assert states_of(clinic) == {"pacs:main": "due", "hl7:his": "due"}
    assert someone.post(f"/reports/{report}/deliveries/requeue", document=report, target="hl7:x").status == 404
    take_over_accounts(clinic.journal, [hub_account("doctor", role="physician")], "v1", clinic.clock())
    doctor = clinic.logged_in("doctor")
    assert "取消这次送达" not in doctor.get(f"/reports/{report}").text
    assert doctor.post(f"/reports/{report}/deliveries/cancel", **about).status == 403


def states_of(clinic: Clinic) -> dict[str, str]:
    return {row["target"]: row["state"] for row in clinic.journal.read("SELECT target, state FROM deliveries")}


def test_deliveries_are_tried_at_once(clinic: Clinic, day: Day):
    day.report(day.study(), targets=("pacs:main",))
    with clinic.journal.transaction() as connection:
        connection.execute("UPDATE deliveries SET attempts = 5, problem = 'x', next_attempt_at = '2030-01-01'")
    someone = clinic.logged_in()
    assert "报告没有送达" in someone.get("/attention").text
    assert someone.post("/deliveries/now", target="pacs:main").status == 303
    (delivery,) = clinic.journal.read("SELECT next_attempt_at FROM deliveries")
    assert delivery["next_attempt_at"] < "2030"
