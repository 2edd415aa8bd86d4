"""The page of order messages that were refused: the reason in words, what to do, try again, dismiss, and who did it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select

from reading_queue.db.message_tables import OrderMessage
from reading_queue.db.tables import ClinicOrder
from reading_queue.services.hub import Hub
from reading_queue.services.order_messages.connections import note_refusals
from reading_queue.services.order_messages.desk import PAGE as PAGE_SIZE
from reading_queue.services.order_messages.intake import take_message
from reading_queue.services.order_messages.senders import OrderSender
from storage.hl7.local_codes import LocalCodes
from storage.ledger.tables import AuditEvent
from tests.integration.gateway_orders.sending import EXAMPLE, RESIDENT, changed, message
from tests.integration.hub_web.county import ADMINISTRATOR, COORDINATOR, FIRST_SITE, PASSWORD, TECHNICIAN, County
from tests.integration.hub_web.serving import Visitor, serving_hub
from tests.support.chromium import running_chromium

pytestmark = pytest.mark.postgres

PAGE = "/coordinator/order-messages"
SENDER = OrderSender("qinghe-his", FIRST_SITE, certificate_name="his.example")
Visitors = Callable[[str], Visitor]


@pytest.fixture
def hub(hub: Hub) -> Hub:
    return replace(hub, order_senders={SENDER.name: SENDER})


def send(hub: Hub, *segments: str, control_id: str, sender: OrderSender = SENDER) -> int:
    """Let a message come; return its number."""
    take_message(hub, sender, message(*segments, control_id=control_id), "192.0.2.7")
    with hub.transaction() as session:
        return session.scalars(select(OrderMessage.message_id).where(OrderMessage.control_id == control_id)).one()


@pytest.fixture
def refused(hub: Hub, county: County) -> list[int]:
    """The numbers of a message with an unknown modality and of one with a birth date that is none."""
    return [
        send(hub, *changed("|CT|", "|FSCT|", *EXAMPLE), control_id="C1"),
        send(hub, *changed("|19491231|", "|19491332|", *EXAMPLE), control_id="C2"),
    ]


def acts(hub: Hub) -> list[tuple[str, str]]:
    with hub.transaction() as session:
        found = session.scalars(select(AuditEvent).where(AuditEvent.object_kind == "order_message"))
        return [(one.object_id, one.detail["act"]) for one in found]


def test_refused_messages_wait_with_their_reason_and_what_to_do(browser_of: Visitors, refused: list[int]) -> None:
    page = browser_of(COORDINATOR).get(PAGE).text
    assert all(words in page for words in ("OBR-24", "不认识该编码", "PID-7", "出生日期不是按 YYYYMMDD"))
    assert "加入中心设置中该发送方的编码表" in page
    assert all(secret not in page for secret in ("秀兰", RESIDENT, "M0042"))  # the list names no patient
    assert PAGE in browser_of(ADMINISTRATOR).get("/coordinator/").text
    assert browser_of(TECHNICIAN).get(PAGE).status == 403


def test_one_message_is_shown_as_it_came_and_that_is_audited(
    hub: Hub, browser_of: Visitors, refused: list[int]
) -> None:
    shown = browser_of(COORDINATOR).get(f"{PAGE}/{refused[0]}").text
    assert "王^秀兰" in shown
    assert acts(hub) == [(str(refused[0]), "shown")]
    assert browser_of(COORDINATOR).get(f"{PAGE}/999").status == 404


def test_a_message_is_taken_when_its_code_is_configured(hub: Hub, county: County, refused: list[int]) -> None:
    configured = replace(SENDER, codes=LocalCodes(modalities={"FSCT": "CT"}))
    with serving_hub(replace(hub, order_senders={SENDER.name: configured})) as url:
        coordinator = Visitor(url)
        coordinator.log_in(COORDINATOR, PASSWORD)
        coordinator.get(PAGE)
        assert coordinator.post(f"{PAGE}/{refused[0]}/retry").headers["Location"] == f"{PAGE}?done=taken"
        assert coordinator.post(f"{PAGE}/{refused[1]}/retry").headers["Location"] == f"{PAGE}?done=refused_again"
        assert coordinator.post(f"{PAGE}/{refused[0]}/retry").status == 409
    with hub.transaction() as session:
        assert session.scalars(select(ClinicOrder.accession_number)).all() == ["ACC1"]
    assert acts(hub) == [(str(refused[0]), "retried"), (str(refused[1]), "retried")]


def test_a_dismissed_message_is_kept_and_says_who_and_why(hub: Hub, browser_of: Visitors, refused: list[int]) -> None:
    coordinator = browser_of(COORDINATOR)
    coordinator.get(PAGE)
    assert coordinator.post(f"{PAGE}/{refused[1]}/dismiss", reason="").status == 422
    assert coordinator.post(f"{PAGE}/{refused[1]}/dismiss", reason="由 HIS 更正后重新发送").status == 303
    assert "PID-7" not in coordinator.get(PAGE).text
    assert "由 HIS 更正后重新发送" in coordinator.get(f"{PAGE}?all=1").text
    assert coordinator.post(f"{PAGE}/{refused[1]}/dismiss", reason="once more").status == 409


def test_messages_come_a_page_at_a_time_the_newest_first(
    hub: Hub, browser_of: Visitors, program_of: Visitors, refused: list[int]
) -> None:
    program, address, seen = program_of(COORDINATOR), "/order-messages?limit=1", []
    while address:
        found = program.call("GET", address).json()
        seen += [one["message_id"] for one in found["messages"]]
        before = found["next_before"]
        address = f"/order-messages?limit=1&before={before}" if before else ""
    assert seen == refused[::-1]
    for wrong in ("limit=0", "limit=1000000", "before=x"):
        assert program.call("GET", f"/order-messages?{wrong}").status == 422
    for number in range(PAGE_SIZE):
        send(hub, *changed("|CT|", "|FSCT|", *EXAMPLE), control_id=f"P{number}")
    page = browser_of(COORDINATOR).get(PAGE).text
    (before,) = re.findall(rf"{PAGE}\?before=(\d+)", page)
    assert "PID-7" not in page
    assert "PID-7" in browser_of(COORDINATOR).get(f"{PAGE}?before={before}").text


def test_programs_list_show_try_and_dismiss_messages(
    hub: Hub, program_of: Visitors, county: County, refused: list[int]
) -> None:
    program = program_of(COORDINATOR)
    found = program.call("GET", "/order-messages").json()
    assert (found["open_count"], [one["message_id"] for one in found["messages"]]) == (2, refused[::-1])
    fault = found["messages"][0]["faults"][0]
    assert (fault["where"], fault["code"], fault["order"]) == ("PID-7", "102", 1)
    assert "秀兰" not in program.call("GET", "/order-messages?all=1").text
    shown = program.call("GET", f"/order-messages/{refused[0]}").json()
    assert any("王^秀兰" in line for line in shown["segments"])
    assert program.call("POST", f"/order-messages/{refused[0]}/retry").json() == {"taken": False}
    assert program.call("POST", f"/order-messages/{refused[0]}/dismiss", {"reason": ""}).status == 422
    assert program.call("POST", f"/order-messages/{refused[0]}/dismiss", {"reason": "HIS 已重发"}).status == 204
    assert program.call("POST", f"/order-messages/{refused[0]}/retry").status == 409
    assert program.call("GET", "/order-messages").json()["open_count"] == 1
    assert acts(hub) == [(str(refused[0]), act) for act in ("shown", "retried", "dismissed")]
    assert program_of(TECHNICIAN).call("GET", "/order-messages").status == 403


def test_a_message_of_a_site_outside_the_network_is_an_administrators(
    hub: Hub, browser_of: Visitors, county: County
) -> None:
    stray = replace(SENDER, site_id="elsewhere")
    number = send(replace(hub, order_senders={SENDER.name: stray}), *EXAMPLE, control_id="C9", sender=stray)
    assert browser_of(COORDINATOR).get(f"{PAGE}/{number}").status == 404
    assert browser_of(ADMINISTRATOR).get(f"{PAGE}/{number}").status == 200
    assert "MSH-6" in browser_of(ADMINISTRATOR).get(PAGE).text


def test_refused_connections_are_an_administrators_matter(hub: Hub, browser_of: Visitors, county: County) -> None:
    for _ in range(2):
        note_refusals(hub, {("203.0.113.9", "it showed no certificate"): 3})
    page = browser_of(ADMINISTRATOR).get(PAGE).text
    assert all(words in page for words in ("203.0.113.9", "对方没有出示证书", ">6<"))
    assert "203.0.113.9" not in browser_of(COORDINATOR).get(PAGE).text


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


def open_page(chromium: Browser, url: str, width: int, language: str) -> Page:
    context = chromium.new_context(viewport={"width": width, "height": 900}, locale="zh-CN")
    page = context.new_page()
    page.goto(f"{url}/login")
    page.fill("[name=login]", COORDINATOR)
    page.fill("[name=password]", PASSWORD)
    page.click("main button")
    if language == "en":
        page.locator("form[action='/language'] button").last.click()
    page.goto(f"{url}{PAGE}")
    return page


@pytest.mark.browser
@pytest.mark.xdist_group("desks in Chromium")
@pytest.mark.parametrize(("width", "language", "said"), [(1440, "zh", "已忽略"), (390, "en", "Dismissed")])
def test_the_page_fits_and_a_person_dismisses_one_and_enters_another(
    chromium: Browser, url: str, refused: list[int], width: int, language: str, said: str
) -> None:
    page = open_page(chromium, url, width, language)
    expect(page.locator("article.request")).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.locator(f"#reason-{refused[1]}").fill("已电话通知信息科")
    page.locator(f"#message-{refused[1]} button").last.click()
    expect(page.locator("article.request")).to_have_count(1)
    expect(page.locator("main [role=status]")).to_contain_text(said)
    page.locator(f"#message-{refused[0]} a.button").first.click()
    expect(page.locator(".message-lines")).to_contain_text("FSCT")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.locator("main a.primary").click()
    expect(page.locator("#problem-modality")).to_contain_text("OBR-24")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.select_option("#modality", "CT")
    page.locator("#order-form button.primary").click()
    page.locator("#gaps button").click()
    expect(page.locator("h1")).to_contain_text("ACC1")
    page.context.close()
