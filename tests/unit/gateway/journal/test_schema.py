from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gateway.journal.database import Journal, JournalTooNew
from gateway.journal.instances import Compression, find_instance
from gateway.journal.schema import SCHEMA_VERSION, VERSIONS, first
from storage.contract.identifiers import Uid


def journal_of_the_first_version(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.executescript(first.STATEMENTS)
        for uid, state, revision in (("1.2.1", "incoming", None), ("1.2.2", "ready", 1)):
            connection.execute(
                "INSERT INTO instances VALUES (?, '1.2', '1.2.9', '1.2.8', '1.2.7', 'a', 'b', NULL, 5,"
                " '2026-01-01T00:00:00.000000+00:00', 'CT1', 'x', ?, ?)",
                (uid, state, revision),
            )
        connection.execute("PRAGMA user_version = 1")


def test_a_journal_of_the_first_version_keeps_what_it_holds_when_it_is_brought_up_to_date(tmp_path: Path):
    journal_of_the_first_version(tmp_path / "journal.sqlite")
    for _ in range(2):
        journal = Journal(tmp_path / "journal.sqlite")
        waiting = find_instance(journal, Uid("1.2.1"))
        on_its_way = find_instance(journal, Uid("1.2.2"))
        assert waiting is not None
        assert on_its_way is not None
        assert (waiting.size_bytes, waiting.compression) == (5, Compression.DUE)
        assert on_its_way.compression is Compression.AS_IS
        assert journal.read("PRAGMA user_version")[0][0] == SCHEMA_VERSION


def test_copies_of_claimed_cases_from_before_their_index_are_fetched_once_more(tmp_path: Path):
    with sqlite3.connect(tmp_path / "journal.sqlite") as connection:
        for subjects in VERSIONS[:3]:
            connection.executescript("".join(subjects))
        connection.execute("INSERT INTO reader_cases VALUES ('task', 'case', 'held', '2026-01-01')")
        connection.execute(
            "INSERT INTO reader_packs (reading_task_id, pack_id, study_uid, prior, pack_sha256, size_bytes, state,"
            " next_attempt_at) VALUES ('task', 'pack', '1.2', 0, 'a', 5, 'here', '2026-01-01')"
        )
        connection.execute("INSERT INTO reader_instances VALUES ('task', 'pack', '1.2.1', 'c', 't', 'b')")
        connection.execute(
            "INSERT INTO reader_deliveries VALUES ('task', 'pack', 'pacs:main', 'delivered', 1, '', NULL)"
        )
        connection.execute("PRAGMA user_version = 3")
    connection.close()
    journal = Journal(tmp_path / "journal.sqlite")
    assert journal.read("SELECT state FROM reader_packs")[0]["state"] == "due"
    assert journal.read("SELECT * FROM reader_instances") == []
    assert journal.read("SELECT state FROM reader_deliveries")[0]["state"] == "delivered"  # the PACS has it


def test_a_journal_brought_up_to_date_has_the_tables_of_a_new_one(tmp_path: Path):
    journal_of_the_first_version(tmp_path / "old.sqlite")
    query = "SELECT type, name, sql FROM sqlite_master ORDER BY type, name"
    old, new = ([tuple(row) for row in Journal(tmp_path / name).read(query)] for name in ("old.sqlite", "new.sqlite"))
    assert old == new


def test_a_journal_of_a_newer_gateway_is_refused(tmp_path: Path):
    with sqlite3.connect(tmp_path / "journal.sqlite") as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(JournalTooNew):
        Journal(tmp_path / "journal.sqlite")
