"""The forwarder against a real HTTP peer and the faults of a poor line."""

from __future__ import annotations

import time
from datetime import timedelta

from gateway.clock import utc_now
from gateway.spool.layout import SpoolState
from storage.contract.lanes import Lane
from storage.contract.wire import Upload
from tests.integration.gateway_link.conftest import Clinic
from tests.integration.gateway_link.hub_stand_in import Fault, HubStandIn
from tests.support.waiting import eventually, keeps

MIB = 1024 * 1024


def confirmed(clinic: Clinic, *study_uids: str) -> None:
    def all_confirmed() -> None:
        assert {clinic.state_of(uid) for uid in study_uids} == {"confirmed"}

    eventually(all_confirmed)


def test_complete_study_is_confirmed_moved_and_reported_in_order(clinic: Clinic, hub: HubStandIn) -> None:
    link = clinic.connect()
    study = clinic.add_study(instances=5, wake=link)
    confirmed(clinic, study)
    sent = clinic.spool.root / SpoolState.SENT / f"{study}.1"
    assert len(list(sent.iterdir())) == 5

    def all_reported() -> None:
        assert hub.hops() == ["completed", "uploaded", "confirmed"]

    eventually(all_reported)


def test_small_study_is_committed_within_half_a_second_of_its_completion(clinic: Clinic, hub: HubStandIn) -> None:
    link = clinic.connect()
    confirmed(clinic, clinic.add_study(wake=link))  # connections are open and the threads warm

    def committed(times: int) -> None:
        assert hub.count(r"POST /gateway/v1/grants/.*") == times

    def took_s() -> float:
        before = hub.count(r"POST /gateway/v1/grants/.*")
        study = clinic.add_study(wake=link)
        completed = time.monotonic()
        eventually(lambda: committed(before + 1), every_s=0.005)
        took = time.monotonic() - completed
        confirmed(clinic, study)
        return took

    keeps(0.5, took_s)


def test_every_kind_of_bad_answer_only_delays(clinic: Clinic, hub: HubStandIn) -> None:
    hub.faults += [
        Fault("POST /gateway/v1/manifests", status=500),
        Fault("POST /gateway/v1/manifests", status=200),  # a page that is not ours
        Fault("POST /gateway/v1/manifests", drop_after_bytes=10),
        Fault("POST /gateway/v1/manifests", stale_nonce=True),
        Fault("POST .*/grants", status=429, retry_after="1"),
        Fault("PUT /objects/", drop_after_bytes=1000),
        Fault("PUT /objects/", status=503),
        Fault("POST /gateway/v1/grants/", status=502),
        Fault("GET /gateway/v1/transfers/", status=500),
        Fault("POST /gateway/v1/custody", status=500),
    ]
    link = clinic.connect()
    confirmed(clinic, clinic.add_study(size_bytes=200_000, wake=link))
    assert [fault.match for fault in hub.faults if fault.times] == []


