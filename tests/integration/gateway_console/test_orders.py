"""Orders are entered, changed and cancelled at the clinic with no hub in sight, and nothing that was typed is lost."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest

from gateway.journal.accounts import take_over_accounts
from gateway.journal.hub_news import add_hub_events
from gateway.journal.orders import find_order, list_orders, note_order_refused
from gateway.orders import amend_order
from storage.contract.orders import Order, OrderState
from storage.contract.wire import HubEvent
from tests.integration.gateway_console.conftest import Browser, Clinic, Page, enrol, hub_account
from tests.integration.gateway_console.day import Day
from tests.support.order_forms import form_in

RESIDENT = "11010519491231002X"  # the example of GB 11643-1999: a woman, born 1949-12-31
TYPED = {
    "patient_number": "M0042",
    "patient_name": "王秀兰",
    "patient_name_latin": "Wang^Xiulan",
    "identity_kind": "resident",
    "identity_number": RESIDENT.lower(),
    "lane": "routine",
    "visit_kind": "O",
    "modality": "CT",
    "station_ae_title": "CT1",
    "procedure_name": "胸部CT平扫",
    "body_part": "CHEST",
    "history": "咳嗽两周\r\n发热三天",
    "question": "肺部感染？",
    "consent_recorded": "yes",
    "scheduled_at": "2026-03-02T09:30",
}


@pytest.fixture(autouse=True)
def at_site(clinic: Clinic) -> None:
    enrol(clinic.journal, clinic.clock)


@pytest.fixture
def someone(clinic: Clinic) -> Browser:
    return clinic.logged_in()


def enter(someone: Browser, **changes: str) -> Page:
    sheet = someone.get("/orders/new").text
    found = re.search(r'name="order_id" value="([0-9a-f]+)"', sheet)
    assert found is not None
    return someone.post("/orders/new", **({"order_id": found[1]} | TYPED | changes))


def entered(clinic: Clinic) -> Order:
    (row,) = list_orders(clinic.journal)
    return row.order


def problem_of(page: Page, name: str) -> str:
    found = re.search(rf'id="problem-{name}" role="alert"([^>]*)>([^<]*)</span>', page.text)
    assert found is not None
    return "" if "hidden" in found[1] else found[2].strip()


def test_order_gets_a_number_of_the_site_and_is_on_the_worklist_at_once(clinic: Clinic, someone: Browser):
    page = enter(someone)
    order = entered(clinic)
    assert (page.status, page.headers["Location"]) == (303, f"/orders/{order.order_id}?done=order_entered")
    assert order.state is OrderState.SCHEDULED
    assert order.accession_number
    assert (order.identity_number, str(order.birth_date), order.sex) == (RESIDENT, "1949-12-31", "F")
    assert order.history == "咳嗽两周\n发热三天"
    assert order.scheduled_at == datetime(2026, 3, 2, 1, 30, tzinfo=UTC), "09:30 in Shanghai"
    assert order.entered_by in {row["actor"] for row in clinic.journal.read("SELECT actor FROM actions")}
    shown = someone.get(f"/orders/{order.order_id}").text
    for words in (order.accession_number, "王秀兰", "肺部感染？", "未到中心", "已预约"):
        assert words in shown
    assert order.accession_number in someone.get("/orders").text
    assert {"order_entered", "order_viewed"} <= set(clinic.verbs())


@pytest.mark.parametrize(
    ("name", "latin", "pn", "shown"),
    [
        ("王^秀兰", "Wang^Xiulan", "Wang^Xiulan=王^秀兰", ("王秀兰", "Wang Xiulan")),
        ("王 秀兰", "Wang Xiulan", "Wang^Xiulan=王^秀兰", ("王秀兰", "Wang Xiulan")),
        ("王秀兰", "Van der Berg, Jan", "Van der Berg^Jan=王秀兰", ("王秀兰", "Van der Berg Jan")),
    ],
)
def test_name_is_shown_and_typed_as_people_write_it_and_stored_as_dicom_has_it(
    clinic: Clinic, someone: Browser, name: str, latin: str, pn: str, shown: tuple[str, str]
):
    sheet = form_in(someone.get("/orders/new"))
    someone.post("/orders/new", **(sheet | TYPED | {"patient_name": name, "patient_name_latin": latin}))
    order = entered(clinic)
    assert order.person_name() == pn
    form = form_in(someone.get(f"/orders/{order.order_id}/change"))
    assert (form["patient_name"], form["patient_name_latin"]) == shown
    assert shown[0] in re.sub("<[^>]*>", "", someone.get(f"/orders/{order.order_id}").text)
    someone.post(f"/orders/{order.order_id}/change", **(form | {"question": "结核？"}))
    changed = entered(clinic)
    assert (changed.question, changed.person_name()) == ("结核？", pn)


def test_second_click_is_no_second_order_and_another_patient_on_the_same_sheet_is(clinic: Clinic, someone: Browser):
    first = someone.post("/orders/new", order_id="a" * 32, **TYPED)
    again = someone.post("/orders/new", order_id="a" * 32, **TYPED)
    assert first.headers["Location"] == again.headers["Location"]
    assert len(list_orders(clinic.journal)) == 1
    other = someone.post("/orders/new", order_id="a" * 32, **(TYPED | {"patient_number": "M0043"}))
    assert other.status == 303
    assert {row.order.patient_number for row in list_orders(clinic.journal)} == {"M0042", "M0043"}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("patient_number", "", "请填写此项"),
        ("patient_number", "x" * 65, "最多 64 个字符"),
        ("patient_name", "", "请填写姓名"),
        ("patient_name", "王=兰", "不能含有 ="),
        ("patient_name", "王\x00兰", "控制字符"),
        ("procedure_name", "胸部\x1bCT", "控制字符"),
        ("history", "x" * 4001, "最多 4000 个字符"),
        ("identity_number", "110105194912310021", "最后一位对不上"),
        ("identity_number", "", "请填写证件号码"),
        ("birth_date", "1950-01-01", "不一致"),
        ("birth_date", "gestern", "年-月-日"),
        ("sex", "X", "从列表中选择"),
        ("lane", "fastest", "从列表中选择"),
        ("modality", "", "请选择检查类型"),
        ("green_channel", "stroke", ""),
        ("scheduled_at", "bald", "日期和时间"),
        ("birth_order", "many", "从列表中选择"),
    ],
)
def test_fault_is_told_beside_its_field_and_nothing_typed_is_lost(clinic: Clinic, someone: Browser, name, value, words):
    page = enter(someone, **{name: value})
    assert page.status == 422
    assert list_orders(clinic.journal) == []
    assert words in problem_of(page, "lane" if name == "green_channel" else name)
    for kept in ("M0042" if name != "patient_number" else "王秀兰", "Wang^Xiulan", "肺部感染？", "咳嗽两周"):
        assert kept in page.text or name == "history"
    assert clinic.journal.read("SELECT sequence FROM order_numbers")[0]["sequence"] == 0, "no number is spent"


def test_all_faults_are_told_at_once(clinic: Clinic, someone: Browser):
    wrong = {
        "patient_number": "",
        "patient_name": "",
        "identity_number": "110105194912310021",
        "green_channel": "trauma",
    }
    page = enter(someone, **wrong, sex="M", pregnancy="yes", birth_date="2099-01-01", scheduled_at="soon")
    told = ("patient_number", "patient_name", "identity_number", "lane", "pregnancy", "birth_date", "scheduled_at")
    assert [name for name in told if not problem_of(page, name)] == []


def test_faults_are_told_in_english_too(clinic: Clinic, someone: Browser):
    someone.post("/language", language="en", next="/")
    page = enter(someone, identity_number="123")
    assert "wrong length" in problem_of(page, "identity_number")


def test_accession_number_that_the_clinics_own_system_gave_is_kept_for_good(clinic: Clinic, someone: Browser):
    sheet = someone.get("/orders/new").text
    assert "留空则由网关自动编号" in sheet
    assert 'maxlength="16"' in sheet.split('name="accession_number"')[1].split(">")[0]
    first = someone.post("/orders/new", order_id="a" * 32, accession_number=" HIS-2026-0017 ", **TYPED)
    again = someone.post("/orders/new", order_id="a" * 32, accession_number=" HIS-2026-0017 ", **TYPED)
    assert first.headers["Location"] == again.headers["Location"], "a second click finds its own number, and no other"
    order = entered(clinic)
    assert order.accession_number == "HIS-2026-0017"
    path = f"/orders/{order.order_id}"
    assert 'name="accession_number"' not in someone.get(f"{path}/change").text
    someone.post(f"{path}/change", version="1", **(TYPED | {"accession_number": "HIS-1", "history": "新的"}))
    assert (entered(clinic).accession_number, entered(clinic).history) == ("HIS-2026-0017", "新的")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("H" * 17, "最多 16 个字符"),
        ("门诊17", "检查号只能用"),
        ("A*", "检查号只能用"),
        ("HIS-1", "另一张申请单"),
        ("QING7K2M000123", "由网关自动编排"),
    ],
)
def test_accession_number_that_cannot_be_is_told_beside_its_field(clinic: Clinic, someone: Browser, number, words):
    assert enter(someone, accession_number="HIS-1").status == 303
    page = enter(someone, accession_number=number, patient_number="M0099", sex="X")
    assert page.status == 422
    assert words in problem_of(page, "accession_number")
    assert "从列表中选择" in problem_of(page, "sex"), "what else is wrong is told with it"
    assert number in page.text
    live = json.loads(someone.post("/orders/check", accession_number=number, **TYPED).text)
    assert words in live["faults"]["accession_number"]
    assert len(list_orders(clinic.journal)) == 1


def test_order_that_can_wait_is_asked_for_what_a_reader_would_miss(clinic: Clinic, someone: Browser):
    lacking = {"history": "", "consent_recorded": ""}
    page = enter(someone, **lacking)
    assert page.status == 200
    assert list_orders(clinic.journal) == []
    found = re.search(r'name="confirmed" value="([a-z,]+)"', page.text)
    assert found is not None
    assert found[1] == "history,consent"
    assert enter(someone, **lacking, confirmed="history").status == 200, "not asked about the consent yet"
    assert enter(someone, **lacking, confirmed=found[1]).status == 303


@pytest.mark.parametrize(
    "emergency", [{"lane": "stat"}, {"lane": "urgent"}, {"lane": "stat", "green_channel": "stroke"}]
)
def test_emergency_is_never_held(clinic: Clinic, someone: Browser, emergency: dict[str, str]):
    assert enter(someone, history="", question="", consent_recorded="", **emergency).status == 303


def test_unnamed_emergency_patient_needs_no_name(clinic: Clinic, someone: Browser):
    nobody = {"patient_name": "", "patient_name_latin": "", "identity_kind": "unnamed", "identity_number": ""}
    assert enter(someone, lane="stat", **nobody).status == 303
    assert "无名氏" in someone.get("/orders").text


def test_what_is_typed_is_checked_before_it_is_sent(clinic: Clinic, someone: Browser):
    answer = json.loads(someone.post("/orders/check", identity_kind="resident", identity_number=RESIDENT).text)
    assert answer["says"] == {"birth_date": "1949-12-31", "sex": "F"}
    assert "identity_number" not in answer["faults"]
    answer = json.loads(someone.post("/orders/check", **(TYPED | {"identity_number": "110105194912310021"})).text)
    assert "最后一位对不上" in answer["faults"]["identity_number"]
    begun = {"identity_kind": "resident", "identity_number": "110105194912310021"}
    answer = json.loads(someone.post("/orders/check", **begun).text)
    assert "最后一位对不上" in answer["faults"]["identity_number"], "though most of the form is empty yet"
    assert list_orders(clinic.journal) == []


def test_change_is_the_next_version(clinic: Clinic, someone: Browser):
    enter(someone)
    order = entered(clinic)
    page = someone.post(f"/orders/{order.order_id}/change", version="1", **(TYPED | {"question": "结核？"}))
    assert page.status == 303
    changed = entered(clinic)
    assert (changed.version, changed.question) == (2, "结核？")
    assert changed.accession_number == order.accession_number
    assert changed.scheduled_at == order.scheduled_at


def test_change_of_what_somebody_else_changed_loses_neither(clinic: Clinic, someone: Browser):
    enter(someone)
    order = entered(clinic)
    amend_order(clinic.journal, order.order_id, 1, {"question": "肿瘤？"}, changed_by="other", now=clinic.clock())
    typed = TYPED | {"allergies": "青霉素"}
    page = someone.post(f"/orders/{order.order_id}/change", version="1", **typed)
    assert page.status == 409
    assert "青霉素" in page.text
    assert "肿瘤？" in problem_of(page, "question")
    assert entered(clinic).allergies == ""
    assert 'name="version" value="2"' in page.text
    assert someone.post(f"/orders/{order.order_id}/change", version="2", **typed).status == 303
    assert entered(clinic).allergies == "青霉素"


def test_cancelled_order_has_its_reason_and_leaves_the_worklist(clinic: Clinic, someone: Browser):
    enter(someone)
    order = entered(clinic)
    page = someone.post(f"/orders/{order.order_id}/cancel", version="1", reason="")
    assert (page.status, "请填写取消原因" in page.text) == (422, True)
    assert someone.post(f"/orders/{order.order_id}/cancel", version="9", reason="重复").status == 409
    assert someone.post(f"/orders/{order.order_id}/cancel", version="1", reason="x" * 201).status == 422
    assert entered(clinic).state is OrderState.SCHEDULED
    assert someone.post(f"/orders/{order.order_id}/cancel", version="1", reason="重复登记").status == 303
    assert entered(clinic).state is OrderState.CANCELLED
    shown = someone.get(f"/orders/{order.order_id}").text
    assert "重复登记" in shown
    assert someone.get(f"/orders/{order.order_id}/change").status == 409
    assert someone.post(f"/orders/{order.order_id}/change", version="2", **TYPED).status == 409
    assert someone.post(f"/orders/{order.order_id}/cancel", version="2", reason="again").status == 409


@pytest.mark.parametrize("version", ["", "-1", "one", "1e3", "９", "99999999999999999999"])
def test_forged_version_changes_nothing(clinic: Clinic, someone: Browser, version: str):
    enter(someone)
    order = entered(clinic)
    assert someone.post(f"/orders/{order.order_id}/change", version=version, **TYPED).status == 422
    assert someone.post(f"/orders/{order.order_id}/cancel", version=version, reason="x").status == 422
    assert entered(clinic) == order


@pytest.mark.parametrize("order_id", ["0" * 32, "..%2f..", "a", "x' OR '1'='1"])
def test_order_that_is_none_is_not_found(clinic: Clinic, someone: Browser, order_id: str):
    path = f"/orders/{order_id}".replace(" ", "%20")
    for ending in ("", "/change", "/slip"):
        assert someone.get(path + ending).status == 404
    assert someone.post(path + "/change", version="1", **TYPED).status == 404
    assert someone.post(path + "/cancel", version="1", reason="x").status == 404


def test_form_without_the_pages_token_enters_nothing(clinic: Clinic, someone: Browser):
    for path in ("/orders/new", "/orders/check", "/orders"):
        someone.token = "guessed"
        assert someone.post(path, **TYPED).status == 403
    assert clinic.browser().post("/orders/new", **TYPED).headers["Location"] == "/login"
    assert list_orders(clinic.journal) == []


def test_forged_sheet_number_enters_nothing(clinic: Clinic, someone: Browser):
    for order_id in ("short", "x" * 33, "../../../etc", "номер-1234"):
        assert someone.post("/orders/new", order_id=order_id, **TYPED).status == 422
    assert list_orders(clinic.journal) == []


def test_physician_enters_orders_too(clinic: Clinic):
    take_over_accounts(clinic.journal, [hub_account("doctor", role="physician")], "v1", clinic.clock())
    assert enter(clinic.logged_in("doctor")).status == 303


def test_search_finds_by_name_number_and_accession_and_names_nobody_in_an_address(clinic: Clinic, someone: Browser):
    enter(someone)
    enter(someone, patient_number="M0043", patient_name="欧阳^若兰", patient_name_latin="", modality="DX")
    for text in ("王秀", "M0042", "xiulan", list_orders(clinic.journal)[0].order.accession_number):
        page = someone.post("/orders", text=text)
        assert ("王秀兰" in page.text, "欧阳" in page.text) == (True, False), text
    assert "欧阳若兰" in someone.post("/orders", text="欧阳若兰").text
    assert "没有符合条件" in someone.post("/orders", text="%").text
    page = someone.post("/orders", text="", state="cancelled", day="2026-03-02")
    assert page.headers["Location"] == "/orders?state=cancelled&day=2026-03-02"
    assert "没有符合条件" in someone.get(page.headers["Location"]).text
    assert "王秀兰" in someone.get("/orders?day=2026-03-02").text
    for wrong in ("/orders?day=x", "/orders?state=x"):
        assert someone.get(wrong).status == 422


def test_what_the_hub_refused_needs_a_person(clinic: Clinic, someone: Browser):
    enter(someone)
    order = entered(clinic)
    with clinic.journal.transaction() as connection:
        words = "another order of this site has this accession number"
        note_order_refused(connection, order.order_id, 1, words)
    for page in ("/attention", "/orders", f"/orders/{order.order_id}"):
        assert "本机构另一张申请单已使用此检查号" in someone.get(page).text
    assert f"/orders/{order.order_id}" in someone.get("/attention").text
    someone.post(f"/orders/{order.order_id}/change", version="1", **TYPED)
    assert order.order_id not in someone.get("/attention").text


def test_order_and_study_lead_to_each_other_and_differences_are_told(clinic: Clinic, someone: Browser):
    enter(someone)
    order = entered(clinic)
    study_uid = Day(clinic).study("Li^Si", accession_number=order.accession_number)
    assert f"/studies/{study_uid}" in someone.get("/orders").text
    assert f"/studies/{study_uid}" in someone.get(f"/orders/{order.order_id}").text
    shown = someone.get(f"/studies/{study_uid}").text
    assert f"/orders/{order.order_id}" in shown
    assert "影像与申请单不一致" not in shown
    detail = {"order_id": order.order_id, "version": 1, "differs": ["patient_name", "sex"]}
    now = clinic.clock()
    event = HubEvent(event_id=1, study_uid=study_uid, hop="order_matched", at=now, detail=detail)
    add_hub_events(clinic.journal, [event], now)
    assert "影像与申请单不一致：姓名、性别" in someone.get(f"/studies/{study_uid}").text
    mended = event.model_copy(update={"event_id": 2, "at": clinic.clock.advance(1), "detail": detail | {"differs": []}})
    add_hub_events(clinic.journal, [mended], now)
    assert "影像与申请单不一致" not in someone.get(f"/studies/{study_uid}").text


def test_slip_has_the_number_and_is_a_line_of_the_audit_trail(clinic: Clinic, someone: Browser):
    enter(someone)
    order = entered(clinic)
    slip = someone.get(f"/orders/{order.order_id}/slip").text
    for words in (order.accession_number, "王秀兰", "双桥镇中心卫生院", "胸部CT平扫", "2026-03-02 09:30"):
        assert words in slip
    assert RESIDENT not in slip
    assert "order_printed" in clinic.verbs()


def test_markup_in_an_order_is_text(clinic: Clinic, someone: Browser):
    enter(someone, patient_name="<script>x</script>", history="</textarea><script>y</script>")
    order = entered(clinic)
    for path in ("/orders", f"/orders/{order.order_id}", f"/orders/{order.order_id}/change"):
        page = someone.get(path).text
        assert "<script>x" not in page
        assert "<script>y" not in page
    row = find_order(clinic.journal, order.order_id)
    assert row is not None
    assert row.order.patient_name == "<script>x</script>"


def test_gateway_that_is_not_enrolled_says_so_and_keeps_what_was_typed(clinic: Clinic, someone: Browser):
    with clinic.journal.transaction() as connection:
        connection.execute("DELETE FROM identity")
    page = enter(someone)
    assert page.status == 409
    assert "尚未在中心登记" in page.text
    assert "咳嗽两周" in page.text
