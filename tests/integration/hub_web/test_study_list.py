"""Finding a study in a list: by progress, day, name and number; counts above it; pages; no name in any address."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import date, timedelta

import pytest
from sqlalchemy import update

from reading_queue.db.tables import Case
from reading_queue.domain.transitions import CaseState
from reading_queue.errors import Invalid
from reading_queue.services.holdings.study_list import (
    SEARCH_CHARACTERS_MAX,
    STATES_OF,
    Progress,
    StudyCounts,
    StudyFilter,
    StudyLine,
    counts_of,
    studies_of,
)
from reading_queue.services.hub import Hub
from reading_queue.services.reports.signed_facts import load_subject
from reading_queue.web.parsing import wanted_studies
from storage.catalogue.patient_numbers import invent_number
from storage.catalogue.tables import Patient
from storage.contract.lanes import Lane
from tests.integration.hub_web.county import COORDINATOR, SECOND_SITE, TECHNICIAN, County
from tests.integration.hub_web.serving import Visitor

HOUR_S = 3600


def uids(lines: Iterable[StudyLine]) -> list[str]:
    return [line.study_uid for line in lines]


@pytest.fixture
def find(hub: Hub, county: County) -> Callable[..., list[str]]:
    """`find(text=…)` returns the UIDs of the studies that the technician of the first site finds."""

    def of(**wanted: object) -> list[str]:
        page = studies_of(hub, county.viewer(TECHNICIAN), limit=50, wanted=StudyFilter(**wanted))  # type: ignore[arg-type]
        return uids(page.studies)

    return of


def renumber(hub: Hub, patient_number: str, becomes: str) -> None:
    with hub.transaction() as session:
        session.execute(update(Patient).where(Patient.patient_number == patient_number).values(patient_number=becomes))


def test_every_state_belongs_to_one_progress() -> None:
    states = [state for progress in Progress for state in STATES_OF[progress]]
    assert sorted(states) == sorted(CaseState)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("王小东", True),
        ("小东", True),
        ("王 小东", True),
        ("wang xiao", True),
        ("XIAODONG", True),
        ("P.3.1", True),
        ("A1", True),
        ("p.3", True),
        ("3.1", True),
        (".3.", False),
        ("w", False),
        ("李", False),
        ("%", False),
        ("_", False),
        ("?", False),
        ("^", False),
        ("  ", True),
    ],
)
def test_study_is_found_by_part_of_a_name_or_of_a_number(
    county: County, find: Callable[..., list[str]], text: str, found: bool
) -> None:
    county.arrive("1.2.3.1", patient="Wang^XiaoDong=王^小东")
    assert find(text=text) == (["1.2.3.1"] if found else [])


@pytest.mark.parametrize(
    ("text", "found"),
    [("wangxiaodong", True), ("wang dong", True), ("WXD", True), ("东", True), ("xia", False), ("wxl", False)],
)
def test_study_is_found_by_the_pinyin_of_a_chinese_name(
    county: County, find: Callable[..., list[str]], text: str, found: bool
) -> None:
    county.arrive("1.2.3.1", patient="王^小东")
    assert find(text=text) == (["1.2.3.1"] if found else [])


def test_invented_number_is_neither_shown_nor_found(
    hub: Hub, county: County, find: Callable[..., list[str]], browser_of: Callable[[str], Visitor]
) -> None:
    county.arrive("1.2.3.1", patient="")
    invented = invent_number("1.2.3.1")
    renumber(hub, "P.3.1", invented)
    assert [find(text=part) for part in (invented, invented[1:], invented[3:6])] == [[], [], []]
    page = browser_of(TECHNICIAN).get("/clinic/").text
    assert invented[1:] not in page
    assert "未具名" in page


def test_search_does_not_reach_other_sites(county: County, find: Callable[..., list[str]]) -> None:
    county.arrive("1.2.3.1", site=SECOND_SITE, patient="王小东")
    assert find(text="王小东") == []


def test_words_longer_than_a_search_may_be_are_cut(county: County, find: Callable[..., list[str]]) -> None:
    county.arrive("1.2.3.1", patient="王" * SEARCH_CHARACTERS_MAX)
    assert find(text="王" * 10_000) == ["1.2.3.1"]


def test_list_is_filtered_by_progress(county: County, find: Callable[..., list[str]]) -> None:
    county.declare("1.2.3.1")
    county.arrive("1.2.3.2")
    county.submit(county.arrive("1.2.3.3"))
    signed = county.arrive("1.2.3.4")
    county.submit(signed)
    county.sign(signed)
    found = {progress: find(progress=progress) for progress in Progress}
    assert found == {
        Progress.ARRIVING: ["1.2.3.1"],
        Progress.WAITING: ["1.2.3.2"],
        Progress.READING: ["1.2.3.3"],
        Progress.REPORTED: ["1.2.3.4"],
        Progress.ENDED: [],
    }


def test_list_is_filtered_by_lane(county: County, find: Callable[..., list[str]]) -> None:
    county.arrive("1.2.3.1", lane=Lane.STAT)
    county.arrive("1.2.3.2")
    assert (find(lane=Lane.STAT), find(lane=Lane.ROUTINE)) == (["1.2.3.1"], ["1.2.3.2"])


def test_late_are_those_past_their_limit_that_nobody_has_signed(
    hub: Hub, county: County, find: Callable[..., list[str]]
) -> None:
    cases = {case: county.arrive(f"1.2.3.{case}") for case in (1, 2, 3)}
    county.submit(cases[2])
    county.sign(cases[2])
    with hub.transaction() as session:
        past = hub.clock() - timedelta(seconds=1)
        session.execute(update(Case).where(Case.case_id.in_([cases[1], cases[2]])).values(due_at=past))
        session.execute(update(Case).where(Case.case_id == cases[3]).values(due_at=past + timedelta(hours=1)))
    assert find(late=True) == ["1.2.3.1"]


def test_day_is_that_of_the_site(county: County, find: Callable[..., list[str]]) -> None:
    """It is nine in the morning of 2 March in Shanghai, where the day began nine hours ago."""
    county.arrive("1.2.3.1", ago_s=8.9 * HOUR_S)
    county.arrive("1.2.3.2", ago_s=9.1 * HOUR_S)
    assert find(day=date(2026, 3, 2)) == ["1.2.3.1"]
    assert find(day=date(2026, 3, 1)) == ["1.2.3.2"]
    assert find(day=date(2026, 3, 1), text="A1", progress=Progress.WAITING) == ["1.2.3.2"]
    assert find(day=date.max) == find(day=date.min) == []


def test_counts_are_of_today_and_of_what_is_in_view(hub: Hub, county: County) -> None:
    county.arrive("1.2.3.1", ago_s=20 * HOUR_S)
    county.submit(county.arrive("1.2.3.2", ago_s=100 * HOUR_S))
    home = county.arrive("1.2.3.3", ago_s=90 * HOUR_S)
    county.arrive("1.2.3.4")
    county.arrive("1.2.3.5", site=SECOND_SITE)
    with hub.transaction() as session:
        came_home = {"state": CaseState.ACKNOWLEDGED, "signed_at": hub.clock(), "delivered_at": hub.clock()}
        session.execute(update(Case).where(Case.case_id == home).values(came_home))
    assert counts_of(hub, county.viewer(TECHNICIAN)) == StudyCounts(1, 1, 1)
    assert counts_of(hub, county.viewer(COORDINATOR)) == StudyCounts(2, 1, 1)


def test_cancelled_study_is_not_late(hub: Hub, county: County) -> None:
    case_id = county.arrive("1.2.3.1")
    with hub.transaction() as session:
        session.execute(update(Case).where(Case.case_id == case_id).values(due_at=hub.clock(), state="cancelled"))
    (line,) = studies_of(hub, county.viewer(TECHNICIAN), limit=1).studies
    assert not line.is_late


@pytest.mark.parametrize(
    "values", [{"day": "gestern"}, {"day": "2026-02-30"}, {"progress": "done"}, {"lane": "fast"}, {"late": "yes"}]
)
def test_filter_that_makes_no_sense_is_refused(values: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        wanted_studies(values)


def test_words_to_search_for_are_never_read_from_an_address() -> None:
    assert wanted_studies({"text": "王小东"}) == StudyFilter()
    assert wanted_studies({"text": " 王小东 "}, with_text=True) == StudyFilter(text="王小东")


def test_form_without_words_leads_to_an_address_that_can_be_kept(browser_of: Callable[[str], Visitor]) -> None:
    browser = browser_of(TECHNICIAN)
    answer = browser.post("/clinic/", text=" ", progress="reading", lane="stat", late="1", day="2026-03-02")
    kept = "/clinic/?progress=reading&lane=stat&late=1&day=2026-03-02"
    assert (answer.status, answer.headers["Location"]) == (303, kept)
    page = browser.get(answer.headers["Location"]).text
    assert "没有符合条件的检查" in page
    assert [f'value="{value}" selected' in page for value in ("reading", "stat", "1")] == [True] * 3


def test_search_answers_the_page_and_puts_the_name_into_no_address(
    county: County, browser_of: Callable[[str], Visitor]
) -> None:
    county.arrive("1.2.3.1", patient="王^小东")
    county.arrive("1.2.3.2", patient="李^四")
    browser = browser_of(TECHNICIAN)
    answer = browser.post("/clinic/", text="王小东", progress="", day="")
    assert answer.status == 200
    assert "王小东</b>" in answer.text
    assert "李四" not in answer.text
    addresses = re.findall(r'(?:href|action|src|hx-get|hx-post)="([^"]*)"', answer.text)
    assert addresses
    assert not [address for address in addresses if "%" in address or "王" in address]
    part = browser.post("/clinic/", {"HX-Request": "true"}, text="王小东")
    assert part.text.lstrip().startswith('<div id="studies"')


def test_pages_of_a_search_go_on_with_it(
    county: County, browser_of: Callable[[str], Visitor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reading_queue.web.clinic.views.ROWS", 1)
    county.arrive("1.2.3.1", patient="王^小东", ago_s=300)
    county.arrive("1.2.3.2", patient="李^四", ago_s=200)
    newest = county.arrive("1.2.3.3", patient="王^大", ago_s=100)
    browser = browser_of(TECHNICIAN)
    first = browser.post("/clinic/", text="王").text
    assert f'name="before" value="{newest}"' in first
    second = browser.post("/clinic/", text="王", before=newest).text
    assert "王小东" in second
    assert "更早的检查" not in second
    assert f"/clinic/?progress=waiting&amp;before={newest}" in browser.get("/clinic/?progress=waiting").text


def test_program_searches_with_a_body(hub: Hub, county: County, program_of: Callable[[str], Visitor]) -> None:
    county.arrive("1.2.3.1", patient="Wang^XiaoDong=王^小东")
    program = program_of(TECHNICIAN)
    (study,) = program.call("POST", "/studies/search", {"text": "小东", "progress": "waiting"}).json()["studies"]
    assert (study["patient_name"], study["patient_display_name"]) == ("Wang^XiaoDong=王^小东", "王小东")
    assert program.call("POST", "/studies/search", {"text": "王" * 65}).status == 422
    assert program.call("POST", "/studies/search", {"limit": 0}).status == 422
    assert program.call("GET", "/studies?progress=reading").json()["studies"] == []
    assert program.call("GET", "/studies?lane=stat").json()["studies"] == []
    assert program.call("GET", "/studies?late=1").json()["studies"] == []
    assert program.call("GET", "/studies?day=heute").status == 422


def test_signed_content_names_no_invented_number(hub: Hub, county: County) -> None:
    case_id = county.arrive("1.2.3.1", patient="Wang^XiaoDong=王^小东")
    renumber(hub, "P.3.1", invent_number("1.2.3.1"))
    with hub.transaction() as session:
        identity, _ = load_subject(session, session.get_one(Case, case_id))
    assert (identity.patient_number, identity.name) == ("", "Wang^XiaoDong=王^小东")
