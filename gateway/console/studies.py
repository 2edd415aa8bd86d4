"""The studies of this clinic as its people see them. Reads the journal only.

A name typed into the search is looked for in the journal and nowhere else: it enters no address and no log.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from gateway.console.road import Progress, Stage, StudyFacts, is_in, seconds_left, stage_of, step_of
from gateway.journal.database import Journal, from_text, to_text
from gateway.journal.line import read_line
from storage.contract.lanes import Lane

ROWS: Final = 50
LOOKED_AT_MAX: Final = 1000  # rows read for one page when the filter leaves most of them out
UNFINISHED: Final = timedelta(days=14)  # an older study without its report is found by its day, not on the first page
SEARCH_CHARACTERS_MAX: Final = 64
_LANES: Final = tuple(Lane)
# What of a pack `p` object storage has: all of it, or of a large one those of its parts that it took.
_SENT: Final = (
    "CASE WHEN p.state <> 'planned' THEN p.size_bytes ELSE (SELECT coalesce(sum(q.size_bytes), 0) FROM parts q"
    " WHERE q.study_uid = p.study_uid AND q.revision = p.revision AND q.pack_sha256 = p.pack_sha256"
    " AND q.state = 'uploaded') END"
)


@dataclass(frozen=True, slots=True)
class StudyFilter:
    """What a list is asked for; all that is given must hold."""

    text: str = ""
    day: date | None = None
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class StudyLine:
    """One study in a list. `patient_name` is the raw PN; `images_expected` is None where nobody announced a number.

    `bytes_total` and `bytes_sent` are of the packs on the line, 0 before they are planned.
    """

    study_uid: str
    patient_name: str
    patient_number: str
    sex: str
    birth_date: date | None
    accession_number: str
    description: str
    modalities: str
    first_received_at: datetime
    images: int
    images_expected: int | None
    size_bytes: int
    bytes_total: int
    bytes_sent: int
    seconds_left: float | None
    stage: Stage
    steps: int
    lane: str
    paused: bool
    problem: str
    next_attempt_at: datetime | None
    character_set_repair: str
    document_id: str | None  # of the newest signed report that is here

    @property
    def is_here(self) -> bool:
        """Return whether something of the study is still on its way to the hub."""
        return is_in(self.stage, Progress.HERE)


@dataclass(frozen=True, slots=True)
class StudyPage:
    """Some studies, and where those before them begin (None: there are none)."""

    studies: tuple[StudyLine, ...]
    next_before: str | None


@dataclass(frozen=True, slots=True)
class PendingUpload:
    """One transfer that is not at the hub, and how much of it has to be sent."""

    study_uid: str
    lane: Lane
    bytes_left: int


@dataclass(frozen=True, slots=True)
class Counts:
    """What today looks like."""

    arrived_today: int
    on_the_way: int
    reports_today: int


def list_studies(journal: Journal, wanted: StudyFilter, now: datetime, zone: ZoneInfo, before: str) -> StudyPage:
    """Return the studies of a page, newest first.

    Without a filter: those of today, and older ones whose report is still awaited. `before`: the last page's
    `next_before`.
    """
    condition, values = _condition(wanted, now, zone)
    found: list[StudyLine] = []
    cursor = before or "9"
    for _ in range(LOOKED_AT_MAX // ROWS):
        rows = _rows(journal, f"({condition}) AND s.first_received_at || ' ' || s.study_uid < ?", (*values, cursor))
        lines = [_line(journal, row) for row in rows]
        found += [line for line in lines if wanted.progress is None or is_in(line.stage, wanted.progress)]
        if rows:
            cursor = f"{rows[-1]['first_received_at']} {rows[-1]['study_uid']}"
        if len(rows) < ROWS:
            return StudyPage(_with_times(journal, found[:ROWS]), _cursor(found) if len(found) > ROWS else None)
        if len(found) >= ROWS:
            return StudyPage(_with_times(journal, found[:ROWS]), _cursor(found))
    return StudyPage(_with_times(journal, found), cursor)


def load_patients(journal: Journal, study_uids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return name and number of the patient of each of the studies, by its UID."""
    rows = journal.read(
        "SELECT study_uid, patient_name, patient_number FROM studies"
        " WHERE study_uid IN (SELECT value FROM json_each(?))",
        (json.dumps(study_uids),),
    )
    return {row["study_uid"]: (row["patient_name"], row["patient_number"]) for row in rows}


