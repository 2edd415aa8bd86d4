"""One SQLite journal for all threads of one gateway process.

Durable: every committed transaction (WAL, synchronous=FULL), also across power loss. Volatile: nothing.
On restart the journal is opened as it was left; SQLite replays its log.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from gateway.journal.schema import SCHEMA_VERSION, statements_after

JOURNAL_NAME = "journal.sqlite"  # in the spool directory
INCREMENTAL = 2  # as PRAGMA auto_vacuum tells it
BUSY_TIMEOUT_S = 10.0  # for another process to end its transaction
READERS_MAX = 8  # a query takes milliseconds; more at once would only wait for the processor
TURN_TIMEOUT_S = 60.0  # for all threads before this one; only a transaction that never ends takes as long
LOG_BYTES_MAX = 64 * 1024 * 1024  # to which the write-ahead log is cut back once it was longer


class JournalTooNew(Exception):
    """The journal was written by a newer gateway; install that version again."""


class Journal:
    """One connection that writes, a few that read, for all threads: a thread has one only while it uses it.

    Writers of this process take turns by a lock of its own: SQLite's makes a writer who finds it taken sleep and look
    again, by which a crowd keeps somebody out for seconds. SQLite's counts between processes. Connections are files:
    one for each of hundreds of threads would use up what a process may have open.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._here = threading.local()  # the connection of this thread's transaction
        self._writing = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._reading = threading.BoundedSemaphore(READERS_MAX)
        self._readers: list[sqlite3.Connection] = []  # those that nobody uses
        self._closed = False
        with self.transaction() as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise JournalTooNew(f"{path} has schema version {version}, this gateway knows {SCHEMA_VERSION}")
            for statement in statements_after(version):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @property
    def path(self) -> Path:
        """Return the journal's file."""
        return self._path

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit durably when the block ends, roll back when it raises. Not within another of this thread."""
        if getattr(self._here, "connection", None) is not None:
            raise sqlite3.OperationalError("cannot start a transaction within a transaction")
        with self._turn_to_write() as connection:
            connection.execute("BEGIN IMMEDIATE")
            self._here.connection = connection
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            finally:
                self._here.connection = None

    def read(self, query: str, parameters: tuple[object, ...] = ()) -> list[sqlite3.Row]:
        """Return the rows of one query: outside any transaction, or as this thread's own transaction sees them."""
        own: sqlite3.Connection | None = getattr(self._here, "connection", None)
        if own is not None:
            return own.execute(query, parameters).fetchall()
        with self._reader() as connection:
            return connection.execute(query, parameters).fetchall()

    def shrink(self, pages: int) -> None:
        """Give up to `pages` unused pages back to the disk, and the write-ahead log what it does not need."""
        with self._turn_to_write() as connection:
            connection.execute(f"PRAGMA incremental_vacuum({int(pages)})").fetchall()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the files, when the gateway has stopped. Whoever still comes is served, and leaves nothing open."""
        self._closed = True
        with self._turn_to_write():
            pass
        while self._readers:
            self._readers.pop().close()

    @contextmanager
    def _turn_to_write(self) -> Iterator[sqlite3.Connection]:
        """Wait until no other thread writes."""
        if not self._writing.acquire(timeout=TURN_TIMEOUT_S):
            raise sqlite3.OperationalError("another thread has been writing to the journal for too long")
        try:
            if self._writer is None:
                self._writer = self._open()
            yield self._writer
        finally:
            if self._closed and self._writer is not None:
                self._writer.close()
                self._writer = None
            self._writing.release()

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        """Wait until fewer than READERS_MAX threads read."""
        with self._reading:
            try:
                connection = self._readers.pop()
            except IndexError:
                connection = self._open()
            try:
                yield connection
            finally:
                if self._closed:
                    connection.close()
                else:
                    self._readers.append(connection)

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        if connection.execute("PRAGMA auto_vacuum").fetchone()[0] != INCREMENTAL:  # setting it again is a commit
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # counts for a new journal only
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES_MAX}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection


def to_text(moment: datetime) -> str:
    """Return an aware time as sortable UTC text."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def from_text(text: str) -> datetime:
    """Return the aware time that `to_text` wrote."""
    return datetime.fromisoformat(text)
