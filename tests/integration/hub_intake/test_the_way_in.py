"""A study on its way into the catalogue: declared, granted, uploaded, committed, verified, once, whatever happens."""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pydicom
import pytest
from sqlalchemy import select

from reading_queue.db.tables import Case
from reading_queue.services.arrival import custody
from reading_queue.services.arrival.verification import verify_pack
from reading_queue.services.hub import Hub
from storage.catalogue.tables import GrantedPack, Instance, Pack, Patient, Series, Study, Transfer
from storage.contract.hops import Hop
from storage.contract.wire import ManifestAnswer, TransferAnswer, TransferState
from storage.objects.protocol import StoreUnavailable
from tests.integration.hub_intake.conftest import OTHER_SITE, SITE
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn
from tests.integration.hub_intake.jobs import run_jobs
from tests.integration.hub_intake.studies import STUDY, PackedStudy, make_instance, make_manifest, make_pack
from tests.integration.hub_intake.studies import Instance as MadeInstance

pytestmark = pytest.mark.postgres


@pytest.fixture
def instances(network: Hub) -> list[MadeInstance]:
    return [make_instance(number, network.clock()) for number in range(1, 5)]


def declare(gateway: GatewayStandIn, instances: list[MadeInstance], revision: int = 1) -> ManifestAnswer:
    manifest = make_manifest(gateway.site_id, instances, revision=revision)
    return gateway.post("/manifests", manifest).into(ManifestAnswer)


def send_study(gateway: GatewayStandIn, instances: list[MadeInstance]) -> tuple[str, PackedStudy]:
    """Declare, upload and commit one pack; return the transfer and the pack."""
    transfer_id = declare(gateway, instances).transfer_id
    pack = make_pack(gateway.site_id, instances)
    gateway.upload_and_commit(transfer_id, [pack])
    return transfer_id, pack


def transfer_of(gateway: GatewayStandIn, transfer_id: str) -> TransferAnswer:
    return gateway.get(f"/transfers/{transfer_id}").into(TransferAnswer)


def hops(hub: Hub) -> list[str]:
    return [line.hop for line in custody.ledger_of(hub, STUDY, SITE)]


def count(hub: Hub, table: type) -> int:
    with hub.transaction() as session:
        return len(session.scalars(select(table)).all())


def test_study_is_confirmed_once_object_storage_holds_what_was_declared(
    gateway: GatewayStandIn, network: Hub, instances: list[MadeInstance]
) -> None:
    transfer_id, pack = send_study(gateway, instances)
    assert transfer_of(gateway, transfer_id).state is TransferState.RECEIVING
    assert run_jobs(network) == 1
    answer = transfer_of(gateway, transfer_id)
    assert answer.state is TransferState.VERIFIED
    assert set(answer.confirmed) == {instance.entry.sop_instance_uid for instance in instances}
    key = f"studies/{SITE}/{STUDY}/packs/{pack.declaration.pack_sha256}.tar"
    assert hashlib.sha256(network.objects.read(key)).hexdigest() == pack.declaration.pack_sha256
    assert list(network.objects.list_keys("incoming/")) == []
    assert hops(network) == [Hop.DECLARED, Hop.COMMITTED, Hop.VERIFIED, Hop.CATALOGUED]


def test_hops_of_one_transaction_keep_their_order_while_the_clock_goes_on(
    gateway: GatewayStandIn, network: Hub, instances: list[MadeInstance]
) -> None:
    send_study(gateway, instances)
    started_at, ticks = network.clock(), itertools.count()
    run_jobs(replace(network, clock=lambda: started_at + timedelta(milliseconds=next(ticks))))
    at = {line.hop: line.at for line in custody.ledger_of(network, STUDY, SITE)}
    assert at[Hop.VERIFIED] == at[Hop.CATALOGUED]


def test_catalogue_tells_of_the_study_what_its_headers_say(
    gateway: GatewayStandIn, network: Hub, instances: list[MadeInstance]
) -> None:
    send_study(gateway, instances)
    run_jobs(network)
    with network.transaction() as session:
        patient = session.scalars(select(Patient)).one()
        study = session.scalars(select(Study)).one()
        series = session.scalars(select(Series).order_by(Series.number)).all()
        case = session.scalars(select(Case)).one()
    assert (patient.name, patient.patient_number, patient.sex) == ("王^芳", "P-0001", "F")
    assert (study.revision, study.instance_count, study.series_count) == (1, 4, 2)
    assert (study.modalities, study.accession_number, study.body_part) == (["CT"], "A-1", "CHEST")
    assert study.exam_started_at is not None
    assert study.exam_started_at.isoformat() == "2026-03-02T00:55:00+00:00", "08:55 in Shanghai"
    assert [one.instance_count for one in series] == [2, 2]
    assert (case.state, case.modality) == ("ready", "CT")


