"""A journal that is lost or damaged is made again from the spool, and nothing is lost nor kept for ever."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from gateway.bootstrap import Gateway
from gateway.clock import utc_now
from gateway.completeness import Patience
from gateway.completion import CompletionSettings, CompletionWatcher
from gateway.forwarder.keeper import Keeper
from gateway.hub import HubClient
from gateway.identity import enrol
from gateway.journal.database import JOURNAL_NAME, Journal
from gateway.journal.instances import instances_of
from gateway.journal.recovery import open_sound_journal, set_aside_journals
from gateway.spool.layout import SpoolState
from gateway.spool.rebuild import rebuild
from gateway.status import problems_of, read_disk, read_status
from storage.contract.identifiers import Uid
from tests.integration.gateway_link.conftest import Clinic, make_settings
from tests.integration.gateway_link.hub_stand_in import CODE, HubStandIn
from tests.integration.gateway_link.test_keeping import confirm
from tests.integration.gateway_link.test_process import send_study
from tests.support.waiting import eventually


def lose_journal(clinic: Clinic) -> None:
    for path in clinic.spool_dir.glob(f"{JOURNAL_NAME}*"):
        path.unlink()
    clinic.journal = Journal(clinic.spool_dir / JOURNAL_NAME)


def enrol_again(clinic: Clinic) -> None:
    client = HubClient(clinic.hub.url, None, clock=utc_now, connect_timeout_s=60, read_timeout_s=60)
    enrol(clinic.journal, clinic.spool_dir, client, CODE, clock=utc_now)
    client.close()


def complete(clinic: Clinic, *studies: str) -> None:
    settings = CompletionSettings(Patience(60, 60), {})
    watcher = CompletionWatcher(clinic.spool, clinic.journal, settings, utc_now, lambda: None)
    for study in studies:
        watcher.force(Uid(study))
    watcher.evaluate_all()


def test_studies_are_declared_again_and_what_the_hub_holds_is_not_sent_twice(clinic: Clinic, hub: HubStandIn) -> None:
    sent = confirm(clinic)
    waiting = clinic.add_study()
    uploads = sum(hub.uploads.values())
    lose_journal(clinic)
    report = rebuild(clinic.spool, clinic.journal, utc_now)
    assert (report.instances_added, report.instances_missing, report.quarantined) == (6, 0, 0)
    enrol_again(clinic)
    complete(clinic, sent, waiting)
    clinic.connect()

    def both_confirmed() -> None:
        assert {clinic.state_of(Uid(sent)), clinic.state_of(waiting)} == {"confirmed"}

    eventually(both_confirmed)
    assert sum(hub.uploads.values()) == uploads + 1
    clinic.disconnect()
    later = utc_now() + timedelta(days=8)
    Keeper(clinic.journal, clinic.spool, keep=timedelta(days=7), clock=lambda: later).step()
    assert list((clinic.spool.root / SpoolState.SENT).iterdir()) == []
    assert instances_of(clinic.journal, Uid(sent)) == []


def test_events_after_the_loss_are_numbered_behind_those_that_the_hub_holds(clinic: Clinic, hub: HubStandIn) -> None:
    confirm(clinic)
    clinic.connect()
    eventually(lambda: _assert(len(hub.custody) == 3))
    clinic.disconnect()
    before = dict(hub.custody)
    lose_journal(clinic)
    rebuild(clinic.spool, clinic.journal, utc_now)
    enrol_again(clinic)
    study = clinic.add_study()
    clinic.connect()
    eventually(lambda: _assert(clinic.state_of(study) == "confirmed"))
    eventually(lambda: _assert(sorted(hub.custody) == list(range(1, len(hub.custody) + 1)) and len(hub.custody) >= 6))
    assert {seq: hub.custody[seq] for seq in before} == before
    unreported = "SELECT count(*) AS n FROM custody WHERE reported = 0"
    eventually(lambda: _assert(clinic.journal.read(unreported)[0]["n"] == 0))  # its answer comes after


@pytest.mark.parametrize("damage", ["no database", "a torn page"])
def test_damaged_journal_is_set_aside_in_words_and_the_gateway_receives(
    tmp_path: Path, hub: HubStandIn, damage: str
) -> None:
    settings = make_settings(tmp_path / "box", hub.url, console={"enabled": False})
    path = settings.spool_dir / JOURNAL_NAME
    first = Gateway(settings)
    study = send_study(first.start())
    first.stop()
    with path.open("r+b") as file:
        file.truncate(4096 * 8 if damage == "a torn page" else 0)
        file.seek(4096 if damage == "a torn page" else 0)
        file.write(b"\xff" * 8192)
    for log in settings.spool_dir.glob(f"{JOURNAL_NAME}-*"):
        log.unlink()
    second = Gateway(settings)
    send_study(second.start())
    second.stop()
    journal = Journal(path)
    assert len(instances_of(journal, study)) == 3
    (name,) = set_aside_journals(path)
    problems = problems_of(read_status(journal) | {"disk": read_disk(settings)})
    assert any(name in problem and "Enrol this gateway anew" in problem for problem in problems)


def test_sound_journal_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / JOURNAL_NAME
    for _ in range(2):
        open_sound_journal(path, utc_now())
    assert set_aside_journals(path) == []


def _assert(condition: bool) -> None:
    assert condition
