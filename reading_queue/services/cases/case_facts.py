"""What a case says of its studies as a whole: as what it is read, of which regions, since when.

Runs inside the caller's transaction; the case is locked.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from reading_queue.db.tables import Case, CaseStudy
from reading_queue.domain.modality import join_regions, most_telling
from reading_queue.domain.transitions import ROUTABLE, ReadingTaskState
from reading_queue.services.cases.casework import find_open_task, launch_route
from reading_queue.services.hub import Hub
from reading_queue.services.routing.lanes import count_limit
from storage.catalogue.tables import Study


def copy_facts(session: Session, hub: Hub, case: Case, now: datetime) -> None:
    """Let the case say what its studies say, the earliest start of an examination among them, and count its limit.

    What waits for a reader is routed anew where it is another modality or region by now.
    """
    session.flush()
    before = case.modality, case.body_region
    studies = session.scalars(_select_studies(case.case_id)).all()
    case.modality = most_telling(modality for study in studies for modality in study.modalities)
    case.body_region = join_regions(study.body_part for study in studies)
    if case.state in ROUTABLE and before != (case.modality, case.body_region):
        task = find_open_task(session, case.case_id)
        if task is not None and task.state == ReadingTaskState.SCHEDULED:
            launch_route(session, now, task.reading_task_id)
    starts = [study.exam_started_at for study in studies if study.exam_started_at is not None]
    case.exam_started_at = min(starts, default=case.exam_started_at)
    count_limit(session, hub, case)  # an implausible start of the exam falls back on the first instance


def list_studies(session: Session, case_id: str) -> list[Study]:
    """Return the whole studies of a case, by UID."""
    return list(session.scalars(_select_studies(case_id).where(Study.revision > 0)))


def _select_studies(case_id: str) -> Select[Study]:
    of_case = (CaseStudy.site_id == Study.site_id) & (CaseStudy.study_uid == Study.study_uid)
    return select(Study).join(CaseStudy, of_case).where(CaseStudy.case_id == case_id).order_by(Study.study_uid)
