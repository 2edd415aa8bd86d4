"""A pack too large for one upload comes in numbered parts, over several grants; only what is wrong comes again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pytest
from sqlalchemy import select

from reading_queue.services.arrival import staging, verification
from reading_queue.services.arrival.settling import VERIFY_LARGE_JOB
from reading_queue.services.arrival.verification import verify_large_pack
from reading_queue.services.hub import Hub
from reading_queue.services.motion.sweeps import relaunch_lost
from reading_queue.services.motion.turns import alone_if_free
from reading_queue.worker.jobs import JOBS
from storage.catalogue.tables import GrantedPack, Instance, Pack
from storage.contract.wire import (
    UPLOADS_PER_GRANT_MAX,
    CommitRequest,
    GrantAnswer,
    GrantRequest,
    ManifestAnswer,
    PackDeclaration,
    PartDeclaration,
    TransferAnswer,
    TransferState,
)
from storage.ledger.tables import OutboxMessage
from storage.objects.protocol import StoreUnavailable
from storage.packs.parts import PART_BYTES_MIN, plan_parts
from tests.integration.hub_intake.conftest import SITE
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn, send
from tests.integration.hub_intake.studies import (
    Instance as MadeInstance,
)
from tests.integration.hub_intake.studies import (
    PackedStudy,
    make_instance,
    make_manifest,
    make_pack,
    sha256,
)
from tests.support.clock import SteerableClock
from tests.support.hub import PUBLIC_URL

pytestmark = pytest.mark.postgres

SIDE = 512
FRAMES = 68  # 34 MiB: more than is held in memory, seven parts of the smallest size
ALL = range(1, 8)


@pytest.fixture
def multi_frame(network: Hub) -> MadeInstance:
    pixels = np.random.default_rng(7).integers(0, 4096, (FRAMES, SIDE, SIDE), dtype="<u2")
    shape = {"Rows": SIDE, "Columns": SIDE, "NumberOfFrames": FRAMES}
    return make_instance(1, network.clock(), **shape, PixelData=pixels.tobytes())


@pytest.fixture
def pack(multi_frame: MadeInstance) -> PackedStudy:
    whole = make_pack(SITE, [multi_frame])
    parts = tuple(
        PartDeclaration(number=place.number, size_bytes=place.size_bytes, sha256=sha256(part_of(whole.body, place)))
        for place in plan_parts(len(whole.body), target_bytes=0)
    )
    return PackedStudy(whole.declaration.model_copy(update={"parts": parts}), whole.body)


@pytest.fixture
def transfer_id(gateway: GatewayStandIn, multi_frame: MadeInstance) -> str:
    return gateway.post("/manifests", make_manifest(SITE, [multi_frame])).into(ManifestAnswer).transfer_id


def part_of(body: bytes, place) -> bytes:
    return body[place.offset_bytes : place.offset_bytes + place.size_bytes]


def body_of(pack: PackedStudy, number: int) -> bytes:
    return part_of(pack.body, plan_parts(len(pack.body), target_bytes=0)[number - 1])


def grant(gateway: GatewayStandIn, transfer_id: str, pack: PackedStudy, wanted: Sequence[int]) -> GrantAnswer:
    declaration = pack.declaration.model_copy(update={"parts_wanted": tuple(wanted)})
    request = GrantRequest(packs=(declaration,))
    return gateway.post(f"/transfers/{transfer_id}/grants", request).into(GrantAnswer)


def put(gateway: GatewayStandIn, granted: GrantAnswer, pack: PackedStudy, *numbers: int) -> None:
    for upload in granted.uploads:
        assert upload.part is not None
        if upload.part in (numbers or ALL):
            url = upload.url.replace(PUBLIC_URL, gateway.url)
            assert send(gateway.http, "PUT", url, body_of(pack, upload.part), dict(upload.headers)).status == 200


def commit(gateway: GatewayStandIn, granted: GrantAnswer, pack: PackedStudy) -> None:
    request = CommitRequest(pack_sha256s=(pack.declaration.pack_sha256,))
    gateway.post(f"/grants/{granted.grant_id}/commits", request).into(TransferAnswer, 202)


def run_jobs(hub: Hub) -> None:
    with hub.transaction() as session:
        messages = session.scalars(select(OutboxMessage).order_by(OutboxMessage.message_id)).all()
    for message in messages:
        if message.job == VERIFY_LARGE_JOB:
            verify_large_pack(hub, message.arguments["granted_pack_id"])


def state_of(gateway: GatewayStandIn, transfer_id: str) -> TransferAnswer:
    return gateway.get(f"/transfers/{transfer_id}").into(TransferAnswer)


def test_parts_of_two_grants_become_one_object_that_is_verified_and_served_by_frame(
    gateway: GatewayStandIn, network: Hub, transfer_id: str, pack: PackedStudy, multi_frame: MadeInstance
) -> None:
    first = grant(gateway, transfer_id, pack, ALL)
    assert [upload.part for upload in first.uploads] == list(ALL)
    put(gateway, first, pack, 1, 2, 3)
    second = grant(gateway, transfer_id, pack, (4, 5, 6, 7))
    put(gateway, second, pack)
    commit(gateway, second, pack)
    run_jobs(network)
    assert state_of(gateway, transfer_id).state is TransferState.VERIFIED
    with network.transaction() as session:
        stored = session.scalars(select(Pack)).one()
        instance = session.scalars(select(Instance)).one()
    assert sha256(network.objects.read(stored.object_key)) == pack.declaration.pack_sha256
    [[offset, length]] = instance.frame_spans[67]["spans"]
    frame = network.objects.read(stored.object_key, offset=instance.offset_bytes + offset, length=length)
    assert multi_frame.file.endswith(frame)
    assert list(network.objects.list_keys("incoming/")) == []


def test_missing_part_is_named_and_only_it_comes_again(
    gateway: GatewayStandIn, network: Hub, transfer_id: str, pack: PackedStudy
) -> None:
    granted = grant(gateway, transfer_id, pack, ALL)
    put(gateway, granted, pack, 1, 2, 4, 5, 6, 7)
    commit(gateway, granted, pack)
    run_jobs(network)
    [refusal] = state_of(gateway, transfer_id).refused
    assert (refusal.code, refusal.parts) == ("part_missing", (3,))
    assert "1 of 7 parts" in refusal.reason
    again = grant(gateway, transfer_id, pack, (3,))
    put(gateway, again, pack)
    commit(gateway, again, pack)
    run_jobs(network)  # that of the refused grant too, delivered once more
    assert state_of(gateway, transfer_id).state is TransferState.VERIFIED


def test_part_with_other_bytes_is_named_kept_in_quarantine_and_only_it_comes_again(
    gateway: GatewayStandIn, network: Hub, transfer_id: str, pack: PackedStudy
) -> None:
    granted = grant(gateway, transfer_id, pack, ALL)
    put(gateway, granted, pack)
    digest = pack.declaration.pack_sha256
    wrong = bytes(PART_BYTES_MIN)
    network.objects.put(staging.part_key(granted.grant_id, digest, 5), wrong, len(wrong))  # a store that checks nothing
    commit(gateway, granted, pack)
    run_jobs(network)
    [refusal] = state_of(gateway, transfer_id).refused
    assert refusal.parts == (5,)
    assert network.objects.read(f"quarantine/{granted.grant_id}/{digest}.tar.part-00005") == wrong
    assert list(network.objects.list_keys("studies/")) == []
    again = grant(gateway, transfer_id, pack, (5,))
    put(gateway, again, pack)
    commit(gateway, again, pack)
    run_jobs(network)
    assert state_of(gateway, transfer_id).state is TransferState.VERIFIED


def test_pack_whose_parts_are_right_and_whose_whole_is_not_is_refused_whole(
    gateway: GatewayStandIn, network: Hub, transfer_id: str, pack: PackedStudy
) -> None:
    lie = PackedStudy(pack.declaration.model_copy(update={"pack_sha256": "0" * 64}), pack.body)
    granted = grant(gateway, transfer_id, lie, ALL)
    put(gateway, granted, lie)
    commit(gateway, granted, lie)
    run_jobs(network)
    [refusal] = state_of(gateway, transfer_id).refused
    assert (refusal.code, refusal.parts) == ("hash_differs", ())
    assert network.objects.stat(f"quarantine/{granted.grant_id}/{'0' * 64}.tar").size_bytes == len(pack.body)
    assert list(network.objects.list_keys("incoming/")) == []


@pytest.mark.parametrize("step", ["compose", "put", "delete"])
def test_verification_that_is_cut_off_goes_on_where_it_was(
    gateway: GatewayStandIn,
    network: Hub,
    transfer_id: str,
    pack: PackedStudy,
    step: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    granted = grant(gateway, transfer_id, pack, ALL)
    put(gateway, granted, pack)
    commit(gateway, granted, pack)

    def fail(*args: object, **kwargs: object) -> None:
        raise StoreUnavailable("the store is away")

    with monkeypatch.context() as patched:
        patched.setattr(network.objects, step, fail)
        with pytest.raises(StoreUnavailable):
            run_jobs(network)
    run_jobs(network)
    assert state_of(gateway, transfer_id).state is TransferState.VERIFIED
    assert list(network.objects.list_keys("incoming/")) == []


def test_one_large_pack_at_a_time_and_the_other_is_launched_again(
    gateway: GatewayStandIn, network: Hub, transfer_id: str, pack: PackedStudy
) -> None:
    granted = grant(gateway, transfer_id, pack, ALL)
    put(gateway, granted, pack)
    commit(gateway, granted, pack)
    with alone_if_free(network, verification.LARGE_PACKS) as turn:
        assert turn is not None
        run_jobs(network)
    assert state_of(gateway, transfer_id).state is TransferState.RECEIVING
    with network.transaction() as session:
        due = session.scalars(select(OutboxMessage.due_at).where(OutboxMessage.job == VERIFY_LARGE_JOB)).all()
    assert max(due) == network.clock() + verification.LARGE_RETRY_AFTER


def test_lost_verification_of_a_large_pack_is_launched_again_as_such(
    gateway: GatewayStandIn, network: Hub, transfer_id: str, pack: PackedStudy, hub_clock: SteerableClock
) -> None:
    granted = grant(gateway, transfer_id, pack, ALL)
    commit(gateway, granted, pack)
    with network.transaction() as session:
        for message in session.scalars(select(OutboxMessage)):
            session.delete(message)
    hub_clock.advance(120)
    relaunch_lost(network)
    with network.transaction() as session:
        assert session.scalars(select(OutboxMessage.job)).all() == [VERIFY_LARGE_JOB]
    assert JOBS[VERIFY_LARGE_JOB].queue == "large"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda parts: parts[1:], "numbered from 1"),
        (lambda parts: (*parts[:-1], parts[-1].model_copy(update={"size_bytes": 3})), "together"),
        (lambda parts: (*parts[:2], *(_renumbered(parts[2:], -1))), "numbered from 1"),
        (
            lambda parts: (
                _sized(parts[0], parts[0].size_bytes - 1),
                _sized(parts[1], parts[1].size_bytes + 1),
                *parts[2:],
            ),
            "a part has",
        ),
    ],
)
def test_pack_that_is_cut_otherwise_is_not_granted(
    gateway: GatewayStandIn, transfer_id: str, pack: PackedStudy, change, words: str
) -> None:
    declaration = pack.declaration.model_copy(update={"parts": change(pack.declaration.parts)})
    reply = gateway.post(f"/transfers/{transfer_id}/grants", GrantRequest(packs=(declaration,)))
    assert (reply.status, reply.problem().code) == (422, "parts_wrong")
    assert words in reply.problem().detail


def _renumbered(parts: tuple[PartDeclaration, ...], by: int) -> tuple[PartDeclaration, ...]:
    return tuple(part.model_copy(update={"number": part.number + by}) for part in parts)


def _sized(part: PartDeclaration, size_bytes: int) -> PartDeclaration:
    return part.model_copy(update={"size_bytes": size_bytes})


@pytest.mark.parametrize(("wanted", "words"), [((8,), "does not have"), ((1, 1), "twice")])
def test_only_parts_that_there_are_get_an_address(
    gateway: GatewayStandIn, transfer_id: str, pack: PackedStudy, wanted: tuple[int, ...], words: str
) -> None:
    declaration = pack.declaration.model_copy(update={"parts_wanted": wanted})
    reply = gateway.post(f"/transfers/{transfer_id}/grants", GrantRequest(packs=(declaration,)))
    assert reply.problem().code == "parts_wrong"
    assert words in reply.problem().detail


def test_small_pack_is_not_granted_in_parts(gateway: GatewayStandIn, network: Hub) -> None:
    small = make_instance(2, network.clock())
    transfer_id = gateway.post("/manifests", make_manifest(SITE, [small])).into(ManifestAnswer).transfer_id
    whole = make_pack(SITE, [small]).declaration
    part = PartDeclaration(number=1, size_bytes=whole.size_bytes, sha256=whole.pack_sha256)
    declaration: PackDeclaration = whole.model_copy(update={"parts": (part,)})
    reply = gateway.post(f"/transfers/{transfer_id}/grants", GrantRequest(packs=(declaration,)))
    assert "uploaded whole" in reply.problem().detail


def test_a_grant_has_only_so_many_addresses(gateway: GatewayStandIn, transfer_id: str, pack: PackedStudy) -> None:
    many = tuple(range(1, UPLOADS_PER_GRANT_MAX + 1))
    first = pack.declaration.model_copy(update={"parts_wanted": many})
    second = first.model_copy(update={"pack_sha256": "0" * 64, "parts_wanted": (1,)})
    reply = gateway.post(f"/transfers/{transfer_id}/grants", GrantRequest(packs=(first, second)))
    assert reply.problem().code == "too_many_uploads"


def test_uploads_that_nobody_committed_are_swept_after_their_grant_and_parts_only_with_their_transfer(
    gateway: GatewayStandIn, network: Hub, transfer_id: str, pack: PackedStudy, hub_clock: SteerableClock
) -> None:
    small = make_instance(2, network.clock())
    other = gateway.post("/manifests", make_manifest(SITE, [small], revision=2)).into(ManifestAnswer).transfer_id
    abandoned = gateway.upload(other, [make_pack(SITE, [small])])
    put(gateway, grant(gateway, transfer_id, pack, (1, 2)), pack)
    assert staging.sweep_abandoned(network) == 0
    hub_clock.advance(network.policy.grant_ttl_s + staging.LATE_UPLOAD_MARGIN.total_seconds() + 1)
    assert staging.sweep_abandoned(network) == 1
    assert staging.sweep_abandoned(network) == 0
    assert len(list(network.objects.list_keys("incoming/"))) == 2
    late = CommitRequest(pack_sha256s=(make_pack(SITE, [small]).declaration.pack_sha256,))
    gateway.at = network.clock()
    assert gateway.post(f"/grants/{abandoned}/commits", late).problem().code == "grant_expired"
    hub_clock.advance((staging.PARTS_KEEP + timedelta(hours=7)).total_seconds())
    assert staging.sweep_abandoned(network) == 1
    assert list(network.objects.list_keys("incoming/")) == []
    with network.transaction() as session:
        assert set(session.scalars(select(GrantedPack.state))) == {"expired"}


def test_parts_that_a_later_grant_replaced_are_swept_once_their_transfer_is_verified(
    gateway: GatewayStandIn, network: Hub, transfer_id: str, pack: PackedStudy, hub_clock: SteerableClock
) -> None:
    granted = grant(gateway, transfer_id, pack, ALL)
    put(gateway, granted, pack)
    commit(gateway, granted, pack)
    late = grant(gateway, transfer_id, pack, (1,))
    run_jobs(network)
    put(gateway, late, pack)  # was on its way when the pack was verified
    assert len(list(network.objects.list_keys("incoming/"))) == 1
    hub_clock.advance(network.policy.grant_ttl_s + staging.LATE_UPLOAD_MARGIN.total_seconds() + 1)
    assert staging.sweep_abandoned(network) == 1
    assert list(network.objects.list_keys("incoming/")) == []
