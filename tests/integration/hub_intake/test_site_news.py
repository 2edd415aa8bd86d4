"""A clinic's gateway learns who may use its console and what became of its studies, and nothing of anybody else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from reading_queue.db.tables import Account
from reading_queue.domain.roles import Role
from reading_queue.services.access.accounts import NewAccount, account_row
from reading_queue.services.arrival import custody
from reading_queue.services.cases.site_news import TRANSACTION_MAX_S
from reading_queue.services.hub import Hub
from storage.contract.hops import Hop
from storage.contract.wire import AccountsAnswer, HubEventsAnswer
from tests.integration.hub_intake.conftest import OTHER_SITE, SITE
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn, enrol_stand_in, send
from tests.integration.hub_intake.http_server import HubServer

pytestmark = pytest.mark.postgres

STUDY = "1.2.3"


@pytest.fixture
def safe(network: Hub) -> Iterator[GatewayStandIn]:
    """A gateway of SITE at a hub that people reach over TLS."""
    hub = replace(network, public_url="https://hub.example")
    with HubServer(hub) as running:
        yield enrol_stand_in(hub, running.url, SITE)


def add_account(hub: Hub, login: str, role: Role, site_id: str = SITE) -> None:
    new = NewAccount(login, f"name of {login}", "", role, f"{site_id}-01")
    with hub.transaction() as session:
        session.add(account_row(new, f"hash of {login}", hub.clock()))


def accounts_of(gateway: GatewayStandIn, known: str = "") -> AccountsAnswer:
    return gateway.get(f"/accounts?known={known}").into(AccountsAnswer)


def add_event(hub: Hub, key: str, *, site_id: str = SITE, hop: Hop = Hop.OFFERED) -> None:
    with hub.transaction() as session:
        custody.record(session, hub.clock(), hop, event_key=key, site_id=site_id, study_uid=STUDY)


def events_since(gateway: GatewayStandIn, since: str = "") -> HubEventsAnswer:
    return gateway.get(f"/events?since={since.replace('+', '%2B')}").into(HubEventsAnswer)


def test_site_is_told_its_own_technicians_and_physicians_but_no_administrator(safe, network):
    add_account(network, "tech", Role.TECHNICIAN)
    add_account(network, "doctor", Role.PHYSICIAN)
    add_account(network, "admin", Role.ADMINISTRATOR)
    add_account(network, "foreign", Role.TECHNICIAN, OTHER_SITE)
    told = accounts_of(safe).accounts
    assert told is not None
    assert {(one.login, one.password_hash, one.disabled) for one in told} == {
        ("tech", "hash of tech", False),
        ("doctor", "hash of doctor", False),
    }


def test_accounts_travel_only_when_they_have_changed(safe, network):
    add_account(network, "tech", Role.TECHNICIAN)
    first = accounts_of(safe)
    assert accounts_of(safe, first.version).accounts is None
    with network.transaction() as session:
        session.execute(update(Account).values(disabled_at=network.clock()))
    again = accounts_of(safe, first.version).accounts
    assert again is not None
    assert [one.disabled for one in again] == [True]


def test_account_whose_password_somebody_else_knows_opens_no_console_until_it_is_changed(safe, network):
    add_account(network, "tech", Role.TECHNICIAN)
    for temporary in (True, False):
        with network.transaction() as session:
            session.execute(update(Account).values(password_temporary=temporary))
        told = accounts_of(safe).accounts
        assert told is not None
        assert [one.disabled for one in told] == [temporary]


def test_accounts_do_not_travel_from_a_hub_without_tls(gateway, network):
    add_account(network, "tech", Role.TECHNICIAN)
    assert gateway.get("/accounts?known=").problem().code == "line_not_private"


def test_accounts_are_for_gateways_that_sign(safe):
    assert send(safe.http, "GET", f"{safe.url}/gateway/v1/accounts").problem().status == 401


def test_events_are_the_hubs_own_of_the_site_in_order(safe, network):
    add_event(network, "a", hop=Hop.OFFERED)
    add_event(network, "b", hop=Hop.CLAIMED)
    add_event(network, "c", site_id=OTHER_SITE)
    assert [event.hop for event in events_since(safe).events] == ["offered", "claimed"]


def test_events_of_the_last_moments_are_told_again_so_that_none_slips_through(safe, network):
    add_event(network, "a")
    first = events_since(safe)
    assert first.through <= network.clock() - timedelta(seconds=TRANSACTION_MAX_S)
    again = events_since(safe, first.through.isoformat())
    assert [event.event_id for event in again.events] == [event.event_id for event in first.events]


def test_time_that_is_none_is_refused(safe):
    assert safe.get("/events?since=yesterday").problem().status == 422
    assert safe.get("/events?since=2026-01-01T00:00:00").problem().status == 422
