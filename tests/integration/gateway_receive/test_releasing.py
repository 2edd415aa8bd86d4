"""What lies in quarantine is tried again when a person asks: it passes every check, or stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import operations
from gateway.journal.instances import drop_instance, find_instance
from gateway.journal.quarantine import QuarantineRow, list_quarantine
from gateway.operations import COMMAND_LINE, Asker
from gateway.releasing import Releaser
from gateway.spool import SpoolState
from storage.contract.identifiers import Uid
from tests.integration.gateway_receive.instances import STUDY, instance_uid, write_slice
from tests.integration.gateway_receive.modality import send
from tests.integration.gateway_receive.receiving import ReceivingGateway, utc_now

pytestmark = pytest.mark.services

UID = Uid(instance_uid(1))


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[ReceivingGateway]:
    running = ReceivingGateway(tmp_path / "gateway").start()
    yield running
    running.stop()


@pytest.fixture
def quarantined(gateway: ReceivingGateway, tmp_path: Path) -> QuarantineRow:
    """An instance that differs from the one that the gateway holds under its UID."""
    first = write_slice(tmp_path / "first", 1)
    other = write_slice(tmp_path / "other", 1, patient_name="Other^Name")
    assert send(gateway.port, first) == [0]
    assert send(gateway.port, other) == [0xC116]
    (row,) = list_quarantine(gateway.journal, 5)
    return row


def ask_and_try(gateway: ReceivingGateway, row: QuarantineRow) -> None:
    operations.release_quarantined(gateway.journal, Asker(COMMAND_LINE, utc_now()), row.quarantine_id)
    Releaser(
        gateway.journal,
        gateway.spool,
        gateway.server.receiver,
        object_bytes_max=1024 * 1024,
        clock=utc_now,
        on_end=gateway.watcher.notice_change,
    ).step()


def names_in_quarantine(gateway: ReceivingGateway) -> set[str]:
    return {path.name for path in (gateway.spool.root / "quarantine").iterdir()}


def test_object_that_passes_now_is_kept_and_leaves_quarantine(gateway: ReceivingGateway, quarantined: QuarantineRow):
    held = find_instance(gateway.journal, UID)
    assert held is not None
    gateway.watcher.stop()
    gateway.spool.path_of(UID, Uid(STUDY), held.revision, held.state).unlink()
    with gateway.journal.transaction() as connection:
        drop_instance(connection, UID)
    ask_and_try(gateway, quarantined)
    row = find_instance(gateway.journal, UID)
    assert row is not None
    assert (row.state, row.calling_ae_title) == (SpoolState.INCOMING, "CT1")
    assert b"Other^Name" in gateway.spool.path_of(UID, Uid(STUDY), None, SpoolState.INCOMING).read_bytes()
    assert list_quarantine(gateway.journal, 5) == []
    assert names_in_quarantine(gateway) == set()


def test_object_that_is_refused_again_stays_with_the_reason(gateway: ReceivingGateway, quarantined: QuarantineRow):
    before = names_in_quarantine(gateway)
    ask_and_try(gateway, quarantined)
    (row,) = list_quarantine(gateway.journal, 5, settled=False)
    assert row.quarantine_id == quarantined.quarantine_id
    assert not row.is_due
    assert row.problem == quarantined.reason
    assert names_in_quarantine(gateway) == before


def test_object_that_was_dismissed_needs_a_person_again_once_it_is_tried_in_vain(
    gateway: ReceivingGateway, quarantined: QuarantineRow
):
    operations.dismiss_quarantined(gateway.journal, Asker("t1", utc_now()), quarantined.quarantine_id)
    assert list_quarantine(gateway.journal, 5, settled=False) == []
    ask_and_try(gateway, quarantined)
    assert [row.quarantine_id for row in list_quarantine(gateway.journal, 5, settled=False)] == [
        quarantined.quarantine_id
    ]


def test_object_without_a_file_is_told(gateway: ReceivingGateway, quarantined: QuarantineRow):
    gateway.spool.quarantined(quarantined.quarantine_id).unlink()
    ask_and_try(gateway, quarantined)
    (row,) = list_quarantine(gateway.journal, 5)
    assert row.problem == "The object is not in quarantine any more."
