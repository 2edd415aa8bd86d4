"""What is uploaded at once: packs, and parts of large ones, which are granted and uploaded each on its own.

Durable with the caller's transaction. A large pack is committed as one. A part that object storage took stays uploaded
when its grant runs out: a later grant of the same pack covers it too. `packs.grant_id` is the newest grant.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from gateway.journal.database import Journal, from_text, to_text
from storage.contract.wire import PackDeclaration, PartDeclaration, Upload

Key = tuple[str, int]
PartName = tuple[str, int]  # its pack's SHA-256 and its number


@dataclass(frozen=True, slots=True)
class PackRow:
    """What is uploaded at once: a planned pack, or one numbered part of a large one.

    `has_grant_until` is None while there is no address to upload it to. A large pack stands for itself, planned and
    without an address, when all its parts are uploaded and only a grant to commit it is missing.
    """

    pack_sha256: str
    size_bytes: int
    state: str
    grant_id: str | None
    has_grant_until: datetime | None
    host: str = ""  # where its address leads
    part: int | None = None

    @property
    def name(self) -> str:
        """What names this upload among those of its transfer."""
        return self.pack_sha256 if self.part is None else f"{self.pack_sha256}.{self.part}"


def add_parts(connection: sqlite3.Connection, key: Key, packs: Sequence[PackDeclaration]) -> None:
    """Add the parts of newly planned packs."""
    connection.executemany(
        "INSERT OR IGNORE INTO parts (study_uid, revision, pack_sha256, number, size_bytes, sha256)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [(*key, pack.pack_sha256, part.number, part.size_bytes, part.sha256) for pack in packs for part in pack.parts],
    )


def load_parts(journal: Journal, key: Key, pack_sha256: str) -> tuple[PartDeclaration, ...]:
    """Return all parts of a pack in order, none for one that is uploaded whole."""
    rows = journal.read(
        "SELECT number, size_bytes, sha256 FROM parts"
        " WHERE study_uid = ? AND revision = ? AND pack_sha256 = ? ORDER BY number",
        (*key, pack_sha256),
    )
    return tuple(PartDeclaration(**dict(row)) for row in rows)


def open_uploads(journal: Journal, now: datetime) -> dict[tuple[str, int], tuple[PackRow, ...]]:
    """Return by study and revision the uploads of due transfers that are not committed, in the order of their plan."""
    rows = journal.read(
        "SELECT p.study_uid, p.revision, pack_sha256, size_bytes, p.state, grant_id,"
        " CASE WHEN upload IS NULL THEN NULL ELSE grant_expires_at END AS has_grant_until,"
        " upload ->> '$.url' AS url"
        " FROM packs p JOIN transfers t USING (study_uid, revision)"
        " WHERE p.state IN ('planned', 'uploaded') AND t.next_attempt_at <= ? ORDER BY p.rowid",
        (to_text(now),),
    )
    parts = _planned_parts(journal, now)
    found: dict[tuple[str, int], list[PackRow]] = {}
    for row in rows:
        of_pack = parts.get((row["study_uid"], row["revision"], row["pack_sha256"]), ())
        uploads = [_upload_row(row, part, part["number"]) for part in of_pack] or [_upload_row(row, row, None)]
        found.setdefault((row["study_uid"], row["revision"]), []).extend(uploads)
    return {key: tuple(packs) for key, packs in found.items()}


def save_part_grant(connection: sqlite3.Connection, key: Key, upload: Upload, expires_at: datetime) -> None:
    """Record the address of one part."""
    connection.execute(
        "UPDATE parts SET upload = ?, grant_expires_at = ?"
        " WHERE study_uid = ? AND revision = ? AND pack_sha256 = ? AND number = ? AND state = 'planned'",
        (upload.model_dump_json(), to_text(expires_at), *key, upload.pack_sha256, upload.part),
    )


def find_part_upload(journal: Journal, key: Key, name: PartName) -> tuple[Upload, int, int] | None:
    """Return the address of a part, its size and its offset in the pack; None without one, or when it is uploaded."""
    rows = journal.read(
        "SELECT upload, size_bytes, (SELECT coalesce(sum(size_bytes), 0) FROM parts e WHERE e.study_uid = p.study_uid"
        " AND e.revision = p.revision AND e.pack_sha256 = p.pack_sha256 AND e.number < p.number) AS offset_bytes"
        " FROM parts p WHERE study_uid = ? AND revision = ? AND pack_sha256 = ? AND number = ?"
        " AND state = 'planned' AND upload IS NOT NULL",
        (*key, *name),
    )
    if not rows:
        return None
    return Upload.model_validate_json(rows[0]["upload"]), rows[0]["size_bytes"], rows[0]["offset_bytes"]


def mark_part_uploaded(connection: sqlite3.Connection, key: Key, name: PartName, now: datetime) -> None:
    """Record that object storage took a part; after the last one its pack can be committed while its grant lasts."""
    connection.execute(
        "UPDATE parts SET state = 'uploaded', upload = NULL"
        " WHERE study_uid = ? AND revision = ? AND pack_sha256 = ? AND number = ?",
        (*key, *name),
    )
    finish_packs(connection, key, [name[0]], now)


def finish_packs(connection: sqlite3.Connection, key: Key, pack_sha256s: Iterable[str], now: datetime) -> None:
    """Have those of these large packs committed whose every part is uploaded and whose newest grant still lasts."""
    connection.executemany(
        "UPDATE packs SET state = 'uploaded'"
        " WHERE study_uid = ?1 AND revision = ?2 AND pack_sha256 = ?3 AND state = 'planned' AND grant_expires_at > ?4"
        " AND EXISTS (SELECT 1 FROM parts WHERE study_uid = ?1 AND revision = ?2 AND pack_sha256 = ?3)"
        " AND NOT EXISTS (SELECT 1 FROM parts WHERE study_uid = ?1 AND revision = ?2 AND pack_sha256 = ?3"
        "  AND state = 'planned')",
        [(*key, pack_sha256, to_text(now)) for pack_sha256 in pack_sha256s],
    )


def return_parts_to_plan(connection: sqlite3.Connection, key: Key, names: Iterable[PartName]) -> None:
    """Have these parts granted and uploaded again."""
    connection.executemany(
        "UPDATE parts SET state = 'planned', upload = NULL, grant_expires_at = NULL"
        " WHERE study_uid = ? AND revision = ? AND pack_sha256 = ? AND number = ?",
        [(*key, *name) for name in names],
    )


def return_all_parts_to_plan(connection: sqlite3.Connection, key: Key, pack_sha256: str) -> None:
    """Have every part of a pack granted and uploaded again."""
    connection.execute(
        "UPDATE parts SET state = 'planned', upload = NULL, grant_expires_at = NULL"
        " WHERE study_uid = ? AND revision = ? AND pack_sha256 = ?",
        (*key, pack_sha256),
    )


def _planned_parts(journal: Journal, now: datetime) -> dict[tuple[str, int, str], list[sqlite3.Row]]:
    """Return by study, revision and pack the parts of due transfers that are not uploaded yet, in order."""
    rows = journal.read(
        "SELECT p.study_uid, p.revision, pack_sha256, number, size_bytes,"
        " CASE WHEN upload IS NULL THEN NULL ELSE grant_expires_at END AS has_grant_until, upload ->> '$.url' AS url"
        " FROM parts p JOIN transfers t USING (study_uid, revision)"
        " WHERE p.state = 'planned' AND t.state <> 'confirmed' AND t.next_attempt_at <= ?"
        " ORDER BY p.study_uid, p.revision, pack_sha256, number",
        (to_text(now),),
    )
    found: dict[tuple[str, int, str], list[sqlite3.Row]] = {}
    for row in rows:
        found.setdefault((row["study_uid"], row["revision"], row["pack_sha256"]), []).append(row)
    return found


def _upload_row(pack: sqlite3.Row, upload: sqlite3.Row, part: int | None) -> PackRow:
    return PackRow(
        pack_sha256=pack["pack_sha256"],
        size_bytes=upload["size_bytes"],
        state=pack["state"],
        grant_id=pack["grant_id"],
        has_grant_until=from_text(upload["has_grant_until"]) if upload["has_grant_until"] else None,
        host=urlsplit(upload["url"]).netloc if upload["url"] else "",
        part=part,
    )
