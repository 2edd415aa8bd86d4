"""Reports are read and printed with the line down, each look is written down, and what was altered is not shown."""

from __future__ import annotations

import pytest

from gateway.returns.store import DOCUMENTS
from tests.integration.gateway_console.conftest import Clinic
from tests.integration.gateway_console.day import PDF, Day
from tests.support.folders import files_under
from tests.support.reports import FINDINGS, IMPRESSION, RECOMMENDATION, report_with_opinion


@pytest.fixture
def day(clinic: Clinic) -> Day:
    return Day(clinic)


def test_report_is_read_with_who_stands_for_it(clinic: Clinic, day: Day):
    report = day.report(day.study())
    page = clinic.logged_in().get(f"/reports/{report}")
    assert page.status == 200
    for words in (
        FINDINGS,
        IMPRESSION,
        RECOMMENDATION,
        "张三䶮",
        "李明（清河县人民医院）",
        "王芳（河北省第一人民医院）",
    ):
        assert words in page.text, words
    assert "report_viewed" in clinic.verbs()


def test_print_page_holds_the_report_and_who_printed_it(clinic: Clinic, day: Day):
    report = day.report(day.study())
    page = clinic.logged_in().get(f"/reports/{report}/print").text
    for words in ("影像诊断报告", FINDINGS, IMPRESSION, "高原", "SHA-256"):
        assert words in page, words
    assert "report_printed" in clinic.verbs()


@pytest.mark.parametrize("path", ["", "/print"])
def test_opinion_up_the_line_is_read_and_printed_with_the_report(clinic: Clinic, day: Day, path: str):
    report = day.report(day.study(), content=report_with_opinion())
    page = clinic.logged_in().get(f"/reports/{report}{path}").text
    for words in (
        "省肿瘤医院会诊意见",
        "建议增强扫描。\n警惕早期肺癌。",
        "林静",
        "2026-03-02 08:50",
        "李明",
        "结节是否需要增强扫描？",
    ):
        assert words in page, words


def test_pdf_is_the_hubs_byte_for_byte(clinic: Clinic, day: Day):
    report = day.report(day.study())
    page = clinic.logged_in().get(f"/reports/{report}/report.pdf")
    assert page.text.encode() == PDF
    assert page.headers["Content-Type"] == "application/pdf"
    assert "report_exported" in clinic.verbs()


def test_report_that_was_altered_on_disk_is_not_shown(clinic: Clinic, day: Day):
    report = day.report(day.study())
    (file,) = files_under(clinic.desk.spool.root / DOCUMENTS, f"{report}.json")
    file.write_bytes(file.read_bytes().replace(b"content_sha256", b"content_sha255"))
    someone = clinic.logged_in()
    for address in (f"/reports/{report}", f"/reports/{report}/print"):
        page = someone.get(address)
        assert page.status == 409
        assert "与签发的内容不一致" in page.text
    assert "report_viewed" not in clinic.verbs()


def test_corrected_report_takes_the_place_of_the_first_and_both_say_so(clinic: Clinic, day: Day):
    study_uid = day.study()
    first = day.report(study_uid)
    second = day.report(study_uid, version=2)
    someone = clinic.logged_in()
    assert f"/reports/{second}" in someone.get("/reports").text
    assert f'href="/reports/{first}"' not in someone.get("/reports").text
    assert "这是旧版报告" in someone.get(f"/reports/{first}").text
    assert "勿作依据" in someone.get(f"/reports/{first}/print").text
    assert "取代之前的报告" in someone.get(f"/reports/{second}/print").text
    assert someone.get(f"/reports/{first}/newest").headers["Location"] == f"/reports/{second}"


def test_report_that_nobody_has_opened_is_told_from_the_others(clinic: Clinic, day: Day):
    opened = day.report(day.study("A=开过"), case_id="case1")
    day.report(day.study("B=没开"), case_id="case2")
    someone = clinic.logged_in()
    someone.get(f"/reports/{opened}")
    unseen = someone.get("/reports?unseen=1").text
    assert "没开" in unseen
    assert "开过" not in unseen


def test_report_that_a_target_does_not_take_is_shown_with_the_reason(clinic: Clinic, day: Day):
    report = day.report(day.study(), targets=("pacs:main",))
    assert "尚未送达" in clinic.logged_in().get(f"/reports/{report}").text
    assert "项未送达" in clinic.logged_in().get("/reports").text


@pytest.mark.parametrize("how", ["", "/print", "/report.pdf"])
def test_report_that_a_person_has_opened_is_delivered_to_the_print_page(clinic: Clinic, day: Day, how: str):
    study_uid = day.study()
    day.transfer(study_uid, "confirmed")
    report = day.report(study_uid, own_targets=("print:console",))
    someone = clinic.logged_in()
    assert "还没有人打开" in someone.get(f"/studies/{study_uid}").text
    assert "项未送达" not in someone.get("/reports").text
    someone.get(f"/reports/{report}{how}")
    (delivery,) = clinic.journal.read("SELECT * FROM deliveries WHERE target = 'print:console'")
    assert delivery["state"] == "delivered"
    assert delivery["delivered_by"]
    assert "报告已送达" in someone.get(f"/studies/{study_uid}").text


def test_report_that_cannot_be_shown_is_not_delivered_by_the_attempt(clinic: Clinic, day: Day):
    report = day.report(day.study(), own_targets=("print:console",))
    (file,) = files_under(clinic.desk.spool.root / DOCUMENTS, f"{report}.json")
    file.unlink()
    clinic.logged_in().get(f"/reports/{report}/print")
    (delivery,) = clinic.journal.read("SELECT * FROM deliveries WHERE target = 'print:console'")
    assert delivery["state"] == "due"
