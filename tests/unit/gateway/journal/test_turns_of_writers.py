"""Writers of one process wait for each other, in turn, and never find the journal locked."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.journal import database
from gateway.journal.database import Journal


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    """A journal that does not wait for SQLite's own lock at all."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0)
    journal = Journal(tmp_path / "journal.sqlite")
    with journal.transaction() as connection:
        connection.execute("CREATE TABLE counted (number INTEGER)")
    return journal


def test_crowd_of_writers_is_served_to_the_last(journal: Journal) -> None:
    together = threading.Barrier(50)

    def write(number: int) -> None:
        together.wait()
        with journal.transaction() as connection:
            connection.execute("INSERT INTO counted VALUES (?)", (number,))

    with ThreadPoolExecutor(50) as threads:
        list(threads.map(write, range(50)))
    assert journal.read("SELECT count(*), sum(number) FROM counted")[0][:] == (50, sum(range(50)))


def test_one_whose_transaction_fails_lets_the_next_write(journal: Journal) -> None:
    with pytest.raises(ZeroDivisionError), journal.transaction():
        raise ZeroDivisionError
    with journal.transaction() as connection:
        connection.execute("INSERT INTO counted VALUES (1)")
    assert [row["number"] for row in journal.read("SELECT number FROM counted")] == [1]


def test_threads_that_have_come_and_gone_leave_no_files_open(journal: Journal) -> None:
    together = threading.Barrier(40)

    def use(_: int) -> None:
        together.wait()
        journal.read("SELECT * FROM counted")
        with journal.transaction() as connection:
            connection.execute("INSERT INTO counted VALUES (1)")
            assert journal.read("SELECT count(*) FROM counted")[0][0] > 0, "a transaction sees what it wrote"

    with ThreadPoolExecutor(40) as threads:
        list(threads.map(use, range(40)))
        assert 0 < open_files(journal.path) <= 3 * (database.READERS_MAX + 1)
    journal.close()
    assert open_files(journal.path) == 0
    assert len(journal.read("SELECT * FROM counted")) == 40, "who still comes is served"
    assert open_files(journal.path) == 0


def open_files(path: Path) -> int:
    """Return how many descriptors of this process are of the journal and what lies beside it."""
    targets = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            targets.append(str(descriptor.readlink()))
    return sum(target.startswith(str(path)) for target in targets)
