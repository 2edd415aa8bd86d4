"""The journal's index of instances, and of what lies in quarantine."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from datetime import datetime

from gateway.journal.custody import add_custody
from gateway.journal.database import Journal, from_text, to_text
from gateway.spool.layout import SpoolState
from gateway.spool.quarantine import QuarantineReason
from storage.contract.hops import Hop
from storage.contract.identifiers import Sha256Hex, Uid, parse_uid


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """One instance as the gateway holds it; the digests are those of `storage.contract.manifest.InstanceEntry`."""

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


_COLUMNS = ", ".join(field.name for field in fields(InstanceRow))
_PLACES = ", ".join("?" for _ in fields(InstanceRow))


def add_instance(connection: sqlite3.Connection, row: InstanceRow) -> None:
    """Add the row.

    Raises:
        sqlite3.IntegrityError: the SOP Instance UID is already held.
    """
    values = tuple(to_text(value) if isinstance(value, datetime) else value for value in astuple(row))
    connection.execute(f"INSERT INTO instances ({_COLUMNS}) VALUES ({_PLACES})", values)  # noqa: S608 -- constants


def find_instance(journal: Journal, sop_instance_uid: Uid) -> InstanceRow | None:
    """Return the row of this instance."""
    rows = journal.read("SELECT * FROM instances WHERE sop_instance_uid = ?", (sop_instance_uid,))
    return _parse(rows[0]) if rows else None


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
    return InstanceRow(**values)
