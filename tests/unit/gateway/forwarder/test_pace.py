from __future__ import annotations

import pytest

from gateway.forwarder.pace import (
    PACK_BYTES_MAX,
    PACK_BYTES_MIN,
    PACK_BYTES_UNMEASURED,
    POLL_IDLE_MAX_S,
    POLL_WORKING_MAX_S,
    LineSpeed,
    Polls,
    poll_delay_s,
)
from gateway.journal.transfers import TransferKey
from storage.contract.identifiers import Uid

KEY = TransferKey(Uid("1.2"), 1)


@pytest.mark.parametrize(
    ("bytes_per_s", "pack_bytes"), [(10_000, PACK_BYTES_MIN), (500_000, 2_500_000), (10**9, PACK_BYTES_MAX)]
)
def test_pack_takes_the_configured_seconds_of_the_line(bytes_per_s: int, pack_bytes: int) -> None:
    speed = LineSpeed(5)
    assert speed.pack_bytes() == PACK_BYTES_UNMEASURED
    speed.observe(bytes_per_s * 10, 10)
    assert speed.pack_bytes() == pack_bytes


def test_tiny_upload_says_nothing_of_the_line() -> None:
    speed = LineSpeed(5)
    speed.observe(1000, 0.2)
    assert speed.pack_bytes() == PACK_BYTES_UNMEASURED


def test_polls_begin_fast_and_slow_down_when_the_hub_is_away() -> None:
    delays = [poll_delay_s(n) for n in range(1, 200)]
    assert delays[0] == 0.05
    assert delays == sorted(delays)
    assert delays[39] == POLL_WORKING_MAX_S
    assert delays[-1] == POLL_IDLE_MAX_S


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
