"""What does not prove is refused in words, kept in quarantine, and harms nothing that proved before."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select

from reading_queue.services.arrival import custody
from reading_queue.services.arrival.verification import verify_pack
from reading_queue.services.hub import Hub
from storage.catalogue.tables import GrantedPack, Instance, Study
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid
from storage.contract.wire import (
    CommitRequest,
    GrantAnswer,
    GrantRequest,
    ManifestAnswer,
    PackRefusal,
    TransferAnswer,
    TransferState,
)
from tests.integration.hub_intake.conftest import SITE
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn, send
from tests.integration.hub_intake.studies import (
    STUDY,
    PackedStudy,
    make_instance,
    make_manifest,
    make_pack,
    sha256,
)
from tests.integration.hub_intake.studies import Instance as MadeInstance
from tests.support.hub import PUBLIC_URL

pytestmark = pytest.mark.postgres

OTHER_STUDY = Uid("1.2.826.0.1.3680043.8.498.77")


@pytest.fixture
def one(network: Hub) -> MadeInstance:
    return make_instance(1, network.clock())


def refuse(
    gateway: GatewayStandIn, hub: Hub, declared: MadeInstance, pack: PackedStudy, body: bytes | None = None
) -> PackRefusal:
    """Declare one instance, let the pack (or another `body`) arrive in the store, return how the hub refuses it."""
    body = pack.body if body is None else body
    transfer_id = gateway.post("/manifests", make_manifest(SITE, [declared])).into(ManifestAnswer).transfer_id
    request = GrantRequest(packs=(pack.declaration,))
    grant_id = gateway.post(f"/transfers/{transfer_id}/grants", request).into(GrantAnswer).grant_id
    digest = pack.declaration.pack_sha256
    # A store that checks nothing: what proves must prove by what lies there.
    hub.objects.put(f"incoming/{grant_id}/{digest}.tar", body, len(body))
    commit = CommitRequest(pack_sha256s=(digest,))
    gateway.post(f"/grants/{grant_id}/commits", commit).into(TransferAnswer, 202)
    verify_all(hub)
    answer = gateway.get(f"/transfers/{transfer_id}").into(TransferAnswer)
    assert (answer.state, answer.confirmed) == (TransferState.RECEIVING, ())
    assert_quarantined(hub, grant_id, digest, body)
    [refusal] = answer.refused
    assert refusal.pack_sha256 == digest
    return refusal


def verify_all(hub: Hub) -> None:
    with hub.transaction() as session:
        ids = session.scalars(select(GrantedPack.granted_pack_id)).all()
    for granted_pack_id in ids:
        verify_pack(hub, granted_pack_id)


def assert_quarantined(hub: Hub, grant_id: str, digest: str, body: bytes) -> None:
    assert hub.objects.read(f"quarantine/{grant_id}/{digest}.tar") == body
    assert list(hub.objects.list_keys("incoming/")) == []
    assert list(hub.objects.list_keys("studies/")) == []
    with hub.transaction() as session:
        assert session.scalars(select(Study)).all() == []
    refused = [line for line in custody.ledger_of(hub, STUDY, SITE) if line.hop == Hop.REFUSED]
    assert len(refused) == 1
    assert refused[0].detail["reason"]


def rebuilt(declared: MadeInstance, file: bytes) -> tuple[MadeInstance, PackedStudy]:
    """Return a manifest's entry and a pack that agree with each other but hold `file`, whatever it is."""
    entry = declared.entry.model_copy(update={"stored_sha256": sha256(file), "size_bytes": len(file)})
    instance = MadeInstance(entry, file)
    return instance, make_pack(SITE, [instance])


def test_pack_of_another_length_than_declared_is_refused(
    gateway: GatewayStandIn, network: Hub, one: MadeInstance
) -> None:
    pack = make_pack(SITE, [one])
    refusal = refuse(gateway, network, one, pack, pack.body + bytes(512))
    assert refusal.code == "size_differs"
    assert str(len(pack.body)) in refusal.reason


@pytest.mark.parametrize("damage", [lambda body: body[:2000] + b"!" + body[2001:], lambda body: bytes(len(body))])
def test_pack_with_altered_bytes_is_refused(
    gateway: GatewayStandIn, network: Hub, one: MadeInstance, damage: Callable[[bytes], bytes]
) -> None:
    pack = make_pack(SITE, [one])
    assert refuse(gateway, network, one, pack, damage(pack.body)).code == "damaged"


def test_pack_under_another_digest_than_its_own_is_refused(
    gateway: GatewayStandIn, network: Hub, one: MadeInstance
) -> None:
    pack = make_pack(SITE, [one])
    lying = PackedStudy(pack.declaration.model_copy(update={"pack_sha256": sha256(b"another")}), pack.body)
    assert refuse(gateway, network, one, lying).code == "hash_differs"


def test_manifest_that_lies_about_the_stored_digest_is_refused(
    gateway: GatewayStandIn, network: Hub, one: MadeInstance
) -> None:
    lying = MadeInstance(one.entry.model_copy(update={"stored_sha256": sha256(b"another")}), one.file)
    refusal = refuse(gateway, network, lying, make_pack(SITE, [one]))
    assert refusal.code == "hash_differs"
    assert one.entry.sop_instance_uid in refusal.reason


def test_manifest_that_lies_about_the_received_digest_is_refused(
    gateway: GatewayStandIn, network: Hub, one: MadeInstance
) -> None:
    lying = MadeInstance(one.entry.model_copy(update={"received_sha256": sha256(b"another")}), one.file)
    assert refuse(gateway, network, lying, make_pack(SITE, [one])).code == "hash_differs"


def test_manifest_that_lies_about_a_size_gets_no_grant_for_the_true_pack(
    gateway: GatewayStandIn, network: Hub, one: MadeInstance
) -> None:
    lying = one.entry.model_copy(update={"size_bytes": one.entry.size_bytes + 1024})
    manifest = make_manifest(SITE, [MadeInstance(lying, one.file)])
    transfer_id = gateway.post("/manifests", manifest).into(ManifestAnswer).transfer_id
    request = GrantRequest(packs=(make_pack(SITE, [one]).declaration,))
    assert gateway.post(f"/transfers/{transfer_id}/grants", request).problem().code == "pack_size_wrong"


def test_manifest_that_lies_about_a_size_within_the_padding_is_refused(
    gateway: GatewayStandIn, network: Hub, one: MadeInstance
) -> None:
    step = -1 if one.entry.size_bytes % 512 == 0 else 1
    lying = MadeInstance(one.entry.model_copy(update={"size_bytes": one.entry.size_bytes + step}), one.file)
    assert refuse(gateway, network, lying, make_pack(SITE, [one])).code == "size_differs"


def test_manifest_that_lies_about_a_uid_is_refused(gateway: GatewayStandIn, network: Hub, one: MadeInstance) -> None:
    lying = MadeInstance(one.entry.model_copy(update={"series_uid": Uid("1.2.3")}), one.file)
    assert refuse(gateway, network, lying, make_pack(SITE, [one])).code == "uid_differs"


def test_instance_of_another_study_is_refused(gateway: GatewayStandIn, network: Hub) -> None:
    stranger = make_instance(1, network.clock(), study=OTHER_STUDY)
    pack = make_pack(SITE, [stranger])
    assert refuse(gateway, network, stranger, pack).code == "wrong_study"


def test_pack_made_for_another_study_is_refused(gateway: GatewayStandIn, network: Hub, one: MadeInstance) -> None:
    foreign = make_pack(SITE, [one], study=Uid(f"{STUDY[:-1]}2"))
    assert refuse(gateway, network, one, foreign).code == "wrong_study"


def test_pack_that_holds_an_instance_nobody_declared_is_refused(
    gateway: GatewayStandIn, network: Hub, one: MadeInstance
) -> None:
    two = make_instance(2, network.clock())
    both = make_pack(SITE, [one, two])
    declaration = make_pack(SITE, [one]).declaration.model_copy(
        update={"pack_sha256": both.declaration.pack_sha256, "size_bytes": both.declaration.size_bytes}
    )
    manifest = make_manifest(SITE, [one])
    transfer_id = gateway.post("/manifests", manifest).into(ManifestAnswer).transfer_id
    request = GrantRequest(packs=(declaration,))
    assert gateway.post(f"/transfers/{transfer_id}/grants", request).problem().code == "pack_size_wrong"


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda file: bytes(len(file)), id="no DICOM at all"),
        pytest.param(lambda file: file[: len(file) // 2], id="cut in the middle"),
    ],
)
def test_pack_of_a_file_that_is_no_whole_instance_is_refused(
    gateway: GatewayStandIn, network: Hub, one: MadeInstance, spoil: Callable[[bytes], bytes]
) -> None:
    instance, pack = rebuilt(one, spoil(one.file))
    assert refuse(gateway, network, instance, pack).code == "damaged"


