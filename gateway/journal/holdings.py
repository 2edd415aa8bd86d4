"""What the gateway holds, as rows for queries and retrievals: only studies of which some instance is here.

Reads alone, page by page; nothing is changed. Rows hold patient data: they never enter a log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.journal.database import Journal
from gateway.spool.layout import SpoolState
from storage.contract.identifiers import Uid, parse_uid

PAGE_ROWS: Final = 500
_STUDY_COLUMNS: Final = (
    "s.study_uid, s.patient_number, s.patient_name, s.birth_date, s.sex, s.accession_number, s.study_number,"
    " s.description AS study_description, s.study_date, s.study_time, s.referring_physician"
)
_SERIES_COLUMNS: Final = (
    "e.series_uid, e.modality, e.number AS series_number, e.description AS series_description, e.body_part"
)
_INSTANCE_COLUMNS: Final = "i.sop_instance_uid, i.sop_class_uid, i.instance_number"
_SENDING_ORDER: Final = " ORDER BY i.study_uid, e.number, i.series_uid, i.instance_number, i.sop_instance_uid"
_KEYS: Final = {"patient": "patient_number", "study": "study_uid", "series": "series_uid"}
LISTS: Final = frozenset({"modalities", "sop_classes"})


@dataclass(frozen=True, slots=True)
class Shelf:
    """The tables of one kind of holdings; their columns have the same names."""

    studies: str
    series: str
    instances: str


OWN: Final = Shelf("studies", "series", "instances")
CLAIMED: Final = Shelf("reader_studies", "reader_series", "reader_holdings")


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What SQL can leave out already; each is None where it is not given."""

    patient_number: str | None = None
    accession_number: str | None = None
    study_dates: tuple[str, str] | None = None
    study_uids: Sequence[str] | None = None
    series_uids: Sequence[str] | None = None
    sop_instance_uids: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class HeldInstance:
    """One instance, and what is needed to send it."""

    sop_instance_uid: Uid
    sop_class_uid: str
    study_uid: Uid
    transfer_syntax_uids: frozenset[str]  # as it is held, and as it came


class Holdings:
    """What one shelf holds. `OWN`: the gateway's own studies; `CLAIMED`: copies of claimed cases, in reader mode."""

    def __init__(self, journal: Journal, shelf: Shelf) -> None:
        self._journal = journal
        self._sql = _Sql.of(shelf)

    def iterate_studies(self, narrowing: Narrowing) -> Iterator[dict[str, Any]]:
        """Yield the held studies, the newest first."""
        conditions = _conditions(narrowing, with_series=False, with_instances=False)
        return self._pages(self._sql.studies, "s.rowid", conditions)

    def iterate_series(self, narrowing: Narrowing) -> Iterator[dict[str, Any]]:
        """Yield the held series, the newest first."""
        return self._pages(self._sql.series, "e.rowid", _conditions(narrowing, with_instances=False))

    def iterate_instances(self, narrowing: Narrowing) -> Iterator[dict[str, Any]]:
        """Yield the held instances, the newest first."""
        return self._pages(self._sql.instances, "i.rowid", _conditions(narrowing))

    def look_up(self, column: str, row: Mapping[str, Any]) -> Any:
        """Return a value that is counted or collected for one row: a number, or a list for the columns of LISTS."""
        key = "study_uid" if column in LISTS else _KEYS[column.partition("_")[0]]
        rows = self._journal.read(self._sql.counts[column], (row[key],))
        return sorted(found[0] for found in rows if found[0]) if column in LISTS else rows[0][0]

    def list_to_send(self, narrowing: Narrowing, limit: int) -> list[HeldInstance]:
        """Return what a retrieval names, in the order of series and instance numbers."""
        conditions, parameters = _conditions(narrowing)
        rows = self._journal.read(f"{self._sql.to_send}{conditions}{_SENDING_ORDER} LIMIT ?", (*parameters, limit))
        return [
            HeldInstance(
                parse_uid(row["sop_instance_uid"]),
                row["sop_class_uid"],
                parse_uid(row["study_uid"]),
                frozenset({row["transfer_syntax_uid"], row["received_transfer_syntax_uid"]} - {None}),
            )
            for row in rows
        ]

    def _pages(self, select: str, rowid: str, conditions: tuple[str, tuple[object, ...]]) -> Iterator[dict[str, Any]]:
        texts, parameters = conditions
        query = f"{select}{texts} AND {rowid} < ? ORDER BY {rowid} DESC LIMIT ?"
        before = 2**63 - 1
        while True:
            rows: list[sqlite3.Row] = self._journal.read(query, (*parameters, before, PAGE_ROWS))
            yield from (dict(row) for row in rows)
            if len(rows) < PAGE_ROWS:
                return
            before = rows[-1]["cursor"]