def test_restart_uploads_only_packs_that_were_not_uploaded(clinic: Clinic, hub: HubStandIn) -> None:
    clinic.connect(upload_streams=1)
    study = clinic.add_study(instances=8, size_bytes=MIB, wake=clinic.links[0])

    def some_uploaded() -> None:
        assert sum(hub.uploads.values()) >= 2

    hub.faults.append(Fault("PUT /objects/", drop_after_bytes=MIB // 2, times=0))
    eventually(some_uploaded, every_s=0.001)
    hub.faults[0].times = -1  # from now on every upload breaks off
    clinic.disconnect()
    before = dict(hub.uploads)
    assert before
    hub.faults.clear()
    clinic.connect()
    confirmed(clinic, study)
    packs = clinic.journal.read("SELECT count(*) AS n FROM packs WHERE study_uid = ?", (study,))[0]["n"]
    assert len(hub.uploads) == packs
    assert all(hub.uploads[sha] == count for sha, count in before.items())


def test_pack_that_arrived_without_our_knowing_is_not_sent_twice(clinic: Clinic, hub: HubStandIn) -> None:
    hub.faults.append(Fault("POST /gateway/v1/grants/", status=500, times=-1))
    clinic.connect()
    study = clinic.add_study(wake=clinic.links[0])
    eventually(lambda: _assert(len(hub.uploads) == 1))
    clinic.disconnect()
    with clinic.journal.transaction() as connection:  # as if the gateway had died before it noted the upload
        connection.execute("UPDATE packs SET state = 'planned', upload = ?", (_upload_of(hub),))
        connection.execute("UPDATE transfers SET state = 'declared', next_attempt_at = completed_at")
    hub.faults.clear()
    clinic.connect()
    confirmed(clinic, study)
    assert set(hub.uploads.values()) == {1}


def test_expired_grant_is_asked_for_again(clinic: Clinic, hub: HubStandIn) -> None:
    hub.faults.append(Fault("PUT /objects/", status=503, times=-1))
    clinic.connect()
    study = clinic.add_study(wake=clinic.links[0])
    eventually(lambda: _assert(len(hub.grants) == 1))
    for grant in hub.grants.values():
        grant.expired = True
    hub.faults.clear()
    confirmed(clinic, study)
    assert len(hub.grants) == 2


def test_refused_pack_is_uploaded_again_and_shown(clinic: Clinic, hub: HubStandIn) -> None:
    hub.refuse_once.add("any")
    clinic.connect()
    study = clinic.add_study(wake=clinic.links[0])
    eventually(lambda: _assert(sum(hub.uploads.values()) == 2))
    confirmed(clinic, study)
    assert set(hub.uploads.values()) == {2}


def test_damaged_spool_file_goes_to_quarantine_and_the_rest_goes_on(clinic: Clinic, hub: HubStandIn) -> None:
    study = clinic.add_study(instances=3)
    victim = sorted((clinic.spool.root / SpoolState.READY / f"{study}.1").iterdir())[1]
    content = bytearray(victim.read_bytes())
    content[500] ^= 0xFF
    victim.write_bytes(bytes(content))
    hub.refuse_once.add("any")  # the real hub scans the members and finds the digest wrong
    clinic.connect()
    confirmed(clinic, study)
    rows = clinic.journal.read("SELECT * FROM quarantine")
    assert [row["sop_instance_uid"] for row in rows] == [victim.stem]
    assert "quarantined" in [row["hop"] for row in clinic.journal.read("SELECT hop FROM custody")]


def test_conflicting_instance_is_quarantined_with_the_hubs_reason(clinic: Clinic, hub: HubStandIn) -> None:
    study = clinic.add_study(instances=3)
    victim = sorted((clinic.spool.root / SpoolState.READY / f"{study}.1").iterdir())[0]
    hub.conflicts[victim.stem] = "the hub holds it with other pixels"
    clinic.connect()
    confirmed(clinic, study)
    row = clinic.journal.read("SELECT * FROM quarantine")[0]
    assert (row["sop_instance_uid"], row["reason"]) == (victim.stem, "the hub holds it with other pixels")
    assert len(list((clinic.spool.root / SpoolState.SENT / f"{study}.1").iterdir())) == 2


def test_study_whose_every_instance_conflicts_leaves_the_queue_for_quarantine(clinic: Clinic, hub: HubStandIn) -> None:
    study = clinic.add_study(instances=1)
    victim = next((clinic.spool.root / SpoolState.READY / f"{study}.1").iterdir())
    hub.conflicts[victim.stem] = "other bytes"
    clinic.connect()
    eventually(lambda: _assert(clinic.state_of(study) == "gone"))
    assert len(clinic.journal.read("SELECT * FROM quarantine")) == 1


def test_hub_down_then_up_loses_nothing(clinic: Clinic, hub: HubStandIn) -> None:
    link = clinic.connect()
    hub.stop()
    studies = [clinic.add_study(wake=link) for _ in range(3)]
    eventually(lambda: _assert("cannot be reached" in clinic.problem_of(studies[0])))
    hub.start()
    confirmed(clinic, *studies)
    eventually(lambda: _assert(hub.hops().count("confirmed") == 3))
    assert sorted(hub.custody) == list(range(1, len(hub.custody) + 1))


def test_hub_that_forgot_the_transfer_gets_it_declared_again(clinic: Clinic, hub: HubStandIn) -> None:
    hub.hold_verification = True
    link = clinic.connect()
    study = clinic.add_study(wake=link)
    eventually(lambda: _assert(hub.count(r"GET /gateway/v1/transfers/.*") > 1))
    with hub.lock:
        hub.transfers.clear()
        hub.hold_verification = False
    confirmed(clinic, study)


def test_one_refused_study_does_not_hold_up_another(clinic: Clinic, hub: HubStandIn) -> None:
    refused = clinic.add_study()
    for path in (clinic.spool.root / SpoolState.READY / f"{refused}.1").iterdir():
        path.unlink()
    link = clinic.connect()
    good = [clinic.add_study(wake=link) for _ in range(3)]
    confirmed(clinic, *good)
    assert "is not in ready" in clinic.problem_of(refused)


def test_stat_study_goes_on_the_line_at_once_beside_the_pack_that_is_on_it(clinic: Clinic, hub: HubStandIn) -> None:
    hub.line_is_free.clear()
    routine = [clinic.add_study(instances=2, size_bytes=300_000) for _ in range(4)]
    link = clinic.connect(upload_streams=1)
    eventually(lambda: _assert(any(seen.startswith("PUT") for seen in hub.seen)))
    stat = clinic.add_study(lane=Lane.STAT, wake=link)
    eventually(lambda: _assert(sum(seen.startswith("PUT") for seen in hub.seen) == 2))
    of_stat = clinic.journal.read("SELECT pack_sha256 FROM packs WHERE study_uid = ?", (stat,))[0]["pack_sha256"]
    assert [seen for seen in hub.seen if seen.startswith("PUT")][1].endswith(of_stat)
    hub.line_is_free.set()
    confirmed(clinic, stat, *routine)


def test_wrong_clock_at_the_clinic_neither_spoils_grants_nor_signatures(clinic: Clinic, hub: HubStandIn) -> None:
    hub.grant_ttl_s = 60
    study = clinic.add_study()
    with clinic.journal.transaction() as connection:
        connection.execute("UPDATE transfers SET next_attempt_at = '2000-01-01T00:00:00.000000+00:00'")
    clinic.connect(clock=lambda: utc_now() + timedelta(days=400))
    confirmed(clinic, study)
    assert len(hub.grants) == 1


def _assert(condition: bool) -> None:
    assert condition


def _upload_of(hub: HubStandIn) -> str:
    grant = next(iter(hub.grants.values()))
    sha = next(iter(grant.packs))
    return Upload(
        pack_sha256=sha,
        url=f"{hub.url}/objects/{grant.grant_id}/{sha}",
        headers={"x-test-digest": sha, "If-None-Match": "*"},
    ).model_dump_json()
