"""How urgent a case is, and what follows when it becomes more urgent. Runs inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from reading_queue.db.tables import Case
from reading_queue.domain.transitions import AMENDED, SIGNED, CaseState
from reading_queue.services.casework import find_open_task, launch_route, record_custody
from reading_queue.services.hub import Hub
from reading_queue.services.routing import tighten_due_by_offers
from storage.contract.hops import Hop
from storage.contract.lanes import Lane, is_more_urgent

SIGNED_OR_OVER = SIGNED | AMENDED | {CaseState.CANCELLED}


def raise_lane(
    session: Session, hub: Hub, case: Case, lane: Lane, now: datetime, *, uids: Sequence[str] | None = None
) -> None:
    """Hurry a case that nobody has signed yet: its limit counts anew, and it is offered as its new lane is.

    A less urgent lane changes nothing: late routine images do not slow a stat case down.
    """
    if CaseState(case.state) in SIGNED_OR_OVER or not is_more_urgent(lane, Lane(case.lane)):
        return
    before, case.lane = case.lane, lane
    count_limit(hub, case)
    task = find_open_task(session, case.case_id)
    if task is not None:
        tighten_due_by_offers(session, case, task)
        launch_route(session, now, task.reading_task_id)
    detail = {"lane": case.lane, "before": before}
    record_custody(session, case, Hop.DECLARED, f"lane:{case.case_id}:{case.lane}", now, uids=uids, detail=detail)


def count_limit(hub: Hub, case: Case) -> None:
    """Set when the report is due: the norm counts from the start of the exam, else from the first instance."""
    case.due_at = (case.exam_started_at or case.first_instance_at) + time_limit(hub, case.lane)
    case.look_again_at = None


def time_limit(hub: Hub, lane: str) -> timedelta:
    """Return the usual limit of a lane; an agreement may set a shorter one."""
    return timedelta(minutes=hub.policy.time_limit_default_min[lane])
