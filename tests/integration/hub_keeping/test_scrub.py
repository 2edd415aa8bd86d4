"""What decays in the object store is found by reading it again, named, set aside, and healed by who has it still."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select

from reading_queue.domain.roles import Role
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.arrival.custody import ledger_of
from reading_queue.services.arrival.deposits import _sort_out
from reading_queue.services.cases.attention import Stuck, StuckKind, stuck
from reading_queue.services.health import Unhealthy, check_stored_bytes
from reading_queue.services.holdings import scrubbing
from reading_queue.services.holdings.scrubbing import plan, quarantine_key, scrub
from reading_queue.services.hub import Hub
from storage.catalogue.holdings import find_digests
from storage.catalogue.tables import Instance, Pack, Study
from storage.contract.hops import Hop
from storage.contract.wire import CommitRequest, TransferAnswer, TransferState
from storage.dicomweb.catalogue_queries import get_instance
from storage.dicomweb.errors import InstanceDamaged
from storage.dicomweb.headers import read_headers, uid_of
from storage.dicomweb.retrieval import files_of
from storage.ledger.tables import OutboxMessage
from tests.integration.hub_intake.conftest import OTHER_SITE, SITE
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn
from tests.integration.hub_intake.jobs import run_jobs
from tests.integration.hub_intake.studies import STUDY, PackedStudy, make_instance
from tests.integration.hub_intake.studies import Instance as MadeInstance
from tests.integration.hub_keeping.keeping import Sender, packs_of, sweep
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

MONTH = timedelta(days=31).total_seconds()


@pytest.fixture
def sender(gateway: GatewayStandIn, network: Hub) -> Sender:
    return Sender(gateway, network)


@pytest.fixture
def slices(sender: Sender) -> list[MadeInstance]:
    return sender.slices(range(1, 5))


@pytest.fixture
def packed(sender: Sender, slices: list[MadeInstance]) -> PackedStudy:
    """A study of one pack, catalogued."""
    [made] = sender.send(slices)
    return made


def decay(hub: Hub, tmp_path: Path, at: int) -> None:
    """Let one byte of the only pack change on the disk, as disks do: without anybody being told."""
    [pack] = packs_of(hub)
    file = tmp_path / "objects" / pack.object_key
    data = bytearray(file.read_bytes())
    data[at] ^= 0x40
    file.write_bytes(data)


def inside(hub: Hub, uid: str) -> int:
    """Return the offset of a byte of an instance in its pack."""
    with hub.transaction() as session:
        one = session.scalars(select(Instance).where(Instance.sop_instance_uid == uid)).one()
    return one.offset_bytes + one.size_bytes - 20


def scrub_all(hub: Hub) -> list[Pack]:
    for pack in packs_of(hub):
        scrub(hub, pack.pack_id)
    return packs_of(hub)


def hops(hub: Hub) -> list[str]:
    return [line.hop for line in ledger_of(hub, STUDY, SITE) if line.hop in (Hop.DAMAGED, Hop.HEALED)]


def told(hub: Hub, site_id: str = SITE) -> list[Stuck]:
    viewer = Viewer("c", "c", "c", Role.COORDINATOR, f"{site_id}-01", site_id, None, "en", hub.clock())
    return [one for one in stuck(hub, viewer) if one.kind is StuckKind.DAMAGED]


def test_sound_pack_is_noted_as_read(packed: PackedStudy, network: Hub, hub_clock: SteerableClock) -> None:
    hub_clock.advance(3600)
    [pack] = scrub_all(network)
    assert (pack.condition, pack.checked_at, pack.damaged_uids) == ("sound", hub_clock.now, [])
    assert hops(network) == []
    assert "1 packs" in check_stored_bytes(network)


def test_damage_is_named_set_aside_and_told(
    packed: PackedStudy, slices: list[MadeInstance], network: Hub, tmp_path: Path
) -> None:
    uid = slices[2].entry.sop_instance_uid
    decay(network, tmp_path, inside(network, uid))
    decayed = network.objects.read(packs_of(network)[0].object_key)
    [pack] = scrub_all(network)
    assert (pack.condition, pack.damaged_uids) == ("damaged", [uid])
    assert network.objects.read(quarantine_key(pack)) == decayed
    assert hops(network) == [Hop.DAMAGED]
    [line] = told(network)
    assert (line.study_uid, line.instance_count, line.code) == (STUDY, 1, "stored_damaged")
    assert told(network, OTHER_SITE) == []
    with pytest.raises(Unhealthy, match="1 instances in 1 packs"):
        check_stored_bytes(network)
    scrub_all(network)
    assert hops(network) == [Hop.DAMAGED], "told once"


def test_damaged_instance_is_not_given_and_the_others_are(
    packed: PackedStudy, slices: list[MadeInstance], network: Hub, tmp_path: Path
) -> None:
    damaged, sound = slices[2].entry, slices[1].entry
    decay(network, tmp_path, inside(network, damaged.sop_instance_uid))
    scrub_all(network)
    with network.transaction() as session:
        study = session.scalars(select(Study)).one()
        assert get_instance(session, study, sound.series_uid, sound.sop_instance_uid)
        assert len(files_of(session, study, {"series": sound.series_uid}).given) == 2
        for words, given in (({}, 3), ({"series": damaged.series_uid}, 1)):
            found = files_of(session, study, words)
            assert (len(found.given), found.damaged) == (given, [damaged.sop_instance_uid])
        with pytest.raises(InstanceDamaged):
            files_of(session, study, {"instance": damaged.sop_instance_uid})
        with pytest.raises(InstanceDamaged):
            get_instance(session, study, damaged.series_uid, damaged.sop_instance_uid)


def test_missing_pack_is_named_with_all_its_instances(packed: PackedStudy, network: Hub) -> None:
    network.objects.delete(packs_of(network)[0].object_key)
    [pack] = scrub_all(network)
    assert (pack.condition, len(pack.damaged_uids)) == ("missing", 4)
    assert [(line.code, line.instance_count) for line in told(network)] == [("stored_missing", 4)]


def test_shortened_pack_loses_only_what_lay_beyond_its_end(
    packed: PackedStudy, slices: list[MadeInstance], network: Hub, tmp_path: Path
) -> None:
    [pack] = packs_of(network)
    file = tmp_path / "objects" / pack.object_key
    file.write_bytes(file.read_bytes()[: inside(network, slices[3].entry.sop_instance_uid)])
    [pack] = scrub_all(network)
    assert (pack.condition, pack.damaged_uids) == ("damaged", [slices[3].entry.sop_instance_uid])


def test_damage_between_instances_is_mended_from_them(packed: PackedStudy, network: Hub, tmp_path: Path) -> None:
    decay(network, tmp_path, len(packed.body) - 100)
    [pack] = scrub_all(network)
    assert (pack.condition, network.objects.read(pack.object_key)) == ("sound", packed.body)
    assert told(network) == []


def test_gateway_that_still_has_the_originals_heals_the_pack_with_the_same_one(
    sender: Sender, packed: PackedStudy, slices: list[MadeInstance], network: Hub, tmp_path: Path
) -> None:
    uid = slices[1].entry.sop_instance_uid
    decay(network, tmp_path, inside(network, uid))
    scrub_all(network)
    sender.revision -= 1  # the very manifest of before
    answer = sender.declare(slices)
    assert answer.needed == (uid,)
    sender.gateway.upload_and_commit(answer.transfer_id, [packed])
    state = sender.gateway.get(f"/transfers/{answer.transfer_id}").into(TransferAnswer)
    assert (state.state, uid in state.confirmed) == (TransferState.RECEIVING, False)
    run_jobs(network)
    [pack] = packs_of(network)
    assert (pack.condition, pack.damaged_uids) == ("sound", [])
    assert network.objects.read(pack.object_key) == packed.body
    state = sender.gateway.get(f"/transfers/{answer.transfer_id}").into(TransferAnswer)
    assert (state.state, len(state.confirmed)) == (TransferState.VERIFIED, 4)
    assert (hops(network), told(network)) == ([Hop.DAMAGED, Hop.HEALED], [])
    assert scrub_all(network)[0].condition == "sound"


def test_damaged_instance_that_comes_in_another_pack_lies_there_from_then_on(
    sender: Sender, packed: PackedStudy, slices: list[MadeInstance], network: Hub, tmp_path: Path
) -> None:
    lost = slices[1]
    decay(network, tmp_path, inside(network, lost.entry.sop_instance_uid))
    scrub_all(network)
    sender.send([lost])
    old, new = packs_of(network)
    assert (old.condition, old.damaged_uids, new.condition) == ("damaged", [], "sound")
    with network.transaction() as session:
        rows = {one.sop_instance_uid: one for one in session.scalars(select(Instance))}
    healed = rows[lost.entry.sop_instance_uid]
    assert (len(rows), healed.pack_id) == (4, new.pack_id)
    key = new.object_key
    assert network.objects.read(key, offset=healed.offset_bytes, length=healed.size_bytes) == lost.file
    headers = read_headers(network.objects, [old.headers_key, new.headers_key])
    assert sorted(uid_of(one, "instance") for one in headers) == sorted(rows)
    assert told(network) == []
    scrub_all(network)
    assert told(network) == [], "nothing is missing any more"


def test_person_who_stores_a_damaged_instance_over_dicomweb_brings_it_again(
    packed: PackedStudy, slices: list[MadeInstance], network: Hub, tmp_path: Path
) -> None:
    damaged, sound = slices[0].entry, slices[1].entry
    decay(network, tmp_path, inside(network, damaged.sop_instance_uid))
    scrub_all(network)
    came: list[Any] = [SimpleNamespace(uid=one.sop_instance_uid, entry=one) for one in (damaged, sound)]
    with network.transaction() as session:
        held = find_digests(session, SITE, [one.uid for one in came])
    assert list(_sort_out(STUDY, came, held).fresh) == [damaged.sop_instance_uid]


def test_other_bytes_never_take_the_place_of_damaged_ones(
    sender: Sender, packed: PackedStudy, slices: list[MadeInstance], network: Hub, tmp_path: Path
) -> None:
    decay(network, tmp_path, inside(network, slices[0].entry.sop_instance_uid))
    [pack] = scrub_all(network)
    other = make_instance(1, network.clock(), PatientName="李^娜")
    assert sender.declare([other]).conflicting[0].sop_instance_uid == other.entry.sop_instance_uid
    assert packs_of(network)[0].damaged_uids == pack.damaged_uids


def test_rubbish_does_not_take_the_place_of_a_damaged_pack(
    sender: Sender, packed: PackedStudy, slices: list[MadeInstance], network: Hub, tmp_path: Path
) -> None:
    decay(network, tmp_path, inside(network, slices[0].entry.sop_instance_uid))
    [pack] = scrub_all(network)
    before = network.objects.read(pack.object_key)
    sender.revision -= 1
    transfer_id = sender.declare(slices).transfer_id
    grant_id = sender.gateway.upload(transfer_id, [packed])
    staged = f"incoming/{grant_id}/{packed.declaration.pack_sha256}.tar"
    network.objects.put(staged, bytes(len(packed.body)), len(packed.body))
    commit = CommitRequest(pack_sha256s=(packed.declaration.pack_sha256,))
    sender.gateway.post(f"/grants/{grant_id}/commits", commit).into(TransferAnswer, 202)
    run_jobs(network)
    assert network.objects.read(pack.object_key) == before
    assert packs_of(network)[0].condition == "damaged"


def test_store_that_was_only_away_makes_a_pack_sound_again(packed: PackedStudy, network: Hub) -> None:
    [pack] = packs_of(network)
    network.objects.copy(pack.object_key, "aside")
    network.objects.delete(pack.object_key)
    scrub_all(network)
    network.objects.copy("aside", pack.object_key)
    [pack] = scrub_all(network)
    assert (pack.condition, pack.damaged_uids, hops(network)) == ("sound", [], [Hop.DAMAGED, Hop.HEALED])


def test_record_that_decayed_is_written_again_from_the_database(packed: PackedStudy, network: Hub) -> None:
    [pack] = packs_of(network)
    key = pack.object_key.replace(".tar", ".record.json")
    network.objects.put(key, b"rubbish", 7)
    scrub_all(network)
    sweep(network)
    [pack] = packs_of(network)
    assert pack.record_sha256 is not None
    assert network.objects.read(key).startswith(b'{"format":"counterpart-pack-record/1"')


def test_packs_are_read_again_a_month_after_they_were_last(
    packed: PackedStudy, network: Hub, hub_clock: SteerableClock
) -> None:
    assert plan(network) == 0
    hub_clock.advance(MONTH)
    assert plan(network) == 1
    assert plan(network) == 0, "it is on its way"
    with network.transaction() as session:
        [job] = session.scalars(select(OutboxMessage).where(OutboxMessage.job == scrubbing.SCRUB_JOB)).all()
    scrub(network, job.arguments["pack_id"])
    hub_clock.advance(120)
    assert plan(network) == 0


def test_no_more_is_read_within_an_hour_than_the_budget_allows(
    sender: Sender, network: Hub, hub_clock: SteerableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender.send(*[[one] for one in sender.slices(range(1, 13))])
    size = packs_of(network)[0].size_bytes
    monkeypatch.setattr(scrubbing, "GIB", 2 * size // network.policy.scrub_gib_per_hour)
    hub_clock.advance(MONTH)
    first = plan(network)
    assert 0 < first <= scrubbing.LAUNCHED_MAX
    with network.transaction() as session:
        jobs = session.scalars(select(OutboxMessage).where(OutboxMessage.job == scrubbing.SCRUB_JOB)).all()
        for job in jobs:
            job.published_at = hub_clock.now
    for job in jobs:
        scrub(network, job.arguments["pack_id"])
    assert len(jobs) == first
    hub_clock.advance(120)
    assert plan(network) == 0
    hub_clock.advance(3600)
    assert plan(network) > 0


def test_much_damage_at_once_halts_the_plan_until_a_person_has_looked(
    sender: Sender, network: Hub, hub_clock: SteerableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrubbing, "SUSPICIOUS_PER_HOUR", 2)
    sender.send(*[[one] for one in sender.slices(range(1, 4))])
    for pack in packs_of(network)[:2]:
        network.objects.delete(pack.object_key)
        scrub(network, pack.pack_id)
    with pytest.raises(Unhealthy, match="right store"):
        check_stored_bytes(network)
    hub_clock.advance(60)
    with network.transaction() as session:
        session.query(Pack).update({"checked_at": hub_clock.now - timedelta(days=40)})
    assert plan(network) == 0


def test_large_packs_are_read_in_the_queue_of_large_ones(
    packed: PackedStudy, network: Hub, hub_clock: SteerableClock
) -> None:
    with network.transaction() as session:
        session.query(Pack).update({"size_bytes": 20 * 1024 * 1024})
    hub_clock.advance(MONTH)
    assert plan(network) == 1
    with network.transaction() as session:
        jobs = session.scalars(select(OutboxMessage.job).order_by(OutboxMessage.message_id.desc()).limit(1)).all()
    assert jobs == [scrubbing.SCRUB_LARGE_JOB]
