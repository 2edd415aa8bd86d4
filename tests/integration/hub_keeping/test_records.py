"""Beside each pack lies what a new catalogue needs and the bytes do not say."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import update

from reading_queue.services.arrival.verification import verify_pack
from reading_queue.services.holdings import recording
from reading_queue.services.hub import Hub
from storage.catalogue.pack_records import (
    PackRecord,
    RecordUnreadable,
    digest_of,
    find_facts,
    parse_pack_record,
    parse_revision_record,
    record_key,
)
from storage.catalogue.tables import GrantedPack, Pack, Study
from storage.objects.protocol import StoreUnavailable
from tests.integration.hub_intake.conftest import SITE
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn
from tests.integration.hub_intake.jobs import run_jobs
from tests.integration.hub_intake.studies import STUDY, make_instance
from tests.integration.hub_keeping.keeping import Sender, packs_of, sweep
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres


@pytest.fixture
def sender(gateway: GatewayStandIn, network: Hub) -> Sender:
    return Sender(gateway, network)


def read_record(hub: Hub, pack: Pack) -> PackRecord:
    key = record_key(SITE, STUDY, pack.pack_sha256)
    data = hub.objects.read(key)
    assert pack.record_sha256 == digest_of(data)
    return parse_pack_record(key, data)


def test_record_says_how_the_pack_came_and_with_which_facts_it_was_catalogued(
    sender: Sender, network: Hub, hub_clock: SteerableClock
) -> None:
    slices = sender.slices(range(1, 4))
    hub_clock.advance(60)
    sender.send(slices)
    [pack] = packs_of(network)
    record = read_record(network, pack)
    assert (record.number, record.verified_at, record.purpose) == (pack.number, pack.verified_at, "read")
    assert record.time_zone == "Asia/Shanghai"
    assert [entry.sop_instance_uid for entry in record.entries] == [one.entry.sop_instance_uid for one in slices]
    assert record.first_received_at == slices[0].entry.received_at
    facts = find_facts(record)
    assert facts is not None
    assert (facts.patient.name, facts.study.accession_number) == ("王^芳", "A-1")
    assert [member.entry for member in facts.pack.members] == list(record.entries)


def test_packs_are_numbered_as_they_were_catalogued_and_a_resent_one_keeps_its_record(
    sender: Sender, network: Hub, hub_clock: SteerableClock
) -> None:
    slices = sender.slices(range(1, 5))
    sender.send(slices[:2])
    before = read_record(network, packs_of(network)[0])
    hub_clock.advance(60)
    sender.send(slices[2:])
    sender.send(slices[:2], slices[2:])
    first, second = packs_of(network)
    assert first.number < second.number
    assert read_record(network, first) == before


def test_record_of_a_try_that_was_cut_off_is_replaced_by_the_one_that_counts(
    sender: Sender, network: Hub, hub_clock: SteerableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender.send(sender.slices(range(1, 3)), verify=False)

    class PowerCut(Exception):
        pass

    def cut(*_: object, **__: object) -> None:
        raise PowerCut

    with monkeypatch.context() as patched:
        patched.setattr("reading_queue.services.arrival.cataloguing.write_step", cut)
        with pytest.raises(PowerCut):
            run_jobs(network)
    [key] = [key for key in network.objects.list_keys("studies/") if key.endswith(".record.json")]
    first = parse_pack_record(key, network.objects.read(key))
    hub_clock.advance(60)
    run_jobs(network)
    [pack] = packs_of(network)
    record = read_record(network, pack)
    assert (record.number, record.verified_at) == (pack.number, pack.verified_at)
    assert record.verified_at > first.verified_at


def test_nothing_is_catalogued_when_its_record_cannot_be_stored(
    sender: Sender, network: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender.send(sender.slices(range(1, 3)), verify=False)
    put = type(network.objects).put

    def refuse_records(store: object, key: str, body: bytes, size_bytes: int) -> None:
        if key.endswith(".record.json"):
            raise StoreUnavailable(key)
        put(store, key, body, size_bytes)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(type(network.objects), "put", refuse_records)
        with pytest.raises(StoreUnavailable):
            run_jobs(network)
    assert packs_of(network) == []
    run_jobs(network)
    assert len(packs_of(network)) == 1


def test_refused_pack_leaves_no_record(sender: Sender, network: Hub) -> None:
    sender.send([make_instance(1, network.clock())], verify=False)
    sender.send([make_instance(1, network.clock(), PatientName="李^娜")], verify=False)
    run_jobs(network)
    records = [key for key in network.objects.list_keys("studies/") if key.endswith(".record.json")]
    [pack] = packs_of(network)
    assert records == [record_key(SITE, STUDY, pack.pack_sha256)]


def test_pack_from_before_there_were_records_gets_one_from_what_the_database_knows(
    sender: Sender, network: Hub, hub_clock: SteerableClock
) -> None:
    slices = sender.slices(range(1, 4))
    hub_clock.advance(5)
    sender.send(slices, purpose="prior")
    [pack] = packs_of(network)
    with_facts = read_record(network, pack)
    network.objects.delete(with_facts.key)
    with network.transaction() as session:
        session.execute(update(Pack).values(record_sha256=None))
    assert recording.complete_records(network) == 1
    assert recording.complete_records(network) == 0
    completed = read_record(network, packs_of(network)[0])
    assert completed == with_facts.model_copy(update={"facts": None, "facts_version": 0})
    assert find_facts(completed) is None


def test_each_revision_is_told_once_it_has_risen(sender: Sender, network: Hub, hub_clock: SteerableClock) -> None:
    sender.send(sender.slices(range(1, 3)))
    sweep(network)
    hub_clock.advance(60)
    sender.send(sender.slices(range(3, 4)))
    sweep(network)
    keys = list(network.objects.list_keys(f"studies/{SITE}/{STUDY}/revisions/"))
    told = [parse_revision_record(key, network.objects.read(key)) for key in keys]
    assert [(one.revision, one.instance_count) for one in told] == [(1, 2), (2, 3)]
    with network.transaction() as session:
        study = session.query(Study).one()
    assert told[-1].catalogued_at == study.catalogued_at
    assert recording.record_revisions(network) == 0


def test_record_under_another_key_than_its_own_is_no_record(sender: Sender, network: Hub) -> None:
    sender.send(sender.slices(range(1, 2)))
    record = read_record(network, packs_of(network)[0])
    elsewhere = record_key("baishan", STUDY, record.pack_sha256)
    with pytest.raises(RecordUnreadable):
        parse_pack_record(elsewhere, record.to_bytes())
    with pytest.raises(RecordUnreadable) as raised:
        parse_pack_record(record.key, json.dumps({"format": "counterpart-pack-record/1"}).encode())
    assert str(raised.value) == record.key


def test_two_processes_with_one_pack_write_one_record(sender: Sender, network: Hub) -> None:
    sender.send(sender.slices(range(1, 3)))
    [pack] = packs_of(network)
    before = read_record(network, pack)
    with network.transaction() as session:
        [granted] = session.query(GrantedPack).all()
        granted.state = "committed"
    network.objects.copy(f"studies/{SITE}/{STUDY}/packs/{pack.pack_sha256}.tar", granted.staging_key)
    verify_pack(network, granted.granted_pack_id)
    assert read_record(network, packs_of(network)[0]) == before
