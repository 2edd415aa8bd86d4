"""One code, one gateway."""

from __future__ import annotations

import hashlib
import re
import threading
from datetime import date

import pytest
import urllib3
from sqlalchemy import select

from reading_queue.db.tables import Account, Organisation, Physician
from reading_queue.errors import NotFound
from reading_queue.services.access.enrolment import issue_enrolment_code, issue_reader_code
from reading_queue.services.access.keys import hub_key
from reading_queue.services.hub import Hub
from storage.contract.accession_numbers import mark_of
from storage.contract.signing import GatewayKey, key_id_of
from storage.contract.wire import EnrolmentAnswer, EnrolmentRequest, ReaderCases
from storage.ledger.tables import Enrolment, Gateway
from tests.integration.hub_intake.conftest import OTHER_SITE, SITE
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn, Reply, enrol_stand_in, send
from tests.integration.hub_intake.http_server import HubServer
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres


def enrol(server: HubServer, code: str, key: GatewayKey) -> Reply:
    request = EnrolmentRequest(code=code, public_key=key.public_text(), software_version="0.1.0")
    body = request.model_dump_json().encode()
    with urllib3.PoolManager(retries=False) as http:
        return send(http, "POST", f"{server.url}/gateway/v1/enrolments", body)


def test_code_is_typable_and_kept_as_a_hash_only(network: Hub) -> None:
    code = issue_enrolment_code(network, SITE, issued_by="admin")
    assert re.fullmatch(r"([2-9A-HJKMNP-TV-Z]{4}-){3}[2-9A-HJKMNP-TV-Z]{4}", code)
    with network.transaction() as session:
        kept = session.scalars(select(Enrolment)).one()
    assert kept.code_sha256 == hashlib.sha256(code.replace("-", "").encode()).hexdigest()


def test_code_for_an_unknown_site_is_not_issued(network: Hub) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        issue_enrolment_code(network, "nowhere", issued_by="admin")


def test_enrolment_tells_the_gateway_who_it_is_and_whom_to_trust(network: Hub, server: HubServer) -> None:
    key = GatewayKey.generate()
    answer = enrol(server, issue_enrolment_code(network, SITE, "admin"), key).into(EnrolmentAnswer)
    assert answer.gateway_id == key_id_of(key.public_text())
    assert answer.site_id == SITE
    assert answer.audience == network.audience
    assert (answer.hub_key_id, answer.hub_public_key) == hub_key(network)


def test_code_may_be_typed_in_lower_case_without_hyphens(network: Hub, server: HubServer) -> None:
    code = issue_enrolment_code(network, SITE, "admin")
    assert enrol(server, code.lower().replace("-", " "), GatewayKey.generate()).status == 200


def test_wrong_code_is_refused_in_words(server: HubServer) -> None:
    reply = enrol(server, "AAAA-BBBB-CCCC-DDDD", GatewayKey.generate())
    assert (reply.status, reply.problem().code) == (403, "enrolment_code_wrong")


def test_used_code_is_refused_for_another_key(network: Hub, server: HubServer) -> None:
    code = issue_enrolment_code(network, SITE, "admin")
    enrol(server, code, GatewayKey.generate())
    reply = enrol(server, code, GatewayKey.generate())
    assert (reply.status, reply.problem().code) == (403, "enrolment_code_used")


def test_gateway_that_lost_its_answer_gets_it_again_with_the_same_code_and_key(network: Hub, server: HubServer) -> None:
    code = issue_enrolment_code(network, SITE, "admin")
    key = GatewayKey.generate()
    first = enrol(server, code, key).into(EnrolmentAnswer)
    assert enrol(server, code, key).into(EnrolmentAnswer) == first
    with network.transaction() as session:
        assert len(session.scalars(select(Gateway)).all()) == 1


def test_expired_code_is_refused(network: Hub, server: HubServer, hub_clock: SteerableClock) -> None:
    code = issue_enrolment_code(network, SITE, "admin")
    hub_clock.advance(network.policy.enrolment_ttl_s + 1)
    reply = enrol(server, code, GatewayKey.generate())
    assert (reply.status, reply.problem().code) == (403, "enrolment_code_expired")