@dataclass(frozen=True, slots=True)
class _Sql:
    """The queries over one shelf."""

    studies: str
    series: str
    instances: str
    to_send: str
    counts: Mapping[str, str]

    @classmethod
    def of(cls, shelf: Shelf) -> _Sql:
        studies, series, instances = shelf.studies, shelf.series, shelf.instances
        of_patient = f"FROM {instances} i JOIN {studies} s USING (study_uid) WHERE s.patient_number = ?"
        return cls(
            studies=f"SELECT s.rowid AS cursor, {_STUDY_COLUMNS} FROM {studies} s"  # noqa: S608 -- constants
            f" WHERE EXISTS (SELECT 1 FROM {instances} i WHERE i.study_uid = s.study_uid)",
            series=f"SELECT e.rowid AS cursor, {_STUDY_COLUMNS}, {_SERIES_COLUMNS} FROM {series} e"  # noqa: S608
            f" JOIN {studies} s USING (study_uid)"
            f" WHERE EXISTS (SELECT 1 FROM {instances} i WHERE i.series_uid = e.series_uid)",
            instances=f"SELECT i.rowid AS cursor, {_STUDY_COLUMNS}, {_SERIES_COLUMNS}, {_INSTANCE_COLUMNS}"  # noqa: S608
            f" FROM {instances} i JOIN {series} e USING (series_uid) JOIN {studies} s ON s.study_uid = i.study_uid"
            " WHERE 1",
            to_send="SELECT i.sop_instance_uid, i.sop_class_uid, i.study_uid, i.transfer_syntax_uid,"  # noqa: S608
            f" i.received_transfer_syntax_uid FROM {instances} i JOIN {studies} s USING (study_uid)"
            f" LEFT JOIN {series} e ON e.series_uid = i.series_uid WHERE 1",
            counts={
                "modalities": f"SELECT DISTINCT e.modality FROM {series} e WHERE e.study_uid = ?"  # noqa: S608
                f" AND EXISTS (SELECT 1 FROM {instances} i WHERE i.series_uid = e.series_uid)",
                "sop_classes": f"SELECT DISTINCT sop_class_uid FROM {instances} WHERE study_uid = ?",  # noqa: S608
                "study_series": f"SELECT count(DISTINCT series_uid) FROM {instances} WHERE study_uid = ?",  # noqa: S608
                "study_instances": f"SELECT count(*) FROM {instances} WHERE study_uid = ?",  # noqa: S608
                "series_instances": f"SELECT count(*) FROM {instances} WHERE series_uid = ?",  # noqa: S608
                "patient_studies": f"SELECT count(DISTINCT i.study_uid) {of_patient}",
                "patient_series": f"SELECT count(DISTINCT i.series_uid) {of_patient}",
                "patient_instances": f"SELECT count(*) {of_patient}",
            },
        )


_LOOKED_UP: Final = frozenset(_Sql.of(OWN).counts)


def is_looked_up(column: str) -> bool:
    """Return whether `Holdings.look_up` has this column, and rows do not."""
    return column in _LOOKED_UP


def find_place(journal: Journal, sop_instance_uid: Uid) -> tuple[SpoolState, int | None] | None:
    """Return state and transfer of an own instance now, None when it is gone."""
    rows = journal.read("SELECT state, revision FROM instances WHERE sop_instance_uid = ?", (sop_instance_uid,))
    return (SpoolState(rows[0]["state"]), rows[0]["revision"]) if rows else None


def _conditions(
    narrowing: Narrowing, *, with_instances: bool = True, with_series: bool = True
) -> tuple[str, tuple[object, ...]]:
    texts, parameters = [], []
    for column, value in (
        ("s.patient_number", narrowing.patient_number),
        ("s.accession_number", narrowing.accession_number),
    ):
        if value is not None:
            texts.append(f" AND {column} = ?")
            parameters.append(value)
    if narrowing.study_dates is not None:
        texts.append(" AND s.study_date BETWEEN ? AND ?")
        parameters += narrowing.study_dates
    lists = [("s.study_uid", narrowing.study_uids)]
    lists += [("e.series_uid", narrowing.series_uids)] if with_series else []
    lists += [("i.sop_instance_uid", narrowing.sop_instance_uids)] if with_instances else []
    for column, uids in lists:
        if uids is not None:
            texts.append(f" AND {column} IN (SELECT value FROM json_each(?))")  # noqa: S608 -- a constant
            parameters.append(_as_json(uids))
    return "".join(texts), tuple(parameters)


def _as_json(uids: Sequence[str]) -> str:
    return "[" + ",".join(f'"{uid}"' for uid in uids if not set(uid) - set("0123456789.")) + "]"
