"""Preliminary reports of emergencies that are here, until the signed report takes their place.

Durable: every function commits one transaction. One that the hub names no more stays where no report has come: people
here may have acted on it and must see that it was taken back. Holds findings about patients: it never enters a log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gateway.journal.custody import add_custody
from gateway.journal.database import Journal, from_text, to_text
from storage.contract.course import SiteAct, SiteActKind
from storage.contract.hops import Hop
from storage.contract.preliminary import PreliminaryReport

KEPT: Final = timedelta(days=30)  # after its end

# The newest of a case of which no report is here: that one alone may be shown.
_CURRENT: Final = (
    "SELECT p.*, (SELECT a.content FROM site_acts a WHERE json_extract(a.content, '$.request_id') = p.submission_id"
    "  AND a.state <> 'refused' ORDER BY a.rowid LIMIT 1) AS act FROM preliminaries p"
    " WHERE NOT EXISTS (SELECT 1 FROM preliminaries n WHERE n.case_id = p.case_id AND n.rowid > p.rowid)"
    " AND NOT EXISTS (SELECT 1 FROM documents d WHERE d.case_id = p.case_id AND d.kind = 'report_json'"
    "  AND d.state = 'fetched')"
)


@dataclass(frozen=True, slots=True)
class PreliminaryRow:
    """One preliminary report; `ended_at`: it was taken back. `told`: what somebody here has said that they did."""

    report: PreliminaryReport
    fetched_at: datetime
    ended_at: datetime | None
    told: SiteAct | None

    @property
    def waits(self) -> bool:
        """Return whether nobody here has said yet that they have seen it."""
        return self.told is None and self.ended_at is None


def take_over_preliminaries(journal: Journal, reports: Sequence[PreliminaryReport], now: datetime) -> int:
    """Keep what the hub says now; return how many have come for the first time."""
    told = {report.submission_id: report for report in reports}
    with journal.transaction() as connection:
        known = {
            row["submission_id"]: row
            for row in connection.execute("SELECT * FROM preliminaries WHERE ended_at IS NULL").fetchall()
        }
        new = sum(_keep(connection, report, now) for report in reversed(reports))
        gone = [(to_text(now), submission_id) for submission_id in known if submission_id not in told]
        connection.executemany("UPDATE preliminaries SET ended_at = ? WHERE submission_id = ?", gone)
        connection.execute("DELETE FROM preliminaries WHERE ended_at < ?", (to_text(now - KEPT),))
    return new


def find_preliminary(journal: Journal, study_uid: str) -> PreliminaryRow | None:
    """Return what stands, or was taken back, of a study whose report is not here; None of every other."""
    of_study = " AND EXISTS (SELECT 1 FROM json_each(p.content, '$.study_uids') WHERE value = ?)"
    rows = journal.read(_CURRENT + of_study, (study_uid,))
    return _parse(rows[0]) if rows else None


def list_preliminaries(journal: Journal, limit: int) -> list[PreliminaryRow]:
    """Return those that stand, the newest first."""
    rows = journal.read(_CURRENT + " AND p.ended_at IS NULL ORDER BY p.rowid DESC LIMIT ?", (limit,))
    return [_parse(row) for row in rows]


def list_taken_back(journal: Journal, limit: int) -> list[PreliminaryRow]:
    """Return those that were taken back and in whose place nothing has come, the newest first."""
    rows = journal.read(_CURRENT + " AND p.ended_at IS NOT NULL ORDER BY p.rowid DESC LIMIT ?", (limit,))
    return [_parse(row) for row in rows]


def _keep(connection: sqlite3.Connection, report: PreliminaryReport, now: datetime) -> bool:
    """Write one report; return whether it is new."""
    content = report.model_dump_json()
    known = connection.execute(
        "UPDATE preliminaries SET content = ?, ended_at = NULL WHERE submission_id = ?", (content, report.submission_id)
    )
    if known.rowcount:
        return False
    connection.execute(
        "INSERT INTO preliminaries (submission_id, case_id, content, fetched_at) VALUES (?, ?, ?, ?)",
        (report.submission_id, report.case_id, content, to_text(now)),
    )
    for study_uid in report.study_uids:
        add_custody(connection, Hop.PRELIMINARY_FETCHED, study_uid, now, {"submission_id": report.submission_id})
    return True


def _parse(row: sqlite3.Row) -> PreliminaryRow:
    told = SiteAct.model_validate_json(row["act"]) if row["act"] else None
    return PreliminaryRow(
        PreliminaryReport.model_validate_json(row["content"]),
        from_text(row["fetched_at"]),
        from_text(row["ended_at"]) if row["ended_at"] else None,
        told if told is not None and told.kind is SiteActKind.ACKNOWLEDGE else None,
    )
