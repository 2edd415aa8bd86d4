"""A study that has arrived becomes a transfer with its manifest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.completeness import Patience
from gateway.journal.custody import custody_of
from gateway.journal.instances import find_instance, instances_of
from gateway.spool import SpoolState
from gateway.spool.inspection import digest_file
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid
from storage.contract.manifest import Manifest
from tests.integration.gateway_receive.instances import STUDY, instance_uid, write_slice
from tests.integration.gateway_receive.modality import association, send
from tests.integration.gateway_receive.receiving import ReceivingGateway
from tests.support.waiting import eventually

pytestmark = pytest.mark.services


@pytest.fixture
def patient_gateway(tmp_path: Path) -> Iterator[ReceivingGateway]:
    """A gateway that nobody can wait for: only force, a count or a restart completes its studies."""
    patience = Patience(quiet_period_s=3600, open_association_max_s=7200)
    running = ReceivingGateway(tmp_path / "gateway", patience=patience).start()
    running.enrol()
    yield running
    running.stop()


def manifests(gateway: ReceivingGateway, count: int) -> list[Manifest]:
    def written() -> list[Manifest]:
        rows = gateway.journal.read("SELECT manifest FROM transfers WHERE state = 'ready' ORDER BY revision")
        assert len(rows) == count
        return [Manifest.model_validate_json(row["manifest"]) for row in rows]

    return eventually(written)


def test_quiet_study_is_handed_over_with_its_manifest(gateway: ReceivingGateway, tmp_path: Path) -> None:
    gateway.enrol()
    send(gateway.port, *(write_slice(tmp_path / "sent", number) for number in range(1, 12)))
    (manifest,) = manifests(gateway, 1)
    assert (manifest.site_id, manifest.study_uid, manifest.revision) == ("site-1", STUDY, 1)
    assert (manifest.calling_ae_title, manifest.complete_because) == ("CT1", "quiet_period")
    rows = instances_of(gateway.journal, Uid(STUDY), SpoolState.READY, 1)
    assert [entry.sop_instance_uid for entry in manifest.instances] == [row.sop_instance_uid for row in rows]
    assert len(rows) == 11
    assert all(gateway.spool.path_of(row.sop_instance_uid, row.study_uid, 1, row.state).exists() for row in rows)
    assert [event.hop for event in custody_of(gateway.journal, Uid(STUDY))] == [Hop.RECEIVED, Hop.COMPLETED]
    assert gateway.forwarded.wait(60)


def test_late_instance_opens_the_study_again(gateway: ReceivingGateway, tmp_path: Path) -> None:
    gateway.enrol()
    send(gateway.port, write_slice(tmp_path / "sent", 1))
    manifests(gateway, 1)
    send(gateway.port, write_slice(tmp_path / "sent", 1), write_slice(tmp_path / "sent", 2))
    first, second = manifests(gateway, 2)
    assert [entry.sop_instance_uid for entry in first.instances] == [instance_uid(1)]
    assert [entry.sop_instance_uid for entry in second.instances] == [instance_uid(2)]
    assert second.revision == 2


def test_open_association_holds_its_study_back(gateway: ReceivingGateway, tmp_path: Path) -> None:
    gateway.enrol()
    paths = [write_slice(tmp_path / "sent", number) for number in (1, 2)]
    other = write_slice(tmp_path / "sent", 1, f"{STUDY}.77")
    with association(gateway.port, paths) as opened:
        opened.send_c_store(paths[0])
        send(gateway.port, other)
        (only,) = manifests(gateway, 1)  # the other study, sent later, is through; this one is not
        assert only.study_uid == f"{STUDY}.77"
        opened.send_c_store(paths[1])
    both = manifests(gateway, 2)
    assert {len(manifest.instances) for manifest in both} == {1, 2}


def test_forced_study_does_not_wait(patient_gateway: ReceivingGateway, tmp_path: Path) -> None:
    send(patient_gateway.port, write_slice(tmp_path / "sent"))
    patient_gateway.watcher.force(Uid(STUDY))
    (manifest,) = manifests(patient_gateway, 1)
    assert manifest.complete_because == "forced"


def test_manifest_names_both_digests_of_what_lies_in_the_spool(gateway: ReceivingGateway, tmp_path: Path) -> None:
    gateway.enrol()
    send(gateway.port, write_slice(tmp_path / "sent", 1))
    (manifest,) = manifests(gateway, 1)
    found = digest_file(gateway.spool.path_of(Uid(instance_uid(1)), Uid(STUDY), 1, SpoolState.READY))
    (entry,) = manifest.instances
    assert (entry.received_sha256, entry.stored_sha256) == (found.received_sha256, found.stored_sha256)


def test_file_that_the_disk_has_damaged_since_it_arrived_is_set_aside_and_the_rest_goes_on(
    patient_gateway: ReceivingGateway, tmp_path: Path
) -> None:
    gateway = patient_gateway
    gateway.enrol()
    send(gateway.port, *(write_slice(tmp_path / "sent", number) for number in (1, 2)))
    damaged = gateway.spool.path_of(Uid(instance_uid(1)), Uid(STUDY), None, SpoolState.INCOMING)
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    gateway.watcher.force(Uid(STUDY))
    (manifest,) = manifests(gateway, 1)
    assert [entry.sop_instance_uid for entry in manifest.instances] == [instance_uid(2)]
    (told,) = gateway.journal.read("SELECT sop_instance_uid, reason FROM quarantine")
    assert told["sop_instance_uid"] == instance_uid(1)
    assert "no longer has the bytes" in told["reason"]
    assert find_instance(gateway.journal, Uid(instance_uid(1))) is None
    assert Hop.QUARANTINED in [event.hop for event in custody_of(gateway.journal, Uid(STUDY))]


def test_study_with_its_expected_count_does_not_wait(patient_gateway: ReceivingGateway, tmp_path: Path) -> None:
    patient_gateway.watcher.expect(Uid(STUDY), 2)
    send(patient_gateway.port, write_slice(tmp_path / "sent", 1))
    send(patient_gateway.port, write_slice(tmp_path / "sent", 2))
    (manifest,) = manifests(patient_gateway, 1)
    assert (manifest.complete_because, manifest.expected_instances) == ("expected_count", 2)


def test_gateway_that_is_not_enrolled_keeps_what_it_received(gateway: ReceivingGateway, tmp_path: Path) -> None:
    send(gateway.port, write_slice(tmp_path / "sent"))
    gateway.watcher.evaluate_all()
    assert manifests(gateway, 0) == []
    gateway.enrol()
    manifests(gateway, 1)


def test_study_that_arrived_before_a_restart_is_handed_over_after_it(tmp_path: Path) -> None:
    before = ReceivingGateway(tmp_path / "gateway", patience=Patience(3600, 7200)).start()
    before.enrol()
    send(before.port, write_slice(tmp_path / "sent"))
    before.stop()
    after = ReceivingGateway(tmp_path / "gateway").start()
    try:
        assert manifests(after, 1)[0].complete_because == "quiet_period"
    finally:
        after.stop()
