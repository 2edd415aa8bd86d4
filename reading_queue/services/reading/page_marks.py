"""What an open page of a case rests on, so that it can tell its reader when the case has moved on without it.

Reads only, and audits nothing: who asks has looked at the case already, and is told that something is new, not what.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from reading_queue.db.tables import Case
from reading_queue.errors import NotFound
from reading_queue.services.access.visibility import Viewer, require_case
from reading_queue.services.cases.case_summaries import summarise
from reading_queue.services.cases.case_views import CaseSummary, CaseView
from reading_queue.services.cases.casework import find_open_task
from reading_queue.services.hub import Hub
from reading_queue.services.orders.order_versions import OrderNewsView, list_news
from reading_queue.services.reading.claims import is_held_by

IMAGES: Final = "images"
ORDERS: Final = "orders"
COURSE: Final = "course"
GONE: Final = "gone"
CHANGES: Final = (COURSE, IMAGES, ORDERS, GONE)
Marks = Mapping[str, str]


def marks_of(view: CaseView) -> Marks:
    """Return what a page rests on that shows this view: plain words that say nothing of the patient."""
    task_id = view.task.reading_task_id if view.task is not None else ""
    return _marks(view.summary, task_id, view.order_news, held=view.held_by_viewer)


def changes_since(hub: Hub, viewer: Viewer, case_id: str, shown: Marks) -> tuple[str, ...]:
    """Return what has changed since a page showed these marks; GONE alone when the viewer may not see it any more."""
    now = hub.clock()
    with hub.transaction() as session:
        try:
            require_case(session, viewer, case_id, now)
        except NotFound:
            return (GONE,)
        case = session.get_one(Case, case_id)
        task = find_open_task(session, case_id)
        held = is_held_by(viewer, task)
        task_id = task.reading_task_id if task is not None else ""
        summary = summarise(session, case, viewer.language, now)
        present = _marks(summary, task_id, list_news(session, case_id), held=held)
    return tuple(name for name, mark in present.items() if shown.get(name, mark) != mark)


def _marks(summary: CaseSummary, task_id: str, news: Sequence[OrderNewsView], *, held: bool) -> Marks:
    return {
        COURSE: f"{summary.state.value}-{task_id}-{held:d}",
        IMAGES: summary.images_version,
        ORDERS: max((f"{one.told_at.timestamp():.6f}" for one in news), default=""),
    }