def test_every_instance_and_frame_is_one_range_of_the_pack(
    gateway: GatewayStandIn, network: Hub, instances: list[MadeInstance]
) -> None:
    send_study(gateway, instances)
    run_jobs(network)
    files = {instance.entry.sop_instance_uid: instance.file for instance in instances}
    with network.transaction() as session:
        rows = session.execute(select(Instance, Pack.object_key).join(Pack, Pack.pack_id == Instance.pack_id)).all()
    for row, key in rows:
        assert network.objects.read(key, offset=row.offset_bytes, length=row.size_bytes) == files[row.sop_instance_uid]
        [[offset, length]] = row.frame_spans[0]["spans"]
        frame = network.objects.read(key, offset=row.offset_bytes + offset, length=length)
        assert frame == row.number.to_bytes(2, "little") * 256


def test_headers_lie_beside_the_pack_as_dicom_json(
    gateway: GatewayStandIn, network: Hub, instances: list[MadeInstance]
) -> None:
    send_study(gateway, instances)
    run_jobs(network)
    with network.transaction() as session:
        key = session.scalars(select(Pack.headers_key)).one()
    datasets = [pydicom.Dataset.from_json(item) for item in json.loads(network.objects.read(key))]
    assert [one.SOPInstanceUID for one in datasets] == sorted(one.entry.sop_instance_uid for one in instances)
    assert str(datasets[0].PatientName) == "王^芳"
    assert "PixelData" not in datasets[0] or not datasets[0].PixelData


def test_verifying_again_changes_nothing(gateway: GatewayStandIn, network: Hub, instances: list[MadeInstance]) -> None:
    transfer_id, _ = send_study(gateway, instances)
    run_jobs(network)
    before = hops(network)
    run_jobs(network)
    run_jobs(network)
    assert hops(network) == before
    assert count(network, Instance) == 4
    assert transfer_of(gateway, transfer_id).state is TransferState.VERIFIED
    with network.transaction() as session:
        assert session.scalars(select(Study.revision)).one() == 1


def test_packs_of_one_transfer_verified_at_once_settle_it_exactly_once(
    gateway: GatewayStandIn, network: Hub, instances: list[MadeInstance]
) -> None:
    transfer_id = declare(gateway, instances).transfer_id
    gateway.upload_and_commit(transfer_id, [make_pack(SITE, [instance]) for instance in instances])
    with network.transaction() as session:
        ids = session.scalars(select(GrantedPack.granted_pack_id)).all()
    failures = at_once([lambda one=one: verify_pack(network, one) for one in [*ids, *ids]])
    assert failures == []
    assert transfer_of(gateway, transfer_id).state is TransferState.VERIFIED
    assert hops(network) == [Hop.DECLARED, Hop.COMMITTED, Hop.VERIFIED, Hop.CATALOGUED]
    with network.transaction() as session:
        study = session.scalars(select(Study)).one()
    assert (study.revision, study.instance_count) == (1, 4)
    assert (count(network, Instance), count(network, Pack), count(network, Case)) == (4, 4, 1)


def test_same_pack_in_two_grants_verified_at_once_is_kept_once(
    gateway: GatewayStandIn, network: Hub, instances: list[MadeInstance]
) -> None:
    transfer_id = declare(gateway, instances).transfer_id
    for _ in range(2):
        gateway.upload_and_commit(transfer_id, [make_pack(SITE, instances)])
    with network.transaction() as session:
        ids = session.scalars(select(GrantedPack.granted_pack_id)).all()
    assert at_once([lambda one=one: verify_pack(network, one) for one in ids]) == []
    assert count(network, Pack) == 1
    assert transfer_of(gateway, transfer_id).refused == ()
    assert list(network.objects.list_keys("incoming/")) == []


def test_instances_that_come_later_raise_the_revision_and_only_they_are_needed(
    gateway: GatewayStandIn, network: Hub, instances: list[MadeInstance]
) -> None:
    send_study(gateway, instances[:3])
    run_jobs(network)
    answer = declare(gateway, instances, revision=2)
    assert answer.needed == (instances[3].entry.sop_instance_uid,)
    assert len(answer.held) == 3
    gateway.upload_and_commit(answer.transfer_id, [make_pack(SITE, instances[3:])])
    run_jobs(network)
    assert transfer_of(gateway, answer.transfer_id).state is TransferState.VERIFIED
    with network.transaction() as session:
        study = session.scalars(select(Study)).one()
    assert (study.revision, study.instance_count) == (2, 4)