def find_study(journal: Journal, study_uid: str) -> StudyLine | None:
    """Return one study, None when this gateway never had it."""
    rows = _rows(journal, "s.study_uid = ?", (study_uid,))
    if not rows:
        return None
    (line,) = _with_times(journal, [_line(journal, rows[0])])
    return line


def count_today(journal: Journal, now: datetime, zone: ZoneInfo) -> Counts:
    """Return today's numbers."""
    start = to_text(start_of_day(now.astimezone(zone).date(), zone))
    row = journal.read(
        "SELECT (SELECT count(*) FROM studies WHERE first_received_at >= ?1) AS arrived_today,"
        " (SELECT count(*) FROM (SELECT study_uid FROM transfers WHERE state <> 'confirmed'"
        "   UNION SELECT study_uid FROM instances WHERE state = 'incoming')) AS on_the_way,"
        " (SELECT count(*) FROM documents WHERE kind = 'report_json' AND fetched_at >= ?1) AS reports_today",
        (start,),
    )[0]
    return Counts(**dict(row))


def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """Return the midnight that begins a day."""
    return datetime(day.year, day.month, day.day, tzinfo=zone)


def _condition(wanted: StudyFilter, now: datetime, zone: ZoneInfo) -> tuple[str, tuple[object, ...]]:
    parts: list[str] = []
    values: list[object] = []
    if wanted.text:
        pattern = "%" + wanted.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        names = ("patient_name", "replace(patient_name, '^', '')", "replace(patient_name, '^', ' ')")
        columns = (*names, "patient_number", "accession_number")
        parts.append("(" + " OR ".join(f"{column} LIKE ? ESCAPE '\\'" for column in columns) + ")")
        values += [pattern] * len(columns)
    if wanted.day is not None:
        parts.append("s.first_received_at >= ? AND s.first_received_at < ?")
        start = start_of_day(wanted.day, zone)
        values += [to_text(start), to_text(start_of_day(wanted.day + timedelta(days=1), zone))]
    if not parts and wanted.progress is None:
        parts.append(
            "s.first_received_at >= ? OR (s.first_received_at >= ? AND NOT EXISTS"
            " (SELECT 1 FROM custody c WHERE c.study_uid = s.study_uid AND c.hop = 'fetched'))"
        )
        values += [to_text(start_of_day(now.astimezone(zone).date(), zone)), to_text(now - UNFINISHED)]
    return " AND ".join(parts) or "1", tuple(values)


def _rows(journal: Journal, condition: str, values: Sequence[object]) -> list[sqlite3.Row]:
    """Return the studies that fulfil the condition with what can be counted beside them, newest first."""
    return journal.read(
        "SELECT s.*, c.lane AS chosen_lane, c.expected, c.paused_at, c.cancelled_at,"  # noqa: S608 -- built of constants
        " (SELECT group_concat(DISTINCT modality) FROM series WHERE series.study_uid = s.study_uid) AS modalities,"
        " (SELECT count(*) FROM instances i WHERE i.study_uid = s.study_uid) AS images,"
        " (SELECT count(*) FROM instances i WHERE i.study_uid = s.study_uid AND i.state = 'incoming') AS arriving,"
        " (SELECT sum(size_bytes) FROM instances i WHERE i.study_uid = s.study_uid) AS size_bytes"
        " FROM studies s LEFT JOIN study_controls c USING (study_uid)"
        f" WHERE {condition} ORDER BY s.first_received_at DESC, s.study_uid DESC LIMIT {ROWS}",
        tuple(values),
    )


