"""What the journal knows of claimed cases in reader mode. Every function is one transaction, harmless to repeat.

A claim that has ended is `withdrawing` while its copies are kept, and `withdrawn` once they are gone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from sqlite3 import Connection, Row
from typing import Any

from gateway.journal.database import Journal, from_text, to_text
from gateway.journal.holdings import CLAIMED
from gateway.journal.studies import add_study
from storage.contract.wire import ReaderCase

WITHDRAWN_FROM = "spool"


def note_held(journal: Journal, cases: Iterable[ReaderCase], targets: Collection[str], now: datetime) -> None:
    """Write what is held now, and which claims have ended; a pack that a claim no longer lists is forgotten."""
    at = to_text(now)
    with journal.transaction() as connection:
        listed = set()
        for case in cases:
            task_id = case.reading_task_id
            connection.execute(
                "INSERT INTO reader_cases VALUES (?, ?, 'held', ?) ON CONFLICT DO UPDATE"
                " SET state = 'held', changed_at = excluded.changed_at WHERE state <> 'held'",
                (task_id, case.case_id, at),
            )
            for study in case.studies:
                for pack in study.packs:
                    listed.add((task_id, pack.pack_id))
                    connection.execute(
                        "INSERT INTO reader_packs (reading_task_id, pack_id, study_uid, prior, pack_sha256, size_bytes,"
                        " next_attempt_at) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                        (task_id, pack.pack_id, study.study_uid, study.prior, pack.pack_sha256, pack.size_bytes, at),
                    )
                    connection.executemany(
                        "INSERT INTO reader_deliveries (reading_task_id, pack_id, target, next_attempt_at)"
                        " VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                        [(task_id, pack.pack_id, target, at) for target in targets],
                    )
        _forget_others(connection, listed, {case.reading_task_id for case in cases}, at)


def _forget_others(connection: Connection, listed: set[tuple[str, str]], held: set[str], at: str) -> None:
    before = connection.execute("SELECT reading_task_id FROM reader_cases WHERE state = 'held'").fetchall()
    connection.executemany(
        "UPDATE reader_cases SET state = 'withdrawing', changed_at = ? WHERE reading_task_id = ?",
        [(at, row[0]) for row in before if row[0] not in held],
    )
    known = connection.execute("SELECT reading_task_id, pack_id FROM reader_packs").fetchall()
    _forget(connection, {(row[0], row[1]) for row in known if row[0] in held} - listed)


def _forget(connection: Connection, packs: Collection[tuple[str, str]]) -> None:
    """Forget packs, and what the headers of their instances said: it is about patients."""
    for key in packs:
        for table in ("reader_deliveries", "reader_instances", "reader_packs"):
            connection.execute(f"DELETE FROM {table} WHERE reading_task_id = ? AND pack_id = ?", key)  # noqa: S608
    if packs:
        for table, column, of in (
            ("reader_holdings", "sop_instance_uid", "reader_instances"),
            ("reader_series", "series_uid", "reader_holdings"),
            ("reader_studies", "study_uid", "reader_holdings"),
        ):
            connection.execute(
                f"DELETE FROM {table} WHERE NOT EXISTS (SELECT 1 FROM {of} x WHERE x.{column} = {table}.{column})"  # noqa: S608
            )


def forget_ended(journal: Journal, before: datetime) -> int:
    """Forget the packs of claims that had ended by then, so that their copies are removed; return how many."""
    with journal.transaction() as connection:
        rows = connection.execute(
            "SELECT p.reading_task_id, p.pack_id FROM reader_packs p JOIN reader_cases c USING (reading_task_id)"
            " WHERE c.state = 'withdrawing' AND c.changed_at <= ?",
            (to_text(before),),
        ).fetchall()
        _forget(connection, {(row[0], row[1]) for row in rows})
    return len(rows)


def find_oldest_ended(journal: Journal) -> datetime | None:
    """Return when the claim ended whose copies have been kept for longest."""
    rows = journal.read(
        "SELECT min(c.changed_at) FROM reader_cases c JOIN reader_packs p USING (reading_task_id)"
        " WHERE c.state = 'withdrawing'"
    )
    return from_text(rows[0][0]) if rows[0][0] else None


def known_packs(journal: Journal) -> set[tuple[str, str]]:
    """Return reading task and pack of every copy that may lie on the disk."""
    return {(row[0], row[1]) for row in journal.read("SELECT reading_task_id, pack_id FROM reader_packs")}


def note_withdrawn(journal: Journal, now: datetime) -> list[str]:
    """Write that the copies of ended claims are gone, with the receipt for the hub; return the reading tasks."""
    with journal.transaction() as connection:
        rows = connection.execute(
            "SELECT reading_task_id FROM reader_cases c WHERE state = 'withdrawing'"
            " AND NOT EXISTS (SELECT 1 FROM reader_packs p WHERE p.reading_task_id = c.reading_task_id)"
        ).fetchall()
        for row in rows:
            connection.execute(
                "UPDATE reader_cases SET state = 'withdrawn', changed_at = ? WHERE reading_task_id = ?",
                (to_text(now), row[0]),
            )
            _add_receipt(connection, row[0], WITHDRAWN_FROM, "withdrawn", "", now)
    return [row[0] for row in rows]


def due_packs(journal: Journal, now: datetime) -> list[Row]:
    """Return what is to be fetched now: a case's own studies before earlier ones."""
    return journal.read(
        "SELECT p.* FROM reader_packs p JOIN reader_cases c USING (reading_task_id)"
        " WHERE p.state = 'due' AND c.state = 'held' AND p.next_attempt_at <= ?"
        " ORDER BY p.prior, p.reading_task_id, p.pack_id",
        (to_text(now),),
    )


