"""Claimed cases on their way into the hospital's own PACS: DCMTK's storescp, the real hub API, a real gateway link."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from gateway.clock import utc_now
from gateway.console.attention import Matter, list_matters
from gateway.forwarder.pruner import Pruner, PruningLimits
from gateway.journal.database import to_text
from gateway.journal.identity import find_identity
from gateway.journal.reader_cases import conflicting, forget_ended, note_copied
from gateway.operations import Asker, requeue_deliveries
from gateway.reader.copies import CopiedInstance
from gateway.spool.inspection import inspect
from gateway.spool.rebuild import rebuild
from gateway.status import problems_of, read_status
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.hub import Hub
from reading_queue.services.reading import reading
from storage.catalogue.tables import Pack, Study
from storage.contract.identifiers import Sha256Hex, SiteId, Uid, new_id
from storage.objects.directory import DirectoryStore
from storage.packs import PackMember, PackStream, layout_of
from tests.integration.gateway_receive.instances import instance_uid, write_slice
from tests.integration.hub_intake.http_server import HubServer
from tests.integration.hub_reading.test_workstation import STUDY, Hospital, draft_of, oru
from tests.integration.hub_reading.world import TEXT, World
from tests.support.certificates import Authority
from tests.support.clock import SteerableClock
from tests.support.folders import files_under
from tests.support.ports import own_port
from tests.support.storescp import StoreScp, running_storescp
from tests.support.waiting import eventually

pytestmark = pytest.mark.postgres

SLICES = 3


@pytest.fixture
def directory_store(tmp_path: Path, hub_clock: SteerableClock) -> DirectoryStore:
    return DirectoryStore(tmp_path / "objects", public_url="http://127.0.0.1:1", secret=b"s" * 32, clock=hub_clock)


@pytest.fixture
def hospital(hub: Hub, wang: Viewer, tmp_path: Path) -> Iterator[Hospital]:
    place = Hospital(hub, tmp_path / "spool")
    yield place
    place.stop()


@pytest.fixture
def claimed(world: World, hub: Hub, wang: Viewer, tmp_path: Path) -> tuple[str, str]:
    """A case of one study in two packs that wang holds, and its reading task."""
    case_id = world.arrive(STUDY)
    for numbers in (range(1, SLICES), range(SLICES, SLICES + 1)):
        add_pack(hub, tmp_path, numbers)
    task_id = world.open_task(case_id).reading_task_id
    reading.claim(hub, wang, task_id)
    return case_id, task_id


def add_pack(hub: Hub, tmp_path: Path, numbers: range) -> str:
    """Put a true pack of these slices into the hub's object store; return its object key."""
    files = {instance_uid(number, STUDY): write_slice(tmp_path / "slices", number, STUDY) for number in numbers}
    members = [
        PackMember(Uid(uid), path.stat().st_size, Sha256Hex(hashlib.sha256(path.read_bytes()).hexdigest()))
        for uid, path in files.items()
    ]
    layout = layout_of(SiteId("township"), Uid(STUDY), members)
    with PackStream(layout, lambda member: files[member.sop_instance_uid].open("rb")) as stream:
        body = stream.read()
    key = f"studies/x/packs/{numbers.start}.tar"
    hub.objects.put(key, body, len(body))
    with hub.transaction() as session:
        study = session.scalars(select(Study).where(Study.study_uid == STUDY)).one()
        session.add(
            Pack(
                pack_id=new_id(),
                study_id=study.study_id,
                pack_sha256=hashlib.sha256(body).hexdigest(),
                object_key=key,
                headers_key=f"{key}.json",
                size_bytes=len(body),
                verified_at=hub.clock(),
            )
        )
    return key


def uids_in(pacs: StoreScp) -> list[str]:
    """Return the instances it has begun to write, which it names by modality and SOP Instance UID."""
    return sorted(path.name.partition(".")[2] for path in pacs.files())


def copies(hospital: Hospital) -> list[Path]:
    return files_under(hospital.spool.root / "reader", ".dcm")


def is_in_pacs(pacs: StoreScp) -> None:
    assert uids_in(pacs) == [instance_uid(number, STUDY) for number in range(1, SLICES + 1)]


def receipts(hospital: Hospital) -> set[tuple[str, str, str, int]]:
    rows = hospital.journal.read("SELECT step, target, code, reported FROM reader_receipts")
    return {tuple(row) for row in rows}


