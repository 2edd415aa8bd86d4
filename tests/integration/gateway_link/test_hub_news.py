"""What the hub has done with this clinic's studies, and who works here, comes over and stays when the line goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.hub.news import HubNews, is_private_line
from gateway.journal.accounts import list_accounts
from gateway.journal.hub_news import hub_events_of, load_contact
from storage.contract.wire import AccountRecord, AccountsAnswer, HubEvent, HubEventsAnswer
from tests.integration.gateway_link.conftest import Clinic
from tests.support.clock import SteerableClock
from tests.support.waiting import eventually

NOW = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
LI = AccountRecord(
    account_id="a1", login="li", display_name="李明", role="technician", language="zh", password_hash="h" * 20
)


def event(number: int, hop: str) -> HubEvent:
    return HubEvent(event_id=number, study_uid="1.2.3", hop=hop, at=NOW + timedelta(seconds=number), actor_name="王芳")


@pytest.fixture
def lost() -> list[str]:
    """The studies of which the hub said that it has lost something."""
    return []


@pytest.fixture
def news(clinic: Clinic, lost: list[str]) -> HubNews:
    clinic.hub.accounts = AccountsAnswer(version="v1", accounts=(LI,))
    return HubNews(clinic.journal, clinic.client(), clinic.hub.url, SteerableClock(NOW), lost.append)


def test_accounts_and_events_come_over(clinic: Clinic, news: HubNews):
    clinic.hub.events = [HubEventsAnswer(events=(event(1, "offered"), event(2, "claimed")), through=NOW)]
    news.step()
    assert [account.login for account in list_accounts(clinic.journal)] == ["li"]
    assert [(one.hop, one.actor_name) for one in hub_events_of(clinic.journal, "1.2.3")] == [
        ("offered", "王芳"),
        ("claimed", "王芳"),
    ]
    assert load_contact(clinic.journal).events_through == NOW


def test_event_that_is_told_again_is_kept_once(clinic: Clinic, news: HubNews):
    clinic.hub.events = [
        HubEventsAnswer(events=(event(1, "offered"),), through=NOW, more=True),
        HubEventsAnswer(events=(event(1, "offered"), event(2, "claimed")), through=NOW + timedelta(seconds=5)),
    ]
    news.step()
    news.step()
    assert [one.hop for one in hub_events_of(clinic.journal, "1.2.3")] == ["offered", "claimed"]


def test_damage_at_the_hub_is_acted_upon_once(clinic: Clinic, news: HubNews, lost: list[str]):
    told = (event(1, "offered"), event(2, "damaged"))
    clinic.hub.events = [
        HubEventsAnswer(events=told, through=NOW),
        HubEventsAnswer(events=told, through=NOW),
        HubEventsAnswer(events=(event(2, "damaged"), event(3, "damaged")), through=NOW),
    ]
    news.step()
    news.step()
    assert lost == ["1.2.3"]
    news.step()
    assert lost == ["1.2.3", "1.2.3"]


def test_what_was_heard_stays_when_the_line_goes(clinic: Clinic, news: HubNews):
    clinic.hub.events = [HubEventsAnswer(events=(event(1, "offered"),), through=NOW)]
    news.step()
    clinic.hub.stop()
    assert news.step() > 0
    assert [one.hop for one in hub_events_of(clinic.journal, "1.2.3")] == ["offered"]
    assert len(list_accounts(clinic.journal)) == 1


def test_hub_of_an_earlier_version_is_no_failure(clinic: Clinic, news: HubNews):
    clinic.hub.accounts = None
    assert news.step() > 0


def test_accounts_are_asked_for_only_over_a_private_line():
    assert is_private_line("https://hub.example")
    assert is_private_line("http://127.0.0.1:8000")
    assert is_private_line("http://localhost:8000")
    assert not is_private_line("http://hub.example")
    assert not is_private_line("http://10.0.0.1")


def test_accounts_never_come_over_a_line_that_others_hear(clinic: Clinic):
    clinic.hub.accounts = AccountsAnswer(version="v1", accounts=(LI,))
    HubNews(clinic.journal, clinic.client(), "http://hub.example", SteerableClock(NOW), lambda _: None).step()
    assert list_accounts(clinic.journal) == []
    assert clinic.hub.count("GET /gateway/v1/accounts.*") == 0


def test_gateway_asks_a_hub_of_an_earlier_version_and_goes_on_without_its_answer(clinic: Clinic):
    clinic.connect()

    def has_asked() -> None:
        assert clinic.hub.count("GET /gateway/v1/identity-doubts") == 1
        assert clinic.hub.count("GET /gateway/v1/courses") == 1
        assert clinic.hub.count(r"GET /gateway/v1/events.*") >= 1

    eventually(has_asked)
