"""What people ask for while a gateway serves: durable, noticed at once, and no byte lost by it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway import operations
from gateway.clock import utc_now
from gateway.journal.controls import find_control, latest_action, list_actions
from gateway.journal.custody import custody_of
from gateway.journal.line import read_line
from gateway.link import HubLink
from gateway.operations import Asker, NotPossible
from gateway.spool.layout import SpoolState
from gateway.status import read_status
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid, new_uid
from storage.contract.lanes import Lane
from tests.integration.gateway_link.conftest import Clinic
from tests.integration.gateway_link.hub_stand_in import Fault, HubStandIn
from tests.support.waiting import eventually

MIB = 1024 * 1024


def asker() -> Asker:
    return Asker("technician-1", utc_now())


def noticed(link: HubLink) -> None:
    """Do what the serving process does when the counter of actions has moved."""
    link.actions_asked()


def is_state(clinic: Clinic, study_uid: Uid, state: str) -> None:
    eventually(lambda: _assert(clinic.state_of(study_uid) == state))


def test_paused_study_leaves_the_line_to_its_neighbour_and_goes_on_when_it_is_resumed(
    clinic: Clinic, hub: HubStandIn
) -> None:
    hub.faults.append(Fault("POST .*/grants", status=503, times=-1))
    link = clinic.connect()
    held, neighbour = clinic.add_study(wake=link), clinic.add_study(wake=link)
    operations.pause_study(clinic.journal, asker(), held)
    noticed(link)
    hub.faults.clear()
    is_state(clinic, neighbour, "confirmed")
    assert clinic.state_of(held) != "confirmed"
    shown = {study["study_uid"]: study["held"] for study in read_status(clinic.journal)["studies"]}
    assert shown == {held: "paused", neighbour: ""}
    operations.resume_study(clinic.journal, asker(), held)
    noticed(link)
    is_state(clinic, held, "confirmed")


def test_pack_of_a_paused_study_on_the_line_is_broken_off(clinic: Clinic, hub: HubStandIn) -> None:
    operations.limit_line(clinic.journal, asker(), 0.5)
    link = clinic.connect()
    study = clinic.add_study(instances=2, size_bytes=MIB, wake=link)
    eventually(lambda: _assert(any(seen.startswith("PUT") for seen in hub.seen)))
    operations.pause_study(clinic.journal, asker(), study)
    noticed(link)
    eventually(lambda: _assert(link.uploads_on_line() == 0))
    assert not hub.uploads


def test_cancelled_study_stays_in_the_spool_and_is_sent_when_it_is_requeued(clinic: Clinic, hub: HubStandIn) -> None:
    study = clinic.add_study(instances=4)
    assert operations.cancel_study(clinic.journal, asker(), study) == 4
    link = clinic.connect()
    other = clinic.add_study(wake=link)
    is_state(clinic, other, "confirmed")
    assert clinic.state_of(study) == "ready"
    assert len(list((clinic.spool.root / SpoolState.READY / f"{study}.1").iterdir())) == 4
    operations.requeue_study(clinic.journal, asker(), study)
    noticed(link)
    is_state(clinic, study, "confirmed")
    verbs = [event.detail["verb"] for event in custody_of(clinic.journal, study) if event.hop is Hop.CLINIC_ACTED]
    assert verbs == ["cancel", "requeue"]


def test_requeued_study_is_tried_at_once_however_long_its_wait_is(clinic: Clinic, hub: HubStandIn) -> None:
    study = clinic.add_study()
    with clinic.journal.transaction() as connection:
        later = (utc_now() + timedelta(days=1)).isoformat(timespec="microseconds")
        connection.execute("UPDATE transfers SET next_attempt_at = ?, attempts = 9, problem = 'refused'", (later,))
    link = clinic.connect()
    operations.requeue_study(clinic.journal, asker(), study)
    noticed(link)
    is_state(clinic, study, "confirmed")


def test_study_requeued_anew_is_declared_once_more(clinic: Clinic, hub: HubStandIn) -> None:
    hub.hold_verification = True
    link = clinic.connect()
    study = clinic.add_study(wake=link)
    eventually(lambda: _assert(hub.count(r"GET /gateway/v1/transfers/.*") > 1))
    hub.hold_verification = False
    operations.requeue_study(clinic.journal, asker(), study, anew=True)
    noticed(link)
    is_state(clinic, study, "confirmed")
    assert hub.count("POST /gateway/v1/manifests") == 2


def test_study_that_is_done_or_unknown_cannot_be_held(clinic: Clinic, hub: HubStandIn) -> None:
    link = clinic.connect()
    study = clinic.add_study(wake=link)
    is_state(clinic, study, "confirmed")
    with pytest.raises(NotPossible, match="confirmed every image"):
        operations.cancel_study(clinic.journal, asker(), study)
    with pytest.raises(NotPossible, match="no such study"):
        operations.pause_study(clinic.journal, asker(), new_uid())
    with pytest.raises(NotPossible, match="not paused"):
        operations.resume_study(clinic.journal, asker(), study)
    assert latest_action(clinic.journal) == 0


def test_raised_lane_is_told_to_the_hub_without_uploading_anything_again(clinic: Clinic, hub: HubStandIn) -> None:
    hub.hold_verification = True
    link = clinic.connect()
    study = clinic.add_study(wake=link)
    eventually(lambda: _assert(len(hub.uploads) == 1))
    operations.change_study_lane(clinic.journal, asker(), study, Lane.STAT)
    noticed(link)
    eventually(lambda: _assert(hub.count("POST /gateway/v1/manifests") == 2))
    hub.hold_verification = False
    is_state(clinic, study, "confirmed")
    assert set(hub.uploads.values()) == {1}
    assert [transfer.manifest.lane for transfer in hub.transfers.values()] == [Lane.STAT]


def test_lane_of_a_confirmed_study_is_told_too(clinic: Clinic, hub: HubStandIn) -> None:
    link = clinic.connect()
    study = clinic.add_study(wake=link)
    is_state(clinic, study, "confirmed")
    operations.change_study_lane(clinic.journal, asker(), study, Lane.URGENT)
    noticed(link)
    eventually(lambda: _assert([one.manifest.lane for one in hub.transfers.values()] == [Lane.URGENT]))
    assert clinic.state_of(study) == "confirmed"


def test_lane_that_was_chosen_before_the_study_is_complete_counts_for_it(clinic: Clinic, hub: HubStandIn) -> None:
    study = clinic.add_study(lane=Lane.BACKGROUND, chosen=Lane.STAT)
    rows = clinic.journal.read("SELECT lane FROM transfers WHERE study_uid = ?", (study,))
    assert rows[0]["lane"] == Lane.STAT


def test_paused_line_uploads_nothing_over_a_restart_until_it_is_resumed(clinic: Clinic, hub: HubStandIn) -> None:
    operations.pause_line(clinic.journal, asker())
    study = clinic.add_study()
    clinic.connect()
    eventually(lambda: _assert(clinic.state_of(study) == "declared"))
    clinic.disconnect()
    link = clinic.connect()
    eventually(lambda: _assert(hub.count(r"POST .*/grants") >= 1))
    assert not hub.uploads
    operations.resume_line(clinic.journal, asker())
    noticed(link)
    is_state(clinic, study, "confirmed")


def test_every_action_tells_who_asked_when(clinic: Clinic, hub: HubStandIn) -> None:
    operations.limit_line(clinic.journal, asker(), 2.0)
    assert read_line(clinic.journal).wished_bytes_per_s == 250_000
    with pytest.raises(NotPossible, match="at least"):
        operations.limit_line(clinic.journal, asker(), 0.001)
    (action,) = list_actions(clinic.journal, 10)
    assert (action.actor, action.verb, action.subject, action.detail) == (
        "technician-1",
        "limit",
        "line",
        {"mbit_s": 2.0},
    )


def test_forced_completion_survives_a_restart(clinic: Clinic, hub: HubStandIn) -> None:
    study = clinic.add_study(complete=False)
    operations.complete_study(clinic.journal, asker(), study)
    assert find_control(clinic.journal, study).forced
    clinic.new_watcher().evaluate_all()
    assert clinic.state_of(study) == "ready"
    assert not find_control(clinic.journal, study).forced
    with pytest.raises(NotPossible, match="waits for more images"):
        operations.complete_study(clinic.journal, asker(), study)


def _assert(condition: bool) -> None:
    assert condition
