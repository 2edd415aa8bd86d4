from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.forwarder.decision import LineView, OnLine, Step, Work, next_question, next_upload, questions_of
from gateway.journal.transfers import TransferKey, TransferRow
from gateway.journal.uploads import PackRow
from gateway.line.plan import Limits
from storage.contract.identifiers import Uid
from storage.contract.lanes import Lane
from storage.contract.wire import PACKS_PER_GRANT_MAX

NOW = datetime(2026, 3, 2, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
KEY = TransferKey(Uid("1.2"), 1)
OTHER = TransferKey(Uid("1.3"), 1)
NOBODY: frozenset[tuple[TransferKey, str]] = frozenset()
NONE_RESTS: frozenset[TransferKey] = frozenset()


def pack(name: str, state: str = "planned", until: datetime | None = None, host: str = "store") -> PackRow:
    return PackRow(name, 2048, state, "g1" if until or state != "planned" else None, until, host if until else "")


def transfer(
    *packs: PackRow,
    state: str = "declared",
    key: TransferKey = KEY,
    lane: Lane = Lane.ROUTINE,
    declared_lane: Lane | None = None,
    unplanned: int = 0,
) -> TransferRow:
    hub_id = None if state == "ready" else "t1"
    return TransferRow(key, state, hub_id, NOW, 0, lane, declared_lane or lane, unplanned, packs)


def line(*on_line: OnLine, streams: int = 2, limits: Limits | None = None, troubled: str = "") -> LineView:
    return LineView(on_line, streams, limits or Limits(), frozenset({troubled} - {""}))


def questions(row: TransferRow, wanted: int = 8) -> list[tuple[Step, tuple[str, ...]]]:
    return [(work.step, work.pack_sha256s) for work in questions_of(row, NOW, packs_wanted=wanted)]


def ask(*rows: TransferRow, resting: frozenset[TransferKey] = NONE_RESTS, packs_ahead: int = 3) -> Work | None:
    return next_question(rows, NOBODY, resting, NOW, packs_ahead=packs_ahead)


def test_ready_study_is_declared_first() -> None:
    assert questions(transfer(state="ready")) == [(Step.DECLARE, ())]


def test_planned_packs_without_address_are_granted_together() -> None:
    assert questions(transfer(pack("a"), pack("b"))) == [(Step.GRANT, ("a", "b"))]


def test_what_is_not_planned_yet_is_planned_with_its_grant() -> None:
    assert questions(transfer(unplanned=3)) == [(Step.GRANT, ())]


def test_a_grant_holds_only_so_many_packs() -> None:
    row = transfer(*(pack(f"p{n}") for n in range(PACKS_PER_GRANT_MAX + 5)))
    assert len(questions(row, wanted=1000)[0][1]) == PACKS_PER_GRANT_MAX


def test_address_that_has_run_out_is_asked_for_again() -> None:
    row = transfer(pack("a", until=NOW), pack("b", until=NOW + timedelta(seconds=1)))
    assert questions(row) == [(Step.GRANT, ("a",))]
    work = next_upload([row], NOBODY, line(), NOW)
    assert work is not None
    assert work.pack_sha256s == ("b",)


def test_uploaded_pack_is_committed_before_more_is_granted() -> None:
    row = transfer(pack("a", "uploaded"), pack("b"))
    assert questions(row) == [(Step.COMMIT, ("a",)), (Step.GRANT, ("b",))]


def test_transfer_whose_every_pack_is_committed_is_polled() -> None:
    assert questions(transfer(state="uploaded")) == [(Step.POLL, ())]


def test_transfer_is_not_polled_while_something_of_it_is_not_planned() -> None:
    assert questions(transfer(unplanned=1), wanted=0) == []


def test_another_lane_is_told_to_the_hub_first_even_of_a_confirmed_transfer() -> None:
    raised = transfer(pack("a", "uploaded"), lane=Lane.STAT, declared_lane=Lane.ROUTINE)
    assert questions(raised)[0] == (Step.DECLARE_LANE, ())
    confirmed = transfer(state="confirmed", lane=Lane.STAT, declared_lane=Lane.ROUTINE)
    assert questions(confirmed) == [(Step.DECLARE_LANE, ())]


def test_addresses_are_asked_for_ahead_of_the_line_and_not_for_more() -> None:
    enough = transfer(*(pack(f"p{n}", until=LATER) for n in range(3)), unplanned=5)
    assert ask(enough) is None
    short = transfer(*(pack(f"p{n}", until=LATER) for n in range(2)), unplanned=5)
    work = ask(short)
    assert work is not None
    assert work.step is Step.GRANT


def test_pack_on_the_line_waits_no_longer() -> None:
    row = transfer(*(pack(f"p{n}", until=LATER) for n in range(3)), unplanned=5)
    work = next_question([row], frozenset({(KEY, "p0")}), NONE_RESTS, NOW, packs_ahead=3)
    assert work is not None
    assert work.step is Step.GRANT


def test_stat_study_gets_addresses_however_many_routine_packs_wait() -> None:
    routine = transfer(*(pack(f"p{n}", until=LATER) for n in range(9)), unplanned=5)
    work = ask(transfer(unplanned=1, key=OTHER, lane=Lane.STAT), routine)
    assert work is not None
    assert (work.key, work.step) == (OTHER, Step.GRANT)


def test_two_threads_upload_two_packs_of_one_study() -> None:
    rows = [transfer(pack("a", until=LATER), pack("b", until=LATER))]
    first = next_upload(rows, NOBODY, line(), NOW)
    assert first is not None
    second = next_upload(rows, frozenset({first.slot}), line(), NOW)
    assert second is not None
    assert (first.pack_sha256s, second.pack_sha256s) == (("a",), ("b",))
    assert next_upload(rows, frozenset({first.slot, second.slot}), line(), NOW) is None


def test_full_line_takes_no_more_of_a_lane_but_a_more_urgent_one() -> None:
    full = line(OnLine(Lane.ROUTINE, "store"), OnLine(Lane.ROUTINE, "store", yields=True))
    assert next_upload([transfer(pack("a", until=LATER))], NOBODY, full, NOW) is None
    stat = transfer(pack("a", until=LATER), lane=Lane.STAT)
    assert next_upload([stat], NOBODY, full, NOW) is not None


def test_nothing_begins_beside_a_more_urgent_upload() -> None:
    assert next_upload([transfer(pack("a", until=LATER))], NOBODY, line(OnLine(Lane.STAT, "store")), NOW) is None


@pytest.mark.parametrize("limits", [Limits(paused=True), Limits(lanes=frozenset({Lane.STAT}))])
def test_lane_that_may_not_use_the_line_now_waits(limits: Limits) -> None:
    assert next_upload([transfer(pack("a", until=LATER))], NOBODY, line(limits=limits), NOW) is None


def test_host_that_did_not_answer_is_tried_by_one_upload_while_others_go_on() -> None:
    rows = [transfer(pack("a", until=LATER, host="dead")), transfer(pack("b", until=LATER), key=OTHER)]
    trying = line(OnLine(Lane.ROUTINE, "dead"), troubled="dead")
    work = next_upload(rows, NOBODY, trying, NOW)
    assert work is not None
    assert work.key == OTHER
    assert next_upload(rows, NOBODY, line(troubled="dead"), NOW) is not None


def test_all_but_uploads_of_a_transfer_are_done_by_one_thread() -> None:
    assert next_question([transfer(pack("a"))], frozenset({(KEY, "")}), NONE_RESTS, NOW, packs_ahead=3) is None


def test_resting_transfer_lets_the_next_one_go() -> None:
    rows = [transfer(state="uploaded"), transfer(state="uploaded", key=OTHER)]
    work = ask(*rows, resting=frozenset({KEY}))
    assert work is not None
    assert work.key == OTHER


def part(number: int, until: datetime | None = None) -> PackRow:
    return PackRow("large", 5 * 1024 * 1024, "planned", None, until, part=number)


def test_parts_of_a_large_pack_are_granted_a_few_at_a_time_in_their_order() -> None:
    row = transfer(*(part(number) for number in range(1, 30)))
    (work,) = questions_of(row, NOW, packs_wanted=3)
    assert (work.step, work.pack_sha256s) == (Step.GRANT, ("large",))
    assert work.parts == (("large", 1), ("large", 2), ("large", 3))


def test_large_pack_whose_parts_are_all_uploaded_is_granted_without_asking_for_an_address() -> None:
    (work,) = questions_of(transfer(pack("large")), NOW, packs_wanted=3)
    assert (work.step, work.pack_sha256s, work.parts) == (Step.GRANT, ("large",), ())


def test_two_parts_of_one_pack_are_uploaded_at_once() -> None:
    later = NOW + timedelta(minutes=5)
    rows = [transfer(part(1, later), part(2, later))]
    first = next_upload(rows, NOBODY, line(streams=2), NOW)
    assert first is not None
    second = next_upload(rows, frozenset({first.slot}), line(streams=2), NOW)
    assert second is not None
    assert (first.parts, second.parts) == ((("large", 1),), (("large", 2),))
    assert next_upload(rows, frozenset({first.slot, second.slot}), line(streams=2), NOW) is None
