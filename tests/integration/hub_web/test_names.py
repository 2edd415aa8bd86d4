"""Names of people and sites on every desk: never a raw PN, in the language of whoever reads."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.integration.hub_web.county import AUTHOR, COORDINATOR, FIRST_SITE, TECHNICIAN, VERIFIER, County
from tests.integration.hub_web.serving import Visitor

STUDY = "1.2.3.1"
RAW = "Wang^XiaoDong=王^小东"


@pytest.fixture
def case_id(county: County) -> str:
    return county.arrive(STUDY, patient=RAW)


@pytest.mark.parametrize(
    ("language", "name", "site"),
    [
        pytest.param("zh", "王小东", "双桥镇中心卫生院", id="zh"),
        pytest.param("en", "Wang XiaoDong", "Shuangqiao Central Health Centre", id="en"),
    ],
)
def test_every_page_writes_names_as_its_reader_does(
    browser_of: Callable[[str], Visitor], case_id: str, language: str, name: str, site: str
) -> None:
    pages = {
        TECHNICIAN: ("/clinic/", f"/clinic/studies/{FIRST_SITE}/{STUDY}"),
        COORDINATOR: ("/clinic/",),
        AUTHOR: ("/radiologist/", f"/radiologist/cases/{case_id}"),
    }
    for login, addresses in pages.items():
        browser = browser_of(login)
        browser.get("/")
        browser.get(addresses[0])
        browser.post("/language", language=language, next="/")
        for address in addresses:
            page = browser.get(address).text
            assert name in page, address
            assert "^" not in page.replace("&#94;", "^"), address
            if login != TECHNICIAN or "studies" in address:
                assert site in page, address
    overview = browser_of(COORDINATOR)
    overview.get("/coordinator/")
    assert site in overview.get("/coordinator/").text


def test_verifier_reads_the_name_of_a_held_case(
    browser_of: Callable[[str], Visitor], county: County, case_id: str
) -> None:
    county.submit(case_id)
    browser = browser_of(VERIFIER)
    browser.get("/radiologist/")
    browser.post(f"/radiologist/cases/{case_id}/tasks/{county.task(case_id)}/claim")
    assert "王小东" in browser.get("/radiologist/").text


def test_program_gets_the_raw_name_and_the_one_for_people(program_of: Callable[[str], Visitor], case_id: str) -> None:
    (offer,) = program_of(AUTHOR).call("GET", "/offers").json()["offers"]
    patient = offer["case"]["patient"]
    assert (patient["name"], patient["patient_display_name"]) == (RAW, "王小东")
    (study,) = program_of(TECHNICIAN).call("GET", "/studies").json()["studies"]
    assert (study["patient_name"], study["patient_display_name"]) == (RAW, "王小东")


def test_script_of_the_editor_is_told_in_the_readers_language(
    browser_of: Callable[[str], Visitor], county: County, case_id: str
) -> None:
    browser = browser_of(AUTHOR)
    browser.get("/radiologist/")
    address = f"/radiologist/cases/{case_id}/tasks/{county.task(case_id)}"
    browser.post(f"{address}/claim")
    refused = browser.post(f"{address}/draft", {"Accept": "application/json"}, findings="\x07", version="")
    assert refused.json()["detail"] == "文字含有控制字符，请以纯文本重新粘贴。"
