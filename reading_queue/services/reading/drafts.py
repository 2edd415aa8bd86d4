"""The text of a report while it is being written.

Durable with every save; kept when a claim ends, so that whoever takes the case next finds it. Saving extends the
lease. `version` is that of the draft one has seen: two windows cannot overwrite each other unnoticed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.orm import Session

from reading_queue.db.tables import Draft
from reading_queue.domain.report import ReportText
from reading_queue.domain.wording import find_unstorable
from reading_queue.errors import StaleDraft, TextNotAcceptable
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases.casework import get_task_locked
from reading_queue.services.hub import Hub
from reading_queue.services.reading.claims import extend_lease, require_holder

DESK: Final = "desk"
WORKSTATION: Final = "workstation"


@dataclass(frozen=True, slots=True)
class DraftView:
    """A saved draft; `lease_expires_at` is None when it is looked at without holding the task."""

    case_id: str
    text: ReportText
    author_id: str  # who saved it last
    saved_at: datetime
    version: int
    lease_expires_at: datetime | None = None


def save_draft(hub: Hub, viewer: Viewer, reading_task_id: str, text: ReportText, version: int | None) -> DraftView:
    """Save the text of a held reading task and extend its lease.

    `version` is that of the draft the writer started from, None when there was none. Saving what is saved already
    changes nothing, so a lost answer may simply be asked for again.

    Raises:
        NotHolder: the claim has ended.
        StaleDraft: the draft has changed since `version`.
        TextNotAcceptable: the text cannot be stored.
    """
    now = hub.clock()
    if problems := find_unstorable(text):
        raise TextNotAcceptable(problems)
    with hub.transaction() as session:
        task, _ = get_task_locked(session, reading_task_id)
        physician_id = require_holder(viewer, task)
        lease_expires_at = extend_lease(hub, task, now)
        draft = session.get(Draft, task.case_id)
        if draft is not None and view_text(draft) == text:
            return view_draft(draft, lease_expires_at)
        if (draft.version if draft is not None else None) != version:
            raise StaleDraft
        draft = write_draft(session, task.case_id, physician_id, text, now)
        return view_draft(draft, lease_expires_at)


def write_draft(
    session: Session, case_id: str, physician_id: str, text: ReportText, now: datetime, *, source: str = DESK
) -> Draft:
    """Make `text` the case's draft; the caller has locked the case."""
    draft = session.get(Draft, case_id) or Draft(case_id=case_id)
    draft.findings = text.findings
    draft.impression = text.impression
    draft.recommendation = text.recommendation
    draft.author_id = physician_id
    draft.saved_at = now
    draft.source = source
    session.add(draft)
    session.flush()
    return draft


def view_draft(draft: Draft, lease_expires_at: datetime | None = None) -> DraftView:
    """Return the draft as a page shows it."""
    return DraftView(
        case_id=draft.case_id,
        text=view_text(draft),
        author_id=draft.author_id,
        saved_at=draft.saved_at,
        version=draft.version,
        lease_expires_at=lease_expires_at,
    )


def view_text(draft: Draft) -> ReportText:
    """Return the three parts of the draft."""
    return ReportText(findings=draft.findings, impression=draft.impression, recommendation=draft.recommendation)
