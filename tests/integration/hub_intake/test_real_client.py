"""The gateway's own client and the hub's API understand each other."""

from __future__ import annotations

import io

import pytest

from gateway.hub import HubClient, SigningIdentity
from reading_queue.services.access.enrolment import issue_enrolment_code
from reading_queue.services.hub import Hub
from storage.contract.signing import GatewayKey
from storage.contract.wire import CommitRequest, EnrolmentRequest, GrantRequest, TransferState
from tests.integration.hub_intake.conftest import SITE
from tests.integration.hub_intake.http_server import HubServer
from tests.integration.hub_intake.jobs import run_jobs
from tests.integration.hub_intake.studies import make_instance, make_manifest, make_pack
from tests.support.hub import PUBLIC_URL

pytestmark = pytest.mark.postgres


def client(hub: Hub, server: HubServer, identity: SigningIdentity | None) -> HubClient:
    return HubClient(server.url, identity, clock=hub.clock, connect_timeout_s=60, read_timeout_s=60)


def test_study_comes_in_through_the_gateways_own_client(network: Hub, server: HubServer) -> None:
    key = GatewayKey.generate()
    stranger = client(network, server, None)
    code = issue_enrolment_code(network, SITE, "admin")
    answer = stranger.enrol(EnrolmentRequest(code=code, public_key=key.public_text(), software_version="0.1.0"))
    stranger.close()
    known = client(network, server, SigningIdentity(key=key, key_id=answer.gateway_id, audience=answer.audience))
    instances = [make_instance(number, network.clock()) for number in (1, 2)]
    transfer_id = known.declare(make_manifest(SITE, instances)).transfer_id
    pack = make_pack(SITE, instances)
    granted = known.request_grant(transfer_id, GrantRequest(packs=(pack.declaration,)))
    [upload] = granted.uploads
    here = upload.model_copy(update={"url": upload.url.replace(PUBLIC_URL, server.url)})
    known.put_pack(here, io.BytesIO(pack.body), len(pack.body))
    known.commit(granted.grant_id, CommitRequest(pack_sha256s=(pack.declaration.pack_sha256,)))
    run_jobs(network)
    assert known.fetch_transfer(transfer_id).state is TransferState.VERIFIED
    assert known.fetch_documents(0, 0).documents == ()
    known.close()