def _line(journal: Journal, row: sqlite3.Row) -> StudyLine:
    study_uid = row["study_uid"]
    transfers = _transfers(journal, study_uid)
    report = _report(journal, study_uid)
    hops = journal.read("SELECT hop FROM hub_events WHERE study_uid = ? ORDER BY at, event_id", (study_uid,))
    stage = stage_of(
        StudyFacts(
            arriving=row["arriving"] or 0,
            transfers=[transfer["state"] for transfer in transfers],
            hub_hops=[hop["hop"] for hop in hops],
            report_here=report is not None,
            report_delivered=report is not None and not report["undelivered"],
            cancelled=row["cancelled_at"] is not None,
        )
    )
    under_way = [transfer for transfer in transfers if transfer["state"] != "confirmed"]
    return StudyLine(
        study_uid=study_uid,
        patient_name=row["patient_name"],
        patient_number=row["patient_number"],
        sex=row["sex"],
        birth_date=date.fromisoformat(row["birth_date"]) if row["birth_date"] else None,
        accession_number=row["accession_number"],
        description=row["description"],
        modalities="/".join(sorted((row["modalities"] or "").split(","))),
        first_received_at=from_text(row["first_received_at"]),
        images=max(row["images"] or 0, sum(transfer["images"] for transfer in transfers)),
        images_expected=row["expected"],
        size_bytes=row["size_bytes"] or 0,
        bytes_total=sum(transfer["bytes_total"] for transfer in under_way),
        bytes_sent=sum(transfer["bytes_sent"] for transfer in under_way),
        seconds_left=None,
        stage=stage,
        steps=step_of(stage),
        lane=row["chosen_lane"] or (transfers[-1]["lane"] if transfers else Lane.ROUTINE),
        paused=row["paused_at"] is not None and bool(under_way),
        problem=next((transfer["problem"] for transfer in under_way if transfer["problem"]), ""),
        next_attempt_at=next(
            (from_text(transfer["next_attempt_at"]) for transfer in under_way if transfer["problem"]), None
        ),
        character_set_repair=row["character_set_repair"] or "",
        document_id=report["document_id"] if report is not None else None,
    )


def _transfers(journal: Journal, study_uid: str) -> list[sqlite3.Row]:
    return journal.read(
        "SELECT t.state, t.lane, t.problem, t.next_attempt_at, t.completed_at,"  # noqa: S608 -- built of constants
        " json_array_length(t.manifest, '$.instances') AS images,"
        " max(t.needed_bytes, coalesce(sum(p.size_bytes), 0)) AS bytes_total,"
        f" coalesce(sum({_SENT}), 0) AS bytes_sent"
        " FROM transfers t LEFT JOIN packs p USING (study_uid, revision)"
        " WHERE t.study_uid = ? GROUP BY t.revision ORDER BY t.revision",
        (study_uid,),
    )


def _report(journal: Journal, study_uid: str) -> sqlite3.Row | None:
    """Return the newest report of the study that is here, with how many of its deliveries are not made."""
    rows = journal.read(
        "SELECT d.document_id, (SELECT count(*) FROM deliveries v JOIN documents o USING (document_id)"
        "  WHERE o.case_id = d.case_id AND v.state = 'due') AS undelivered"
        " FROM custody c JOIN documents d ON d.document_id = json_extract(c.detail, '$.document_id')"
        " WHERE c.study_uid = ? AND c.hop = 'fetched' AND d.kind = 'report_json' ORDER BY d.cursor DESC LIMIT 1",
        (study_uid,),
    )
    return rows[0] if rows else None


def _cursor(found: Sequence[StudyLine]) -> str:
    last = found[ROWS - 1]
    return f"{to_text(last.first_received_at)} {last.study_uid}"


def _with_times(journal: Journal, lines: Sequence[StudyLine]) -> tuple[StudyLine, ...]:
    """Return the lines with when each will be at the hub: after what is of a more urgent lane, and what is older."""
    bytes_per_s = read_line(journal).bytes_per_s
    times: dict[str, float | None] = {}
    before = 0
    for upload in pending_uploads(journal):
        times[upload.study_uid] = seconds_left(upload.bytes_left, before, bytes_per_s)
        before += upload.bytes_left
    return tuple(replace(line, seconds_left=times.get(line.study_uid)) for line in lines)


def pending_uploads(journal: Journal) -> list[PendingUpload]:
    """Return what has to be sent, in the order of the lanes and of age; what people hold back is not part of it."""
    rows = journal.read(
        "SELECT t.study_uid, t.lane, CASE WHEN t.state = 'ready' THEN"  # noqa: S608 -- built of constants
        " (SELECT coalesce(sum(size_bytes), 0) FROM instances i WHERE i.study_uid = t.study_uid"
        f"  AND i.revision = t.revision) ELSE max(0, t.needed_bytes - coalesce((SELECT sum({_SENT}) FROM packs p"
        "  WHERE p.study_uid = t.study_uid AND p.revision = t.revision), 0)) END AS bytes_left"
        " FROM transfers t LEFT JOIN study_controls c USING (study_uid)"
        " WHERE t.state <> 'confirmed' AND c.paused_at IS NULL AND c.cancelled_at IS NULL ORDER BY t.completed_at"
    )
    rows.sort(key=lambda row: _LANES.index(Lane(row["lane"])))
    return [PendingUpload(row["study_uid"], Lane(row["lane"]), int(row["bytes_left"])) for row in rows]
