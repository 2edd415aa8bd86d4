"""What the journal knows of instances' compression: which are due, which file is about to take another one's place."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict, dataclass

from gateway.journal.database import Journal
from gateway.journal.instances import Compression, InstanceRow, find_instance
from storage.contract.identifiers import Sha256Hex, Uid


@dataclass(frozen=True, slots=True)
class Replacement:
    """The smaller file of an instance, and the digests that were proved of it."""

    transfer_syntax_uid: Uid
    stored_sha256: Sha256Hex
    size_bytes: int
    pixel_sha256: Sha256Hex
    values_sha256: Sha256Hex | None


def find_due(
    journal: Journal, study_uid: Uid | None, *, skipping: frozenset[Uid], bytes_max: int | None = None
) -> InstanceRow | None:
    """Return the instance whose compression is due for longest, of the study or of all.

    None of `skipping`, and none larger than `bytes_max`.
    """
    places = ", ".join("?" for _ in skipping) or "''"
    rows = journal.read(
        "SELECT sop_instance_uid FROM instances WHERE state = 'incoming' AND compression = 'due'"  # noqa: S608
        " AND (?1 IS NULL OR study_uid = ?1) AND (?2 IS NULL OR size_bytes <= ?2)"
        f" AND sop_instance_uid NOT IN ({places}) ORDER BY received_at LIMIT 1",
        (study_uid, bytes_max, *skipping),
    )
    return find_instance(journal, Uid(rows[0]["sop_instance_uid"])) if rows else None


def count_due(journal: Journal, study_uid: Uid) -> int:
    """Return how many arriving instances of the study wait for their compression."""
    rows = journal.read(
        "SELECT count(*) AS due FROM instances WHERE study_uid = ? AND state = 'incoming' AND compression = 'due'",
        (study_uid,),
    )
    return int(rows[0]["due"])


def leave_as_is(
    connection: sqlite3.Connection,
    sop_instance_uid: Uid,
    note: str,
    pixel_sha256: Sha256Hex | None = None,
    values_sha256: Sha256Hex | None = None,
) -> None:
    """Record in words why the instance travels as it came, with its digests where they were taken."""
    connection.execute(
        "UPDATE instances SET compression = 'as_is', compression_note = ?, pixel_sha256 = ?, values_sha256 = ?"
        " WHERE sop_instance_uid = ? AND compression = 'due'",
        (note, pixel_sha256, values_sha256, sop_instance_uid),
    )


def leave_study_as_is(connection: sqlite3.Connection, study_uid: Uid, note: str) -> None:
    """Record for all arriving instances of the study that are still due that they travel as they came."""
    connection.execute(
        "UPDATE instances SET compression = 'as_is', compression_note = ?"
        " WHERE study_uid = ? AND state = 'incoming' AND compression = 'due'",
        (note, study_uid),
    )


def announce_replacement(connection: sqlite3.Connection, sop_instance_uid: Uid, replacement: Replacement) -> None:
    """Record that this file is about to take the place of the received one."""
    connection.execute(
        "UPDATE instances SET replacement = ? WHERE sop_instance_uid = ?",
        (json.dumps(asdict(replacement)), sop_instance_uid),
    )


def finish_replacement(connection: sqlite3.Connection, row: InstanceRow, replacement: Replacement) -> None:
    """Record that the smaller file stands in the received one's place."""
    connection.execute(
        "UPDATE instances SET received_transfer_syntax_uid = ?, transfer_syntax_uid = ?, stored_sha256 = ?,"
        " size_bytes = ?, pixel_sha256 = ?, values_sha256 = ?, compression = ?,"
        " received_size_bytes = ?, replacement = NULL"
        " WHERE sop_instance_uid = ?",
        (
            row.transfer_syntax_uid,
            replacement.transfer_syntax_uid,
            replacement.stored_sha256,
            replacement.size_bytes,
            replacement.pixel_sha256,
            replacement.values_sha256,
            Compression.COMPRESSED,
            row.size_bytes,
            row.sop_instance_uid,
        ),
    )


def undo_replacement(connection: sqlite3.Connection, sop_instance_uid: Uid) -> None:
    """Record that the received file still stands in its place."""
    connection.execute("UPDATE instances SET replacement = NULL WHERE sop_instance_uid = ?", (sop_instance_uid,))


def unfinished_replacements(journal: Journal) -> list[tuple[InstanceRow, Replacement]]:
    """Return the instances whose replacement a stop has cut off."""
    rows = journal.read("SELECT sop_instance_uid FROM instances WHERE replacement IS NOT NULL")
    found = [find_instance(journal, Uid(row["sop_instance_uid"])) for row in rows]
    return [(row, Replacement(**json.loads(row.replacement))) for row in found if row is not None and row.replacement]
