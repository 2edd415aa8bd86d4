"""Transfers and their packs: what is on its way to the hub, and how far it came.

Durable: every function commits one transaction. What a transfer needs to go on after a restart stands here: the packs
as they were planned, the grants, what was uploaded. Times in `grant_expires_at` are by this gateway's clock.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from gateway.journal.custody import add_custody
from gateway.journal.database import Journal, from_text, to_text
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid, parse_uid
from storage.contract.manifest import Manifest
from storage.contract.wire import GrantAnswer, PackDeclaration, PackRefusal, Upload

PROBLEM_CHARACTERS_MAX: Final = 500
_LANE_RANK: Final = "CASE lane WHEN 'stat' THEN 0 WHEN 'urgent' THEN 1 WHEN 'routine' THEN 2 ELSE 3 END"


class TransferKey(NamedTuple):
    """Which transfer: a study and this gateway's count of its transfers."""

    study_uid: Uid
    revision: int


@dataclass(frozen=True, slots=True)
class PackRow:
    """One planned pack. `has_grant_until` is None while there is no address to upload it to."""

    pack_sha256: str
    size_bytes: int
    state: str
    grant_id: str | None
    has_grant_until: datetime | None


@dataclass(frozen=True, slots=True)
class TransferRow:
    """One transfer that is not confirmed, with its packs in the order of their plan."""

    key: TransferKey
    state: str
    transfer_id: str | None
    completed_at: datetime
    attempts: int
    packs: tuple[PackRow, ...] = ()


@dataclass(frozen=True, slots=True)
class GrantedUpload:
    """What is needed to PUT one pack; `sop_instance_uids` in the pack's order."""

    upload: Upload
    size_bytes: int
    sop_instance_uids: tuple[Uid, ...]


def list_due(journal: Journal, now: datetime, limit: int) -> list[TransferRow]:
    """Return the transfers whose next attempt is due, most urgent lane first, then the oldest."""
    rows = journal.read(
        "SELECT * FROM transfers WHERE state <> 'confirmed' AND next_attempt_at <= ?"  # noqa: S608 -- a constant
        f" ORDER BY {_LANE_RANK}, completed_at, study_uid, revision LIMIT ?",
        (to_text(now), limit),
    )
    return [_transfer(row, _packs(journal, row["study_uid"], row["revision"])) for row in rows]


def find_next_due_at(journal: Journal, now: datetime) -> datetime | None:
    """Return when the earliest transfer that waits for its next attempt is due, None when none waits."""
    rows = journal.read(
        "SELECT min(next_attempt_at) AS at FROM transfers WHERE state <> 'confirmed' AND next_attempt_at > ?",
        (to_text(now),),
    )
    return from_text(rows[0]["at"]) if rows[0]["at"] is not None else None


def find_transfer(journal: Journal, key: TransferKey) -> TransferRow | None:
    """Return the transfer without its packs."""
    rows = journal.read("SELECT * FROM transfers WHERE study_uid = ? AND revision = ?", key)
    return _transfer(rows[0], ()) if rows else None


def find_confirmed_at(journal: Journal, key: TransferKey) -> datetime | None:
    """Return when the hub confirmed the transfer, None when it did not."""
    rows = journal.read(
        "SELECT confirmed_at FROM transfers WHERE study_uid = ? AND revision = ? AND state = 'confirmed'", key
    )
    return from_text(rows[0]["confirmed_at"]) if rows else None


def load_manifest(journal: Journal, key: TransferKey) -> Manifest:
    """Return what the transfer declares."""
    rows = journal.read("SELECT manifest FROM transfers WHERE study_uid = ? AND revision = ?", key)
    return Manifest.model_validate_json(rows[0]["manifest"])


def members_of(journal: Journal, key: TransferKey, pack_sha256s: Iterable[str]) -> list[Uid]:
    """Return the instances of these packs."""
    declarations = load_declarations(journal, key, pack_sha256s)
    return [uid for declaration in declarations for uid in declaration.sop_instance_uids]


def replace_manifest(connection: sqlite3.Connection, key: TransferKey, manifest: Manifest | None) -> None:
    """Start the transfer again with a smaller manifest; without any it is dropped."""
    if manifest is None:
        connection.execute("DELETE FROM transfers WHERE study_uid = ? AND revision = ?", key)
        return
    _forget_declaration(connection, key)
    connection.execute(
        "UPDATE transfers SET manifest = ? WHERE study_uid = ? AND revision = ?", (manifest.model_dump_json(), *key)
    )


