"""Transfers and their packs: what is on its way to the hub, and how far it came.

Durable: every function commits one transaction. What a transfer needs to go on after a restart stands here: the packs
as they were planned, the grants, what was uploaded. Times in `grant_expires_at` are by this gateway's clock.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple

from gateway.journal.commitments import note_confirmed
from gateway.journal.custody import add_custody
from gateway.journal.database import Journal, from_text, to_text
from gateway.journal.uploads import (
    PackRow,
    PartName,
    add_parts,
    find_part_upload,
    finish_packs,
    load_parts,
    mark_part_uploaded,
    open_uploads,
    return_all_parts_to_plan,
    return_parts_to_plan,
    save_part_grant,
)
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid, parse_uid
from storage.contract.lanes import Lane
from storage.contract.manifest import Manifest
from storage.contract.wire import GrantAnswer, PackDeclaration, PackRefusal, Upload

_WELL: Final = "attempts = 0, problem = NULL, waits_for_line = 0"
PROBLEM_CHARACTERS_MAX: Final = 500
MANIFESTS_PARSED_MAX: Final = 2  # kept while their packs are on their way; one may have ten thousand instances
_COLUMNS: Final = (  # without the manifest and the needed instances, which may be large
    "study_uid, revision, state, transfer_id, completed_at, attempts, lane, declared_lane, unplanned"
)
_OPEN: Final = (
    "(state <> 'confirmed' OR declared_lane <> lane) AND NOT EXISTS (SELECT 1 FROM study_controls c"
    " WHERE c.study_uid = t.study_uid AND (c.paused_at IS NOT NULL OR c.cancelled_at IS NOT NULL))"
)
_LANE_RANK: Final = "CASE lane WHEN 'stat' THEN 0 WHEN 'urgent' THEN 1 WHEN 'routine' THEN 2 ELSE 3 END"


class TransferKey(NamedTuple):
    """Which transfer: a study and this gateway's count of its transfers."""

    study_uid: Uid
    revision: int


@dataclass(frozen=True, slots=True)
class TransferRow:
    """One transfer that wants something of the hub, with its packs that are not committed, in the order of their plan.

    `unplanned` counts the instances that are in no pack yet. `declared_lane` is the lane that the hub was told.
    """

    key: TransferKey
    state: str
    transfer_id: str | None
    completed_at: datetime
    attempts: int
    lane: Lane = Lane.ROUTINE
    declared_lane: Lane | None = None
    unplanned: int = 0
    packs: tuple[PackRow, ...] = ()


@dataclass(frozen=True, slots=True)
class GrantedUpload:
    """What is needed to PUT one pack or one part of it, which begins at `offset_bytes`."""

    upload: Upload
    size_bytes: int
    sop_instance_uids: tuple[Uid, ...]  # in the pack's order
    offset_bytes: int = 0


def list_due(journal: Journal, now: datetime, limit: int) -> list[TransferRow]:
    """Return the transfers whose next attempt is due, most urgent lane first, then the oldest.

    Neither those of a study that a person paused or cancelled, nor those that are confirmed, unless the hub has still
    to be told of another lane.
    """
    rows = journal.read(
        f"SELECT {_COLUMNS} FROM transfers t WHERE {_OPEN} AND next_attempt_at <= ?"  # noqa: S608 -- constants
        f" ORDER BY {_LANE_RANK}, completed_at, study_uid, revision LIMIT ?",
        (to_text(now), limit),
    )
    packs = open_uploads(journal, now)
    return [_transfer(row, packs.get((row["study_uid"], row["revision"]), ())) for row in rows]


def find_next_due_at(journal: Journal, now: datetime) -> datetime | None:
    """Return when the earliest transfer that waits for its next attempt is due, None when none waits."""
    rows = journal.read(
        f"SELECT min(next_attempt_at) AS at FROM transfers t WHERE {_OPEN} AND next_attempt_at > ?",  # noqa: S608
        (to_text(now),),
    )
    return from_text(rows[0]["at"]) if rows[0]["at"] is not None else None


