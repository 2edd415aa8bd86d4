"""What lies in quarantine is listed with reason and remedy; a person has it tried again, or leaves it at that."""

from __future__ import annotations

from gateway.journal.quarantine import find_due, list_quarantine
from storage.contract.identifiers import new_uid
from tests.integration.gateway_console.conftest import Clinic, enrol
from tests.integration.gateway_console.day import Day


def quarantined(clinic: Clinic) -> str:
    enrol(clinic.journal, clinic.clock)
    return Day(clinic).quarantine(new_uid())


def test_object_is_listed_with_reason_and_remedy(clinic: Clinic):
    quarantined(clinic)
    page = clinic.logged_in().get("/quarantine").text
    for words in ("文件在中途截断", "请重新导出", "保存到"):
        assert words in page, words


def test_dismissed_object_stays_and_says_who_dismissed_it(clinic: Clinic):
    quarantine_id = quarantined(clinic)
    browser = clinic.logged_in()
    answer = browser.post(f"/quarantine/{quarantine_id}/dismiss")
    assert (answer.status, answer.headers["Location"]) == (303, "/quarantine?done=dismiss")
    assert clinic.desk.spool.quarantined(quarantine_id).exists()
    assert "认定不用处理" in browser.get("/quarantine").text
    assert "文件被隔离" not in browser.get("/attention").text
    (row,) = list_quarantine(clinic.journal, 5)
    assert row.settled_by == browser_account(clinic)


def test_object_is_tried_again_when_somebody_asks(clinic: Clinic):
    quarantine_id = quarantined(clinic)
    browser = clinic.logged_in()
    assert browser.post(f"/quarantine/{quarantine_id}/release").status == 303
    due = find_due(clinic.journal)
    assert due is not None
    assert (due.quarantine_id, due.asked_by) == (quarantine_id, browser_account(clinic))
    assert "等待重试" in browser.get("/quarantine").text
    assert "release" in clinic.verbs()


def test_nothing_in_quarantine_says_so(clinic: Clinic):
    enrol(clinic.journal, clinic.clock)
    assert "隔离区是空的" in clinic.logged_in().get("/quarantine").text


def test_object_that_is_gone_is_told(clinic: Clinic):
    browser = clinic.logged_in()
    answer = browser.post("/quarantine/0123456789abcdef/release")
    assert answer.status == 409
    assert "隔离区中已没有这个文件" in answer.text


def browser_account(clinic: Clinic) -> str:
    return str(clinic.journal.read("SELECT account_id FROM sessions")[0]["account_id"])
