"""Who has read a patient before: at the same site, and at sites whose record of them is linked with this one.

By links in force alone, which follow from a checked national ID with everything else that agrees, or from a person.
A link is often found when the images are offered already: then their routing looks once more.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, bindparam, select
from sqlalchemy.orm import Session, aliased

from reading_queue.db.tables import CaseStudy, ReadingTask
from reading_queue.domain.transitions import ReadingTaskState
from reading_queue.services.cases.casework import launch_route
from reading_queue.services.patients.linked_studies import is_linked, links_in_force
from storage.catalogue.tables import Study


def load_readers(session: Session, case_id: str) -> set[str]:
    """Return the physicians who finished work on another case of the case's patient."""
    return set(session.scalars(READERS_OF_PATIENT, {"case_id": case_id}))


def route_anew(session: Session, patient_ids: Collection[str], now: datetime) -> None:
    """Have whatever of these patients waits for a reader routed once more: who has read them is another one now."""
    waiting = (
        select(ReadingTask.reading_task_id)
        .distinct()
        .join(CaseStudy, CaseStudy.case_id == ReadingTask.case_id)
        .join(Study, (Study.study_uid == CaseStudy.study_uid) & (Study.site_id == CaseStudy.site_id))
        .where(Study.patient_id.in_(patient_ids), ReadingTask.state == ReadingTaskState.SCHEDULED)
    )
    for reading_task_id in session.scalars(waiting):
        launch_route(session, now, reading_task_id)


def _select_readers() -> Select[Any]:
    own, other, case_of_own = aliased(Study), aliased(Study), aliased(CaseStudy)
    links = links_in_force()
    of_case = (case_of_own.study_uid == own.study_uid) & (case_of_own.site_id == own.site_id)
    of_other = (CaseStudy.study_uid == other.study_uid) & (CaseStudy.site_id == other.site_id)
    this_case = case_of_own.case_id == bindparam("case_id")
    at_site = (
        select(CaseStudy.case_id)
        .join(other, of_other)
        .join(own, own.patient_id == other.patient_id)
        .join(case_of_own, of_case)
        .where(this_case)
    )
    elsewhere = (
        select(CaseStudy.case_id)
        .join(other, of_other)
        .join(links, links.c.other_id == other.patient_id)
        .join(own, is_linked(own, other, links))
        .join(case_of_own, of_case)
        .where(this_case)
    )
    return select(ReadingTask.holder_id).where(
        ReadingTask.case_id.in_(at_site.union(elsewhere)),
        ReadingTask.case_id != bindparam("case_id"),
        ReadingTask.state == ReadingTaskState.COMPLETED,
        ReadingTask.holder_id.is_not(None),
    )


READERS_OF_PATIENT: Final = _select_readers()  # built once, as those of `routing_facts`
