"""The console in a real browser, with the line down: both languages, a wide and a narrow screen, keyboard alone."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from gateway.importing.joining import Joined
from gateway.journal.imports import Progress, add_import, begin_import, list_imports, note_joined, note_progress
from gateway.journal.orders import list_orders, note_order_refused
from gateway.orders import enter_order
from gateway.settings import GatewaySettings
from storage.contract.orders import OrderOrigin, OrderState
from tests.integration.gateway_console.conftest import NARROW, PASSWORD, WIDE, Clinic, enrol
from tests.integration.gateway_console.day import Day, whole_day

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("console_screens")]

TOUCH_MIN_PX = 40
ORDER = {
    "patient_number": "ZY-2026-0000012345",
    "patient_name": "阿卜杜热西提^买买提江",
    "patient_name_latin": "Abdurishit^Memetjan",
    "modality": "CT",
    "procedure_name": "颅脑CT平扫加血管成像及灌注（急诊卒中绿色通道）",
    "lane": "stat",
    "green_channel": "stroke",
    "history": "突发右侧肢体无力、言语不清两小时。\n" * 4,
    "question": "是否出血？是否大血管闭塞？",
    "requesting_physician": "李^明",
    "contact_phone": "13800000000",
}


@pytest.fixture(scope="module")
def screens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the screens' looks are kept."""
    return tmp_path_factory.mktemp("console-screens")


@pytest.fixture
def day(clinic: Clinic) -> Day:
    assert isinstance(clinic.desk.settings, GatewaySettings)
    enrol(clinic.journal, clinic.clock)
    running = add_import(clinic.journal, Path("/media/cdrom"), started_by="x", now=clinic.clock())
    begin_import(clinic.journal, running, "a2", 240)
    left_out = [("is no DICOM file", "AUTORUN.INF")] * 3
    note_progress(clinic.journal, running, Progress(files_done=80, stored=77, left_out=left_out))
    day = whole_day(clinic)
    day.order_id = enter_order(
        clinic.journal, ORDER, entered_by="x", origin=OrderOrigin.CONSOLE, now=clinic.clock()
    ).order_id
    doubtful = add_import(
        clinic.journal, Path("/media/cdrom"), started_by="x", now=clinic.clock(), order_id=day.order_id
    )
    begin_import(clinic.journal, doubtful, association_of(clinic, day), 3)
    note_joined(clinic.journal, doubtful, Joined.PATIENT_DIFFERS)
    with clinic.journal.transaction() as connection:
        note_order_refused(connection, day.order_id, 1, "another order of this site has this accession number")
    return day


def association_of(clinic: Clinic, day: Day) -> str:
    rows = clinic.journal.read("SELECT association_id FROM instances WHERE study_uid = ?", (day.studies[0],))
    return str(rows[0]["association_id"])


def addresses(day: Day) -> dict[str, str]:
    return {
        "studies": "/studies",
        "study-stuck": f"/studies/{day.studies[5]}",
        "study-reported": f"/studies/{day.studies[4]}",
        "reports": "/reports",
        "report": "/reports/case1-1-report-json",
        "print": "/reports/case1-1-report-json/print",
        "attention": "/attention",
        "quarantine": "/quarantine",
        "line": "/line",
        "imports": "/imports",
        "nothing": "/nothing",
        "none-found": "/studies?day=2001-01-01",
        "orders": "/orders",
        "orders-none-found": "/orders?day=2001-01-01",
        "order-form": "/orders/new",
        **{
            f"order{ending.replace('/', '-')}": f"/orders/{day.order_id}{ending}" for ending in ("", "/change", "/slip")
        },
    }


@pytest.mark.parametrize("language", ["中文", "English"])
def test_nothing_hangs_over_the_edge(clinic: Clinic, day: Day, page: Page, screens: Path, language: str):
    if language == "English":
        page.get_by_role("button", name="English").click()
        page.wait_for_load_state()
    page.on("console", lambda _: None)
    for name, address in addresses(day).items():
        if name == "nothing":  # the browser itself complains of the 404
            continue
        page.goto(clinic.url + address)
        for size in (WIDE, NARROW):
            page.set_viewport_size(size)
            page.screenshot(path=screens / f"{name}-{language}-{size['width']}.png", full_page=True)
            overhang = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert overhang <= 0, f"{name} hangs {overhang} px over a {size['width']} px screen"
        page.set_viewport_size(WIDE)


