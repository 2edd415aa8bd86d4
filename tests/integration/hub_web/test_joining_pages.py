"""Reading studies together and apart, on the clinic's desk and over the JSON API."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select, update

from reading_queue.services.hub import Hub
from reading_queue.services.reading import reading
from storage.catalogue.tables import Study
from tests.integration.hub_web.county import AUTHOR, COORDINATOR, FIRST_SITE, OTHER_TECHNICIAN, TECHNICIAN, County
from tests.integration.hub_web.serving import Visitor

CHEST, ABDOMEN = "1.2.3.1", "1.2.3.2"
BrowserOf = Callable[[str], Visitor]


def at_clinic(study_uid: str) -> str:
    return f"/clinic/studies/{FIRST_SITE}/{study_uid}"


@pytest.fixture
def pair(hub: Hub, county: County) -> tuple[str, str]:
    """Two cases of one patient: chest and abdomen."""
    chest, abdomen = county.arrive(CHEST), county.arrive(ABDOMEN, what="腹部平扫")
    with hub.transaction() as session:
        patient = session.scalars(select(Study.patient_id).where(Study.study_uid == CHEST)).one()
        facts = {"patient_id": patient, "accession_number": "A2", "body_part": "ABDOMEN"}
        session.execute(update(Study).where(Study.study_uid == ABDOMEN).values(facts))
    return chest, abdomen


@pytest.mark.parametrize("who", [TECHNICIAN, COORDINATOR])
def test_a_desk_joins_two_studies_and_takes_them_apart(
    county: County, browser_of: BrowserOf, pair: tuple[str, str], who: str
):
    chest, abdomen = pair
    desk = browser_of(who)
    page = desk.get(at_clinic(CHEST)).text
    assert f'<option value="{abdomen}">A2 腹部平扫' in page
    what = {"other_case_id": abdomen, "reason": "一次扫描两个部位", "study_uid": CHEST}
    assert browser_of(OTHER_TECHNICIAN).post(f"/clinic/cases/{chest}/join", **what).status == 404
    assert desk.post(f"/clinic/cases/{chest}/join", **what).headers["Location"] == f"{at_clinic(CHEST)}?done=joined"
    county.run_jobs()
    page = desk.get(at_clinic(ABDOMEN)).text
    assert "与本检查一并阅片" in page
    assert at_clinic(CHEST) in page
    reader = browser_of(AUTHOR)
    page = reader.get(f"/radiologist/cases/{chest}").text
    for words in ("腹部平扫", "胸部平扫", at_clinic(CHEST), at_clinic(ABDOMEN), f"{CHEST},{ABDOMEN}"):
        assert words in page
    what = {"study_uid": ABDOMEN, "reason": "要两份报告"}
    parted = desk.post(f"/clinic/cases/{chest}/separate", **what)
    assert parted.headers["Location"] == f"{at_clinic(ABDOMEN)}?done=separated"
    assert "与本检查一并阅片" not in desk.get(at_clinic(ABDOMEN)).text


def test_what_is_done_for_the_second_study_of_a_case_leads_back_to_it(
    county: County, browser_of: BrowserOf, pair: tuple[str, str]
):
    chest, abdomen = pair
    desk = browser_of(TECHNICIAN)
    desk.post(f"/clinic/cases/{chest}/join", other_case_id=abdomen, reason="一次扫描", study_uid=CHEST)
    page = desk.get(at_clinic(ABDOMEN)).text
    assert f'name="study_uid" value="{ABDOMEN}"' in page
    withdrawn = desk.post(f"/clinic/cases/{chest}/withdraw", words="开错", study_uid=ABDOMEN)
    assert withdrawn.headers["Location"].startswith(at_clinic(ABDOMEN))


def test_programs_join_and_separate(county: County, program_of: BrowserOf, pair: tuple[str, str]):
    chest, abdomen = pair
    program = program_of(TECHNICIAN)
    (partner,) = program.get(f"/api/v1/cases/{chest}/partners").json()["partners"]
    assert (partner["case_id"], partner["study_uid"], partner["accession_number"]) == (abdomen, ABDOMEN, "A2")
    assert program_of(OTHER_TECHNICIAN).get(f"/api/v1/cases/{chest}/partners").status == 404
    joined = program.call("POST", f"/cases/{chest}/join", {"other_case_id": abdomen, "reason": "一次扫描"})
    assert joined.status == 204
    studies = program.get(f"/api/v1/cases/{chest}").json()["case"]["summary"]["studies"]
    assert [study["study_uid"] for study in studies] == [CHEST, ABDOMEN]
    parted = program.call("POST", f"/cases/{chest}/separate", {"study_uid": ABDOMEN, "reason": "要两份报告"})
    assert parted.status == 201
    county.run_jobs()
    reading.claim(county.hub, county.viewer(AUTHOR), county.task(chest))
    refused = program.call(
        "POST", f"/cases/{chest}/join", {"other_case_id": parted.json()["case_id"], "reason": "一次扫描"}
    )
    assert (refused.status, refused.json()["code"]) == (409, "wrong_state")