def has_receipt(hospital: Hospital, step: str, target: str, code: str = "") -> None:
    assert (step, target, code, 1) in receipts(hospital)


def test_a_claimed_case_comes_into_the_pacs_and_its_report_goes_home(
    world: World, hub: Hub, hospital: Hospital, wang: Viewer, claimed: tuple[str, str], tmp_path: Path
) -> None:
    case_id, task_id = claimed
    with HubServer(hub) as server, running_storescp(tmp_path / "pacs") as pacs:
        hospital.start(server.url, targets=[pacs.target(kind="pacs")])
        eventually(lambda: is_in_pacs(pacs))
        eventually(lambda: has_receipt(hospital, "delivered", "pacs:main"))
        (shown,) = read_status(hospital.journal)["reader_cases"]
        assert (shown["case_id"], shown["state"], shown["packs_here"], shown["problem"]) == (case_id, "held", 2, "")
        assert hospital.send(oru()).get("MSA", 1) == "AA"
        assert draft_of(hub, case_id) is not None
        reading.submit(hub, wang, task_id, TEXT, confirm=True)
        assert world.case(case_id).state == "pending_review"
        eventually(lambda: has_receipt(hospital, "withdrawn", "spool"))
        assert copies(hospital) == []
        assert len(pacs.files()) == SLICES
        hospital.stop()
    for days, is_kept in ((399, True), (401, False)):
        limits = PruningLimits(timedelta(days=400), timedelta(days=180), 10_000)
        Pruner(hospital.journal, hospital.spool, limits, clock=lambda: utc_now() + timedelta(days=days)).step()  # noqa: B023
        for table in ("reader_cases", "reader_receipts", "reader_reports"):
            assert bool(hospital.journal.read(f"SELECT * FROM {table}")) == is_kept
    assert [str(hop) for hop in world.hops(case_id)].count("at_reader") == 2


def test_a_released_claim_is_withdrawn_here_and_a_new_claim_brings_it_again(
    world: World,
    hub: Hub,
    hospital: Hospital,
    wang: Viewer,
    zhao: Viewer,
    claimed: tuple[str, str],
    tmp_path: Path,
) -> None:
    with HubServer(hub) as server, running_storescp(tmp_path / "pacs") as pacs:
        hospital.start(server.url, targets=[pacs.target(kind="pacs")])
        eventually(lambda: is_in_pacs(pacs))
        assert len(copies(hospital)) == SLICES
        reading.release(hub, wang, claimed[1], "110513")
        eventually(lambda: has_receipt(hospital, "withdrawn", "spool"))
        assert copies(hospital) == []
        assert read_status(hospital.journal)["reader_cases"][0]["state"] == "withdrawn"
        for path in pacs.files():
            path.unlink()
        world.run_jobs()
        task_id = world.open_task(claimed[0]).reading_task_id

        reading.claim(hub, zhao, task_id)
        eventually(lambda: is_in_pacs(pacs))
        assert len(copies(hospital)) == SLICES
        hospital.stop()


def test_copies_stay_for_their_keep_period_and_are_found_until_then(
    hub: Hub, hospital: Hospital, wang: Viewer, claimed: tuple[str, str], tmp_path: Path
) -> None:
    with HubServer(hub) as server, running_storescp(tmp_path / "pacs") as pacs:
        hospital.start(server.url, targets=[pacs.target(kind="pacs")], keep_days=3)
        eventually(lambda: is_in_pacs(pacs))
        reading.release(hub, wang, claimed[1], "110513")
        eventually(lambda: _is_ended(hospital))
        assert forget_ended(hospital.journal, utc_now() - timedelta(days=3)) == 0
        assert len(copies(hospital)) == SLICES
        assert len(hospital.journal.read("SELECT * FROM reader_holdings")) == SLICES

        with hospital.journal.transaction() as connection:
            connection.execute("UPDATE reader_cases SET changed_at = ?", (to_text(utc_now() - timedelta(days=3)),))
        eventually(lambda: has_receipt(hospital, "withdrawn", "spool"))
        assert copies(hospital) == []
        assert hospital.journal.read("SELECT * FROM reader_holdings") == []


def test_kept_copies_go_before_their_time_when_the_disk_is_low_and_held_ones_never(
    hub: Hub, hospital: Hospital, wang: Viewer, claimed: tuple[str, str], tmp_path: Path
) -> None:
    with HubServer(hub) as server, running_storescp(tmp_path / "pacs") as pacs:
        hospital.spool.limit(floor_bytes=0, low_bytes=2**60, make_room=lambda _: 0)
        hospital.start(server.url, targets=[pacs.target(kind="pacs")], keep_days=3)
        eventually(lambda: is_in_pacs(pacs))
        eventually(lambda: has_receipt(hospital, "delivered", "pacs:main"))
        assert len(copies(hospital)) == SLICES
        reading.release(hub, wang, claimed[1], "110513")
        eventually(lambda: has_receipt(hospital, "withdrawn", "spool"))
        assert copies(hospital) == []


def test_the_start_up_scan_makes_no_study_of_the_copies(
    hub: Hub, hospital: Hospital, claimed: tuple[str, str], tmp_path: Path
) -> None:
    with HubServer(hub) as server, running_storescp(tmp_path / "pacs") as pacs:
        hospital.start(server.url, targets=[pacs.target(kind="pacs")])
        eventually(lambda: is_in_pacs(pacs))
        hospital.stop()
    half = hospital.spool.begin_copy()  # what a power cut leaves of an unpacking, whole or not
    half.write(copies(hospital)[0].read_bytes())
    half.seal()
    rebuild(hospital.spool, hospital.journal, utc_now)
    assert find_identity(hospital.journal) is not None
    for table in ("instances", "studies", "transfers", "quarantine"):
        assert hospital.journal.read(f"SELECT * FROM {table}") == []
    assert len(copies(hospital)) == SLICES
    assert not half.path.exists()


def test_a_damaged_pack_is_refused_in_words_and_nothing_of_it_goes_to_the_pacs(
    hub: Hub, hospital: Hospital, claimed: tuple[str, str], tmp_path: Path, directory_store: DirectoryStore
) -> None:
    key = "studies/x/packs/1.tar"
    body = bytearray(directory_store.read(key))
    body[-2000] ^= 1
    directory_store.delete(key)
    directory_store.put(key, bytes(body), len(body))
    with HubServer(hub) as server, running_storescp(tmp_path / "pacs") as pacs:
        hospital.start(server.url, targets=[pacs.target(kind="pacs")])
        eventually(lambda: has_receipt(hospital, "failed", "spool", "pack_refused"))
        eventually(lambda: _is_only_the_last_slice(pacs))
        hospital.stop()
    assert any("digest" in problem for problem in problems_of(read_status(hospital.journal)))
    assert len(copies(hospital)) == 1
    assert not any(step == "delivered" for step, *_ in receipts(hospital))


def test_with_the_pacs_down_the_case_waits_with_the_reason_and_comes_after_a_restart_without_another_download(
    hub: Hub, hospital: Hospital, claimed: tuple[str, str], tmp_path: Path, directory_store: DirectoryStore
) -> None:
    down = StoreScp(own_port(), tmp_path)
    with HubServer(hub) as server:
        hospital.start(server.url, targets=[down.target(kind="pacs")])
        eventually(lambda: has_receipt(hospital, "failed", "pacs:main", "pacs_unavailable"))
        eventually(lambda: _has_copies(hospital))
        assert any("cannot be reached" in problem for problem in problems_of(read_status(hospital.journal)))
        assert [one.kind for one in matters(hospital) if "cannot be reached" in one.reason] == ["claimed_fail"]
        hospital.stop()
        for key in ("studies/x/packs/1.tar", f"studies/x/packs/{SLICES}.tar"):
            directory_store.delete(key)
        with running_storescp(tmp_path / "pacs") as pacs:
            hospital.start(server.url, targets=[pacs.target(kind="pacs")])
            eventually(lambda: is_in_pacs(pacs))
            eventually(lambda: has_receipt(hospital, "delivered", "pacs:main"))
            hospital.stop()


def test_a_pacs_that_is_back_gets_the_case_at_once_when_somebody_asks_for_it(
    hub: Hub, hospital: Hospital, claimed: tuple[str, str], tmp_path: Path
) -> None:
    with HubServer(hub) as server, running_storescp(tmp_path / "pacs") as pacs:
        hospital.start(server.url, targets=[pacs.target(kind="pacs", port=own_port())])
        eventually(lambda: has_receipt(hospital, "failed", "pacs:main", "pacs_unavailable"))
        hospital.stop()
        with hospital.journal.transaction() as connection:  # as after many attempts
            connection.execute("UPDATE reader_deliveries SET next_attempt_at = '2999-01-01', attempts = 9")
        hospital.start(server.url, targets=[pacs.target(kind="pacs")])
        asker = Asker("li", utc_now())
        assert requeue_deliveries(hospital.journal, asker, target="pacs:other") == 0
        assert requeue_deliveries(hospital.journal, asker, target="pacs:main") == 2
        assert hospital.link is not None
        hospital.link.actions_asked()
        eventually(lambda: is_in_pacs(pacs))
        hospital.stop()


@pytest.mark.parametrize("is_known", [True, False])
def test_claimed_cases_go_over_tls_and_never_to_a_pacs_with_a_strange_certificate(
    hub: Hub, hospital: Hospital, claimed: tuple[str, str], tmp_path: Path, *, is_known: bool
) -> None:
    authority, stranger = Authority(tmp_path / "certificates"), Authority(tmp_path / "elsewhere", "Other CA")
    ours, theirs = authority.issue("gateway"), (authority if is_known else stranger).issue("pacs.city")
    tls = {"certificate_file": ours.certificate_file, "key_file": ours.key_file, "ca_file": authority.ca_file}
    options = ("+tls", str(theirs.key_file), str(theirs.certificate_file), "+cf", str(authority.ca_file))
    with HubServer(hub) as server, running_storescp(tmp_path / "pacs", *options) as pacs:
        target = pacs.target(kind="pacs", tls=True, tls_server_name="pacs.city")
        hospital.start(server.url, targets=[target], tls=tls)
        if is_known:
            eventually(lambda: is_in_pacs(pacs))
        else:
            eventually(lambda: has_receipt(hospital, "failed", "pacs:main", "pacs_unavailable"))
            words = "its certificate is not signed by the configured CA"
            assert any(words in problem for problem in problems_of(read_status(hospital.journal)))
            assert pacs.files() == []
        hospital.stop()


def test_a_download_that_was_cut_off_goes_on_with_the_packs_that_are_missing(
    hub: Hub, hospital: Hospital, claimed: tuple[str, str], tmp_path: Path, directory_store: DirectoryStore
) -> None:
    late = f"studies/x/packs/{SLICES}.tar"
    body = directory_store.read(late)
    directory_store.delete(late)
    with HubServer(hub) as server, running_storescp(tmp_path / "pacs") as pacs:
        hospital.start(server.url, targets=[pacs.target(kind="pacs")])
        eventually(lambda: _has_copies(hospital, SLICES - 1))
        hospital.stop()
        directory_store.put(late, body, len(body))
        directory_store.delete("studies/x/packs/1.tar")
        hospital.start(server.url, targets=[pacs.target(kind="pacs")])
        eventually(lambda: is_in_pacs(pacs))
        hospital.stop()


def test_an_instance_that_is_here_from_elsewhere_is_refused_and_never_replaced(
    hub: Hub, hospital: Hospital, claimed: tuple[str, str], tmp_path: Path
) -> None:
    with hospital.journal.transaction() as connection:
        connection.execute(
            "INSERT INTO reader_cases VALUES ('other', 'other-case', 'held', '2026-01-01T00:00:00+00:00')"
        )
        connection.execute(
            "INSERT INTO reader_packs (reading_task_id, pack_id, study_uid, prior, pack_sha256, size_bytes,"
            " next_attempt_at) VALUES ('other', 'p', ?, 0, '', 1, '')",
            (STUDY,),
        )

    header = inspect(write_slice(tmp_path / "slices", 1, STUDY)).header
    note_copied(hospital.journal, "other", "p", [CopiedInstance(header, "a" * 64)], utc_now())
    assert conflicting(hospital.journal, instance_uid(1, STUDY), "b" * 64)
    assert not conflicting(hospital.journal, instance_uid(1, STUDY), "a" * 64)


def matters(hospital: Hospital) -> list[Matter]:
    return list_matters(
        hospital.journal, hospital.spool, utc_now(), disk_floor_bytes=0, accounts_offline=timedelta(days=30)
    )


def _is_ended(hospital: Hospital) -> None:
    (case,) = read_status(hospital.journal)["reader_cases"]
    assert case["state"] == "withdrawing"


def _has_copies(hospital: Hospital, count: int = SLICES) -> None:
    assert len(copies(hospital)) == count


def _is_only_the_last_slice(pacs: StoreScp) -> None:
    assert uids_in(pacs) == [instance_uid(SLICES, STUDY)]
