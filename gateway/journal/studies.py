"""What the headers of received instances say of their studies and series: an index for lists and queries.

Durable with the instance that brought it; made again from the spool by the start-up scan. Holds patient data: it never
enters a log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from gateway.journal.database import to_text
from gateway.journal.holdings import OWN, Shelf
from storage.contract.identifiers import Uid
from storage.dicom.headers import InstanceHeader


def add_study(
    connection: sqlite3.Connection, header: InstanceHeader, received_at: datetime, shelf: Shelf = OWN
) -> None:
    """Note the study and the series of an instance; what the first instance said of them stays."""
    connection.execute(
        f"INSERT INTO {shelf.studies} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",  # noqa: S608
        (
            header.study_uid,
            header.patient_number,
            header.patient_name,
            header.birth_date.isoformat() if header.birth_date else None,
            header.sex,
            header.accession_number,
            header.study_number,
            header.study_description,
            header.study_date.isoformat() if header.study_date else None,
            header.study_time,
            header.referring_physician,
            header.character_set,
            header.character_set_repair,
            to_text(received_at),
        ),
    )
    connection.execute(
        f"INSERT INTO {shelf.series} VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",  # noqa: S608 -- constants
        (
            header.series_uid,
            header.study_uid,
            header.modality,
            header.series_number,
            header.series_description,
            header.body_part,
        ),
    )


def find_unknown_series(connection: sqlite3.Connection, series_uids: Sequence[Uid]) -> list[Uid]:
    """Return those of these series that `add_study` has not noted."""
    places = ", ".join("?" for _ in series_uids)
    query = f"SELECT series_uid FROM series WHERE series_uid IN ({places})"  # noqa: S608 -- constants
    known = {row["series_uid"] for row in connection.execute(query, series_uids)}
    return [uid for uid in series_uids if uid not in known]