def conflicting(journal: Journal, uid: str, stored_sha256: str) -> bool:
    """Return whether this instance is known here with other bytes: in another pack, or as one received here."""
    elsewhere = journal.read(
        "SELECT 1 FROM reader_instances WHERE sop_instance_uid = ? AND stored_sha256 <> ? LIMIT 1", (uid, stored_sha256)
    )
    own = journal.read("SELECT 1 FROM instances WHERE sop_instance_uid = ? LIMIT 1", (uid,))
    return bool(elsewhere or own)


def note_copied(journal: Journal, task_id: str, pack_id: str, instances: Iterable[Any], now: datetime) -> None:
    """Write that a pack is here, whole, and what its instances' headers say."""
    with journal.transaction() as connection:
        for one in instances:
            header = one.header
            uid, sop_class, syntax = header.sop_instance_uid, header.sop_class_uid, header.transfer_syntax_uid
            add_study(connection, header, now, CLAIMED)
            connection.execute(
                "INSERT INTO reader_holdings VALUES (?, ?, ?, ?, ?, NULL, ?) ON CONFLICT DO NOTHING",
                (uid, header.study_uid, header.series_uid, sop_class, syntax, header.instance_number),
            )
            connection.execute(
                "INSERT INTO reader_instances VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (task_id, pack_id, uid, sop_class, syntax, one.stored_sha256),
            )
        connection.execute(
            "UPDATE reader_packs SET state = 'here', problem = NULL WHERE reading_task_id = ? AND pack_id = ?",
            (task_id, pack_id),
        )


def packs_with(journal: Journal, sop_instance_uid: str) -> list[tuple[str, str]]:
    """Return reading task and pack of every copy of an instance."""
    rows = journal.read(
        "SELECT reading_task_id, pack_id FROM reader_instances WHERE sop_instance_uid = ?", (sop_instance_uid,)
    )
    return [(row[0], row[1]) for row in rows]


def note_pack_problem(
    journal: Journal, task_id: str, pack_id: str, problem: str, next_attempt_at: datetime, code: str, now: datetime
) -> None:
    """Write why a pack could not be copied; a `code` is told to the hub."""
    with journal.transaction() as connection:
        connection.execute(
            "UPDATE reader_packs SET problem = ?, attempts = attempts + 1, next_attempt_at = ?"
            " WHERE reading_task_id = ? AND pack_id = ?",
            (problem, to_text(next_attempt_at), task_id, pack_id),
        )
        if code:
            _add_receipt(connection, task_id, WITHDRAWN_FROM, "failed", code, now)


def due_deliveries(journal: Journal, target: str, now: datetime) -> list[Row]:
    """Return the packs that are here and that this target is due to get."""
    return journal.read(
        "SELECT d.* FROM reader_deliveries d JOIN reader_packs p USING (reading_task_id, pack_id)"
        " JOIN reader_cases c USING (reading_task_id)"
        " WHERE d.target = ? AND d.state = 'due' AND p.state = 'here' AND c.state = 'held' AND d.next_attempt_at <= ?"
        " ORDER BY p.prior, d.reading_task_id, d.pack_id",
        (target, to_text(now)),
    )


def has_waiting_deliveries(journal: Journal, target: str) -> bool:
    """Return whether this target is to get anything that is here, now or later."""
    rows = journal.read(
        "SELECT 1 FROM reader_deliveries d JOIN reader_packs p USING (reading_task_id, pack_id)"
        " WHERE d.target = ? AND d.state = 'due' AND p.state = 'here' LIMIT 1",
        (target,),
    )
    return bool(rows)