def mark_declared(
    journal: Journal, key: TransferKey, transfer_id: str, packs: Sequence[PackDeclaration], now: datetime
) -> None:
    """Record the hub's transfer id and the plan; without packs there is nothing to upload."""
    with journal.transaction() as connection:
        connection.execute("DELETE FROM packs WHERE study_uid = ? AND revision = ?", key)
        connection.executemany(
            "INSERT INTO packs (study_uid, revision, pack_sha256, size_bytes, sop_instance_uids, state)"
            " VALUES (?, ?, ?, ?, ?, 'planned')",
            [(*key, pack.pack_sha256, pack.size_bytes, json.dumps(pack.sop_instance_uids)) for pack in packs],
        )
        connection.execute(
            "UPDATE transfers SET state = 'declared', transfer_id = ?, attempts = 0, problem = NULL"
            " WHERE study_uid = ? AND revision = ?",
            (transfer_id, *key),
        )
        _note_uploaded(connection, key, now)


def mark_undeclared(journal: Journal, key: TransferKey) -> None:
    """Start the transfer again from its manifest: the hub does not know it (any more)."""
    with journal.transaction() as connection:
        _forget_declaration(connection, key)


def load_declarations(journal: Journal, key: TransferKey, pack_sha256s: Iterable[str]) -> list[PackDeclaration]:
    """Return these planned packs as the hub wants to hear of them."""
    wanted = set(pack_sha256s)
    rows = journal.read(
        "SELECT * FROM packs WHERE study_uid = ? AND revision = ? ORDER BY rowid",
        key,
    )
    return [
        PackDeclaration(
            pack_sha256=row["pack_sha256"],
            size_bytes=row["size_bytes"],
            sop_instance_uids=tuple(json.loads(row["sop_instance_uids"])),
        )
        for row in rows
        if row["pack_sha256"] in wanted
    ]


def save_grant(journal: Journal, key: TransferKey, answer: GrantAnswer, expires_at: datetime) -> None:
    """Record the addresses of a grant; `expires_at` by this gateway's clock."""
    with journal.transaction() as connection:
        connection.executemany(
            "UPDATE packs SET grant_id = ?, upload = ?, grant_expires_at = ?"
            " WHERE study_uid = ? AND revision = ? AND pack_sha256 = ? AND state = 'planned'",
            [
                (answer.grant_id, upload.model_dump_json(), to_text(expires_at), *key, upload.pack_sha256)
                for upload in answer.uploads
            ],
        )
        connection.execute(
            "UPDATE transfers SET attempts = 0, problem = NULL WHERE study_uid = ? AND revision = ?", key
        )


def find_upload(journal: Journal, key: TransferKey, pack_sha256: str) -> GrantedUpload | None:
    """Return what is needed to PUT a pack, None when it has no grant or is uploaded."""
    rows = journal.read(
        "SELECT * FROM packs WHERE study_uid = ? AND revision = ? AND pack_sha256 = ?"
        " AND state = 'planned' AND upload IS NOT NULL",
        (*key, pack_sha256),
    )
    if not rows:
        return None
    return GrantedUpload(
        upload=Upload.model_validate_json(rows[0]["upload"]),
        size_bytes=rows[0]["size_bytes"],
        sop_instance_uids=tuple(parse_uid(uid) for uid in json.loads(rows[0]["sop_instance_uids"])),
    )


def mark_pack_uploaded(journal: Journal, key: TransferKey, pack_sha256: str, now: datetime) -> None:
    """Record that object storage took the pack; after the last one the study counts as uploaded."""
    with journal.transaction() as connection:
        connection.execute(
            "UPDATE packs SET state = 'uploaded', upload = NULL"
            " WHERE study_uid = ? AND revision = ? AND pack_sha256 = ? AND state = 'planned'",
            (*key, pack_sha256),
        )
        connection.execute(
            "UPDATE transfers SET attempts = 0, problem = NULL WHERE study_uid = ? AND revision = ?", key
        )
        _note_uploaded(connection, key, now)


def mark_packs_committed(journal: Journal, key: TransferKey, pack_sha256s: Iterable[str]) -> None:
    """Record that the hub has accepted the commit of these packs."""
    with journal.transaction() as connection:
        connection.executemany(
            "UPDATE packs SET state = 'committed'"
            " WHERE study_uid = ? AND revision = ? AND pack_sha256 = ? AND state = 'uploaded'",
            [(*key, pack_sha256) for pack_sha256 in pack_sha256s],
        )
        connection.execute(
            "UPDATE transfers SET attempts = 0, problem = NULL WHERE study_uid = ? AND revision = ?", key
        )


def return_packs_to_plan(journal: Journal, key: TransferKey, pack_sha256s: Iterable[str]) -> None:
    """Have these packs granted and uploaded again: their grant or their object is no longer good."""
    with journal.transaction() as connection:
        _return_to_plan(connection, key, pack_sha256s)


