"""Since when a case waits for its site, and what that does to its limit: the one home of the clock that stands still.

It waits while a reader's question to the site is open, and while a scheduled interpretation is held because it is in
doubt whose it is. Nothing here is durable of its own: the wait is read from the question, or from doubt and task; its
length goes into `paused_s` and `due_at` when it ends. An emergency waits too, but its limit does not move.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, and_, func, or_, select, union_all
from sqlalchemy.orm import Session, aliased

from reading_queue.db.course_tables import InformationRequest
from reading_queue.db.tables import Case, ReadingTask
from reading_queue.domain.clocks import COUNTS_GROSS, moved_limit, pause_of
from reading_queue.domain.identity import NEVER_HELD
from reading_queue.domain.routing import Phase
from reading_queue.domain.transitions import CaseState, ReadingTaskState
from storage.contract.lanes import Lane

_WAITS: Final = union_all(  # which cases wait, and since when; a case waits for one thing at a time
    select(InformationRequest.case_id, InformationRequest.asked_at.label("since")).where(
        InformationRequest.ended_at.is_(None)
    ),
    # What was claimed while in doubt waits from when it lies there again.
    select(Case.case_id, func.greatest(ReadingTask.created_at, Case.identity_doubted_at))
    .join(ReadingTask, ReadingTask.case_id == Case.case_id)
    .where(
        ReadingTask.state == ReadingTaskState.SCHEDULED,
        ReadingTask.phase == Phase.INTERPRETATION,
        Case.state == CaseState.READY,
        Case.identity_doubted_at.is_not(None),
        Case.lane.not_in(sorted(NEVER_HELD)),
    ),
).subquery("waits")
_Waiting: Final = aliased(Case)
_IN_TIME_WHILE_THEY_WAIT: Final = (
    select(_Waiting.case_id).join(_WAITS, _WAITS.c.case_id == _Waiting.case_id).where(_Waiting.due_at >= _WAITS.c.since)
)


def load_waiting(session: Session, cases: Collection[Case]) -> Mapping[str, datetime]:
    """Return since when those of the cases wait for their site that do, by case."""
    may_wait = [one.case_id for one in cases if one.state == CaseState.ON_HOLD or one.identity_doubted_at is not None]
    if not may_wait:
        return {}
    return dict(session.execute(select(_WAITS.c.case_id, _WAITS.c.since).where(_WAITS.c.case_id.in_(may_wait))).all())


def is_late(case: Case, waiting: Mapping[str, datetime], now: datetime) -> bool:
    """Return whether an unsigned case is late by the clock that counts for it."""
    return case.due_at is not None and case.due_at < stands_at(case, waiting.get(case.case_id), now)


def late_condition(now: datetime) -> ColumnElement[bool]:
    """Return the condition of `is_late` for rows of Case: the few whose limit stands still are looked up once."""
    gross = Case.lane.in_(sorted(COUNTS_GROSS))
    return and_(Case.due_at < now, or_(gross, Case.case_id.not_in(_IN_TIME_WHILE_THEY_WAIT)))


def stands_at(case: Case, waits_since: datetime | None, now: datetime) -> datetime:
    """Return at which moment the clock of the case's limit stands now: an emergency's never stands still."""
    return now if waits_since is None or Lane(case.lane) in COUNTS_GROSS else min(waits_since, now)


def end_wait(case: Case, since: datetime, now: datetime) -> None:
    """Let the limit move by how long the case has waited; the case is locked."""
    pause = pause_of(since, now)
    case.paused_s += int(pause.total_seconds())
    if case.due_at is not None:
        case.look_again_at = None
        case.due_at = moved_limit(case.due_at, Lane(case.lane), pause)
