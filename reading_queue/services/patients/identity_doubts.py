"""Whether a case's orders and images are of one person: looked at whenever one of them comes or changes.

Durable: each doubt as a row of `identity_conflicts`, and since when one is open on the case itself, both written under
the case's lock. While one is open, a case that can wait is offered to nobody (`is_held`), and nobody signs without
saying that they have checked it. What a person confirmed is asked again only when what was compared has changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from reading_queue.db.identity_tables import IdentityConflict
from reading_queue.db.tables import Case, CaseStudy, ClinicOrder, ReadingTask
from reading_queue.domain.escalation import Escalation
from reading_queue.domain.identity import (
    NEVER_HELD,
    Imaged,
    Mismatch,
    Settlement,
    find_mismatches,
    may_wait,
    must_confirm,
)
from reading_queue.domain.routing import Phase
from reading_queue.domain.transitions import Actor, CaseEvent, CaseState, ReadingTaskState
from reading_queue.errors import IdentityUnconfirmed
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases.casework import (
    PATIENT_RECORD,
    audit,
    close_offers,
    find_open_task,
    launch_route,
    move_case,
    record_custody,
)
from reading_queue.services.cases.waiting import end_wait
from reading_queue.services.orders.study_orders import list_orders_of
from reading_queue.services.routing.escalating import end_escalations
from storage.catalogue.indexing import PatientFacts
from storage.catalogue.linking import Likeness, compare_names
from storage.catalogue.patient_facts import facts_of
from storage.catalogue.pinyin import readings
from storage.catalogue.tables import Patient, Study
from storage.contract.hops import Hop
from storage.contract.identifiers import new_id
from storage.contract.orders import Order

OVER: Final = frozenset({CaseState.CANCELLED, CaseState.ENTERED_IN_ERROR})
# What was settled so is not asked again as long as the facts are the same.
LASTING: Final = (Settlement.CONFIRMED, Settlement.SIGNED)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SettledBy:
    """Who ended a doubt, how and why."""

    account_id: str
    settlement: Settlement
    reason: str


@dataclass(frozen=True, slots=True)
class _Found:
    """What contradicts between one study and its order, as of now."""

    study_uid: str
    order_id: str
    mismatches: tuple[Mismatch, ...]
    facts_sha256: str


def is_held(case: Case, task: ReadingTask) -> bool:
    """Return whether the task must not be offered before somebody has settled whose the case is."""
    return case.identity_doubted_at is not None and task.phase == Phase.INTERPRETATION and may_wait(case.lane)


def held_condition() -> ColumnElement[bool]:
    """Return the condition of `is_held` for rows of Case and ReadingTask."""
    return (
        Case.identity_doubted_at.is_not(None)
        & (ReadingTask.phase == Phase.INTERPRETATION)
        & Case.lane.not_in(sorted(NEVER_HELD))
    )


def check_identity(session: Session, case: Case, now: datetime, settled_by: SettledBy | None = None) -> None:
    """Compare the case's studies with their orders, open and end doubts, and hold or let go the case. It is locked.

    `settled_by`: who has just changed what was compared; doubts that end by it are theirs.
    """
    if case.state in OVER:
        return
    session.flush()
    rows = session.scalars(select(IdentityConflict).where(IdentityConflict.case_id == case.case_id)).all()
    still_open = {(row.study_uid, row.order_id): row for row in rows if row.ended_at is None}
    lasting = {(row.study_uid, row.order_id, row.facts_sha256) for row in rows if row.settlement in LASTING}
    contradictory = list(_find_all(session, case, now))
    for found in contradictory:
        row = still_open.pop((found.study_uid, found.order_id), None)
        if row is not None and row.facts_sha256 == found.facts_sha256:
            continue
        if (found.study_uid, found.order_id, found.facts_sha256) not in lasting:
            _open(session, case, row, found, now)
        elif row is not None:
            end_doubt(session, case, row, Settlement.AGREED, now)
    if not (contradictory or still_open or case.identity_doubted_at):
        return
    for row in still_open.values():
        if settled_by is None:
            end_doubt(session, case, row, Settlement.AGREED, now)
        else:
            end_doubt(session, case, row, settled_by.settlement, now, settled_by.account_id, settled_by.reason)
    follow_doubts(session, case, now)


def follow_doubts(session: Session, case: Case, now: datetime) -> None:
    """Hold the case while a doubt is open, and have it offered again when none is."""
    session.flush()
    before = case.identity_doubted_at
    since = min((row.found_at for row in load_open_doubts(session, case.case_id)), default=None)
    case.identity_doubted_at = before if before is not None and since is not None else since  # one after the other
    if (before is None) == (since is None):
        return
    task = find_open_task(session, case.case_id)
    if task is None or task.phase != Phase.INTERPRETATION or task.state != ReadingTaskState.SCHEDULED:
        return
    if before is not None and case.state == CaseState.READY and may_wait(case.lane):
        end_wait(case, max(before, task.created_at), now)
    if case.identity_doubted_at is None:
        launch_route(session, now, task.reading_task_id)
    elif is_held(case, task):
        case.unroutable_reason = None
        end_escalations(session, case.case_id, frozenset({Escalation.NOBODY}), now)
        if case.state == CaseState.OFFERED:
            close_offers(session, task, now)
            move_case(case, CaseEvent.OFFERS_EXHAUSTED, Actor.SYSTEM)


def load_open_doubts(session: Session, case_id: str) -> Sequence[IdentityConflict]:
    """Return what nobody has settled yet, oldest first."""
    still_open = select(IdentityConflict).where(
        IdentityConflict.case_id == case_id, IdentityConflict.ended_at.is_(None)
    )
    return session.scalars(still_open.order_by(IdentityConflict.found_at, IdentityConflict.conflict_id)).all()


def find_doubting(session: Session, order_id: str) -> Sequence[str]:
    """Return the cases in which an open doubt is about this order."""
    still_open = IdentityConflict.order_id == order_id, IdentityConflict.ended_at.is_(None)
    return session.scalars(select(IdentityConflict.case_id).where(*still_open)).all()


def end_doubt(
    session: Session,
    case: Case,
    row: IdentityConflict,
    settlement: Settlement,
    now: datetime,
    account_id: str | None = None,
    reason: str = "",
) -> None:
    """End a doubt and write how into ledger and audit trail; `follow_doubts` comes after the last one."""
    row.ended_at, row.ended_by, row.settlement, row.reason = now, account_id, settlement, reason
    detail = {"conflict_id": row.conflict_id, "settlement": settlement.value}
    key = f"identity_settled:{row.conflict_id}"
    uids = [row.study_uid]
    record_custody(session, case, Hop.IDENTITY_SETTLED, key, now, actor=account_id, uids=uids, detail=detail)
    if account_id is not None:
        audit(session, now, PATIENT_RECORD, "U", account_id, case, event="identity_settled", **detail)


def require_settled(
    session: Session, viewer: Viewer, case: Case, now: datetime, *, is_final: bool, confirmed: bool
) -> None:
    """Let a physician sign, over an open doubt only where they say that they have checked it.

    The final signature ends the doubts under the signer's name.

    Raises:
        IdentityUnconfirmed: a doubt is open, and `confirmed` was not given.
    """
    if case.identity_doubted_at is None or not must_confirm(case.lane, is_final=is_final):
        return
    if not confirmed:
        raise IdentityUnconfirmed
    doubts = load_open_doubts(session, case.case_id)
    audit(
        session,
        now,
        PATIENT_RECORD,
        "U",
        viewer.account_id,
        case,
        event="signed_over_identity",
        conflict_ids=[row.conflict_id for row in doubts],
    )
    if is_final:
        for row in doubts:
            end_doubt(session, case, row, Settlement.SIGNED, now, viewer.account_id)
        follow_doubts(session, case, now)


def _open(session: Session, case: Case, row: IdentityConflict | None, found: _Found, now: datetime) -> None:
    """Add the doubt, or let the row that is open say what contradicts now."""
    if row is None:
        row = IdentityConflict(
            conflict_id=new_id(),
            case_id=case.case_id,
            study_uid=found.study_uid,
            order_id=found.order_id,
            found_at=now,
        )
        session.add(row)
    row.mismatches, row.facts_sha256 = [one.value for one in found.mismatches], found.facts_sha256
    detail = {"conflict_id": row.conflict_id, "order_id": row.order_id, "mismatches": row.mismatches}
    key = f"identity_doubted:{row.conflict_id}:{row.facts_sha256[:16]}"
    record_custody(session, case, Hop.IDENTITY_DOUBTED, key, now, uids=[found.study_uid], detail=detail)
    log.info("identity_doubted", case_id=case.case_id, conflict_id=row.conflict_id, mismatches=row.mismatches)


def _find_all(session: Session, case: Case, now: datetime) -> Iterator[_Found]:
    rows = session.execute(
        select(Study, Patient)
        .join(Patient, Patient.patient_id == Study.patient_id)
        .join(CaseStudy, (CaseStudy.site_id == Study.site_id) & (CaseStudy.study_uid == Study.study_uid))
        .where(CaseStudy.case_id == case.case_id)
        .order_by(Study.study_uid)
    )
    today = now.date() + timedelta(days=1)  # birth dates have no time zone
    for study, patient in rows.all():
        images = facts_of(study, patient)
        for order in list_orders_of(session, study) or (None,):
            found = _compare(study, images, order, today)
            if found.mismatches:
                yield found


def _compare(study: Study, images: PatientFacts, row: ClinicOrder | None, today: date) -> _Found:
    order = Order.model_validate(row.content) if row is not None else None
    likeness = compare_names(order.person_name(), images.name, readings) if order is not None else Likeness.UNKNOWN
    imaged = Imaged(images.number, images.birth_date, images.sex)
    mismatches = find_mismatches(order, imaged, names_differ=likeness is Likeness.DIFFERS, today=today)
    facts = [list(mismatches), images.name, images.number, str(images.birth_date), images.sex]
    if order is not None:
        facts += [order.patient_name, order.patient_name_latin, str(order.birth_date), order.sex]
        facts += [order.identity_kind.value, order.identity_number]
    digest = hashlib.sha256(json.dumps(facts, ensure_ascii=False).encode()).hexdigest()
    return _Found(study.study_uid, row.order_id if row is not None else "", mismatches, digest)
