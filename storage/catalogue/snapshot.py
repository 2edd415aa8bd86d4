"""The whole catalogue as lines of canonical JSON, the same for the same catalogue whatever its rows' ids are.

Lines are sorted by natural keys: site, patient number, UIDs, digests. Left out is what tells of the object store and
not of what is in it: when bytes were checked, how they were found, what was recorded of them; and links that follow
from facts, which are computed again. The lines name patients.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

from sqlalchemy import Row, Select, Text, cast, collate, select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from storage.catalogue.amendment_tables import Amendment, Refiling, RejectedInstance
from storage.catalogue.keeping_tables import Deletion, Hold
from storage.catalogue.link_tables import PatientLink
from storage.catalogue.tables import Instance, Pack, Patient, Series, Study

ROWS_AT_ONCE: Final = 1000
_OF_STORE: Final = frozenset(
    {
        "checked_at",
        "condition",
        "condition_since",
        "damaged_uids",
        "record_sha256",
        "recorded_revision",
        "metadata_due_at",
        "is_recorded",
    }
)
_IDS: Final = frozenset(
    {
        "patient_id",
        "study_id",
        "series_id",
        "pack_id",
        "instance_id",
        "merged_into_id",
        "filed_under_id",
        "own_patient_id",
    }
)


@dataclass(frozen=True, slots=True)
class Line:
    """One row: what it is, by which natural key, and all that the catalogue says of it."""

    kind: str
    key: tuple[str, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The digest of all lines and how many there are of each kind. Two equal catalogues have equal ones."""

    sha256: str
    counts: dict[str, int]


def take_snapshot(session: Session) -> Snapshot:
    """Return the digest of the whole catalogue as this transaction sees it."""
    digest, counts = hashlib.sha256(), dict.fromkeys(_QUERIES, 0)
    for line in dump(session):
        digest.update(line.data)
        counts[line.kind] += 1
    return Snapshot(digest.hexdigest(), counts)


def dump(session: Session) -> Iterator[Line]:
    """Yield every line, kind by kind, each kind sorted by its natural key; holds a few rows at a time."""
    for kind, query in _QUERIES.items():
        result = session.execute(query().execution_options(yield_per=ROWS_AT_ONCE))
        for row in result:
            yield _line(kind, row)