def test_manifest_of_what_is_held_already_is_verified_at_once_and_changes_no_revision(
    gateway: GatewayStandIn, network: Hub, instances: list[MadeInstance]
) -> None:
    send_study(gateway, instances)
    run_jobs(network)
    answer = declare(gateway, instances[:2], revision=2)
    assert (answer.needed, len(answer.held)) == ((), 2)
    assert transfer_of(gateway, answer.transfer_id).state is TransferState.VERIFIED
    with network.transaction() as session:
        assert session.scalars(select(Study.revision)).one() == 1
    assert hops(network).count(Hop.CATALOGUED) == 1


def test_transfer_whose_last_instances_came_by_another_one_is_settled_when_asked(
    gateway: GatewayStandIn, network: Hub, instances: list[MadeInstance]
) -> None:
    first = declare(gateway, instances[:2])
    send_study(gateway, instances)
    run_jobs(network)
    assert transfer_of(gateway, first.transfer_id).state is TransferState.VERIFIED


def test_other_bytes_under_a_held_uid_are_named_as_conflicting(
    gateway: GatewayStandIn, network: Hub, instances: list[MadeInstance]
) -> None:
    send_study(gateway, instances)
    run_jobs(network)
    changed = make_instance(1, network.clock(), PatientName="李^娜")
    answer = declare(gateway, [changed, instances[1]], revision=2)
    assert [one.sop_instance_uid for one in answer.conflicting] == [changed.entry.sop_instance_uid]
    assert "other contents" in answer.conflicting[0].reason
    assert answer.held == (instances[1].entry.sop_instance_uid,)


def test_same_study_of_two_sites_stays_two_studies(
    gateway: GatewayStandIn, other_gateway: GatewayStandIn, network: Hub, instances: list[MadeInstance]
) -> None:
    for one in (gateway, other_gateway):
        send_study(one, instances)
    run_jobs(network)
    with network.transaction() as session:
        sites = session.scalars(select(Study.site_id).order_by(Study.site_id)).all()
    assert list(sites) == [OTHER_SITE, SITE]


def test_patients_without_a_number_are_not_taken_for_one(gateway: GatewayStandIn, network: Hub) -> None:
    for number in (1, 2):
        study = f"{STUDY}.{number}"
        instance = make_instance(number, network.clock(), study=study, PatientID="")
        manifest = make_manifest(SITE, [instance], study=study)
        transfer_id = gateway.post("/manifests", manifest).into(ManifestAnswer).transfer_id
        gateway.upload_and_commit(transfer_id, [make_pack(SITE, [instance], study=study)])
    run_jobs(network)
    assert count(network, Patient) == 2


@pytest.mark.parametrize("step", ["copy", "put", "delete"])
def test_store_that_fails_between_steps_costs_a_retry_and_nothing_else(
    gateway: GatewayStandIn,
    network: Hub,
    instances: list[MadeInstance],
    step: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transfer_id, _ = send_study(gateway, instances)

    def fail(*args: object, **kwargs: object) -> None:
        raise StoreUnavailable("the store is away")

    with monkeypatch.context() as patched:
        patched.setattr(network.objects, step, fail)
        with pytest.raises(StoreUnavailable):
            run_jobs(network)
    run_jobs(network)
    assert transfer_of(gateway, transfer_id).state is TransferState.VERIFIED
    assert count(network, Instance) == 4
    assert list(network.objects.list_keys("incoming/")) == []


def test_pack_that_was_never_committed_is_left_alone(
    gateway: GatewayStandIn, network: Hub, instances: list[MadeInstance]
) -> None:
    transfer_id = declare(gateway, instances).transfer_id
    gateway.upload(transfer_id, [make_pack(SITE, instances)])
    with network.transaction() as session:
        granted_pack_id = session.scalars(select(GrantedPack.granted_pack_id)).one()
    verify_pack(network, granted_pack_id)
    verify_pack(network, "unknown")
    assert count(network, Study) == 0
    assert len(list(network.objects.list_keys("incoming/"))) == 1


def test_manifest_row_keeps_every_declared_instance(
    gateway: GatewayStandIn, network: Hub, instances: list[MadeInstance]
) -> None:
    declare(gateway, instances)
    with network.transaction() as session:
        transfer = session.scalars(select(Transfer)).one()
        assert len(transfer.manifest["instances"]) == 4
    assert transfer.gateway_id == gateway.gateway_id


def at_once(calls: list[Callable[[], None]]) -> list[Exception]:
    failures: list[Exception] = []

    def run(call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as exc:  # noqa: BLE001 -- carried out of the thread and asserted on
            failures.append(exc)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures
