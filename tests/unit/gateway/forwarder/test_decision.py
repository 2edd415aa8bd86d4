from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gateway.forwarder.decision import ASKING_STEPS, LINE_STEPS, Step, next_work, possible_steps
from gateway.journal.transfers import PackRow, TransferKey, TransferRow
from storage.contract.identifiers import Uid
from storage.contract.wire import PACKS_PER_GRANT_MAX

NOW = datetime(2026, 3, 2, tzinfo=UTC)
KEY = TransferKey(Uid("1.2"), 1)
NOBODY: frozenset[tuple[TransferKey, str]] = frozenset()


def pack(name: str, state: str = "planned", until: datetime | None = None) -> PackRow:
    return PackRow(name, 2048, state, "g1" if until or state != "planned" else None, until)


def transfer(*packs: PackRow, state: str = "declared", key: TransferKey = KEY) -> TransferRow:
    return TransferRow(key, state, None if state == "ready" else "t1", NOW, 0, packs)


def steps(row: TransferRow) -> list[tuple[Step, tuple[str, ...]]]:
    return [(work.step, work.pack_sha256s) for work in possible_steps(row, NOW)]


def test_ready_study_is_declared_first() -> None:
    assert steps(transfer(state="ready")) == [(Step.DECLARE, ())]


def test_planned_packs_without_address_are_granted_together() -> None:
    assert steps(transfer(pack("a"), pack("b"))) == [(Step.GRANT, ("a", "b"))]


def test_a_grant_holds_only_so_many_packs() -> None:
    row = transfer(*(pack(f"p{n}") for n in range(PACKS_PER_GRANT_MAX + 5)))
    assert len(steps(row)[0][1]) == PACKS_PER_GRANT_MAX


def test_address_that_has_run_out_is_asked_for_again() -> None:
    row = transfer(pack("a", until=NOW), pack("b", until=NOW + timedelta(seconds=1)))
    assert steps(row) == [(Step.GRANT, ("a",)), (Step.UPLOAD, ("b",))]


def test_uploaded_pack_is_committed_before_others_are_uploaded() -> None:
    later = NOW + timedelta(minutes=5)
    row = transfer(pack("a", "uploaded"), pack("b", until=later), pack("c", "committed"))
    assert steps(row) == [(Step.COMMIT, ("a",)), (Step.UPLOAD, ("b",))]


def test_committed_transfer_is_polled() -> None:
    assert steps(transfer(pack("a", "committed"), state="uploaded")) == [(Step.POLL, ())]


def test_transfer_whose_every_instance_is_held_is_polled() -> None:
    assert steps(transfer(state="uploaded")) == [(Step.POLL, ())]


def test_two_threads_upload_two_packs_of_one_study() -> None:
    later = NOW + timedelta(minutes=5)
    rows = [transfer(pack("a", until=later), pack("b", until=later))]
    first = next_work(rows, NOBODY, LINE_STEPS, frozenset(), NOW)
    assert first is not None
    second = next_work(rows, frozenset({first.slot}), LINE_STEPS, frozenset(), NOW)
    assert second is not None
    assert (first.pack_sha256s, second.pack_sha256s) == (("a",), ("b",))
    assert next_work(rows, frozenset({first.slot, second.slot}), LINE_STEPS, frozenset(), NOW) is None


def test_all_but_uploads_of_a_transfer_are_done_by_one_thread() -> None:
    rows = [transfer(pack("a"))]
    assert next_work(rows, frozenset({(KEY, "")}), ASKING_STEPS, frozenset(), NOW) is None


def test_resting_transfer_lets_the_next_one_go() -> None:
    other = TransferKey(Uid("1.3"), 1)
    rows = [transfer(state="uploaded"), transfer(state="uploaded", key=other)]
    work = next_work(rows, NOBODY, ASKING_STEPS, frozenset({KEY}), NOW)
    assert work is not None
    assert work.key == other
