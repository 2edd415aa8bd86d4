"""Pages that stay open all day cost little: what has not changed is not made again, what has is shown at once."""

from __future__ import annotations

import pytest

from gateway.journal.database import Journal
from gateway.orders import enter_order
from storage.contract.orders import OrderOrigin
from tests.integration.gateway_console.conftest import Browser, Clinic, Page, enrol
from tests.integration.gateway_console.day import Day, whole_day

QUERIES_OF_A_SESSION = 2


@pytest.fixture
def day(clinic: Clinic) -> Day:
    enrol(clinic.journal, clinic.clock)
    return whole_day(clinic)


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every query that the journal is asked, in whichever thread."""
    asked: list[str] = []
    read = Journal.read

    def noted(self: Journal, query: str, parameters: tuple[object, ...] = ()):
        asked.append(query)
        return read(self, query, parameters)

    monkeypatch.setattr(Journal, "read", noted)
    return asked


def refresh(browser: Browser, path: str, tag: str = "") -> Page:
    return browser.get(path, **({"HX-Request": "true"} | ({"If-None-Match": tag} if tag else {})))


@pytest.mark.parametrize("path", ["/studies", "/orders", "/reports", "/attention", "/imports", "/line", "/quarantine"])
def test_page_that_has_not_changed_is_not_made_again(clinic: Clinic, day: Day, queries: list[str], path: str):
    browser = clinic.logged_in()
    first = refresh(browser, path)
    assert first.status == 200
    queries.clear()
    again = refresh(browser, path, first.headers["ETag"])
    assert (again.status, again.text) == (304, "")
    assert again.headers["Cache-Control"] == "no-store"
    assert len(queries) <= QUERIES_OF_A_SESSION


def test_what_happens_is_shown_with_the_next_refresh(clinic: Clinic, day: Day):
    browser = clinic.logged_in()
    tag = refresh(browser, "/studies").headers["ETag"]
    day.study("New=刚来的病人")
    changed = refresh(browser, "/studies", tag)
    assert changed.status == 200
    assert "刚来的病人" in changed.text


def test_time_that_passes_is_shown_too(clinic: Clinic, day: Day):
    browser = clinic.logged_in()
    tag = refresh(browser, "/line").headers["ETag"]
    clinic.clock.advance(16)
    assert refresh(browser, "/line", tag).status == 200


def test_tag_of_another_person_or_page_is_worth_nothing(clinic: Clinic, day: Day):
    browser = clinic.logged_in()
    tag = refresh(browser, "/studies").headers["ETag"]
    assert refresh(browser, "/line", tag).status == 200
    assert refresh(clinic.logged_in(), "/studies", tag).status == 200
    assert refresh(clinic.browser(), "/studies", tag).status != 304


def test_list_of_orders_asks_no_more_for_more_orders(clinic: Clinic, queries: list[str]):
    enrol(clinic.journal, clinic.clock)
    browser = clinic.logged_in()

    def queries_of(orders: int) -> int:
        for number in range(orders):
            fields = {"patient_number": str(number), "patient_name": "王^五", "modality": "CT", "procedure_name": "CT"}
            enter_order(clinic.journal, fields, entered_by="x", origin=OrderOrigin.CONSOLE, now=clinic.clock.advance(1))
        queries.clear()
        assert refresh(browser, "/orders").status == 200
        return len(queries)

    assert queries_of(1) == queries_of(20)