def waiting_bytes(journal: Journal, lane: Lane) -> int:
    """Return how many bytes of this lane's declared transfers are not uploaded yet, but for the packs' own overhead."""
    rows = journal.read(
        "SELECT coalesce(sum(needed_bytes - coalesce((SELECT sum(size_bytes) FROM packs p"  # noqa: S608 -- constants
        " WHERE p.study_uid = t.study_uid AND p.revision = t.revision AND p.state <> 'planned'), 0)), 0) AS n"
        f" FROM transfers t WHERE {_OPEN} AND state = 'declared' AND lane = ?",
        (lane,),
    )
    return max(0, int(rows[0]["n"]))


def find_transfer(journal: Journal, key: TransferKey) -> TransferRow | None:
    """Return the transfer without its packs."""
    rows = journal.read(f"SELECT {_COLUMNS} FROM transfers WHERE study_uid = ? AND revision = ?", key)  # noqa: S608
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
    return _parse_manifest(rows[0]["manifest"])


@lru_cache(MANIFESTS_PARSED_MAX)
def _parse_manifest(text: str) -> Manifest:
    """Parse it once for the many packs of a transfer: one of a thousand instances takes longer than to read them."""
    return Manifest.model_validate_json(text)


def members_of(journal: Journal, key: TransferKey, pack_sha256s: Iterable[str]) -> list[Uid]:
    """Return the instances of these packs."""
    declarations = load_declarations(journal, key, pack_sha256s)
    return [uid for declaration in declarations for uid in declaration.sop_instance_uids]


def replace_manifest(connection: sqlite3.Connection, key: TransferKey, manifest: Manifest | None) -> None:
    """Start the transfer again with a smaller manifest; without any it is dropped."""
    if manifest is None:
        connection.execute("DELETE FROM transfers WHERE study_uid = ? AND revision = ?", key)
        return
    forget_declaration(connection, key)
    connection.execute(
        "UPDATE transfers SET manifest = ? WHERE study_uid = ? AND revision = ?", (manifest.model_dump_json(), *key)
    )


def mark_declared(
    journal: Journal, key: TransferKey, transfer_id: str, manifest: Manifest, needed: Collection[Uid], now: datetime
) -> None:
    """Record the hub's transfer id and what it needs of the manifest; nothing of it is planned yet."""
    wanted = set(needed)
    entries = [entry for entry in manifest.instances if entry.sop_instance_uid in wanted]
    with journal.transaction() as connection:
        connection.execute("DELETE FROM packs WHERE study_uid = ? AND revision = ?", key)
        connection.execute(
            f"UPDATE transfers SET state = 'declared', {_WELL}, transfer_id = ?, declared_lane = ?,"  # noqa: S608
            " needed = ?, unplanned = ?, needed_bytes = ? WHERE study_uid = ? AND revision = ?",
            (
                transfer_id,
                manifest.lane,
                json.dumps([entry.sop_instance_uid for entry in entries]),
                len(entries),
                sum(entry.size_bytes for entry in entries),
                *key,
            ),
        )
        _note_uploaded(connection, key, now)


def mark_lane_declared(journal: Journal, key: TransferKey, transfer_id: str, lane: Lane) -> None:
    """Record that the hub knows of another lane; what was planned, granted and uploaded stays as it is."""
    with journal.transaction() as connection:
        connection.execute(
            f"UPDATE transfers SET transfer_id = ?, declared_lane = ?, {_WELL}"  # noqa: S608 -- a constant
            " WHERE study_uid = ? AND revision = ?",
            (transfer_id, lane, *key),
        )


def unplanned_instances(journal: Journal, key: TransferKey) -> list[Uid]:
    """Return the needed instances that are in no pack yet, in the order in which they are packed."""
    rows = journal.read("SELECT needed FROM transfers WHERE study_uid = ? AND revision = ?", key)
    needed = json.loads(rows[0]["needed"]) if rows and rows[0]["needed"] else []
    packed = journal.read("SELECT sop_instance_uids FROM packs WHERE study_uid = ? AND revision = ?", key)
    planned = {uid for row in packed for uid in json.loads(row["sop_instance_uids"])}
    return [uid for uid in needed if uid not in planned]


def add_planned_packs(journal: Journal, key: TransferKey, packs: Sequence[PackDeclaration], unplanned: int) -> None:
    """Add packs to the plan, after which so many instances are in none yet."""
    with journal.transaction() as connection:
        connection.executemany(
            "INSERT OR IGNORE INTO packs (study_uid, revision, pack_sha256, size_bytes, sop_instance_uids, state)"
            " VALUES (?, ?, ?, ?, ?, 'planned')",
            [(*key, pack.pack_sha256, pack.size_bytes, json.dumps(pack.sop_instance_uids)) for pack in packs],
        )
        add_parts(connection, key, packs)
        connection.execute("UPDATE transfers SET unplanned = ? WHERE study_uid = ? AND revision = ?", (unplanned, *key))