def test_buttons_are_large_enough_for_a_finger(clinic: Clinic, day: Day, page: Page):
    page.set_viewport_size(NARROW)
    for address in (
        "/studies",
        "/attention",
        "/quarantine",
        "/line",
        f"/studies/{day.studies[5]}",
        f"/orders/{day.order_id}",
    ):
        page.goto(clinic.url + address)
        heights = page.locator(".button:visible, .bar-nav a:visible").evaluate_all(
            "all => all.map((one) => one.getBoundingClientRect().height)"
        )
        assert heights
        assert min(heights) >= TOUCH_MIN_PX, address


def test_every_field_has_its_label(clinic: Clinic, day: Day, page: Page):
    for address in addresses(day).values():
        if address == "/nothing":
            continue
        page.goto(clinic.url + address)
        unlabelled = page.locator("input:not([type=hidden]), select, textarea").evaluate_all(
            "all => all.filter((one) => !one.labels || one.labels.length === 0).map((one) => one.name)"
        )
        assert unlabelled == [], address


def test_everything_works_from_the_keyboard(clinic: Clinic, day: Day, page: Page):
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("跳到正文")
    page.locator("#filter-text").focus()
    page.keyboard.type("欧阳")
    page.keyboard.press("Enter")
    expect(page.locator("table .name")).to_have_text(["欧阳若兰"])
    page.locator("a.row-link").focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("欧阳若兰")


def test_order_is_checked_while_it_is_typed(clinic: Clinic, page: Page):
    enrol(clinic.journal, clinic.clock)
    page.goto(f"{clinic.url}/orders/new")
    expect(page.locator("#patient_number")).to_be_focused()
    expect(page.locator("#pregnancy")).to_be_hidden()
    page.fill("#identity_number", "110105194912310021")
    page.keyboard.press("Tab")
    expect(page.locator("#problem-identity_number")).to_contain_text("最后一位对不上")
    page.fill("#identity_number", "11010519491231002X")
    page.keyboard.press("Tab")
    expect(page.locator("#problem-identity_number")).to_be_hidden()
    expect(page.locator("#birth_date")).to_have_value("1949-12-31")
    expect(page.locator("#pregnancy")).to_be_visible()
    page.select_option("#green_channel", "stroke")
    expect(page.locator("#lane")).to_have_value("stat")
    page.fill("#identity_number", "110101199003070011")
    page.keyboard.press("Tab")
    expect(page.locator("#birth_date")).to_have_value("1990-03-07")
    expect(page.locator("#sex")).to_have_value("M")
    expect(page.locator("#pregnancy")).to_be_hidden()
    assert list_orders(clinic.journal) == []


def test_form_takes_the_first_key_before_its_script_has_come(clinic: Clinic, page: Page):
    enrol(clinic.journal, clinic.clock)
    held: list[Route] = []
    page.route("**/order_form.js", lambda route: held.append(route))  # noqa: PLW0108 -- a bound built-in has no signature
    page.goto(f"{clinic.url}/orders/new", wait_until="commit")
    expect(page.locator("#patient_number")).to_be_focused()
    page.keyboard.type("M0042")
    page.keyboard.press("Tab")
    page.keyboard.type("王秀兰")
    held[0].continue_()
    expect(page.locator("#pregnancy")).to_be_hidden()
    expect(page.locator("#patient_name")).to_be_focused()
    expect(page.locator("#patient_number")).to_have_value("M0042")