def differences(one: Iterator[Line], other: Iterator[Line]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield kind and key of every line that only one of two snapshots has, or that says something else in the other."""
    merged = heapq.merge(one, other, key=_place)
    for _, group in itertools.groupby(merged, key=_place):
        lines = list(group)
        if len(lines) != 2 or lines[0].data != lines[1].data:
            yield lines[0].kind, lines[0].key


def _place(line: Line) -> tuple[int, tuple[str, ...]]:
    return _ORDER[line.kind], line.key


def _line(kind: str, row: Row[Any]) -> Line:
    values = dict(row._mapping)
    key = tuple(str(values[name]) for name in _KEYS[kind])
    said = {name: _plain(value) for name, value in values.items()} | {"kind": kind}
    return Line(kind, key, json.dumps(said, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() + b"\n")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value.isoformat() if isinstance(value, date) else value


def _own(table: type, *, but: frozenset[str] = frozenset()) -> list[InstrumentedAttribute[Any]]:
    """Return the columns of a table that are part of a snapshot."""
    names = [column.key for column in table.__table__.columns]  # type: ignore[attr-defined]
    return [getattr(table, name) for name in names if name not in _IDS | _OF_STORE | but]


def _bytewise(column: InstrumentedAttribute[str]) -> Any:
    """Return the column in an order that is the same in every database and in Python."""
    return collate(cast(column, Text), "C")


def _patients() -> Select[Any]:
    into = aliased(Patient)
    query = select(*_own(Patient), into.patient_number.label("merged_into"))
    query = query.outerjoin(into, into.patient_id == Patient.merged_into_id)
    return query.order_by(_bytewise(Patient.site_id), _bytewise(Patient.patient_number))


def _studies() -> Select[Any]:
    query = select(*_own(Study), Patient.patient_number).join(Patient, Patient.patient_id == Study.patient_id)
    return query.order_by(_bytewise(Study.site_id), _bytewise(Study.study_uid))


def _series() -> Select[Any]:
    query = select(Study.site_id, Study.study_uid, *_own(Series)).join(Study, Study.study_id == Series.study_id)
    return query.order_by(_bytewise(Study.site_id), _bytewise(Study.study_uid), _bytewise(Series.series_uid))


def _packs() -> Select[Any]:
    query = select(Study.site_id, Study.study_uid, *_own(Pack)).join(Study, Study.study_id == Pack.study_id)
    return query.order_by(_bytewise(Study.site_id), _bytewise(Study.study_uid), _bytewise(Pack.pack_sha256))


def _instances() -> Select[Any]:
    query = select(Study.study_uid, Series.series_uid, Pack.pack_sha256, *_own(Instance))
    query = query.join(Series, Series.series_id == Instance.series_id).join(Pack, Pack.pack_id == Instance.pack_id)
    query = query.join(Study, Study.study_id == Series.study_id)
    return query.order_by(_bytewise(Instance.site_id), _bytewise(Instance.sop_instance_uid))


def _refilings() -> Select[Any]:
    own, under = aliased(Patient), aliased(Patient)
    query = select(
        Study.site_id,
        Study.study_uid,
        *_own(Refiling),
        own.patient_number.label("own_number"),
        under.patient_number.label("filed_under"),
    )
    query = query.join(Study, Study.study_id == Refiling.study_id).join(own, own.patient_id == Refiling.own_patient_id)
    query = query.outerjoin(under, under.patient_id == Refiling.filed_under_id)
    return query.order_by(_bytewise(Study.site_id), _bytewise(Study.study_uid))


def _rejected() -> Select[Any]:
    of_site = (_bytewise(RejectedInstance.site_id), _bytewise(RejectedInstance.sop_instance_uid))
    return select(*_own(RejectedInstance)).order_by(*of_site, _bytewise(RejectedInstance.amendment_id))


def _amendments() -> Select[Any]:
    return select(*_own(Amendment)).order_by(_bytewise(Amendment.amendment_id))


def _holds() -> Select[Any]:
    return select(*_own(Hold)).order_by(_bytewise(Hold.site_id), _bytewise(Hold.study_uid), _bytewise(Hold.hold_id))


def _deletions() -> Select[Any]:
    return select(*_own(Deletion)).order_by(_bytewise(Deletion.site_id), _bytewise(Deletion.study_uid))


def _links() -> Select[Any]:
    one, other = aliased(Patient), aliased(Patient)
    numbers = (one.patient_number.label("number_a"), other.patient_number.label("number_b"))
    own = _own(PatientLink, but=frozenset({"patient_a", "patient_b", "comparison", "version"}))
    query = select(*numbers, *own).join(one, one.patient_id == PatientLink.patient_a)
    query = query.join(other, other.patient_id == PatientLink.patient_b).where(PatientLink.is_by_person)
    return query.order_by(_bytewise(PatientLink.site_a), _bytewise(PatientLink.site_b), _bytewise(PatientLink.link_id))


_QUERIES: Final = {
    "patient": _patients,
    "study": _studies,
    "series": _series,
    "pack": _packs,
    "instance": _instances,
    "refiling": _refilings,
    "rejected": _rejected,
    "amendment": _amendments,
    "hold": _holds,
    "deletion": _deletions,
    "link": _links,
}
_KEYS: Final = {
    "patient": ("site_id", "patient_number"),
    "study": ("site_id", "study_uid"),
    "series": ("site_id", "study_uid", "series_uid"),
    "pack": ("site_id", "study_uid", "pack_sha256"),
    "instance": ("site_id", "sop_instance_uid"),
    "refiling": ("site_id", "study_uid"),
    "rejected": ("site_id", "sop_instance_uid", "amendment_id"),
    "amendment": ("amendment_id",),
    "hold": ("site_id", "study_uid", "hold_id"),
    "deletion": ("site_id", "study_uid"),
    "link": ("site_a", "site_b", "link_id"),
}
_ORDER: Final = {kind: number for number, kind in enumerate(_QUERIES)}
