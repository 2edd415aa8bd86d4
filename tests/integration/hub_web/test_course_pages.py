"""What readers, clinics and coordinators do with a case beside reading it, with the forms of their desks alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reading_queue.domain.transitions import CaseState
from reading_queue.errors import NotHolder
from reading_queue.services.reading import reading
from reading_queue.services.routing import assigning
from tests.integration.hub_web.county import AUTHOR, COORDINATOR, FIRST_SITE, TECHNICIAN, TEXT, VERIFIER, County
from tests.integration.hub_web.serving import Visitor

STUDY = "1.2.3.1"
AT_CLINIC = f"/clinic/studies/{FIRST_SITE}/{STUDY}"
BrowserOf = Callable[[str], Visitor]


@pytest.fixture
def case_id(county: County) -> str:
    return county.arrive(STUDY)


def claim(county: County, login: str, case_id: str) -> str:
    """Let a physician take the open task; return it."""
    task_id = county.task(case_id)
    reading.claim(county.hub, county.viewer(login), task_id)
    return task_id


def sign(county: County, case_id: str) -> None:
    reading.submit(county.hub, county.viewer(AUTHOR), claim(county, AUTHOR, case_id), TEXT)
    county.run_jobs()
    reading.sign(county.hub, county.viewer(VERIFIER), claim(county, VERIFIER, case_id), None)


def test_a_reader_asks_and_the_clinic_answers(browser_of: BrowserOf, county: County, case_id: str):
    reader, clinic = browser_of(AUTHOR), browser_of(TECHNICIAN)
    task_id = claim(county, AUTHOR, case_id)
    address = f"/radiologist/cases/{case_id}"
    assert f"{address}/tasks/{task_id}/hold" in reader.get(address).text
    secrets = {"password": "p4ss-word", "new_password": "n3w-word"}
    refused = reader.post(f"{address}/tasks/{task_id}/hold", question="Since when?", **secrets)
    assert refused.status >= 400
    assert "Since when?" in refused.text, "what was typed stays"
    assert not [one for one in secrets.values() if one in refused.text]
    asked = reader.post(f"{address}/tasks/{task_id}/hold", wants="history", question="何时发病？")
    assert asked.status == 303
    assert "等待申请机构答复" in reader.get(address).text
    page = clinic.get(AT_CLINIC).text
    assert "何时发病？" in page
    request_id = page.split('name="request_id" value="')[1].split('"')[0]
    answer = {"request_id": request_id, "words": "昨晚八点"}
    assert clinic.post(f"/clinic/cases/{case_id}/answer", **answer).headers["Location"].endswith("done=answered")
    assert "昨晚八点" in reader.get(address).text
    late = clinic.post(f"/clinic/cases/{case_id}/answer", request_id=request_id, words="又想起")
    assert late.status == 409
    assert clinic.post("/clinic/cases/forged/answer", **answer).status == 404


def test_two_people_declare_a_report_void_on_their_desks(browser_of: BrowserOf, county: County, case_id: str):
    author, coordinator, clinic = browser_of(AUTHOR), browser_of(COORDINATOR), browser_of(TECHNICIAN)
    sign(county, case_id)
    address = f"/radiologist/cases/{case_id}"
    assert f'action="{address}/void"' in author.get(address).text
    assert author.post(f"{address}/void", act="ask", words="影像属于另一名患者").status == 303
    page = author.get(address).text
    assert "等待另一人确认" in page
    assert author.post(f"{address}/void", act="confirm").status == 403
    assert "此报告已作废" not in clinic.get(AT_CLINIC).text
    assert "影像属于另一名患者" in coordinator.get(AT_CLINIC).text
    assert coordinator.post(f"/clinic/cases/{case_id}/void", act="confirm").status == 303
    for desk, where in ((author, address), (clinic, AT_CLINIC), (coordinator, AT_CLINIC)):
        page = desk.get(where).text
        assert "此报告已作废" in page
        assert "/void" not in page, "there is nothing left to decide"
        assert CaseState.ENTERED_IN_ERROR in page


def test_a_coordinator_takes_back_a_case_that_somebody_holds_and_its_draft_stays(
    browser_of: BrowserOf, county: County, case_id: str
):
    author, task_id = county.viewer(AUTHOR), county.task(case_id)
    reading.claim(county.hub, author, task_id)
    reading.save_draft(county.hub, author, task_id, TEXT, None)
    coordinator, address = browser_of(COORDINATOR), f"/coordinator/cases/{case_id}/candidates"
    assert f'value="{task_id}"' in coordinator.get(address).text
    taken = coordinator.post(f"/coordinator/cases/{case_id}/take-back", reading_task_id=task_id)
    assert taken.headers["Location"] == f"{address}?done=taken_back"
    page = coordinator.get(f"{address}?done=taken_back").text
    assert ("任务已收回" in page, "/take-back" in page) == (True, False)
    assert county.task(case_id) != task_id
    again = coordinator.post(f"/coordinator/cases/{case_id}/take-back", reading_task_id=task_id)
    assert again.status == 409, "who holds it now is another claim"
    with pytest.raises(NotHolder):
        reading.submit(county.hub, author, task_id, TEXT)


def test_a_coordinator_gives_a_case_to_one_physician_on_the_page_that_says_who_may_read_it(
    browser_of: BrowserOf, county: County, case_id: str
):
    coordinator = browser_of(COORDINATOR)
    address = f"/coordinator/cases/{case_id}/candidates"
    assert f'href="{address}"' in coordinator.get(AT_CLINIC).text
    page = coordinator.get(address).text
    assert all(words in page for words in ("派单记录", "胸部平扫", "双桥镇中心卫生院")), "which case it is"
    (decision,) = assigning.list_candidates(county.hub, county.viewer(COORDINATOR), case_id).decisions
    versions = decision.inputs["agreement_versions"]
    assert versions == dict.fromkeys(decision.inputs["agreement_ids"], 1), "what was in force is kept with the decision"
    chosen = page.split('name="physician_id" value="')[1].split('"')[0]
    assert coordinator.post(address, physician_id=chosen, reason="").status == 422
    refused = coordinator.post(address, physician_id="forged", reason="指派")
    assert refused.status == 403
    assert "不能指派给此医师" in refused.text
    assert coordinator.post(address, physician_id=chosen, reason="熟悉此病例").status == 303
    again = coordinator.get(address).text
    assert f'value="{chosen}"' not in again, "it is offered to them now"
    assert coordinator.get("/coordinator/cases/forged/candidates").status == 404
    assert f'href="/coordinator/cases/{case_id}/decisions"' in coordinator.get(AT_CLINIC).text
    page = coordinator.get(f"/coordinator/cases/{case_id}/decisions").text
    assert "熟悉此病例" in page, "a person's choice is one of the decisions"
    assert "没有保存" not in page
    for forged in (0, "x", 10**19):
        assert coordinator.get(f"/coordinator/cases/{case_id}/decisions?decision={forged}").status == 404
