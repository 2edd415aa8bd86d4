"""An instance too large for one upload travels in parts; after a cut only the parts in flight are sent again."""

from __future__ import annotations

from datetime import timedelta

from gateway.clock import utc_now
from gateway.journal.database import to_text
from storage.packs.layout import PACK_BYTES_MAX
from tests.integration.gateway_link.conftest import Clinic
from tests.integration.gateway_link.hub_stand_in import Fault, HubStandIn
from tests.support.waiting import eventually

MIB = 1024 * 1024
SIZE = 33 * MIB  # seven parts of the smallest size


def confirmed(clinic: Clinic, study_uid: str) -> None:
    def is_confirmed() -> None:
        assert clinic.state_of(study_uid) == "confirmed", clinic.problem_of(study_uid)

    eventually(is_confirmed)


def parts_put(hub: HubStandIn) -> dict[int, int]:
    """Return how often each part was taken whole."""
    with hub.lock:
        return {int(name.partition(".")[2]): count for name, count in hub.uploads.items() if "." in name}


def uploaded_by_journal(clinic: Clinic) -> set[int]:
    """Return the parts that are not sent again after a stop."""
    return {row["number"] for row in clinic.journal.read("SELECT number FROM parts WHERE state = 'uploaded'")}


def test_large_instance_is_uploaded_in_parts_and_committed_as_one(clinic: Clinic, hub: HubStandIn) -> None:
    link = clinic.connect()
    study = clinic.add_study(instances=1, size_bytes=SIZE, wake=link)
    confirmed(clinic, study)
    assert parts_put(hub) == dict.fromkeys(range(1, 8), 1)
    assert hub.largest_put <= PACK_BYTES_MAX
    assert clinic.journal.read("SELECT count(*) AS n FROM packs")[0]["n"] == 1
    assert len(next(iter(hub.transfers.values())).verified) == 1


def test_cut_and_restart_send_only_the_parts_in_flight_again(clinic: Clinic, hub: HubStandIn) -> None:
    hub.faults.append(Fault(r"PUT /objects/[^/]*/[0-9a-f]*\.4", drop_after_bytes=2 * MIB, times=-1))
    link = clinic.connect(upload_streams=1)
    study = clinic.add_study(instances=1, size_bytes=SIZE, wake=link)

    def three_are_there() -> None:
        assert uploaded_by_journal(clinic) >= {1, 2, 3}  # the hub has each before its answer is written down
        assert hub.count(r"PUT /objects/[^/]*/[0-9a-f]*\.4") >= 1

    eventually(three_are_there)
    clinic.disconnect()
    hub.faults.clear()
    clinic.connect()
    confirmed(clinic, study)
    assert parts_put(hub) == dict.fromkeys(range(1, 8), 1)


def test_only_the_part_that_the_hub_names_is_sent_again(clinic: Clinic, hub: HubStandIn) -> None:
    hub.refuse_parts_once.add(5)
    link = clinic.connect()
    study = clinic.add_study(instances=1, size_bytes=SIZE, wake=link)
    confirmed(clinic, study)
    assert parts_put(hub) == dict.fromkeys(range(1, 8), 1) | {5: 2}


def test_grant_that_is_over_before_the_commit_costs_another_grant_and_no_upload(
    clinic: Clinic, hub: HubStandIn
) -> None:
    hub.faults.append(Fault("POST /gateway/v1/grants/", status=503, times=-1))
    link = clinic.connect()
    study = clinic.add_study(instances=1, size_bytes=SIZE, wake=link)

    def all_are_there() -> None:
        assert set(parts_put(hub)) == set(range(1, 8))
        assert hub.count("POST /gateway/v1/grants/.*") >= 1

    eventually(all_are_there)
    with hub.lock:
        for grant in hub.grants.values():
            grant.expired = True
        hub.faults.clear()
    confirmed(clinic, study)
    assert parts_put(hub) == dict.fromkeys(range(1, 8), 1)


def test_address_of_a_part_that_ran_out_is_asked_for_again_and_the_other_parts_stay(
    clinic: Clinic, hub: HubStandIn
) -> None:
    hub.faults.append(Fault(r"PUT /objects/[^/]*/[0-9a-f]*\.2", status=503, times=-1))
    link = clinic.connect(upload_streams=1)
    study = clinic.add_study(instances=1, size_bytes=SIZE, wake=link)

    def first_is_there() -> None:
        assert uploaded_by_journal(clinic) >= {1}  # the hub has it before its answer is written down
        assert hub.count(r"PUT /objects/[^/]*/[0-9a-f]*\.2") >= 1

    eventually(first_is_there)
    clinic.disconnect()
    yesterday = to_text(utc_now() - timedelta(days=1))
    with clinic.journal.transaction() as connection:
        connection.execute("UPDATE parts SET grant_expires_at = ?", (yesterday,))
        connection.execute("UPDATE packs SET grant_expires_at = ?", (yesterday,))
        connection.execute("UPDATE transfers SET next_attempt_at = completed_at")
    hub.faults.clear()
    clinic.connect()
    confirmed(clinic, study)
    assert parts_put(hub) == dict.fromkeys(range(1, 8), 1)
