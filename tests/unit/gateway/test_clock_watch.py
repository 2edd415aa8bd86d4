"""A clock that is set back holds nothing up."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from gateway.clock_watch import LONGEST_WAIT, ClockWatch
from gateway.journal.database import Journal, from_text, to_text
from gateway.journal.waiting import WAITING
from tests.support.clock import SteerableClock

YEAR_S = 365 * 86_400


class Machine:
    """A wall clock that can be set, and one that only goes on."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.wall = SteerableClock()
        self.running = 1000.0
        self.woken = 0
        self.watch = ClockWatch(journal, clock=self.wall, on_set_back=self._wake, monotonic=lambda: self.running)

    def _wake(self) -> None:
        self.woken += 1

    def go_on(self, seconds: float) -> None:
        self.wall.advance(seconds)
        self.running += seconds

    def add_transfer(self, due_in_s: float) -> None:
        now = self.wall()
        with self.journal.transaction() as connection:
            connection.execute(
                "INSERT INTO transfers (study_uid, revision, lane, manifest, state, completed_at, next_attempt_at)"
                " VALUES ('1.2', 1, 'routine', '{}', 'ready', ?, ?)",
                (to_text(now), to_text(now + timedelta(seconds=due_in_s))),
            )

    def due_in_s(self) -> float:
        due = from_text(self.journal.read("SELECT next_attempt_at FROM transfers")[0]["next_attempt_at"])
        return (due - self.wall()).total_seconds()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(Journal(tmp_path / "journal.sqlite"))


def test_every_table_with_a_next_attempt_is_looked_at(machine: Machine) -> None:
    tables = machine.journal.read("SELECT name FROM sqlite_master WHERE type = 'table'")
    having = {
        row["name"]
        for row in tables
        if any(c["name"] == "next_attempt_at" for c in machine.journal.read(f"PRAGMA table_info({row['name']})"))
    }
    assert having == set(WAITING)


@pytest.mark.parametrize("set_back_s", [60, YEAR_S])
def test_what_waits_is_tried_at_once_when_the_clock_is_set_back(machine: Machine, set_back_s: float) -> None:
    machine.watch.step()
    machine.add_transfer(due_in_s=30)
    machine.wall.advance(-set_back_s)
    machine.watch.step()
    assert (machine.due_in_s(), machine.woken) == (0, 1)


@pytest.mark.parametrize("seconds", [3, YEAR_S])
def test_a_clock_that_goes_on_or_is_set_forwards_changes_nothing(machine: Machine, seconds: float) -> None:
    machine.add_transfer(due_in_s=30)
    machine.watch.step()
    machine.go_on(5)
    machine.watch.step()
    machine.wall.advance(seconds)
    machine.watch.step()
    assert (machine.due_in_s(), machine.woken) == (25 - seconds, 0)


def test_clock_that_was_set_back_while_the_gateway_was_off_is_found_out(machine: Machine) -> None:
    machine.add_transfer(due_in_s=LONGEST_WAIT.total_seconds() + YEAR_S)
    machine.watch.step()
    assert (machine.due_in_s(), machine.woken) == (0, 1)


def test_wait_that_is_as_long_as_waits_are_outlasts_a_restart(machine: Machine) -> None:
    machine.add_transfer(due_in_s=LONGEST_WAIT.total_seconds() - 1)
    machine.watch.step()
    assert machine.woken == 0