def instances_of_pack(journal: Journal, task_id: str, pack_id: str) -> list[Row]:
    """Return the instances of a pack that is here."""
    return journal.read(
        "SELECT * FROM reader_instances WHERE reading_task_id = ? AND pack_id = ? ORDER BY sop_instance_uid",
        (task_id, pack_id),
    )


def note_delivery(
    journal: Journal, row: Row, problem: str, code: str, next_attempt_at: datetime, now: datetime
) -> None:
    """Write how sending a pack to a target ended; the hub hears when the whole case is there, and of a refusal."""
    key = (row["reading_task_id"], row["pack_id"], row["target"])
    with journal.transaction() as connection:
        connection.execute(
            "UPDATE reader_deliveries SET state = ?, problem = ?, attempts = attempts + 1, next_attempt_at = ?"
            " WHERE reading_task_id = ? AND pack_id = ? AND target = ?",
            ("due" if problem else "delivered", problem or None, to_text(next_attempt_at), *key),
        )
        left = connection.execute(
            "SELECT count(*) FROM reader_deliveries WHERE reading_task_id = ? AND target = ? AND state = 'due'",
            (key[0], key[2]),
        ).fetchone()[0]
        known = connection.execute("SELECT 1 FROM reader_packs WHERE reading_task_id = ? LIMIT 1", key[:1]).fetchone()
        if problem:
            _add_receipt(connection, key[0], key[2], "failed", code, now)
        elif not left and known:
            _add_receipt(connection, key[0], key[2], "delivered", "", now)


def requeue_due(connection: Connection, now: datetime, target: str | None) -> int:
    """Have claimed cases fetched and sent now, to all or to one PACS; return how many packs that are."""
    at = to_text(now)
    packs = 0
    if target is None:
        packs = connection.execute(
            "UPDATE reader_packs SET next_attempt_at = ?, attempts = 0 WHERE state = 'due'", (at,)
        ).rowcount
    return (
        packs
        + connection.execute(
            "UPDATE reader_deliveries SET next_attempt_at = ?1, attempts = 0"
            " WHERE state = 'due' AND (?2 IS NULL OR target = ?2)",
            (at, target),
        ).rowcount
    )


def due_receipts(journal: Journal) -> list[Row]:
    """Return what the hub has not heard, oldest first."""
    return journal.read("SELECT * FROM reader_receipts WHERE reported = 0 ORDER BY at LIMIT 100")


def note_reported(journal: Journal, row: Row) -> None:
    """Write that the hub has heard, or does not want to hear."""
    with journal.transaction() as connection:
        connection.execute(
            "UPDATE reader_receipts SET reported = 1"
            " WHERE reading_task_id = ? AND target = ? AND step = ? AND code = ?",
            (row["reading_task_id"], row["target"], row["step"], row["code"]),
        )


def _add_receipt(connection: Connection, task_id: str, target: str, step: str, code: str, now: datetime) -> None:
    connection.execute(
        "INSERT INTO reader_receipts (reading_task_id, target, step, code, at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        (task_id, target, step, code, to_text(now)),
    )


def list_problems(journal: Journal, attempts: int, limit: int) -> list[Row]:
    """Return what has failed so often with claimed cases, one row for each reason."""
    return journal.read(
        "SELECT problem, count(DISTINCT reading_task_id) AS cases, min(changed_at) AS since FROM ("
        "SELECT reading_task_id, problem FROM reader_packs WHERE problem IS NOT NULL AND attempts >= ?1 UNION ALL"
        " SELECT reading_task_id, problem FROM reader_deliveries WHERE problem IS NOT NULL AND attempts >= ?1)"
        " JOIN reader_cases USING (reading_task_id) GROUP BY problem ORDER BY since LIMIT ?2",
        (attempts, limit),
    )


def read_cases(journal: Journal, limit: int) -> list[dict[str, Any]]:
    """Return the claimed cases for `status`, those that are held first."""
    rows = journal.read(
        "SELECT c.*, (SELECT count(*) FROM reader_packs p WHERE p.reading_task_id = c.reading_task_id) AS packs,"
        " (SELECT count(*) FROM reader_packs p WHERE p.reading_task_id = c.reading_task_id AND p.state = 'here')"
        " AS packs_here,"
        " coalesce((SELECT min(p.problem) FROM reader_packs p WHERE p.reading_task_id = c.reading_task_id),"
        " (SELECT min(d.problem) FROM reader_deliveries d WHERE d.reading_task_id = c.reading_task_id), '') AS problem,"
        " (SELECT count(*) FROM reader_deliveries d WHERE d.reading_task_id = c.reading_task_id"
        " AND d.state = 'due') AS deliveries_due"
        " FROM reader_cases c ORDER BY c.state = 'withdrawn', c.changed_at DESC LIMIT ?",
        (limit,),
    )
    return [dict(row) for row in rows]
