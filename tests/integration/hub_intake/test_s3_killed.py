"""The S3 server dies while a study comes in: nothing is lost or half stored, and what was begun goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import urllib3
from sqlalchemy import select

from reading_queue.services.arrival.settling import VERIFY_JOB
from reading_queue.services.arrival.verification import verify_pack
from reading_queue.services.hub import Hub
from reading_queue.worker.failures import TRANSIENT, record_failure
from storage.catalogue.tables import GrantedPack, Instance, Pack
from storage.contract.identifiers import new_id
from storage.contract.wire import (
    CommitRequest,
    GrantAnswer,
    GrantRequest,
    ManifestAnswer,
    TransferAnswer,
    TransferState,
)
from storage.ledger.tables import DeadJob, OutboxMessage
from storage.objects.protocol import ObjectStore, StoreUnavailable
from storage.objects.s3 import Patience, S3Store
from tests.integration.hub_intake.conftest import SITE
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn, send
from tests.integration.hub_intake.jobs import run_jobs
from tests.integration.hub_intake.studies import STUDY, PackedStudy, make_instance, make_manifest, make_pack
from tests.support.clock import SteerableClock
from tests.support.s3_server import S3Server, killable_s3_server

pytestmark = [pytest.mark.postgres, pytest.mark.services]

PATIENCE = Patience(connect_s=1, silence_s=5)


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[S3Server]:
    with killable_s3_server(tmp_path / "s3") as server:
        yield server


@pytest.fixture
def hub_clock() -> SteerableClock:
    """The real time: an S3 server has a clock of its own."""
    return SteerableClock(datetime.now(UTC))


@pytest.fixture
def directory_store(s3: S3Server, hub_clock: SteerableClock) -> ObjectStore:
    """A bucket on the server, in place of the directory."""
    bucket = f"bucket-{new_id()}"
    store = S3Store(s3.endpoint, bucket, s3.credentials, clock=hub_clock, secure=False, patience=PATIENCE)
    store.ensure_bucket()
    return store


class CutStore:
    """The store, whose server is killed when one of its methods is called: before it, or after it has answered."""

    def __init__(self, store: ObjectStore, server: S3Server, method: str, ending: str, *, after: bool) -> None:
        self._store, self._server, self._method, self._ending, self._after = store, server, method, ending, after
        self.cut = False

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._store, name)
        return self._with_cut(call) if name == self._method else call

    def _with_cut(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            if self.cut or not any(str(one).endswith(self._ending) for one in arguments):
                return call(*arguments, **named)
            self.cut = True
            if not self._after:
                self._server.kill()
                return call(*arguments, **named)
            result = call(*arguments, **named)
            self._server.kill()
            return result

        return run


def declare_and_upload(gateway: GatewayStandIn, hub: Hub) -> tuple[str, PackedStudy]:
    instances = [make_instance(number, hub.clock()) for number in range(1, 5)]
    transfer_id = gateway.post("/manifests", make_manifest(SITE, instances)).into(ManifestAnswer).transfer_id
    pack = make_pack(SITE, instances)
    gateway.upload_and_commit(transfer_id, [pack])
    return transfer_id, pack


def run_the_job(hub: Hub) -> BaseException | None:
    """Run the verification as a worker does: what fails for a while is tried again."""
    with hub.transaction() as session:
        jobs = select(OutboxMessage).where(OutboxMessage.job == VERIFY_JOB).order_by(OutboxMessage.message_id.desc())
        job = session.scalars(jobs.limit(1)).one()
    try:
        verify_pack(hub, job.arguments["granted_pack_id"])
    except TRANSIENT as failure:
        record_failure(hub, job.job, {"granted_pack_id": job.arguments["granted_pack_id"]}, 1, failure)
        return failure
    return None


def assert_whole(gateway: GatewayStandIn, hub: Hub, transfer_id: str, pack: PackedStudy) -> None:
    answer = gateway.get(f"/transfers/{transfer_id}").into(TransferAnswer)
    assert (answer.state, answer.refused, len(answer.confirmed)) == (TransferState.VERIFIED, (), 4)
    key = f"studies/{SITE}/{STUDY}/packs/{pack.declaration.pack_sha256}.tar"
    assert hub.objects.read(key) == pack.body
    assert sorted(hub.objects.list_keys("")) == sorted(
        [key, key.replace(".tar", ".json"), key.replace(".tar", ".record.json")]
    )
    with hub.transaction() as session:
        assert len(session.scalars(select(Instance)).all()) == 4
        assert [one.state for one in session.scalars(select(GrantedPack))] == ["verified"]
        assert session.scalars(select(DeadJob)).all() == []


def test_upload_that_the_server_did_not_survive_leaves_nothing_and_is_sent_again(
    gateway: GatewayStandIn, network: Hub, s3: S3Server
) -> None:
    instances = [make_instance(1, network.clock(), PixelData=bytes(512))]
    transfer_id = gateway.post("/manifests", make_manifest(SITE, instances)).into(ManifestAnswer).transfer_id
    pack = make_pack(SITE, instances)
    request = GrantRequest(packs=(pack.declaration,))
    granted = gateway.post(f"/transfers/{transfer_id}/grants", request).into(GrantAnswer)
    [upload] = granted.uploads
    network.objects.put("kept", b"x", 1)

    def half_then_killed() -> Iterator[bytes]:
        yield pack.body[: len(pack.body) // 2]
        s3.kill()
        yield pack.body[len(pack.body) // 2 :]

    with pytest.raises(urllib3.exceptions.HTTPError):
        gateway.http.urlopen("PUT", upload.url, body=half_then_killed(), headers=dict(upload.headers))
    s3.start()
    assert list(network.objects.list_keys("")) == ["kept"]
    assert send(gateway.http, "PUT", upload.url, pack.body, dict(upload.headers)).status == 200
    commit = CommitRequest(pack_sha256s=(pack.declaration.pack_sha256,))
    gateway.post(f"/grants/{granted.grant_id}/commits", commit).into(TransferAnswer, 202)
    run_jobs(network)
    assert gateway.get(f"/transfers/{transfer_id}").into(TransferAnswer).state is TransferState.VERIFIED


def test_pack_that_was_uploaded_before_the_kill_is_there_after_it(
    gateway: GatewayStandIn, network: Hub, s3: S3Server
) -> None:
    transfer_id, pack = declare_and_upload(gateway, network)
    s3.kill()
    assert isinstance(run_the_job(network), StoreUnavailable)
    answer = gateway.get(f"/transfers/{transfer_id}").into(TransferAnswer)
    assert (answer.state, answer.confirmed, answer.refused) == (TransferState.RECEIVING, (), ())
    s3.start()
    assert run_the_job(network) is None
    assert_whole(gateway, network, transfer_id, pack)


@pytest.mark.parametrize("after", [False, True], ids=["before it is done", "when it is done"])
@pytest.mark.parametrize(
    ("method", "ending"),
    [("copy", ".tar"), ("open", ".tar"), ("put", ".json"), ("put", ".record.json"), ("erase", ".tar")],
)
def test_verification_that_the_server_did_not_survive_is_done_once_it_is_back(
    gateway: GatewayStandIn, network: Hub, s3: S3Server, method: str, ending: str, after: bool
) -> None:
    transfer_id, pack = declare_and_upload(gateway, network)
    cut = CutStore(network.objects, s3, method, ending, after=after)
    failure = run_the_job(replace(network, objects=cut))
    assert cut.cut
    assert failure is None or isinstance(failure, StoreUnavailable)
    with network.transaction() as session:
        packs = session.scalars(select(Pack)).all()
    complete = method == "erase" or (ending == ".record.json" and after)
    assert bool(packs) == complete, "catalogued is what is proved, stored and recorded, and nothing else"
    s3.start()
    assert run_the_job(network) is None
    assert_whole(gateway, network, transfer_id, pack)


def test_read_that_the_server_does_not_survive_ends_in_words_and_never_as_if_it_were_whole(
    network: Hub, s3: S3Server
) -> None:
    body = hashlib.sha256(b"seed").digest() * 1_000_000
    network.objects.put("studies/a/1.2/large", body, len(body))
    received = 0
    with network.objects.open("studies/a/1.2/large") as chunks:
        received += len(next(chunks))
        s3.kill()
        with pytest.raises(StoreUnavailable):
            received += sum(map(len, chunks))
    assert 0 < received < len(body)
    with pytest.raises(StoreUnavailable, match="does not answer"):
        network.objects.read("studies/a/1.2/large")
    s3.start()
    assert network.objects.read("studies/a/1.2/large") == body


def test_gateway_is_told_in_words_that_the_store_does_not_answer(
    gateway: GatewayStandIn, network: Hub, s3: S3Server
) -> None:
    """What only asks the database goes on; an upload finds no server."""
    instances = [make_instance(1, network.clock())]
    s3.kill()
    transfer_id = gateway.post("/manifests", make_manifest(SITE, instances)).into(ManifestAnswer).transfer_id
    request = GrantRequest(packs=(make_pack(SITE, instances).declaration,))
    [upload] = gateway.post(f"/transfers/{transfer_id}/grants", request).into(GrantAnswer).uploads
    with pytest.raises(urllib3.exceptions.HTTPError):
        send(gateway.http, "PUT", upload.url, b"x", dict(upload.headers))


def test_server_that_accepts_and_says_nothing_is_given_up(
    network: Hub, s3: S3Server, hub_clock: SteerableClock
) -> None:
    s3.freeze()
    impatient = Patience(connect_s=1, silence_s=0.3)
    store = S3Store(s3.endpoint, "bucket", s3.credentials, clock=hub_clock, secure=False, patience=impatient)
    with pytest.raises(StoreUnavailable, match="does not answer"):
        store.stat("a/b")
    s3.kill()
