"""The clinic's own page on the running network: a study is followed from the scanner to the printed report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from storage.contract.hops import Hop
from tests.browser.conftest import WIDE, Person
from tests.browser.pictures import PATIENT, STUDY_DESCRIPTION, chest_phantom
from tests.support.network import RunningNetwork
from tests.support.road import read_by_two
from tests.support.waiting import eventually

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("network")]

TECHNICIAN = "tech.shuangqiao"


@pytest.fixture
def technician(network: RunningNetwork, chromium: Browser, screens: Path) -> Iterator[Person]:
    """The clinic's technician, logged in at the console with the account that the hub knows."""

    def accounts_are_here() -> None:
        assert "accounts_synced" in network.gateway.log()

    eventually(accounts_are_here, logs=[network.gateway])
    person = Person(network.console_url, chromium.new_context(viewport=WIDE), screens)
    person.log_in(TECHNICIAN, network.password_of(TECHNICIAN))
    yield person
    person.context.close()
    person.check()


def test_study_is_followed_at_the_clinic_until_its_report_is_printed(
    network: RunningNetwork, technician: Person, send: Callable[[list[Path]], str], tmp_path: Path
) -> None:
    page = technician.page
    study_uid = send(chest_phantom(tmp_path))
    row = page.locator("tr", has=page.locator(f"a[href='/studies/{study_uid}']"))
    expect(row).to_contain_text(PATIENT)
    expect(row).to_contain_text(STUDY_DESCRIPTION)
    expect(row).to_contain_text("已派单")
    technician.look("console-today")
    read_by_two(network, study_uid)
    network.wait_for(study_uid, Hop.ACKNOWLEDGED)
    expect(row.get_by_role("link", name="看报告")).to_be_visible()
    row.get_by_role("link", name="看报告").click()
    expect(page.locator("h1")).to_contain_text(PATIENT)
    technician.look("console-report")
    with page.expect_popup() as opened:
        page.get_by_role("link", name="打印").click()
    paper = opened.value
    expect(paper.locator("h1")).to_have_text("影像诊断报告")
    expect(paper.locator("article")).to_contain_text(PATIENT)
    paper.emulate_media(media="print")
    expect(paper.locator(".tools")).to_be_hidden()
    paper.close()
    page.goto(f"{technician.url}/studies/{study_uid}")
    for words in ("网关已收妥", "医师已接单", "报告已签发", "已送达"):
        expect(page.locator(".ledger")).to_contain_text(words)
    technician.look("console-study")
