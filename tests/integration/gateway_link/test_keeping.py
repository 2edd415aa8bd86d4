"""What leaves the spool and when, and what the hub is told after it lost its memory."""

from __future__ import annotations

from datetime import timedelta

from gateway.clock import utc_now
from gateway.forwarder.custody_reporter import CustodyReporter
from gateway.forwarder.keeper import Keeper
from gateway.journal.instances import instances_of
from gateway.spool.layout import SpoolState
from gateway.spool.rebuild import rebuild
from tests.integration.gateway_link.conftest import Clinic
from tests.integration.gateway_link.hub_stand_in import HubStandIn
from tests.support.waiting import eventually


def confirm(clinic: Clinic) -> str:
    link = clinic.connect()
    study = clinic.add_study(wake=link)

    def confirmed() -> None:
        assert clinic.state_of(study) == "confirmed"

    eventually(confirmed)
    clinic.disconnect()
    return study


def test_confirmed_study_is_removed_after_its_keep_period_and_not_before(clinic: Clinic) -> None:
    study = confirm(clinic)
    directory = clinic.spool.root / SpoolState.SENT / f"{study}.1"
    for days, kept in ((6.9, True), (7.1, False)):
        now = utc_now() + timedelta(days=days)
        Keeper(clinic.journal, clinic.spool, keep=timedelta(days=7), clock=lambda now=now: now).step()
        assert directory.exists() is kept
    assert instances_of(clinic.journal, study) == []
    assert rebuild(clinic.spool, clinic.journal, utc_now).instances_missing == 0


def test_study_that_the_hub_has_not_confirmed_is_never_removed(clinic: Clinic) -> None:
    study = clinic.add_study()
    ready = clinic.spool.root / SpoolState.READY / f"{study}.1"
    ready.rename(clinic.spool.root / SpoolState.SENT / f"{study}.1")  # even if it lay in the wrong place
    later = utc_now() + timedelta(days=9999)
    Keeper(clinic.journal, clinic.spool, keep=timedelta(0), clock=lambda: later).step()
    assert len(list((clinic.spool.root / SpoolState.SENT / f"{study}.1").iterdir())) == 3


def test_removal_that_was_cut_short_is_finished_after_the_restart(clinic: Clinic) -> None:
    study = confirm(clinic)
    directory = clinic.spool.root / SpoolState.SENT / f"{study}.1"
    with clinic.journal.transaction() as connection:  # killed between the journal and the files
        connection.execute("DELETE FROM instances")
    assert rebuild(clinic.spool, clinic.journal, utc_now).instances_added == 3
    Keeper(clinic.journal, clinic.spool, keep=timedelta(0), clock=lambda: utc_now() + timedelta(days=1)).step()
    assert [path.name for path in directory.parent.iterdir()] == []


def test_hub_set_back_to_an_earlier_day_is_told_again(clinic: Clinic, hub: HubStandIn) -> None:
    confirm(clinic)
    client = clinic.client()
    reporter = CustodyReporter(clinic.journal, client, every_s=1, retry_delay_max_s=1)
    reporter.step()
    assert len(hub.custody) == 3
    with hub.lock:
        for seq in (2, 3):
            del hub.custody[seq]
    study = clinic.add_study()
    reporter.step()
    reporter.step()
    assert sorted(hub.custody) == [1, 2, 3, 4]
    assert hub.custody[4].study_uid == study
    client.close()
