"""What needs a person is told with its reason, since when, and what to do; what is settled goes."""

from __future__ import annotations

import pytest

from gateway.journal.accounts import take_over_accounts
from gateway.journal.hub_news import note_clock_offset
from tests.integration.gateway_console.conftest import Clinic, enrol, hub_account
from tests.integration.gateway_console.day import Day, whole_day


@pytest.fixture
def day(clinic: Clinic) -> Day:
    enrol(clinic.journal, clinic.clock)
    return Day(clinic)


def attention(clinic: Clinic) -> str:
    return clinic.logged_in().get("/attention").text


def test_gateway_that_is_not_enrolled_says_how_to_enrol(clinic: Clinic):
    assert "counterpart-gateway enrol" in attention(clinic)


def test_well_gateway_needs_nobody(clinic: Clinic, day: Day):
    assert "没有需要处理的事" in attention(clinic)


def test_day_with_trouble_tells_all_of_it(clinic: Clinic, day: Day):
    whole_day(clinic)
    page = attention(clinic)
    for words in (
        "连不上中心",
        "检查上传受阻",
        "文件被隔离",
        "文件在中途截断",
        "请重新导出",
        "设备被拒绝",
        "设备的 AE 名称不在本网关的名单中",
        "CT9 (192.168.1.9)",
        "× 2",
    ):
        assert words in page, words


def test_clock_that_is_off_is_told(clinic: Clinic, day: Day):
    note_clock_offset(clinic.journal, -86.0)
    assert "相差 -86 秒" in attention(clinic)


def test_accounts_that_grow_old_are_told_before_they_lock_people_out(clinic: Clinic, day: Day):
    take_over_accounts(clinic.journal, [hub_account("li")], "v1", clinic.clock())
    clinic.clock.advance(25 * 86400)
    assert "再过 5 天" in attention(clinic)


def test_refusal_that_is_settled_goes_and_a_new_one_comes(clinic: Clinic, day: Day):
    day.refuse("CT8")
    day.refuse("CT9")
    someone = clinic.logged_in()
    page = someone.get("/attention").text
    address = page[page.index("CT9") :].split('action="')[1].split('"')[0]
    assert someone.post(address).status == 303
    page = someone.get("/attention").text
    assert "CT9" not in page
    assert "CT8" in page
    assert "matter_settled" in clinic.verbs()
    day.refuse("CT9")
    assert "CT9" in someone.get("/attention").text


def test_object_in_quarantine_that_is_settled_goes_from_the_list_and_stays_on_disk(clinic: Clinic, day: Day):
    quarantine_id = day.quarantine(None)
    someone = clinic.logged_in()
    someone.get("/attention")
    someone.post(f"/attention/{quarantine_id}/settled")
    assert "文件被隔离" not in someone.get("/attention").text
    assert list((clinic.desk.spool.root / "quarantine").glob(f"{quarantine_id}*"))


def test_line_and_disk_have_their_figures(clinic: Clinic, day: Day):
    whole_day(clinic)
    page = clinic.logged_in().get("/line").text
    for words in ("4.0 Mbit/s", "中断", "双桥镇中心卫生院", "急诊"):
        assert words in page, words


@pytest.mark.parametrize("clinic", ["reader"], indirect=True)
def test_gateway_in_reader_mode_with_nowhere_to_bring_claimed_cases_says_so(clinic: Clinic, day: Day):
    assert "已领取的病例不会复制到本院" in attention(clinic)
