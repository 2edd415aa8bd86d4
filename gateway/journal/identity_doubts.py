"""Doubts whose a case is, as the hub last told them, and how people here have settled them.

Durable: every function commits one transaction, or its caller's. A settlement waits until the hub has answered it,
however long the line is down. Names patients: it never enters a log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.journal.database import Journal
from storage.contract.course import SiteActsAnswer
from storage.contract.identity_doubts import IdentityDoubt, IdentitySettlement

REASON_CHARACTERS_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class SettlementRow:
    """One settlement and what became of it: due, done or refused, with the hub's code and reason."""

    act: IdentitySettlement
    state: str
    code: str
    problem: str


def take_over_doubts(journal: Journal, doubts: Sequence[IdentityDoubt]) -> None:
    """Keep what the hub says now, in the place of what it said before; unchanged rows are not written again."""
    told = {doubt.conflict_id: doubt.model_dump_json() for doubt in doubts}
    if told == {row["conflict_id"]: row["content"] for row in journal.read("SELECT * FROM identity_doubts")}:
        return
    with journal.transaction() as connection:
        connection.execute("DELETE FROM identity_doubts")
        connection.executemany(
            "INSERT INTO identity_doubts VALUES (?, ?, ?)",
            [(doubt.conflict_id, doubt.study_uid, told[doubt.conflict_id]) for doubt in doubts],
        )


def doubts_of(journal: Journal, study_uid: str) -> list[IdentityDoubt]:
    """Return what is not settled about the study's case, the newest first."""
    rows = journal.read("SELECT content FROM identity_doubts WHERE study_uid = ? ORDER BY rowid", (study_uid,))
    return [IdentityDoubt.model_validate_json(row["content"]) for row in rows]


def list_unsettled(journal: Journal, limit: int) -> list[IdentityDoubt]:
    """Return the doubts about which nobody here has decided yet, the newest first."""
    rows = journal.read(
        "SELECT content FROM identity_doubts d WHERE NOT EXISTS"
        " (SELECT 1 FROM identity_settlements s WHERE s.conflict_id = d.conflict_id AND s.state = 'due')"
        " ORDER BY rowid LIMIT ?",
        (limit,),
    )
    return [IdentityDoubt.model_validate_json(row["content"]) for row in rows]


def add_settlement(connection: sqlite3.Connection, act: IdentitySettlement) -> None:
    """Keep a settlement until the hub has heard of it; the same again changes nothing."""
    connection.execute(
        "INSERT INTO identity_settlements (act_id, conflict_id, study_uid, content) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        (act.act_id, act.conflict_id, act.study_uid, act.model_dump_json()),
    )


def due_settlements(journal: Journal, limit: int) -> list[IdentitySettlement]:
    """Return the settlements that the hub has not answered, in the order in which they were made."""
    rows = journal.read("SELECT content FROM identity_settlements WHERE state = 'due' ORDER BY rowid LIMIT ?", (limit,))
    return [IdentitySettlement.model_validate_json(row["content"]) for row in rows]


def note_settled(journal: Journal, answer: SiteActsAnswer) -> None:
    """Record what became of the settlements."""
    with journal.transaction() as connection:
        connection.executemany(
            "UPDATE identity_settlements SET state = 'done' WHERE act_id = ?", [(act_id,) for act_id in answer.done]
        )
        connection.executemany(
            "UPDATE identity_settlements SET state = 'refused', code = ?, problem = ? WHERE act_id = ?",
            [(one.code, one.reason[:REASON_CHARACTERS_MAX], one.act_id) for one in answer.refused],
        )


def settlements_of(journal: Journal, study_uid: str) -> list[SettlementRow]:
    """Return what people here have decided about the study's case, the newest first."""
    rows = journal.read("SELECT * FROM identity_settlements WHERE study_uid = ? ORDER BY rowid DESC", (study_uid,))
    return [_parse(row) for row in rows]


def refused_settlements(journal: Journal, limit: int) -> list[SettlementRow]:
    """Return the settlements that the hub did not do, the newest first."""
    rows = journal.read(
        "SELECT * FROM identity_settlements WHERE state = 'refused' ORDER BY rowid DESC LIMIT ?", (limit,)
    )
    return [_parse(row) for row in rows]


def _parse(row: sqlite3.Row) -> SettlementRow:
    return SettlementRow(
        IdentitySettlement.model_validate_json(row["content"]), row["state"], row["code"], row["problem"]
    )
