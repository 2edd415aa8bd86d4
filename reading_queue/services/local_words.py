"""What pages say in the reader's language where the database has more than one: names of sites, why nobody reads.

Reads only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from reading_queue.db.tables import Case, Organisation, ReadingTask, RoutingDecision
from reading_queue.domain.routing import NOBODY_BY_FAILURE, describe_nobody
from storage.ledger.tables import Site


def site_name(language: str) -> ColumnElement[str]:
    """Return the name of a row's Site: in English the organisation's English name where it has one."""
    if language != "en":
        return Site.name.expression
    english = select(func.nullif(Organisation.name_en, "")).where(Organisation.site_id == Site.site_id)
    return func.coalesce(english.correlate(Site).scalar_subquery(), Site.name)


def organisation_name(name: str, name_en: str, language: str) -> str:
    """Return an organisation's name in the language, the native one where there is no other."""
    return (name_en or name) if language == "en" else name


def why_nobody(session: Session, cases: Collection[Case], language: str) -> dict[str, str]:
    """Return by case id why nobody can be asked, for those cases of which that is so."""
    waiting = {case.case_id: case.unroutable_reason for case in cases if case.unroutable_reason is not None}
    failed = {case_id for case_id, sentence in waiting.items() if sentence == NOBODY_BY_FAILURE["zh"]}
    counted = _load_excluded(session, waiting.keys() - failed, language)
    return {**waiting, **counted, **dict.fromkeys(failed, NOBODY_BY_FAILURE[language])}


def _load_excluded(session: Session, case_ids: Collection[str], language: str) -> Mapping[str, str]:
    """Return the words of each case's last run of the ranking, when that run offered the task to nobody."""
    if not case_ids:
        return {}
    last = (
        select(ReadingTask.case_id, RoutingDecision.excluded_counts, RoutingDecision.offered_physician_ids)
        .join(RoutingDecision, RoutingDecision.reading_task_id == ReadingTask.reading_task_id)
        .where(ReadingTask.case_id.in_(case_ids))
        .ext(distinct_on(ReadingTask.case_id))
        .order_by(ReadingTask.case_id, RoutingDecision.decision_id.desc())
    )
    found: Any = session.execute(last)
    return {case_id: describe_nobody(counts, language) for case_id, counts, offered in found if not offered}
