"""The budget with real threads and the real clock: what it lets out is what other traffic of the clinic meets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from gateway.line.budget import TRICKLE_BYTES, LineBudget, MeteredBody, Upload, UploadAborted
from gateway.line.plan import Limits
from storage.contract.lanes import Lane
from tests.support.waiting import eventually

BLOCK = 64 * 1024
ATTEMPTS = 30  # on a machine that does much else the senders may be late
MIB = 1024 * 1024


class Sending(threading.Thread):
    """One upload that sends as fast as it may."""

    def __init__(self, budget: LineBudget, what: str, lane: Lane, size_bytes: int = 1000 * MIB, **work: float) -> None:
        super().__init__(daemon=True)
        self.budget, self.what, self.lane, self.size_bytes = budget, what, lane, size_bytes
        self.work = work
        self.upload: Upload | None = None
        self.aborted = False
        self.start()

    def run(self) -> None:
        try:
            with self.budget.upload(self.what, "1.2", self.lane, self.size_bytes, **self.work) as self.upload:  # type: ignore[arg-type]
                body = MeteredBody(bytes, self.budget, self.upload)
                while body.read(BLOCK):
                    time.monotonic()
        except UploadAborted:
            self.aborted = True

    @property
    def sent_bytes(self) -> int:
        return self.upload.sent_bytes if self.upload else 0


@pytest.fixture
def budget():
    one = LineBudget()
    yield one
    one.close()


def measured(within_s: float, count: Callable[[], int]) -> float:
    """Return how many bytes per second were counted, and no more: whoever is kept waiting here looks too long."""
    started, before = time.monotonic(), count()
    threading.Event().wait(within_s)
    return (count() - before) / (time.monotonic() - started)


def keeps_to(bytes_per_s: float, share: float, within_s: float, count: Callable[[], int]) -> None:
    """Fail where ever more goes out than the limit lets, and unless at some time all of it does."""
    rates: list[float] = []
    while len(rates) < ATTEMPTS:
        rates.append(measured(within_s, count))
        assert rates[-1] <= bytes_per_s * (1 + share)
        if rates[-1] >= bytes_per_s * (1 - share):
            return
    raise AssertionError(f"never {bytes_per_s} bytes/s: {rates}")


def share_alike(sent_bytes: Callable[[], list[int]]) -> None:
    """Return once nobody has had less than half of what another has."""

    def alike() -> None:
        shares = sent_bytes()
        assert min(shares) > max(shares) / 2

    eventually(alike)


def test_limit_counts_for_all_uploads_together_and_is_reached(budget: LineBudget) -> None:
    budget.set_limits(Limits(bytes_per_s=1_000_000))
    sending = [Sending(budget, str(n), Lane.ROUTINE) for n in range(4)]
    keeps_to(1_000_000, 0.1, 1.0, lambda: budget.take_counts()[0])
    share_alike(lambda: [one.sent_bytes for one in sending])


def test_documents_on_their_way_home_share_the_limit_of_uploads(budget: LineBudget) -> None:
    budget.set_limits(Limits(bytes_per_s=1_000_000))
    upload = Sending(budget, "a", Lane.ROUTINE)
    home, ends = [0], threading.Event()

    def fetch() -> None:
        while not ends.is_set():
            home[0] += budget.take_return(BLOCK)

    threading.Thread(target=fetch, daemon=True).start()
    keeps_to(1_000_000, 0.1, 1.0, lambda: upload.sent_bytes + home[0])
    share_alike(lambda: [upload.sent_bytes, home[0]])
    ends.set()


def test_documents_come_home_over_a_paused_line_and_keep_no_stop_waiting(budget: LineBudget) -> None:
    budget.set_limits(Limits(paused=True))
    assert budget.take_return(BLOCK) == BLOCK
    budget.set_limits(Limits(bytes_per_s=1.0))
    budget.take_return(BLOCK)
    budget.close()
    assert budget.take_return(BLOCK) == BLOCK


def test_limit_is_kept_in_small_pieces_and_never_in_bursts(budget: LineBudget) -> None:
    budget.set_limits(Limits(bytes_per_s=500_000))
    Sending(budget, "a", Lane.ROUTINE)
    rates = [measured(0.2, lambda: budget.take_counts()[0]) for _ in range(5)]
    assert max(rates) < 500_000 * 1.4


def test_changed_limit_counts_in_the_middle_of_an_upload(budget: LineBudget) -> None:
    budget.set_limits(Limits(bytes_per_s=10_000))
    Sending(budget, "a", Lane.ROUTINE)
    assert measured(0.3, lambda: budget.take_counts()[0]) < 30_000
    budget.set_limits(Limits(bytes_per_s=2_000_000))
    keeps_to(2_000_000, 0.2, 0.5, lambda: budget.take_counts()[0])


def test_exempt_lane_is_not_held_back(budget: LineBudget) -> None:
    budget.set_limits(Limits(bytes_per_s=10_000, exempt=frozenset({Lane.STAT})))
    stat = Sending(budget, "s", Lane.STAT, 50 * MIB)
    stat.join(60)
    assert stat.sent_bytes == 50 * MIB


def test_pack_that_yields_trickles_and_goes_on_with_what_it_had_sent(budget: LineBudget) -> None:
    budget.set_limits(Limits(bytes_per_s=1_000_000))
    routine = Sending(budget, "r", Lane.ROUTINE, 2 * MIB)
    eventually(lambda: _assert(routine.sent_bytes > 100_000))
    stat = Sending(budget, "s", Lane.STAT, 400_000)
    eventually(lambda: _assert(routine.upload is not None and routine.upload.yields))
    before = routine.sent_bytes
    stat.join(60)
    assert routine.sent_bytes <= before + TRICKLE_BYTES + 64 * 1024
    eventually(lambda: _assert(routine.sent_bytes > before + 200_000))
    assert not routine.aborted


def test_pack_is_broken_off_when_the_urgent_work_is_long_and_counts_it(budget: LineBudget) -> None:
    budget.set_limits(Limits(bytes_per_s=1_000_000))
    for times in (1, 2, 3):
        routine = Sending(budget, "r", Lane.ROUTINE)
        eventually(lambda routine=routine: _assert(routine.sent_bytes > 10_000))  # type: ignore[misc]
        with budget.upload("s", "1.3", Lane.STAT, MIB, urgent_bytes=10**9, bytes_per_s=1_000_000):
            if times < 3:
                routine.join(60)
                assert routine.aborted
            else:
                assert routine.upload is not None
                assert routine.upload.yields
                assert not routine.upload.broken_off


def test_pause_breaks_off_what_is_on_the_line(budget: LineBudget) -> None:
    sending = Sending(budget, "a", Lane.ROUTINE)
    eventually(lambda: _assert(sending.sent_bytes > 0))
    budget.set_limits(Limits(paused=True))
    sending.join(60)
    assert sending.aborted


def test_nothing_begins_on_a_closed_line(budget: LineBudget) -> None:
    budget.close()
    with pytest.raises(UploadAborted), budget.upload("a", "1.2", Lane.STAT, 1):
        pass


def _assert(condition: bool) -> None:
    assert condition
