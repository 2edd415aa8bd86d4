"""An empty catalogue is made again from the objects alone, and is equal to the one that was lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa
from sqlalchemy import update

from reading_queue.db.schema import upgrade
from reading_queue.services.holdings import rebuilding
from reading_queue.services.holdings.rebuilding import CatalogueNotEmpty, rebuild
from reading_queue.services.hub import Hub
from storage.catalogue.snapshot import differences, take_snapshot
from storage.catalogue.tables import Pack, RebuildStep
from storage.contract.identifiers import Uid
from tests.integration.hub_intake.gateway_stand_in import GatewayStandIn
from tests.integration.hub_keeping.keeping import Sender, lines_of, packs_of, sweep
from tests.support.clock import SteerableClock

pytestmark = pytest.mark.postgres

SECOND, THIRD, FOURTH = (Uid(f"1.2.826.0.1.3680043.8.498.7.{number}") for number in (2, 3, 4))


@pytest.fixture
def other(network: Hub, empty_database: sa.Engine) -> Iterator[Hub]:
    """The same hub on an empty database."""
    upgrade(empty_database)
    return replace(network, engine=empty_database)


@pytest.fixture
def busy(network: Hub, gateway: GatewayStandIn, other_gateway: GatewayStandIn, hub_clock: SteerableClock) -> Hub:
    """A hub with two sites' studies: late images, a prior, a contradicted patient, one without a number."""
    sender, elsewhere = Sender(gateway, network), Sender(other_gateway, network)
    slices = sender.slices(range(1, 7))
    sender.send(slices[:2], slices[2:4])
    hub_clock.advance(30)
    sender.send(slices)
    sender.send(sender.slices(range(1, 3), SECOND, PatientName="王^小芳"), study=SECOND, purpose="prior")
    hub_clock.advance(30)
    sender.send(sender.slices(range(1, 2), THIRD, PatientBirthDate="19810301", PatientName="李^娜"), study=THIRD)
    sender.send(sender.slices(range(1, 3), FOURTH, PatientID=""), study=FOURTH)
    elsewhere.send(elsewhere.slices(range(1, 3)))
    sweep(network)
    return network


@pytest.mark.parametrize("from_bytes", [False, True], ids=["records", "bytes"])
def test_rebuilt_catalogue_equals_the_one_that_was_lost(busy: Hub, other: Hub, from_bytes: bool) -> None:
    rebuilt = rebuild(other, from_bytes=from_bytes)
    assert (rebuilt.problems, rebuilt.packs, rebuilt.studies) == ((), len(packs_of(busy)), 5)
    assert list(differences(iter(lines_of(busy)), iter(lines_of(other)))) == []
    with busy.transaction() as one, other.transaction() as another:
        assert take_snapshot(one) == take_snapshot(another)
        assert take_snapshot(one).counts["instance"] == 13


def test_packs_whose_records_hold_no_facts_are_read_again(busy: Hub, other: Hub) -> None:
    for pack in packs_of(busy):
        busy.objects.delete(pack.object_key.replace(".tar", ".record.json"))
    with busy.transaction() as session:
        session.execute(update(Pack).values(record_sha256=None))
    sweep(busy)
    assert rebuild(other).problems == ()
    assert list(differences(iter(lines_of(busy)), iter(lines_of(other)))) == []


def test_rebuild_that_was_cut_off_goes_on(busy: Hub, other: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    done, write = [], rebuilding.write_step

    class PowerCut(Exception):
        pass

    def cut(*arguments: object) -> object:
        if len(done) == 3:
            raise PowerCut
        done.append(1)
        return write(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(rebuilding, "write_step", cut)
        with pytest.raises(PowerCut):
            rebuild(other)
    assert len(packs_of(other)) == 3
    assert rebuild(other).problems == ()
    assert list(differences(iter(lines_of(busy)), iter(lines_of(other)))) == []


def test_catalogue_that_holds_studies_is_left_alone(busy: Hub) -> None:
    before = lines_of(busy)
    with pytest.raises(CatalogueNotEmpty):
        rebuild(busy)
    assert lines_of(busy) == before


def test_missing_pack_is_named_and_its_instances_are_asked_for_again(busy: Hub, other: Hub) -> None:
    lost = packs_of(busy)[1]
    busy.objects.delete(lost.object_key)
    [(key, why)] = rebuild(other).problems
    assert lost.pack_sha256 in key
    assert "missing" in why
    assert list(differences(iter(lines_of(busy)), iter(lines_of(other)))) == []
    [unsound] = [pack for pack in packs_of(other) if pack.condition != "sound"]
    assert (unsound.pack_sha256, unsound.condition, len(unsound.damaged_uids)) == (lost.pack_sha256, "missing", 2)


def test_rubbish_among_the_records_is_named_and_stops_nothing(busy: Hub, other: Hub) -> None:
    first = packs_of(busy)[0]
    key = first.object_key.replace(".tar", ".record.json")
    busy.objects.put(key, b'{"format":"counterpart-pack-record/1"}', 38)
    rebuilt = rebuild(other)
    assert [name for name, _ in rebuilt.problems] == [key]
    assert rebuilt.packs == len(packs_of(busy)) - 1


def test_packs_that_come_after_a_rebuild_are_later_ones(busy: Hub, other: Hub, gateway: GatewayStandIn) -> None:
    rebuild(other)
    with other.transaction() as session:
        number = session.execute(sa.text("SELECT nextval(pg_get_serial_sequence('packs', 'number'))")).scalar_one()
        assert session.query(RebuildStep).all() == []
    assert number > max(pack.number for pack in packs_of(busy))


def test_snapshot_tells_what_differs(busy: Hub, other: Hub) -> None:
    rebuild(other)
    with other.transaction() as session:
        session.execute(
            sa.text("UPDATE patients SET name = 'X' WHERE patient_number = 'P-0001' AND site_id = 'qinghe'")
        )
        session.execute(sa.text(f"UPDATE studies SET revision = 9 WHERE study_uid = '{THIRD}'"))
    found = list(differences(iter(lines_of(busy)), iter(lines_of(other))))
    assert found == [("patient", ("qinghe", "P-0001")), ("study", ("qinghe", str(THIRD)))]
