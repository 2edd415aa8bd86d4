"""After any stop, journal and spool agree again and nothing acknowledged is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.completeness import Patience
from gateway.journal.associations import open_association
from gateway.journal.custody import custody_of
from gateway.journal.instances import find_instance, instances_of
from gateway.spool import SpoolState
from gateway.spool.rebuild import RebuildReport, rebuild
from gateway.stored_digests import take_stored_digests
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid
from tests.integration.gateway_receive.instances import STUDY, instance_uid, write_slice
from tests.integration.gateway_receive.modality import send
from tests.integration.gateway_receive.receiving import ReceivingGateway, utc_now

pytestmark = pytest.mark.services

UIDS = [Uid(instance_uid(number)) for number in (1, 2, 3)]
NOTHING = RebuildReport()


@pytest.fixture
def stopped(tmp_path: Path) -> ReceivingGateway:
    """A gateway that has received three instances of a study and stopped."""
    gateway = ReceivingGateway(tmp_path / "gateway", patience=Patience(3600, 7200)).start()
    send(gateway.port, *(write_slice(tmp_path / "sent", number) for number in (1, 2, 3)))
    gateway.stop()
    return gateway


def mend(gateway: ReceivingGateway) -> RebuildReport:
    report = rebuild(gateway.spool, gateway.journal, utc_now)
    assert rebuild(gateway.spool, gateway.journal, utc_now) == NOTHING
    return report


def file_of(gateway: ReceivingGateway, uid: Uid) -> Path:
    return gateway.spool.path_of(uid, Uid(STUDY), None, SpoolState.INCOMING)


def forget(gateway: ReceivingGateway, *uids: Uid) -> None:
    with gateway.journal.transaction() as connection:
        for uid in uids:
            connection.execute("DELETE FROM instances WHERE sop_instance_uid = ?", (uid,))


def test_orderly_stop_needs_no_mending(stopped: ReceivingGateway) -> None:
    assert mend(stopped) == NOTHING


def test_lost_row_is_read_again_from_the_file(stopped: ReceivingGateway) -> None:
    assert take_stored_digests(stopped.spool, stopped.journal, Uid(STUDY)) == []
    before = find_instance(stopped.journal, UIDS[0])
    forget(stopped, UIDS[0])
    assert mend(stopped).instances_added == 1
    after = find_instance(stopped.journal, UIDS[0])
    assert before is not None
    assert after is not None
    for name in ("study_uid", "series_uid", "received_sha256", "stored_sha256", "size_bytes", "calling_ae_title"):
        assert getattr(after, name) == getattr(before, name)


def test_lost_journal_is_made_again_from_the_spool(stopped: ReceivingGateway) -> None:
    stopped.spool.move_to_ready(Uid(STUDY), 1, UIDS[:2])
    forget(stopped, *UIDS)
    assert mend(stopped).instances_added == 3
    assert [row.state for row in instances_of(stopped.journal, Uid(STUDY))] == [SpoolState.INCOMING] * 3


def test_instance_whose_file_is_gone_is_told_loudly(stopped: ReceivingGateway) -> None:
    file_of(stopped, UIDS[1]).unlink()
    assert mend(stopped).instances_missing == 1
    assert find_instance(stopped.journal, UIDS[1]) is None
    event = custody_of(stopped.journal, Uid(STUDY))[-1]
    assert (event.hop, event.sop_instance_uid, event.detail["code"]) == (Hop.QUARANTINED, UIDS[1], "missing")


def test_damaged_file_goes_to_quarantine_and_may_be_sent_again(stopped: ReceivingGateway) -> None:
    os.truncate(file_of(stopped, UIDS[0]), 700)
    assert mend(stopped).quarantined == 1
    assert find_instance(stopped.journal, UIDS[0]) is None
    assert len(list((stopped.spool.root / "quarantine").glob("*.dcm"))) == 1


def test_move_to_ready_that_never_reached_the_journal_is_undone(stopped: ReceivingGateway) -> None:
    stopped.spool.move_to_ready(Uid(STUDY), 1, UIDS)
    mend(stopped)
    assert all(file_of(stopped, uid).exists() for uid in UIDS)


def test_move_to_ready_that_stopped_halfway_is_undone(stopped: ReceivingGateway) -> None:
    stopped.spool.move_to_ready(Uid(STUDY), 1, UIDS[:1])
    mend(stopped)
    assert all(file_of(stopped, uid).exists() for uid in UIDS)


def test_move_to_sent_of_a_confirmed_transfer_is_finished(stopped: ReceivingGateway) -> None:
    stopped.enrol()
    stopped.watcher.force(Uid(STUDY))
    stopped.watcher.evaluate_all()
    with stopped.journal.transaction() as connection:
        connection.execute("UPDATE transfers SET state = 'confirmed'")
    assert mend(stopped).instances_moved == 3
    rows = instances_of(stopped.journal, Uid(STUDY), SpoolState.SENT, 1)
    assert [row.sop_instance_uid for row in rows] == UIDS


def test_fragment_is_removed_and_a_whole_unacknowledged_file_is_kept(stopped: ReceivingGateway) -> None:
    tmp = stopped.spool.root / "tmp"
    (tmp / "a.part").write_bytes(file_of(stopped, UIDS[0]).read_bytes()[:-10])
    (tmp / "b.part").write_bytes(file_of(stopped, UIDS[0]).read_bytes())
    report = mend(stopped)
    assert (report.fragments_removed, report.quarantined) == (1, 1)
    assert list(tmp.iterdir()) == []


def test_file_that_the_spool_does_not_make_is_quarantined(stopped: ReceivingGateway) -> None:
    (stopped.spool.root / "incoming" / STUDY / "notes.txt").write_text("mine")
    assert mend(stopped).quarantined == 1


def test_instance_that_lies_twice_stays_once(stopped: ReceivingGateway) -> None:
    twin = stopped.spool.root / "sent" / f"{STUDY}.4" / f"{UIDS[0]}.dcm"
    twin.parent.mkdir()
    twin.write_bytes(file_of(stopped, UIDS[0]).read_bytes())
    assert mend(stopped).quarantined == 1
    assert file_of(stopped, UIDS[0]).exists()


def test_association_that_the_stop_cut_off_is_ended(stopped: ReceivingGateway) -> None:
    with stopped.journal.transaction() as connection:
        open_association(connection, "cut", "CT1", "127.0.0.1", utc_now())
        connection.execute("UPDATE instances SET association_id = 'cut'")
    assert mend(stopped).associations_closed == 1
    event = custody_of(stopped.journal, Uid(STUDY))[-1]
    assert (event.hop, event.detail["cut_off"], event.detail["instances"]) == (Hop.RECEIVED, True, 3)
