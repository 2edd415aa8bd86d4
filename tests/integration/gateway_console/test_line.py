"""The line page tells what limits uploads now and next, who did it, and what compression gained."""

from __future__ import annotations

from gateway import operations
from gateway.operations import Asker
from storage.contract.identifiers import Uid
from tests.integration.gateway_console.conftest import Clinic, enrol
from tests.integration.gateway_console.day import Day


def line_page(clinic: Clinic) -> str:
    return clinic.logged_in().get("/line").text


def test_who_paused_and_limited_the_line_is_told(clinic: Clinic):
    enrol(clinic.journal, clinic.clock)
    browser = clinic.logged_in()
    browser.post("/line/limit", mbit_s="2.0")
    browser.post("/line/pause")
    operations.resume_line(clinic.journal, Asker(operations.COMMAND_LINE, clinic.clock()))
    page = line_page(clinic)
    for words in ("高原 · 暂停了全部上传", "高原 · 更改了限速", "命令行 · 恢复了上传", "不超过 2.0 Mbit/s"):
        assert words in page, words


def test_every_hour_of_today_has_its_bar(clinic: Clinic):
    enrol(clinic.journal, clinic.clock)
    page = line_page(clinic)
    assert page.count("<rect") == 24
    assert "一周之内不变" in page


def test_gain_of_compression_and_reasons_against_it_are_told(clinic: Clinic):
    enrol(clinic.journal, clinic.clock)
    day = Day(clinic)
    small, large = day.study("A=甲", images=2), day.study("B=乙", images=3)
    with clinic.journal.transaction() as connection:
        connection.execute(
            "UPDATE instances SET compression = 'compressed', received_size_bytes = 4 * size_bytes WHERE study_uid = ?",
            (Uid(small),),
        )
        connection.execute(
            "UPDATE instances SET compression = 'as_is', compression_note = 'has no pixel data' WHERE study_uid = ?",
            (Uid(large),),
        )
    page = line_page(clinic)
    assert "少传 75%" in page
    assert "没有像素数据" in page