def test_order_is_entered_changed_and_cancelled(clinic: Clinic, page: Page):
    enrol(clinic.journal, clinic.clock)
    page.goto(f"{clinic.url}/orders")
    page.get_by_role("link", name="新建申请单").click()
    expect(page.locator("#patient_number")).to_be_focused()
    page.keyboard.type("M0042")
    page.keyboard.press("Tab")
    page.keyboard.type("王秀兰")
    page.fill("#identity_number", "11010519491231002X")
    page.select_option("#modality", "CT")
    page.fill("#procedure_name", "胸部CT平扫")
    page.get_by_role("button", name="提交申请单").click()
    expect(page.locator("#gaps")).to_contain_text("检查目的")
    assert list_orders(clinic.journal) == []
    page.get_by_role("button", name="确认缺项，仍然保存").click()
    expect(page.locator(".notice.good")).to_contain_text("工作列表")
    (row,) = list_orders(clinic.journal, states=[OrderState.SCHEDULED])
    expect(page.locator("#order")).to_contain_text(row.order.accession_number)
    page.get_by_role("link", name="修改").click()
    page.fill("#question", "肺部感染？")
    page.fill("#history", "咳嗽两周")
    page.check("#consent_recorded")
    page.get_by_role("button", name="保存修改").click()
    expect(page.locator("#order")).to_contain_text("肺部感染？")
    page.locator("#cancel summary").click()
    page.fill("#reason", "重复登记")
    page.get_by_role("button", name="确认取消").click()
    expect(page.locator("#order")).to_contain_text("已取消")
    (row,) = list_orders(clinic.journal)
    assert (row.order.state, row.order.version) == (OrderState.CANCELLED, 3)


def test_page_follows_what_happens(clinic: Clinic, day: Day, page: Page):
    expect(page.locator(".counts")).to_contain_text("今日到达")
    day.study("New=刚来的病人")
    expect(page.locator(".name", has_text="刚来的病人")).to_be_visible()


def test_page_is_told_that_nothing_has_changed_and_stays_live(clinic: Clinic, day: Day, page: Page):
    with page.expect_response(lambda answer: answer.status == 304):
        page.goto(f"{clinic.url}/imports")
    expect(page.locator("#offline")).to_be_hidden()
    (running,) = (row for row in list_imports(clinic.journal, 5) if row.files == 240)
    note_progress(clinic.journal, running.import_id, Progress(files_done=40, stored=40))
    expect(page.locator(".import", has_text="240")).to_contain_text("120")


def test_folder_of_this_computer_is_uploaded_as_a_zip(clinic: Clinic, page: Page, tmp_path: Path):
    enrol(clinic.journal, clinic.clock)
    order = enter_order(clinic.journal, ORDER, entered_by="x", origin=OrderOrigin.CONSOLE, now=clinic.clock())
    disk = tmp_path / "光盘"
    (disk / "IMAGES").mkdir(parents=True)
    contents = {"DICOMDIR": b"directory", "IMAGES/一": b"\x00\xff" * 70_000, "IMAGES/空": b""}
    for name, content in contents.items():
        (disk / name).write_bytes(content)
    page.goto(f"{clinic.url}/imports")
    page.set_input_files("input[name=folder]", disk)
    page.select_option("#upload-order", order.order_id)
    page.select_option("#upload-lane", "urgent")
    page.click("#upload button")
    expect(page.locator(".import")).to_contain_text("从浏览器上传")
    (row,) = list_imports(clinic.journal, 5)
    assert (row.lane, row.order_id) == ("urgent", order.order_id)
    with zipfile.ZipFile(row.source) as sent:
        assert sent.testzip() is None
        assert {name: sent.read(name) for name in sent.namelist()} == {
            f"光盘/{name}": content for name, content in contents.items()
        }


def test_choice_outlives_a_refresh_of_the_page_around_it(clinic: Clinic, day: Day, page: Page):
    page.goto(f"{clinic.url}/studies/{day.studies[5]}")
    page.locator("#lane").focus()
    page.locator("#lane").select_option("stat")
    page.wait_for_function("start => performance.now() > start + 3500", arg=page.evaluate("performance.now()"))
    expect(page.locator("#lane")).to_have_value("stat")
    page.get_by_role("button", name="更改优先级").click()
    expect(page.locator(".notice.good")).to_contain_text("优先级已更改")
    expect(page.locator(".study-head .lane-stat")).to_be_visible()


def test_page_without_the_script_of_the_build_still_searches(clinic: Clinic, day: Day, chromium: Browser):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{clinic.url}/login")
    page.fill("input[name=login]", "tech")
    page.fill("input[name=password]", PASSWORD)
    page.click("form[action='/login'] button")
    page.fill("#filter-text", "吴十")
    page.click("form[role=search] button")
    expect(page.locator("table .name")).to_have_text(["吴十"])
    context.close()