def test_committed_pack_that_never_arrived_is_refused(gateway: GatewayStandIn, network: Hub, one: MadeInstance) -> None:
    transfer_id = gateway.post("/manifests", make_manifest(SITE, [one])).into(ManifestAnswer).transfer_id
    pack = make_pack(SITE, [one])
    request = GrantRequest(packs=(pack.declaration,))
    grant_id = gateway.post(f"/transfers/{transfer_id}/grants", request).into(GrantAnswer).grant_id
    commit = CommitRequest(pack_sha256s=(pack.declaration.pack_sha256,))
    gateway.post(f"/grants/{grant_id}/commits", commit).into(TransferAnswer, 202)
    verify_all(network)
    [refusal] = gateway.get(f"/transfers/{transfer_id}").into(TransferAnswer).refused
    assert (refusal.code, "never arrived" in refusal.reason) == ("missing", True)


def test_refused_pack_may_be_uploaded_again_and_its_refusal_is_not_repeated(
    gateway: GatewayStandIn, network: Hub, one: MadeInstance
) -> None:
    pack = make_pack(SITE, [one])
    refuse(gateway, network, one, pack, bytes(len(pack.body)))
    transfer_id = gateway.post("/manifests", make_manifest(SITE, [one])).into(ManifestAnswer).transfer_id
    gateway.upload_and_commit(transfer_id, [pack])
    assert gateway.get(f"/transfers/{transfer_id}").into(TransferAnswer).refused == ()
    verify_all(network)
    answer = gateway.get(f"/transfers/{transfer_id}").into(TransferAnswer)
    assert (answer.state, answer.refused) == (TransferState.VERIFIED, ())


def test_rubbish_under_the_name_of_a_verified_pack_never_replaces_it(
    gateway: GatewayStandIn, network: Hub, one: MadeInstance
) -> None:
    transfer_id = gateway.post("/manifests", make_manifest(SITE, [one])).into(ManifestAnswer).transfer_id
    pack = make_pack(SITE, [one])
    gateway.upload_and_commit(transfer_id, [pack])
    verify_all(network)
    digest = pack.declaration.pack_sha256
    request = GrantRequest(packs=(pack.declaration,))
    grant_id = gateway.post(f"/transfers/{transfer_id}/grants", request).into(GrantAnswer).grant_id
    network.objects.put(f"incoming/{grant_id}/{digest}.tar", bytes(len(pack.body)), len(pack.body))
    commit = CommitRequest(pack_sha256s=(digest,))
    gateway.post(f"/grants/{grant_id}/commits", commit).into(TransferAnswer, 202)
    verify_all(network)
    assert network.objects.read(f"studies/{SITE}/{STUDY}/packs/{digest}.tar") == pack.body


def test_other_bytes_under_a_uid_that_came_in_meanwhile_are_refused(
    gateway: GatewayStandIn, network: Hub, one: MadeInstance
) -> None:
    changed = make_instance(1, network.clock(), PatientName="李^娜")
    ids = {
        name: gateway.post("/manifests", make_manifest(SITE, [instance])).into(ManifestAnswer).transfer_id
        for name, instance in (("first", one), ("second", changed))
    }
    gateway.upload_and_commit(ids["first"], [make_pack(SITE, [one])])
    gateway.upload_and_commit(ids["second"], [make_pack(SITE, [changed])])
    verify_all(network)
    with network.transaction() as session:
        kept = session.scalars(select(Instance)).one()
    states = {name: gateway.get(f"/transfers/{one_id}").into(TransferAnswer) for name, one_id in ids.items()}
    first_won = kept.stored_sha256 == one.entry.stored_sha256
    loser = states["second" if first_won else "first"]
    assert loser.confirmed == ()
    assert [refusal.code for refusal in loser.refused] == ["conflicting_instance"]


def test_upload_of_other_bytes_than_granted_is_refused_by_the_store_already(
    gateway: GatewayStandIn, network: Hub, one: MadeInstance
) -> None:
    transfer_id = gateway.post("/manifests", make_manifest(SITE, [one])).into(ManifestAnswer).transfer_id
    pack = make_pack(SITE, [one])
    request = GrantRequest(packs=(pack.declaration,))
    [upload] = gateway.post(f"/transfers/{transfer_id}/grants", request).into(GrantAnswer).uploads
    address = upload.url.replace(PUBLIC_URL, gateway.url)
    assert send(gateway.http, "PUT", address, bytes(len(pack.body)), dict(upload.headers)).status == 400
    assert list(network.objects.list_keys("incoming/")) == []