def test_key_of_one_site_cannot_be_enrolled_for_another(network: Hub, server: HubServer) -> None:
    key = GatewayKey.generate()
    enrol(server, issue_enrolment_code(network, SITE, "admin"), key)
    code = issue_enrolment_code(network, OTHER_SITE, "admin")
    assert enrol(server, code, key).problem().code == "enrolment_key_known"
    assert enrol(server, code, GatewayKey.generate()).status == 200, "the refused try did not spend the code"


def test_two_gateways_with_one_code_at_once_yield_one_enrolment(network: Hub, server: HubServer) -> None:
    code = issue_enrolment_code(network, SITE, "admin")
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(enrol(server, code, GatewayKey.generate()).status))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 403, 403, 403]


def test_key_that_is_not_base64url_is_refused(network: Hub, server: HubServer) -> None:
    code = issue_enrolment_code(network, SITE, "admin")
    request = EnrolmentRequest(code=code, public_key="!" * 43, software_version="0.1.0")
    with urllib3.PoolManager(retries=False) as http:
        reply = send(http, "POST", f"{server.url}/gateway/v1/enrolments", request.model_dump_json().encode())
    assert (reply.status, reply.problem().code) == (422, "public_key_invalid")


def test_gateway_that_lost_its_journal_learns_how_far_its_events_are_known(network: Hub, server: HubServer) -> None:
    key = GatewayKey.generate()
    first = enrol(server, issue_enrolment_code(network, SITE, "admin"), key).into(EnrolmentAnswer)
    assert first.custody_through == 0
    with network.transaction() as session:
        session.get_one(Gateway, first.gateway_id).custody_through = 41
    again = enrol(server, issue_enrolment_code(network, SITE, "admin"), key).into(EnrolmentAnswer)
    assert (again.gateway_id, again.custody_through) == (first.gateway_id, 41)


def test_a_readers_gateway_and_a_sites_gateway_have_nothing_of_each_others(network: Hub, server: HubServer) -> None:
    with network.transaction() as session:
        session.add(Organisation(organisation_id="city-first", kind="municipal", name="市第一人民医院"))
        session.flush()
        session.add(
            Account(
                account_id="wang",
                login="wang",
                display_name="王",
                password_hash="-",
                role="physician",
                organisation_id="city-first",
                created_at=network.clock(),
            )
        )
        session.flush()
        session.add(
            Physician(
                physician_id="wang",
                account_id="wang",
                organisation_id="city-first",
                title="attending",
                licence_number="1",
                licence_valid_until=date(2040, 1, 1),
                modalities=[],
                specialties=[],
                wip_max=5,
            )
        )
    with pytest.raises(NotFound):
        issue_reader_code(network, f"{SITE}-01", "admin")  # nobody reads there
    key = GatewayKey.generate()
    answer = enrol(server, issue_reader_code(network, "city-first", "admin"), key).into(EnrolmentAnswer)
    assert (answer.role, answer.site_id, answer.site_name) == ("reader", "city-first", "市第一人民医院")
    reader = GatewayStandIn(server.url, key, answer.gateway_id, "", answer.audience, network.clock())
    assert reader.call("GET", "/gateway/v1/reader/cases").into(ReaderCases).cases == ()
    for target in ("/gateway/v1/documents?after=0&wait_s=0", "/gateway/v1/accounts"):
        assert reader.call("GET", target).status == 403
    site = enrol_stand_in(network, server.url, SITE)
    assert site.call("GET", "/gateway/v1/reader/cases").status == 403
    assert site.call("GET", "/gateway/v1/documents?after=0&wait_s=0").status == 200


def test_second_gateway_of_a_site_never_gives_the_order_numbers_of_the_first(network: Hub, server: HubServer) -> None:
    by_mark: dict[str, GatewayKey] = {}
    while True:  # one in a million pairs: some thousand keys
        second = GatewayKey.generate()
        first = by_mark.setdefault(mark_of(key_id_of(second.public_text())), second)
        if first is not second:
            break
    enrol(server, issue_enrolment_code(network, SITE, "admin"), first).into(EnrolmentAnswer)
    code = issue_enrolment_code(network, SITE, "admin")
    refused = enrol(server, code, second)
    assert (refused.status, refused.problem().code) == (403, "enrolment_mark_taken")
    enrol(server, code, GatewayKey.generate()).into(EnrolmentAnswer)
    enrol(server, issue_enrolment_code(network, OTHER_SITE, "admin"), second).into(EnrolmentAnswer)
