"""Cases that wait for the clinic, as the hub last said, and what people here have done about them.

Durable: every function commits one transaction. An act waits until the hub has answered it, however long the line is
down. Holds what people wrote about patients: it never enters a log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.journal.database import Journal
from storage.contract.course import CaseCourse, SiteAct, SiteActsAnswer

REASON_CHARACTERS_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class ActRow:
    """One act and what became of it: due, done or refused, with the hub's code and reason."""

    act: SiteAct
    state: str
    code: str
    problem: str


@dataclass(frozen=True, slots=True)
class WaitingStudy:
    """A study whose case waits for the clinic."""

    study_uid: str
    course: CaseCourse

    @property
    def since(self) -> datetime | None:
        """When the reader asked, None where nothing is asked."""
        return self.course.question.asked_at if self.course.question is not None else None


def take_over_courses(journal: Journal, courses: Sequence[CaseCourse]) -> None:
    """Keep what the hub says now, in the place of what it said before; unchanged rows are not written again."""
    told = {uid: course.model_dump_json() for course in courses for uid in course.study_uids}
    if told == {row["study_uid"]: row["content"] for row in journal.read("SELECT * FROM case_courses")}:
        return
    with journal.transaction() as connection:
        connection.execute("DELETE FROM case_courses")
        connection.executemany("INSERT INTO case_courses VALUES (?, ?)", told.items())


def find_course(journal: Journal, study_uid: str) -> CaseCourse | None:
    """Return what the case of this study waits for, None when it waits for nothing."""
    rows = journal.read("SELECT content FROM case_courses WHERE study_uid = ?", (study_uid,))
    return CaseCourse.model_validate_json(rows[0]["content"]) if rows else None


def list_waiting(journal: Journal, limit: int) -> list[WaitingStudy]:
    """Return the studies that wait for somebody here and for which nobody here has done anything yet."""
    rows = journal.read(
        "SELECT * FROM case_courses c WHERE NOT EXISTS"
        " (SELECT 1 FROM site_acts a WHERE a.study_uid = c.study_uid AND a.state = 'due'"
        "  AND json_extract(a.content, '$.kind') <> 'acknowledge') LIMIT ?",
        (limit,),
    )
    waiting = [WaitingStudy(row["study_uid"], CaseCourse.model_validate_json(row["content"])) for row in rows]
    return [one for one in waiting if one.course.question is not None or one.course.returned_code]


def add_act(connection: sqlite3.Connection, act: SiteAct) -> None:
    """Keep an act until the hub has heard of it; the same again changes nothing."""
    connection.execute(
        "INSERT INTO site_acts (act_id, study_uid, content) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (act.act_id, act.study_uid, act.model_dump_json()),
    )


def due_acts(journal: Journal, limit: int) -> list[SiteAct]:
    """Return the acts that the hub has not answered, in the order in which they were done."""
    rows = journal.read("SELECT content FROM site_acts WHERE state = 'due' ORDER BY rowid LIMIT ?", (limit,))
    return [SiteAct.model_validate_json(row["content"]) for row in rows]


def note_answer(journal: Journal, answer: SiteActsAnswer) -> None:
    """Record what became of the acts."""
    with journal.transaction() as connection:
        connection.executemany(
            "UPDATE site_acts SET state = 'done' WHERE act_id = ?", [(act_id,) for act_id in answer.done]
        )
        connection.executemany(
            "UPDATE site_acts SET state = 'refused', code = ?, problem = ? WHERE act_id = ?",
            [(one.code, one.reason[:REASON_CHARACTERS_MAX], one.act_id) for one in answer.refused],
        )


def acts_of(journal: Journal, study_uid: str) -> list[ActRow]:
    """Return what people here have done about the study's case, the newest first."""
    rows = journal.read("SELECT * FROM site_acts WHERE study_uid = ? ORDER BY rowid DESC", (study_uid,))
    return [_parse(row) for row in rows]


def refused_acts(journal: Journal, limit: int) -> list[ActRow]:
    """Return the acts that the hub did not do, the newest first."""
    rows = journal.read("SELECT * FROM site_acts WHERE state = 'refused' ORDER BY rowid DESC LIMIT ?", (limit,))
    return [_parse(row) for row in rows]


def _parse(row: sqlite3.Row) -> ActRow:
    return ActRow(SiteAct.model_validate_json(row["content"]), row["state"], row["code"], row["problem"])