def note_refusals(
    journal: Journal, key: TransferKey, refused: Sequence[PackRefusal], problem: str, next_attempt_at: datetime
) -> None:
    """Plan refused packs again, with the hub's words as the transfer's problem."""
    with journal.transaction() as connection:
        _return_to_plan(connection, key, [refusal.pack_sha256 for refusal in refused])
        _note_problem(connection, key, problem, next_attempt_at)


def note_failure(journal: Journal, key: TransferKey, problem: str, next_attempt_at: datetime) -> None:
    """Record a failed attempt: words for the technician, and when the next one is due."""
    with journal.transaction() as connection:
        _note_problem(connection, key, problem, next_attempt_at)


def postpone(journal: Journal, key: TransferKey, next_attempt_at: datetime) -> None:
    """Look at the transfer again at this time; nothing is wrong with it."""
    with journal.transaction() as connection:
        connection.execute(
            "UPDATE transfers SET next_attempt_at = ? WHERE study_uid = ? AND revision = ?",
            (to_text(next_attempt_at), *key),
        )


def mark_confirmed(connection: sqlite3.Connection, key: TransferKey, now: datetime) -> None:
    """Record that the hub holds every instance, digests confirmed."""
    _note_uploaded(connection, key, now)
    changed = connection.execute(
        "UPDATE transfers SET state = 'confirmed', confirmed_at = ?, attempts = 0, problem = NULL"
        " WHERE study_uid = ? AND revision = ? AND state <> 'confirmed'",
        (to_text(now), *key),
    ).rowcount
    connection.execute("UPDATE packs SET state = 'verified', upload = NULL WHERE study_uid = ? AND revision = ?", key)
    if changed:
        add_custody(connection, Hop.CONFIRMED, key.study_uid, now, {"revision": key.revision})


def _forget_declaration(connection: sqlite3.Connection, key: TransferKey) -> None:
    connection.execute("DELETE FROM packs WHERE study_uid = ? AND revision = ?", key)
    connection.execute(
        "UPDATE transfers SET state = 'ready', transfer_id = NULL WHERE study_uid = ? AND revision = ?", key
    )


def _note_uploaded(connection: sqlite3.Connection, key: TransferKey, now: datetime) -> None:
    """Move the transfer to `uploaded` and write the hop once no pack of it waits for its upload."""
    changed = connection.execute(
        "UPDATE transfers SET state = 'uploaded' WHERE study_uid = ?1 AND revision = ?2 AND state = 'declared'"
        " AND NOT EXISTS (SELECT 1 FROM packs WHERE study_uid = ?1 AND revision = ?2 AND state = 'planned')",
        key,
    ).rowcount
    if changed:
        add_custody(connection, Hop.UPLOADED, key.study_uid, now, {"revision": key.revision})


def _return_to_plan(connection: sqlite3.Connection, key: TransferKey, pack_sha256s: Iterable[str]) -> None:
    connection.executemany(
        "UPDATE packs SET state = 'planned', grant_id = NULL, upload = NULL, grant_expires_at = NULL"
        " WHERE study_uid = ? AND revision = ? AND pack_sha256 = ?",
        [(*key, pack_sha256) for pack_sha256 in pack_sha256s],
    )
    connection.execute(
        "UPDATE transfers SET state = 'declared' WHERE study_uid = ? AND revision = ? AND state = 'uploaded'", key
    )


def _note_problem(connection: sqlite3.Connection, key: TransferKey, problem: str, next_attempt_at: datetime) -> None:
    connection.execute(
        "UPDATE transfers SET attempts = attempts + 1, problem = ?, next_attempt_at = ?"
        " WHERE study_uid = ? AND revision = ?",
        (problem[:PROBLEM_CHARACTERS_MAX], to_text(next_attempt_at), *key),
    )


def _packs(journal: Journal, study_uid: str, revision: int) -> tuple[PackRow, ...]:
    rows = journal.read(
        "SELECT pack_sha256, size_bytes, state, grant_id, CASE WHEN upload IS NULL THEN NULL ELSE grant_expires_at END"
        " AS has_grant_until FROM packs WHERE study_uid = ? AND revision = ? ORDER BY rowid",
        (study_uid, revision),
    )
    return tuple(
        PackRow(
            pack_sha256=row["pack_sha256"],
            size_bytes=row["size_bytes"],
            state=row["state"],
            grant_id=row["grant_id"],
            has_grant_until=from_text(row["has_grant_until"]) if row["has_grant_until"] else None,
        )
        for row in rows
    )


def _transfer(row: sqlite3.Row, packs: tuple[PackRow, ...]) -> TransferRow:
    return TransferRow(
        key=TransferKey(parse_uid(row["study_uid"]), row["revision"]),
        state=row["state"],
        transfer_id=row["transfer_id"],
        completed_at=from_text(row["completed_at"]),
        attempts=row["attempts"],
        packs=packs,
    )
