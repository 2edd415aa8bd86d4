"""The ledger takes every event once and tells it by the hub's clock."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reading_queue.services.arrival import custody
from reading_queue.services.hub import Hub
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid
from storage.contract.wire import CustodyAnswer, CustodyBatch, CustodyEventReport
from tests.integration.hub_intake.conftest import OTHER_SITE, SITE
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

STUDY = Uid("1.2.840.1")


def events(gateway: GatewayStandIn, *seqs: int, hop: Hop = Hop.RECEIVED) -> CustodyBatch:
    return CustodyBatch(
        events=tuple(
            CustodyEventReport(seq=seq, hop=hop, study_uid=STUDY, at=gateway.at + timedelta(seconds=seq))
            for seq in seqs
        )
    )


def accepted(gateway: GatewayStandIn, *seqs: int) -> int:
    return gateway.post("/custody", events(gateway, *seqs)).into(CustodyAnswer).accepted_through


def test_batch_sent_twice_is_in_the_ledger_once(gateway: GatewayStandIn, network: Hub) -> None:
    assert accepted(gateway, 1, 2, 3) == 3
    assert accepted(gateway, 1, 2, 3) == 3
    assert accepted(gateway, 3, 4) == 4
    assert len(custody.ledger_of(network, STUDY)) == 4


def test_gap_holds_the_number_back_until_it_is_filled(gateway: GatewayStandIn) -> None:
    assert accepted(gateway, 1) == 1
    assert accepted(gateway, 3, 4) == 1
    assert accepted(gateway, 2) == 4


def test_gateway_enrolled_anew_goes_on_counting_where_it_was(gateway: GatewayStandIn) -> None:
    assert accepted(gateway, 501, 502) == 502
    assert accepted(gateway, 503) == 503


def test_events_belong_to_the_gateways_own_site(
    gateway: GatewayStandIn, other_gateway: GatewayStandIn, network: Hub
) -> None:
    accepted(gateway, 1)
    accepted(other_gateway, 1)
    assert [line.site_id for line in custody.ledger_of(network, STUDY)] == [OTHER_SITE, SITE]
    assert [line.place for line in custody.ledger_of(network, STUDY, SITE)] == [f"gateway:{gateway.gateway_id}"]


def test_ledger_is_told_by_the_hubs_clock_whatever_the_clinics_clock_says(
    gateway: GatewayStandIn, network: Hub, hub_clock: SteerableClock
) -> None:
    started = hub_clock.now
    gateway.at = started - timedelta(hours=5)
    gateway.post("/custody", events(gateway, 1))  # one second after the gateway's `at`
    hub_clock.advance(10)
    with network.transaction() as session:
        custody.record(
            session, network.clock(), Hop.DECLARED, event_key="hub:declared:t", site_id=SITE, study_uid=STUDY
        )
    lines = custody.ledger_of(network, STUDY, SITE)
    assert [line.hop for line in lines] == [Hop.RECEIVED, Hop.DECLARED]
    assert [line.elapsed_s for line in lines] == [None, 9.0]
    assert lines[0].at == started - timedelta(hours=5) + timedelta(seconds=1)
    assert lines[0].corrected_at == started + timedelta(seconds=1)


def test_equal_times_are_told_in_the_order_of_the_road(network: Hub) -> None:
    with network.transaction() as session:
        for hop in (Hop.VERIFIED, Hop.COMMITTED, Hop.DECLARED):
            assert custody.record(session, network.clock(), hop, event_key=hop, site_id=SITE, study_uid=STUDY)
        assert not custody.record(session, network.clock(), hop, event_key=hop, site_id=SITE, study_uid=STUDY)
    lines = custody.ledger_of(network, STUDY)
    assert [line.hop for line in lines] == [Hop.DECLARED, Hop.COMMITTED, Hop.VERIFIED]
