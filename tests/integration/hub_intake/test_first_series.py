"""An emergency is offered at its first whole series; everything else waits until all of it is here."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from reading_queue.db.tables import Case, ReadingTask
from reading_queue.domain.transitions import Actor, CaseEvent, CaseState
from reading_queue.services.arrival import custody
from reading_queue.services.cases.casework import ROUTE_JOB, move_case
from reading_queue.services.hub import Hub
from storage.contract.hops import Hop
from storage.contract.lanes import Lane
from storage.contract.wire import ManifestAnswer
from storage.ledger.tables import OutboxMessage
from tests.integration.hub_intake.conftest import SITE
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn
from tests.integration.hub_intake.jobs import run_jobs
from tests.integration.hub_intake.studies import STUDY, make_instance, make_manifest, make_pack
from tests.integration.hub_intake.studies import Instance as MadeInstance

pytestmark = pytest.mark.postgres


@pytest.fixture
def series(network: Hub) -> tuple[list[MadeInstance], list[MadeInstance]]:
    """Two series of two instances each."""
    made = [make_instance(number, network.clock()) for number in range(1, 5)]
    return made[0::2], made[1::2]


def declare(gateway: GatewayStandIn, instances: list[MadeInstance], lane: Lane) -> str:
    manifest = make_manifest(gateway.site_id, instances).model_copy(update={"lane": lane})
    return gateway.post("/manifests", manifest).into(ManifestAnswer).transfer_id


def send(gateway: GatewayStandIn, hub: Hub, transfer_id: str, instances: list[MadeInstance]) -> None:
    gateway.upload_and_commit(transfer_id, [make_pack(gateway.site_id, instances)])
    run_jobs(hub)


def case_of(hub: Hub) -> Case:
    with hub.transaction() as session:
        return session.scalars(select(Case)).one()


def routings(hub: Hub) -> int:
    with hub.transaction() as session:
        return len(session.scalars(select(OutboxMessage).where(OutboxMessage.job == ROUTE_JOB)).all())


def test_a_stat_case_is_offered_at_its_first_whole_series_and_says_that_the_rest_is_arriving(
    gateway: GatewayStandIn, network: Hub, series: tuple[list[MadeInstance], list[MadeInstance]]
) -> None:
    first, second = series
    transfer_id = declare(gateway, first + second, Lane.STAT)
    send(gateway, network, transfer_id, first[:1])
    assert case_of(network).state == CaseState.RECEIVING, "half a series is none"
    send(gateway, network, transfer_id, first[1:])
    case = case_of(network)
    assert (case.state, case.still_arriving, case.images_unacknowledged) == (CaseState.READY, True, True)
    assert case.modality == "CT"
    assert routings(network) == 1
    send(gateway, network, transfer_id, second)
    case = case_of(network)
    assert (case.state, case.still_arriving, case.images_unacknowledged) == (CaseState.READY, False, False)
    assert [line.hop for line in custody.ledger_of(network, STUDY, SITE)].count(Hop.CATALOGUED) == 1


def test_who_took_it_while_it_arrived_must_look_at_the_rest(
    gateway: GatewayStandIn, network: Hub, series: tuple[list[MadeInstance], list[MadeInstance]]
) -> None:
    first, second = series
    transfer_id = declare(gateway, first + second, Lane.STAT)
    send(gateway, network, transfer_id, first)
    with network.transaction() as session:
        case = session.scalars(select(Case)).one()
        move_case(case, CaseEvent.OFFER, Actor.SYSTEM)
        move_case(case, CaseEvent.CLAIM, Actor.PHYSICIAN)
        case.claimed_at = network.clock()
        case.images_unacknowledged = False  # the reader says that they sign what is there
    send(gateway, network, transfer_id, second)
    case = case_of(network)
    assert (case.state, case.still_arriving, case.images_unacknowledged) == (CaseState.READING, False, True)


def test_a_routine_case_waits_for_all_of_its_images(
    gateway: GatewayStandIn, network: Hub, series: tuple[list[MadeInstance], list[MadeInstance]]
) -> None:
    first, second = series
    transfer_id = declare(gateway, first + second, Lane.ROUTINE)
    send(gateway, network, transfer_id, first)
    assert case_of(network).state == CaseState.RECEIVING
    with network.transaction() as session:
        assert session.scalars(select(ReadingTask)).all() == []
    send(gateway, network, transfer_id, second)
    assert case_of(network).state == CaseState.READY
    assert not case_of(network).still_arriving
