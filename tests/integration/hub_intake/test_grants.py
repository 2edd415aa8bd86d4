"""What the hub asks for, grants and takes note of, before a byte is verified."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from reading_queue.services.arrival import custody
from reading_queue.services.hub import Hub
from storage.contract.hops import Hop
from storage.contract.wire import (
    CommitRequest,
    GrantAnswer,
    GrantRequest,
    ManifestAnswer,
    TransferAnswer,
    TransferState,
)
from storage.ledger.tables import OutboxMessage
from tests.integration.hub_intake.conftest import OTHER_SITE, SITE
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn
from tests.integration.hub_intake.studies import STUDY, PackedStudy, make_instance, make_manifest, make_pack
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres


@pytest.fixture
def pack(network: Hub) -> PackedStudy:
    return make_pack(SITE, [make_instance(number, network.clock()) for number in (1, 2)])


@pytest.fixture
def transfer_id(gateway: GatewayStandIn, network: Hub) -> str:
    manifest = make_manifest(SITE, [make_instance(number, network.clock()) for number in (1, 2)])
    return gateway.post("/manifests", manifest).into(ManifestAnswer).transfer_id


def grant(gateway: GatewayStandIn, transfer_id: str, pack: PackedStudy) -> GrantAnswer:
    request = GrantRequest(packs=(pack.declaration,))
    return gateway.post(f"/transfers/{transfer_id}/grants", request).into(GrantAnswer)


def commit_request(pack: PackedStudy) -> CommitRequest:
    return CommitRequest(pack_sha256s=(pack.declaration.pack_sha256,))


def hops(hub: Hub) -> list[str]:
    return [line.hop for line in custody.ledger_of(hub, STUDY, SITE)]


def test_manifest_declared_twice_is_one_transfer(gateway: GatewayStandIn, network: Hub) -> None:
    manifest = make_manifest(SITE, [make_instance(1, network.clock())])
    first = gateway.post("/manifests", manifest).into(ManifestAnswer)
    assert first.needed == (manifest.instances[0].sop_instance_uid,)
    assert gateway.post("/manifests", manifest).into(ManifestAnswer) == first
    assert hops(network) == [Hop.DECLARED]


def test_manifest_of_another_site_is_refused(gateway: GatewayStandIn, network: Hub) -> None:
    reply = gateway.post("/manifests", make_manifest(OTHER_SITE, [make_instance(1, network.clock())]))
    assert (reply.status, reply.problem().code) == (403, "other_site")


def test_transfer_of_another_site_is_not_there(
    gateway: GatewayStandIn, other_gateway: GatewayStandIn, transfer_id: str, pack: PackedStudy
) -> None:
    granted = grant(gateway, transfer_id, pack)
    assert other_gateway.get(f"/transfers/{transfer_id}").problem().status == 404
    request = GrantRequest(packs=(pack.declaration,))
    assert other_gateway.post(f"/transfers/{transfer_id}/grants", request).problem().status == 404
    assert other_gateway.post(f"/grants/{granted.grant_id}/commits", commit_request(pack)).problem().status == 404


def test_grant_names_one_upload_per_pack_and_asking_again_gives_another(
    gateway: GatewayStandIn, transfer_id: str, pack: PackedStudy
) -> None:
    first, second = (grant(gateway, transfer_id, pack) for _ in range(2))
    assert [upload.pack_sha256 for upload in first.uploads] == [pack.declaration.pack_sha256]
    assert f"incoming/{first.grant_id}/{pack.declaration.pack_sha256}.tar" in first.uploads[0].url
    assert first.grant_id != second.grant_id


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"sop_instance_uids": ("1.2.3",)}, "not_in_manifest"),
        ({"size_bytes": 4096}, "pack_size_wrong"),
        ({"size_bytes": 1 << 40}, "pack_size_wrong"),
    ],
)
def test_pack_that_does_not_fit_the_manifest_is_not_granted(
    gateway: GatewayStandIn, transfer_id: str, pack: PackedStudy, change: dict[str, object], code: str
) -> None:
    request = GrantRequest(packs=(pack.declaration.model_copy(update=change),))
    reply = gateway.post(f"/transfers/{transfer_id}/grants", request)
    assert (reply.status, reply.problem().code) == (422, code)


def test_pack_named_twice_in_a_request_is_not_granted(
    gateway: GatewayStandIn, transfer_id: str, pack: PackedStudy
) -> None:
    request = GrantRequest(packs=(pack.declaration, pack.declaration))
    assert gateway.post(f"/transfers/{transfer_id}/grants", request).problem().code == "pack_named_twice"


def test_commit_launches_the_verification_once(
    gateway: GatewayStandIn, transfer_id: str, pack: PackedStudy, network: Hub
) -> None:
    granted = grant(gateway, transfer_id, pack)
    for _ in range(2):
        answer = gateway.post(f"/grants/{granted.grant_id}/commits", commit_request(pack)).into(TransferAnswer, 202)
        assert (answer.state, answer.confirmed, answer.refused) == (TransferState.RECEIVING, (), ())
    with network.transaction() as session:
        jobs = session.scalars(select(OutboxMessage.job)).all()
    assert jobs == ["transfers.verify_pack"]
    assert hops(network) == [Hop.DECLARED, Hop.COMMITTED]


def test_committed_is_written_when_the_last_needed_pack_is_committed(gateway: GatewayStandIn, network: Hub) -> None:
    instances = [make_instance(number, network.clock()) for number in (1, 2)]
    manifest = make_manifest(SITE, instances)
    transfer_id = gateway.post("/manifests", manifest).into(ManifestAnswer).transfer_id
    for number, instance in enumerate(instances):
        assert (Hop.COMMITTED in hops(network)) is False, f"after {number} packs"
        single = make_pack(SITE, [instance])
        granted = grant(gateway, transfer_id, single)
        gateway.post(f"/grants/{granted.grant_id}/commits", commit_request(single)).into(TransferAnswer, 202)
    assert hops(network) == [Hop.DECLARED, Hop.COMMITTED]


def test_expired_grant_is_refused_in_words(
    gateway: GatewayStandIn, transfer_id: str, pack: PackedStudy, network: Hub, hub_clock: SteerableClock
) -> None:
    granted = grant(gateway, transfer_id, pack)
    hub_clock.advance(network.policy.grant_ttl_s)
    reply = gateway.post(f"/grants/{granted.grant_id}/commits", commit_request(pack))
    assert (reply.status, reply.problem().code) == (410, "grant_expired")
    assert "Ask for a new one" in reply.problem().detail


def test_commit_repeated_after_the_grant_expired_is_answered(
    gateway: GatewayStandIn, transfer_id: str, pack: PackedStudy, network: Hub, hub_clock: SteerableClock
) -> None:
    granted = grant(gateway, transfer_id, pack)
    path = f"/grants/{granted.grant_id}/commits"
    gateway.post(path, commit_request(pack)).into(TransferAnswer, 202)
    hub_clock.advance(network.policy.grant_ttl_s)
    assert gateway.post(path, commit_request(pack)).status == 202


def test_commit_of_a_pack_that_was_not_granted_is_refused(
    gateway: GatewayStandIn, transfer_id: str, pack: PackedStudy, network: Hub
) -> None:
    granted = grant(gateway, transfer_id, pack)
    another = make_pack(SITE, [make_instance(1, network.clock())])
    reply = gateway.post(f"/grants/{granted.grant_id}/commits", commit_request(another))
    assert (reply.status, reply.problem().code) == (422, "pack_not_granted")
