from __future__ import annotations

from gateway.forwarder.pace import POLL_IDLE_MAX_S, POLL_WORKING_MAX_S, Polls, poll_delay_s
from gateway.journal.transfers import TransferKey
from storage.contract.identifiers import Uid

KEY = TransferKey(Uid("1.2"), 1)


def test_polls_begin_fast_and_slow_down_when_the_hub_is_away() -> None:
    delays = [poll_delay_s(n) for n in range(1, 200)]
    assert delays[0] == 0.05
    assert delays == sorted(delays)
    assert delays[39] == POLL_WORKING_MAX_S
    assert delays[-1] == POLL_IDLE_MAX_S


def test_many_that_wait_together_are_asked_about_no_more_often_than_one() -> None:
    now = [0.0]
    polls = Polls(lambda: now[0])
    keys = [TransferKey(Uid(f"1.2.{number}"), 1) for number in range(1, 9)]
    asked = 0
    while now[0] < 4.0:
        for key in keys:
            if key not in polls.resting():
                polls.in_vain(key)
                asked += 1
        now[0] += 0.01
    assert asked <= 5 * len(keys)
    assert poll_delay_s(1, waiting=1000) == POLL_WORKING_MAX_S


def test_transfer_rests_until_its_poll_is_due() -> None:
    now = [100.0]
    polls = Polls(lambda: now[0])
    polls.in_vain(KEY)
    assert polls.resting() == {KEY}
    now[0] += polls.next_due_in_s() or 0
    assert polls.resting() == frozenset()
    polls.in_vain(KEY)
    polls.forget(KEY)
    assert polls.next_due_in_s() is None
