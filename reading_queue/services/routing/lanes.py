"""How urgent a case is, and what follows when it becomes more urgent. Runs inside the caller's transaction.

A case of a green channel (绿色通道) goes before every other, by its own limit, and the coordinator is told at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from reading_queue.db.tables import Case
from reading_queue.domain.clocks import first_limit_min, moved_limit
from reading_queue.domain.escalation import Escalation
from reading_queue.domain.transitions import AMENDED, BEING_READ, SIGNED, CaseState
from reading_queue.services.cases.casework import find_open_task, launch_route, record_custody
from reading_queue.services.hub import Hub
from reading_queue.services.routing.escalating import raise_escalation
from reading_queue.services.routing.routing import tighten_due
from storage.contract.hops import Hop
from storage.contract.lanes import Lane, is_more_urgent
from storage.contract.orders import GreenChannel

SIGNED_OR_OVER = SIGNED | AMENDED | {CaseState.CANCELLED, CaseState.ENTERED_IN_ERROR}


def raise_lane(
    session: Session, hub: Hub, case: Case, lane: Lane, now: datetime, *, uids: Sequence[str] | None = None
) -> None:
    """Hurry a case that nobody has signed yet: its limit counts anew, and it is offered as its new lane is.

    A less urgent lane changes nothing: late routine images do not slow a stat case down.
    """
    if CaseState(case.state) in SIGNED_OR_OVER or not is_more_urgent(lane, Lane(case.lane)):
        return
    before, case.lane = case.lane, lane
    count_limit(session, hub, case)
    _hurry(session, case, now)
    detail = {"lane": case.lane, "before": before}
    record_custody(session, case, Hop.DECLARED, f"lane:{case.case_id}:{case.lane}", now, uids=uids, detail=detail)


def enter_green_channel(session: Session, hub: Hub, case: Case, channel: GreenChannel, now: datetime) -> None:
    """Put a case that nobody has signed yet into a green channel; of two the one with the shorter limit stays."""
    limits = hub.policy.green_channel_limit_min
    if CaseState(case.state) in SIGNED_OR_OVER:
        return
    if case.green_channel is not None and limits[case.green_channel] <= limits[channel]:
        return
    case.green_channel, case.lane = channel, Lane.STAT
    count_limit(session, hub, case)
    _hurry(session, case, now)
    if case.state not in BEING_READ:
        raise_escalation(session, case, Escalation.GREEN_CHANNEL, now)
    detail = {"lane": case.lane, "green_channel": case.green_channel}
    record_custody(session, case, Hop.DECLARED, f"green_channel:{case.case_id}:{channel}", now, detail=detail)


def _hurry(session: Session, case: Case, now: datetime) -> None:
    task = find_open_task(session, case.case_id)
    if task is not None:
        launch_route(session, now, task.reading_task_id)


def count_limit(session: Session, hub: Hub, case: Case) -> None:
    """Set when the report is due: the norm counts from the start of the exam, else from the first instance.

    The limits of the agreements under which it is offered or read stand.
    """
    channel = case.green_channel
    of_channel_min = None if channel is None else hub.policy.green_channel_limit_min[channel]
    limit = timedelta(minutes=first_limit_min(hub.policy.time_limit_default_min[case.lane], of_channel_min))
    due_at = (case.exam_started_at or case.first_instance_at) + limit
    case.due_at = moved_limit(due_at, Lane(case.lane), timedelta(seconds=case.paused_s or 0))
    case.look_again_at = None
    tighten_due(session, hub, case, hub.clock())


def time_limit(hub: Hub, lane: str) -> timedelta:
    """Return the usual limit of a lane; an agreement may set a shorter one."""
    return timedelta(minutes=hub.policy.time_limit_default_min[lane])
