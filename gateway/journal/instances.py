"""The journal's index of instances, and of what lies in quarantine."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import Final

from gateway.journal.custody import add_custody
from gateway.journal.database import Journal, from_text, to_text
from gateway.spool.layout import SpoolState
from gateway.spool.quarantine import QuarantineReason
from storage.contract.hops import Hop
from storage.contract.identifiers import Sha256Hex, Uid, parse_uid

NOT_TAKEN: Final = Sha256Hex("")  # `stored_sha256` of what arrived and was not read again yet


class Compression(StrEnum):
    """Whether an instance's lossless compression was tried, and what came of it."""

    DUE = "due"
    AS_IS = "as_is"
    COMPRESSED = "compressed"


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """One instance as the gateway holds it; the digests are those of `storage.contract.manifest.InstanceEntry`.

    `stored_sha256` is NOT_TAKEN until the study is complete or the instance is compressed (`gateway.stored_digests`).
    """

    sop_instance_uid: Uid
    study_uid: Uid
    series_uid: Uid
    sop_class_uid: Uid
    transfer_syntax_uid: Uid
    received_sha256: Sha256Hex
    stored_sha256: Sha256Hex
    pixel_sha256: Sha256Hex | None
    size_bytes: int
    received_at: datetime
    calling_ae_title: str
    association_id: str
    state: SpoolState
    revision: int | None
    instance_number: int | None = None
    received_transfer_syntax_uid: Uid | None = None  # None: stored in the syntax that it came in
    values_sha256: Sha256Hex | None = None
    compression: Compression = Compression.DUE
    compression_note: str | None = None
    replacement: str | None = None
    received_size_bytes: int | None = None  # of the file before it was made smaller


_COLUMNS = ", ".join(field.name for field in fields(InstanceRow))
_PLACES = ", ".join("?" for _ in fields(InstanceRow))
_values_of = attrgetter(*(field.name for field in fields(InstanceRow)))


def add_instance(connection: sqlite3.Connection, row: InstanceRow) -> None:
    """Add the row.

    Raises:
        sqlite3.IntegrityError: the SOP Instance UID is already held.
    """
    add_instances(connection, [row])


def add_instances(connection: sqlite3.Connection, rows: Sequence[InstanceRow]) -> None:
    """Add the rows in one statement.

    Raises:
        sqlite3.IntegrityError: a SOP Instance UID is already held; none of the rows is added.
    """
    values = [to_text(value) if isinstance(value, datetime) else value for row in rows for value in _values_of(row)]
    places = ", ".join([f"({_PLACES})"] * len(rows))
    connection.execute(f"INSERT INTO instances ({_COLUMNS}) VALUES {places}", values)  # noqa: S608 -- constants


def find_instance(journal: Journal, sop_instance_uid: Uid) -> InstanceRow | None:
    """Return the row of this instance."""
    rows = journal.read("SELECT * FROM instances WHERE sop_instance_uid = ?", (sop_instance_uid,))
    return _parse(rows[0]) if rows else None


def find_received_digests(journal: Journal, sop_instance_uids: Sequence[Uid]) -> dict[Uid, Sha256Hex]:
    """Return `received_sha256` of those of these instances that are held."""
    places = ", ".join("?" for _ in sop_instance_uids)
    rows = journal.read(
        f"SELECT sop_instance_uid, received_sha256 FROM instances WHERE sop_instance_uid IN ({places})",  # noqa: S608
        tuple(sop_instance_uids),
    )
    return {Uid(row["sop_instance_uid"]): Sha256Hex(row["received_sha256"]) for row in rows}


def instances_of(
    journal: Journal, study_uid: Uid, state: SpoolState | None = None, revision: int | None = None
) -> list[InstanceRow]:
    """Return the study's instances in order of SOP Instance UID, of one state or transfer where that is named."""
    rows = journal.read(
        "SELECT * FROM instances WHERE study_uid = ?1 AND (?2 IS NULL OR state = ?2)"
        " AND (?3 IS NULL OR revision = ?3) ORDER BY sop_instance_uid",
        (study_uid, state, revision),
    )
    return [_parse(row) for row in rows]


def instances_without_stored_digest(journal: Journal, study_uid: Uid) -> list[InstanceRow]:
    """Return the study's arriving instances whose file was not read again yet, and that no smaller one replaces."""
    rows = journal.read(
        "SELECT * FROM instances WHERE study_uid = ? AND state = 'incoming' AND stored_sha256 = ?"
        " AND replacement IS NULL ORDER BY sop_instance_uid",
        (study_uid, NOT_TAKEN),
    )
    return [_parse(row) for row in rows]


def set_stored_digests(connection: sqlite3.Connection, digests: Iterable[tuple[InstanceRow, Sha256Hex]]) -> None:
    """Record `stored_sha256` where it was not taken yet; what was replaced meanwhile keeps that of its own file."""
    connection.executemany(
        "UPDATE instances SET stored_sha256 = ? WHERE sop_instance_uid = ? AND stored_sha256 = ?",
        [(digest, row.sop_instance_uid, NOT_TAKEN) for row, digest in digests],
    )


def place_instances(
    connection: sqlite3.Connection, sop_instance_uids: Iterable[Uid], state: SpoolState, revision: int | None
) -> None:
    """Record where these instances lie now."""
    connection.executemany(
        "UPDATE instances SET state = ?, revision = ? WHERE sop_instance_uid = ?",
        [(state, revision, uid) for uid in sop_instance_uids],
    )


def place_transfer(connection: sqlite3.Connection, study_uid: Uid, revision: int, state: SpoolState) -> None:
    """Record where all instances of one transfer lie now."""
    connection.execute(
        "UPDATE instances SET state = ? WHERE study_uid = ? AND revision = ?", (state, study_uid, revision)
    )


def drop_instance(connection: sqlite3.Connection, sop_instance_uid: Uid) -> None:
    """Forget the row of an instance whose file is not in the spool any more."""
    connection.execute("DELETE FROM instances WHERE sop_instance_uid = ?", (sop_instance_uid,))


def add_quarantine(connection: sqlite3.Connection, quarantine_id: str, reason: QuarantineReason, at: datetime) -> None:
    """Record what lies in quarantine, with a custody event where the study is known.

    The same file for the same reason again changes nothing.
    """
    cursor = connection.execute(
        "INSERT INTO quarantine (quarantine_id, sop_instance_uid, study_uid, at, reason) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (quarantine_id) DO NOTHING",
        (quarantine_id, reason.sop_instance_uid, reason.study_uid, to_text(at), reason.words),
    )
    if cursor.rowcount == 1 and reason.study_uid is not None:
        sop_instance_uid = parse_uid(reason.sop_instance_uid) if reason.sop_instance_uid else None
        detail = {"quarantine_id": quarantine_id, "code": reason.code}
        add_custody(connection, Hop.QUARANTINED, parse_uid(reason.study_uid), at, detail, sop_instance_uid)


def _parse(row: sqlite3.Row) -> InstanceRow:
    values = dict(row)
    values["received_at"] = from_text(values["received_at"])
    values["state"] = SpoolState(values["state"])
    values["compression"] = Compression(values["compression"])
    return InstanceRow(**values)