def mark_undeclared(journal: Journal, key: TransferKey) -> None:
    """Start the transfer again from its manifest: the hub does not know it (any more)."""
    with journal.transaction() as connection:
        forget_declaration(connection, key)


def load_declarations(
    journal: Journal, key: TransferKey, pack_sha256s: Iterable[str], parts_wanted: Sequence[PartName] = ()
) -> list[PackDeclaration]:
    """Return these planned packs as the hub wants to hear of them, with the parts for which addresses are asked."""
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
            parts=load_parts(journal, key, row["pack_sha256"]),
            parts_wanted=tuple(number for pack_sha256, number in parts_wanted if pack_sha256 == row["pack_sha256"]),
        )
        for row in rows
        if row["pack_sha256"] in wanted
    ]


def save_grant(
    journal: Journal,
    key: TransferKey,
    packs: Sequence[PackDeclaration],
    answer: GrantAnswer,
    now: datetime,
    expires_at: datetime,
) -> None:
    """Record a grant of these packs, with its addresses; `expires_at` by this gateway's clock."""
    whole = {upload.pack_sha256: upload.model_dump_json() for upload in answer.uploads if upload.part is None}
    with journal.transaction() as connection:
        connection.executemany(
            "UPDATE packs SET grant_id = ?, upload = ?, grant_expires_at = ?"
            " WHERE study_uid = ? AND revision = ? AND pack_sha256 = ? AND state = 'planned'",
            [
                (answer.grant_id, whole.get(pack.pack_sha256), to_text(expires_at), *key, pack.pack_sha256)
                for pack in packs
            ],
        )
        for upload in answer.uploads:
            if upload.part is not None:
                save_part_grant(connection, key, upload, expires_at)
        finish_packs(connection, key, [pack.pack_sha256 for pack in packs], now)
        _note_uploaded(connection, key, now)
        connection.execute(
            f"UPDATE transfers SET {_WELL} WHERE study_uid = ? AND revision = ?",  # noqa: S608 -- a constant
            key,
        )


def find_upload(
    journal: Journal, key: TransferKey, pack_sha256: str, part: PartName | None = None
) -> GrantedUpload | None:
    """Return what is needed to PUT a pack, or a part of it; None when it has no grant or is uploaded."""
    rows = journal.read(
        "SELECT * FROM packs WHERE study_uid = ? AND revision = ? AND pack_sha256 = ? AND state = 'planned'",
        (*key, pack_sha256),
    )
    if not rows:
        return None
    members = tuple(parse_uid(uid) for uid in json.loads(rows[0]["sop_instance_uids"]))
    if part is not None:
        found = find_part_upload(journal, key, part)
        return None if found is None else GrantedUpload(found[0], found[1], members, found[2])
    if rows[0]["upload"] is None:
        return None
    return GrantedUpload(Upload.model_validate_json(rows[0]["upload"]), rows[0]["size_bytes"], members)


def mark_pack_uploaded(
    journal: Journal, key: TransferKey, pack_sha256: str, now: datetime, part: PartName | None = None
) -> None:
    """Record that object storage took the pack, or a part of it; after the last one the study counts as uploaded."""
    with journal.transaction() as connection:
        if part is not None:
            mark_part_uploaded(connection, key, part, now)
        else:
            connection.execute(
                "UPDATE packs SET state = 'uploaded', upload = NULL"
                " WHERE study_uid = ? AND revision = ? AND pack_sha256 = ? AND state = 'planned'",
                (*key, pack_sha256),
            )
        connection.execute(
            f"UPDATE transfers SET {_WELL} WHERE study_uid = ? AND revision = ?",  # noqa: S608 -- a constant
            key,
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
            f"UPDATE transfers SET {_WELL} WHERE study_uid = ? AND revision = ?",  # noqa: S608 -- a constant
            key,
        )


