"""Everybody at the clinic sees where each study is, and finds it again."""

from __future__ import annotations

import re

import pytest

from gateway.console.studies import find_study
from tests.integration.gateway_console.conftest import Clinic
from tests.integration.gateway_console.day import MEGABYTE, Day, whole_day


@pytest.fixture
def day(clinic: Clinic) -> Day:
    return Day(clinic)


def names_on(page_text: str) -> list[str]:
    return re.findall(r'<b class="name">([^<]+)</b>', page_text)


def test_each_study_is_shown_where_it_is(clinic: Clinic):
    whole_day(clinic)
    page = clinic.logged_in().get("/studies").text
    for words in ("正在接收", "等待上传", "正在上传", "已派单", "医师阅片中", "审核中", "暂无可派医师", "报告已回"):
        assert words in page, words
    assert "赵䶮" in page
    assert "欧阳若兰" in page


def test_newest_study_is_first_and_yesterdays_that_waits_is_not_forgotten(clinic: Clinic, day: Day):
    done, open_ = day.study("Done=办完"), day.study("Open=在办")
    for study_uid in (done, open_):
        day.transfer(study_uid, "confirmed")
    day.report(done)
    clinic.clock.advance(24 * 3600)
    day.study("New=新来")
    assert names_on(clinic.logged_in().get("/studies").text) == ["新来", "在办"]


def test_study_is_found_by_name_number_day_and_progress(clinic: Clinic, day: Day):
    first = day.study("Zhao^Yan=赵^䶮", patient_number="QH-7", accession_number="A-1")
    day.transfer(first, "confirmed")
    clinic.clock.advance(24 * 3600)
    day.study("Li^Si=李^四")
    someone = clinic.logged_in()

    def found(**form: str) -> list[str]:
        return names_on(someone.post("/studies", **form).text)

    assert found(text="赵䶮") == found(text="QH-7") == found(text="A-1") == found(text="zhao yan") == ["赵䶮"]
    assert found(text="100%") == []
    assert names_on(someone.get("/studies?day=2026-03-02").text) == ["赵䶮"]
    assert names_on(someone.get("/studies?progress=here").text) == ["李四"]
    assert names_on(someone.get("/studies?progress=at_hub").text) == ["赵䶮"]
    assert names_on(someone.get("/studies?progress=reported").text) == []


def test_more_studies_than_a_page_holds_are_on_the_next(clinic: Clinic, day: Day):
    for number in range(120):
        day.study(f"N=病人{number:03}", images=1)
    someone = clinic.logged_in()
    seen: list[str] = []
    address = "/studies"
    while address:
        page = someone.get(address).text
        seen += names_on(page)
        older = re.search(r'href="(/studies\?[^"]*)">更早', page)
        address = older[1].replace("&amp;", "&") if older else ""
    assert seen == [f"病人{number:03}" for number in reversed(range(120))]


def test_progress_and_time_left_come_from_the_measured_line(clinic: Clinic):
    day = whole_day(clinic)
    page = clinic.logged_in().get("/studies").text
    stat = page[page.index("吴十") :]
    assert 'max="4000000" value="3000000"' in stat
    assert "约 2 秒" in stat, "one megabyte at half a megabyte a second, ahead of everything else"
    waiting = page[page.index("欧阳若兰") :]
    assert "约 10 分" in waiting, "320 MB behind 4 MB"
    assert day.number == 9


def test_study_shows_its_road_from_both_ends(clinic: Clinic):
    day = whole_day(clinic)
    page = clinic.logged_in().get(f"/studies/{day.studies[1]}").text
    assert page.index("网关已收妥") < page.index("检查已收齐") < page.index("医师已接单")
    assert "中心 · 李明" in page
    assert "肺窗 5mm" in page
    assert "study_viewed" in clinic.verbs()


def test_problem_is_told_in_words_with_its_repair(clinic: Clinic):
    day = whole_day(clinic)
    stuck = clinic.logged_in().get(f"/studies/{day.studies[5]}").text
    assert "连不上 hub.example" in stuck
    assert "被隔离" in stuck
    repaired = clinic.logged_in().get(f"/studies/{day.studies[6]}").text
    assert "字符集已按 GB18030 识别" in repaired


def test_page_that_refreshes_itself_is_no_look(clinic: Clinic, day: Day):
    study_uid = day.study()
    someone = clinic.logged_in()
    before = clinic.verbs()
    assert someone.get(f"/studies/{study_uid}", **{"HX-Request": "true"}).status == 200
    assert clinic.verbs() == before


def test_name_with_markup_is_text(clinic: Clinic, day: Day):
    day.study("<script>alert(1)</script>")
    page = clinic.logged_in().get("/studies").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_large_object_counts_its_parts(clinic: Clinic):
    day = Day(clinic)
    study_uid = day.study("Big=大病例", images=1)
    day.transfer(study_uid, "declared", packs=1)
    (pack,) = clinic.journal.read("SELECT * FROM packs")
    key = (study_uid, 1, pack["pack_sha256"])
    with clinic.journal.transaction() as connection:
        connection.executemany(
            "INSERT INTO parts (study_uid, revision, pack_sha256, number, size_bytes, sha256, state)"
            " VALUES (?, ?, ?, ?, ?, 'x', ?)",
            [(*key, number, MEGABYTE // 4, "uploaded" if number < 4 else "planned") for number in (1, 2, 3, 4)],
        )
        connection.execute("UPDATE line SET measured_bytes_per_s = 50000")
    line = find_study(clinic.journal, study_uid)
    assert line is not None
    assert (line.bytes_sent, line.bytes_total) == (MEGABYTE * 3 // 4, MEGABYTE)
    assert line.seconds_left == MEGABYTE / 4 / 50000
