"""Unsigned cases of green channels (绿色通道) that a viewer may follow; they stand above every list. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import select

from reading_queue.db.tables import Case, CaseStudy
from reading_queue.domain.transitions import CaseState
from reading_queue.services.access.visibility import Viewer, may_follow_case
from reading_queue.services.cases.casework import is_first_study
from reading_queue.services.hub import Hub
from reading_queue.services.local_words import site_name
from reading_queue.services.routing.escalating import UNSIGNED
from storage.contract.orders import GreenChannel
from storage.ledger.tables import Site

LISTED_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class GreenCase:
    """An unsigned case of a green channel; ids and where it stands, nothing of the patient."""

    case_id: str
    site_id: str
    site_name: str
    study_uid: str
    channel: GreenChannel
    state: CaseState
    modality: str
    due_at: datetime | None
    late: bool


def list_green_cases(hub: Hub, viewer: Viewer) -> tuple[GreenCase, ...]:
    """Return the unsigned green-channel cases that the viewer may follow, those due first first."""
    now = hub.clock()
    unsigned = Case.green_channel.is_not(None), Case.state.in_(UNSIGNED)
    with hub.transaction() as session:
        if session.scalar(select(Case.case_id).where(*unsigned).limit(1)) is None:
            return ()  # at most moments: whose they are is a costly question
        query = (
            select(Case, site_name(viewer.language), CaseStudy.study_uid)
            .join(Site, Site.site_id == Case.site_id)
            .join(CaseStudy, CaseStudy.case_id == Case.case_id)
            .where(
                *unsigned,
                is_first_study(),
                may_follow_case(viewer, Case.case_id, Case.site_id, now),
            )
            .order_by(Case.due_at, Case.case_id)
            .limit(LISTED_MAX)
        )
        return tuple(
            GreenCase(
                case_id=case.case_id,
                site_id=case.site_id,
                site_name=name,
                study_uid=study_uid,
                channel=GreenChannel(case.green_channel or ""),
                state=CaseState(case.state),
                modality=case.modality,
                due_at=case.due_at,
                late=case.due_at is not None and case.due_at < now,
            )
            for case, name, study_uid in session.execute(query)
        )
