"""Requests for earlier studies at the gateway API: who is asked, what is heard, and that nothing counts twice."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from reading_queue.db.tables import Case, PriorRequest
from reading_queue.services.hub import Hub
from storage.catalogue.tables import Patient, Study
from storage.contract.lanes import Lane
from storage.contract.priors import PriorOutcome, PriorRequestPage
from storage.contract.wire import ManifestAnswer
from tests.integration.hub_intake.conftest import SITE
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn, enrol_stand_in
from tests.integration.hub_intake.http_server import HubServer
from tests.integration.hub_intake.jobs import run_jobs
from tests.integration.hub_intake.studies import STUDY, make_instance, make_manifest, make_pack

pytestmark = pytest.mark.postgres


def ask(gateway: GatewayStandIn, after: int = 0) -> PriorRequestPage:
    return gateway.get(f"/prior-requests?after={after}").into(PriorRequestPage)


def bring_study(hub: Hub, gateway: GatewayStandIn, **attributes: object) -> None:
    instance = make_instance(1, hub.clock(), **attributes)
    declared = gateway.post("/manifests", make_manifest(SITE, [instance])).into(ManifestAnswer)
    gateway.upload_and_commit(declared.transfer_id, [make_pack(SITE, [instance])])
    run_jobs(hub)


def test_case_asks_once_and_only_a_gateway_that_has_said_that_it_fetches(gateway, other_gateway, network: Hub) -> None:
    assert ask(gateway).requests == ()
    bring_study(network, gateway)
    (request,) = ask(gateway).requests
    assert (request.study_uid, request.held, request.patient_number, request.patient_name) == (
        STUDY,
        (STUDY,),
        "P-0001",
        "王^芳",
    )
    assert (str(request.birth_date), request.sex, request.modalities, request.lane) == (
        "1980-02-29",
        "F",
        ("CT",),
        Lane.ROUTINE,
    )
    assert ask(gateway, request.number).requests == ()
    assert ask(other_gateway).requests == (), "another site's"


def test_site_whose_gateway_never_asked_has_no_requests(gateway, network: Hub) -> None:
    bring_study(network, gateway)
    assert ask(gateway).requests == ()


def test_patient_without_a_number_is_nobody_to_ask_for(gateway, network: Hub) -> None:
    ask(gateway)
    bring_study(network, gateway, PatientID="")
    assert ask(gateway).requests == ()


def test_outcome_counts_once_what_is_done_stays_done_and_a_second_gateway_keeps_away(
    gateway, other_gateway, server: HubServer, network: Hub
) -> None:
    ask(gateway)
    bring_study(network, gateway)
    (request,) = ask(gateway).requests
    second = enrol_stand_in(network, server.url, SITE)
    path = f"/prior-requests/{request.request_id}/outcome"
    taken = PriorOutcome(state="taken", at=network.clock())
    for _ in range(2):
        assert gateway.post(path, taken).status == 204
    assert ask(second).requests == ()
    assert second.post(path, taken).problem().code == "taken_elsewhere"
    assert other_gateway.post(path, taken).status == 404
    done = PriorOutcome(state="done", at=network.clock(), found=2, fetched=1, left_out=1)
    for outcome in (done, done, taken):
        assert gateway.post(path, outcome).status == 204
    with network.transaction() as session:
        row = session.scalars(select(PriorRequest)).one()
    assert (row.state, row.found, row.fetched, row.left_out) == ("done", 2, 1, 1)


def test_request_of_a_gateway_that_was_lost_is_offered_again(gateway, server: HubServer, network: Hub) -> None:
    ask(gateway)
    bring_study(network, gateway)
    (request,) = ask(gateway).requests
    path = f"/prior-requests/{request.request_id}/outcome"
    taken = PriorOutcome(state="taken", at=network.clock())
    gateway.post(path, taken)
    with network.transaction() as session:
        session.execute(update(PriorRequest).values(changed_at=network.clock() - timedelta(days=8)))
    second = enrol_stand_in(network, server.url, SITE)
    assert [one.request_id for one in ask(second).requests] == [request.request_id]
    assert second.post(path, taken).status == 204


def test_prior_says_nothing_new_of_a_patient_who_is_known(gateway, network: Hub) -> None:
    bring_study(network, gateway)
    study = f"{STUDY}.77"
    instance = make_instance(5, network.clock(), study=study, PatientName="王^方", StudyDate="20250101")
    manifest = make_manifest(SITE, [instance], study=study).model_copy(update={"purpose": "prior"})
    declared = gateway.post("/manifests", manifest).into(ManifestAnswer)
    gateway.upload_and_commit(declared.transfer_id, [make_pack(SITE, [instance], study=study)])
    run_jobs(network)
    with network.transaction() as session:
        assert session.scalars(select(Patient.name)).all() == ["王^芳"]
        assert session.scalar(select(Study.revision).where(Study.study_uid == study)) == 1
        assert len(session.scalars(select(Case)).all()) == 1