def return_packs_to_plan(
    journal: Journal, key: TransferKey, pack_sha256s: Iterable[str], parts: Sequence[PartName] = ()
) -> None:
    """Have these packs granted and uploaded again: their grant or their object is no longer good.

    Of a large pack only the named parts; without any it needs another grant, and what was uploaded of it counts on.
    """
    with journal.transaction() as connection:
        if parts:
            return_parts_to_plan(connection, key, parts)
        else:
            _return_to_plan(connection, key, pack_sha256s)


def note_refusals(
    journal: Journal, key: TransferKey, refused: Sequence[PackRefusal], problem: str, next_attempt_at: datetime
) -> None:
    """Plan refused packs again, with the hub's words as the transfer's problem."""
    with journal.transaction() as connection:
        _return_to_plan(connection, key, [refusal.pack_sha256 for refusal in refused])
        for refusal in refused:
            if refusal.parts:
                return_parts_to_plan(connection, key, [(refusal.pack_sha256, number) for number in refusal.parts])
            else:
                return_all_parts_to_plan(connection, key, refusal.pack_sha256)
        _note_problem(connection, key, problem, next_attempt_at)


def note_failure(
    journal: Journal, key: TransferKey, problem: str, next_attempt_at: datetime, *, waits_for_line: bool = False
) -> None:
    """Record a failed attempt: words for the technician, and when the next one is due.

    `waits_for_line`: the hub could not be reached, so that the next attempt comes as soon as anybody reaches it.
    """
    with journal.transaction() as connection:
        _note_problem(connection, key, problem, next_attempt_at)
        connection.execute(
            "UPDATE transfers SET waits_for_line = ? WHERE study_uid = ? AND revision = ?", (waits_for_line, *key)
        )


def postpone(journal: Journal, key: TransferKey, next_attempt_at: datetime) -> None:
    """Look at the transfer again at this time; nothing is wrong with it."""
    with journal.transaction() as connection:
        connection.execute(
            "UPDATE transfers SET next_attempt_at = ? WHERE study_uid = ? AND revision = ?",
            (to_text(next_attempt_at), *key),
        )


def mark_confirmed(connection: sqlite3.Connection, key: TransferKey, now: datetime) -> None:
    """Record that the hub holds every instance, digests confirmed."""
    _parse_manifest.cache_clear()  # a gateway at rest keeps none in memory
    _note_uploaded(connection, key, now)
    changed = connection.execute(
        f"UPDATE transfers SET state = 'confirmed', confirmed_at = ?, {_WELL}"  # noqa: S608 -- a constant
        " WHERE study_uid = ? AND revision = ? AND state <> 'confirmed'",
        (to_text(now), *key),
    ).rowcount
    connection.execute("UPDATE packs SET state = 'verified', upload = NULL WHERE study_uid = ? AND revision = ?", key)
    if changed:
        note_confirmed(connection, key.study_uid, key.revision, now)
        add_custody(connection, Hop.CONFIRMED, key.study_uid, now, {"revision": key.revision})


def forget_declaration(connection: sqlite3.Connection, key: TransferKey) -> None:
    """Have the transfer declared and planned from its manifest once more."""
    connection.execute("DELETE FROM packs WHERE study_uid = ? AND revision = ?", key)
    connection.execute(
        "UPDATE transfers SET state = 'ready', transfer_id = NULL, declared_lane = NULL, needed = NULL, unplanned = 0,"
        " needed_bytes = 0 WHERE study_uid = ? AND revision = ?",
        key,
    )


def _note_uploaded(connection: sqlite3.Connection, key: TransferKey, now: datetime) -> None:
    """Move the transfer to `uploaded` and write the hop once no pack of it waits for its upload."""
    changed = connection.execute(
        "UPDATE transfers SET state = 'uploaded' WHERE study_uid = ?1 AND revision = ?2 AND state = 'declared'"
        " AND unplanned = 0"
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


def _transfer(row: sqlite3.Row, packs: tuple[PackRow, ...]) -> TransferRow:
    return TransferRow(
        key=TransferKey(parse_uid(row["study_uid"]), row["revision"]),
        state=row["state"],
        transfer_id=row["transfer_id"],
        completed_at=from_text(row["completed_at"]),
        attempts=row["attempts"],
        lane=Lane(row["lane"]),
        declared_lane=Lane(row["declared_lane"]) if row["declared_lane"] else None,
        unplanned=row["unplanned"],
        packs=packs,
    )
