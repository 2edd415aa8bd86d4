"""Nothing but a fresh, unaltered request of a known gateway is heard."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text, update

from reading_queue.services.access.gateway_auth import SEEN_EVERY
from reading_queue.services.hub import Hub
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid
from storage.contract.signing import GatewayKey, make_nonce
from storage.contract.wire import CustodyAnswer, CustodyBatch, CustodyEventReport
from storage.ledger.tables import Gateway
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn, send
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

TARGET = "/gateway/v1/custody"


def batch(gateway: GatewayStandIn) -> CustodyBatch:
    event = CustodyEventReport(seq=1, hop=Hop.RECEIVED, study_uid=Uid("1.2.3"), at=gateway.at)
    return CustodyBatch(events=(event,))


def test_signed_request_is_heard(gateway: GatewayStandIn) -> None:
    assert gateway.post("/custody", batch(gateway)).into(CustodyAnswer).accepted_through == 1


def test_unsigned_request_is_refused(gateway: GatewayStandIn) -> None:
    reply = send(gateway.http, "POST", gateway.url + TARGET, b"{}")
    assert (reply.status, reply.problem().code) == (401, "signature_invalid")


def test_replayed_request_is_refused_even_when_nothing_else_is_wrong(gateway: GatewayStandIn) -> None:
    body = batch(gateway).model_dump_json().encode()
    headers = gateway.signed("POST", TARGET, body)
    assert send(gateway.http, "POST", gateway.url + TARGET, body, headers).status == 200
    reply = send(gateway.http, "POST", gateway.url + TARGET, body, headers)
    assert (reply.status, reply.problem().code) == (401, "nonce_used")


def test_tampered_body_is_refused(gateway: GatewayStandIn) -> None:
    body = batch(gateway).model_dump_json().encode()
    headers = gateway.signed("POST", TARGET, body)
    tampered = body.replace(b"1.2.3", b"1.2.4")
    reply = send(gateway.http, "POST", gateway.url + TARGET, tampered, headers)
    assert (reply.status, reply.problem().code) == (401, "signature_invalid")


def test_request_turned_to_another_address_is_refused(gateway: GatewayStandIn) -> None:
    headers = gateway.signed("GET", "/gateway/v1/documents?after=0&wait_s=0")
    reply = send(gateway.http, "GET", f"{gateway.url}/gateway/v1/documents?after=1&wait_s=0", headers=headers)
    assert (reply.status, reply.problem().code) == (401, "signature_invalid")


def test_request_for_another_network_is_refused(gateway: GatewayStandIn) -> None:
    reply = gateway.call("POST", TARGET, batch(gateway), audience="another-network")
    assert (reply.status, reply.problem().code) == (401, "signature_invalid")


def test_request_by_another_key_under_this_name_is_refused(gateway: GatewayStandIn) -> None:
    reply = gateway.call("POST", TARGET, batch(gateway), key=GatewayKey.generate())
    assert (reply.status, reply.problem().code) == (401, "signature_invalid")


def test_unknown_gateway_is_refused(gateway: GatewayStandIn) -> None:
    reply = gateway.call("POST", TARGET, batch(gateway), key_id="gw-unknown")
    assert (reply.status, reply.problem().code) == (401, "gateway_unknown")


def test_revoked_gateway_is_refused(gateway: GatewayStandIn, network: Hub) -> None:
    with network.transaction() as session:
        session.execute(update(Gateway).values(revoked_at=network.clock()))
    reply = gateway.post("/custody", batch(gateway))
    assert (reply.status, reply.problem().code) == (401, "gateway_revoked")


def test_stale_nonce_is_refused_and_the_fresh_one_in_the_answer_works(
    gateway: GatewayStandIn, network: Hub, hub_clock: SteerableClock
) -> None:
    stale = gateway.nonce()
    hub_clock.advance(network.policy.nonce_ttl_s + 1)
    reply = gateway.call("POST", TARGET, batch(gateway), nonce=stale)
    assert (reply.status, reply.problem().code) == (401, "nonce_expired")
    again = gateway.call("POST", TARGET, batch(gateway), nonce=reply.headers["Counterpart-Nonce"])
    assert again.status == 200


def test_nonce_of_another_hub_is_refused(gateway: GatewayStandIn, network: Hub) -> None:
    foreign = make_nonce(b"another secret", network.clock(), bytes(16))
    reply = gateway.call("POST", TARGET, batch(gateway), nonce=foreign)
    assert (reply.status, reply.problem().code) == (401, "nonce_expired")


def test_wrong_clock_at_the_clinic_locks_nobody_out_and_is_measured(gateway: GatewayStandIn, network: Hub) -> None:
    gateway.at = network.clock() - timedelta(days=400)
    assert gateway.post("/custody", batch(gateway)).status == 200
    with network.transaction() as session:
        known = session.get_one(Gateway, gateway.gateway_id)
    assert known.clock_offset_ms == -400 * 24 * 3600 * 1000
    assert known.last_seen_at == network.clock()


def test_requests_in_a_row_write_once_that_the_gateway_was_seen(
    gateway: GatewayStandIn, network: Hub, hub_clock: SteerableClock
) -> None:
    def version_of_row() -> str:
        with network.transaction() as session:
            row = text("SELECT xmin::text FROM gateways WHERE gateway_id = :id")
            return session.execute(row, {"id": gateway.gateway_id}).scalar_one()

    gateway.get("/transfers/none")
    before = version_of_row()
    gateway.get("/transfers/none")
    assert version_of_row() == before
    hub_clock.advance(SEEN_EVERY.total_seconds())
    gateway.get("/transfers/none")
    assert version_of_row() != before


def test_unknown_path_and_wrong_method_are_problems_too(gateway: GatewayStandIn) -> None:
    assert gateway.get("/nothing").problem().status == 404
    reply = send(gateway.http, "DELETE", f"{gateway.url}/gateway/v1/nonce")
    assert reply.problem().status == 405
    assert "GET" in reply.headers["Allow"]


def test_body_that_is_too_long_is_refused_before_it_is_read(gateway: GatewayStandIn) -> None:
    headers = {"Content-Length": str(1 << 40)}
    reply = send(gateway.http, "POST", gateway.url + TARGET, b"", headers)
    assert reply.problem().status == 413


def test_body_that_breaks_the_contract_is_refused_without_repeating_it(gateway: GatewayStandIn) -> None:
    body = b'{"events": [{"seq": 0, "patient": "WANG^FANG"}]}'
    reply = send(gateway.http, "POST", gateway.url + TARGET, body, gateway.signed("POST", TARGET, body))
    assert (reply.status, reply.problem().code) == (422, "body_invalid")
    assert "events.0.seq" in reply.problem().detail
    assert b"WANG" not in reply.body
