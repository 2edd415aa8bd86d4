from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.journal.database import Journal
from gateway.journal.line import read_line, set_paused, set_wished_limit
from gateway.line.budget import LineBudget
from gateway.line.plan import Limits, LinePlan
from gateway.line.watch import LineWatch
from storage.contract.lanes import Lane
from storage.packs.layout import PACK_BYTES_MAX, PACK_BYTES_MIN

START = datetime(2026, 3, 2, tzinfo=UTC)


class Bench:
    """A line that carries what the test says, on a clock that the test moves."""

    def __init__(self, journal: Journal, limits: Limits | None = None) -> None:
        self.now = 0.0
        self.journal = journal
        self.budget = LineBudget(lambda: self.now)
        self.watch = LineWatch(
            journal,
            self.budget,
            LinePlan(otherwise=limits or Limits()),
            streams_max=6,
            seconds_per_pack=5,
            clock=lambda: START + timedelta(seconds=self.now),
            monotonic=lambda: self.now,
        )

    def carry(self, bytes_per_s: float, seconds: float) -> None:
        """Carry so much, with as many uploads as the watch wants."""
        ends = self.now + seconds
        while self.now < ends:
            self.now += 0.25
            left = int(bytes_per_s * 0.25)
            with self.budget.upload("first", "1.2", Lane.ROUTINE, 10**9) as upload:
                others = [self.budget.upload(n, "1.2", Lane.ROUTINE, 10**9) for n in range(self.watch.streams - 1)]
                for other in others:
                    other.__enter__()
                while left:
                    left -= self.budget.take(upload, left)
                self.watch.step()
                for other in others:
                    other.__exit__(None, None, None)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.sqlite")


@pytest.mark.parametrize(
    ("bytes_per_s", "pack_bytes"), [(100_000, PACK_BYTES_MIN), (500_000, 2_500_000), (10**8, PACK_BYTES_MAX)]
)
def test_pack_takes_the_configured_seconds_of_the_line(journal: Journal, bytes_per_s: int, pack_bytes: int) -> None:
    bench = Bench(journal)
    bench.carry(bytes_per_s, 40)
    assert bench.watch.pack_bytes() == pytest.approx(pack_bytes, rel=0.1)
    assert bench.watch.bytes_per_s == pytest.approx(bytes_per_s, rel=0.1)


def test_pack_follows_a_limit_below_the_line(journal: Journal) -> None:
    bench = Bench(journal)
    bench.carry(2_000_000, 40)
    with journal.transaction() as connection:
        set_wished_limit(connection, 400_000)
    bench.watch.step()
    assert bench.watch.pack_bytes() == 2_000_000


def test_restart_begins_with_what_was_measured(journal: Journal) -> None:
    bench = Bench(journal)
    bench.carry(500_000, 60)
    bench.watch.save()
    again = Bench(journal)
    assert again.watch.bytes_per_s == pytest.approx(500_000, rel=0.1)
    assert again.watch.streams == bench.watch.streams
    assert read_line(journal).bytes_per_s == pytest.approx(500_000, rel=0.1)


def test_slow_line_ends_with_one_stream(journal: Journal) -> None:
    bench = Bench(journal)
    bench.carry(50_000, 240)
    assert bench.watch.streams == 1


def test_line_that_a_limit_holds_back_is_not_taken_for_a_slow_one(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(journal)
    bench.carry(2_000_000, 40)
    before, _ = bench.budget.take_counts()
    with bench.budget.upload("a", "1.2", Lane.ROUTINE, 10**9):
        for seconds in range(400):
            bench.now += 1
            sent_bytes = before + 1000 * seconds
            monkeypatch.setattr(bench.budget, "take_counts", lambda sent=sent_bytes: (sent, True))
            bench.watch.step()
    assert bench.watch.bytes_per_s == pytest.approx(2_000_000, rel=0.1)


def test_gaps_say_nothing_of_the_line(journal: Journal) -> None:
    bench = Bench(journal)
    bench.carry(1_000_000, 40)
    for _ in range(50):
        bench.carry(1_000_000, 0.5)
        bench.now += 5
        bench.watch.step()
    assert bench.watch.bytes_per_s == pytest.approx(1_000_000, rel=0.1)


def test_pause_of_another_process_is_noticed(journal: Journal) -> None:
    bench = Bench(journal)
    with journal.transaction() as connection:
        set_paused(connection, START)
    bench.watch.step()
    assert bench.budget.limits.paused
