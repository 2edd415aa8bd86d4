"""Taking, holding and giving back a reading task.

Claim is atomic: the case's lock and the task's version let exactly one physician through, the others get
AlreadyClaimed. The lease is a time in the task's row; drafts and heartbeats move it on, and a sweep ends the claims
whose lease ran out. A draft survives the end of every claim.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.db.tables import Case, Offer, Physician, ReadingTask
from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.roles import VERIFIER_TITLE_MIN, Role, Title
from reading_queue.domain.routing import Phase, Reason
from reading_queue.domain.transitions import Actor, CaseEvent, CaseState, ReadingTaskEvent, ReadingTaskState
from reading_queue.errors import (
    AgreementNotInForce,
    AlreadyClaimed,
    AuthorMayNotVerify,
    Forbidden,
    Invalid,
    LicenceNotValid,
    ModalityNotRead,
    NotHolder,
    NotOffered,
    TitleTooLow,
    WorkInProgressFull,
    WrongState,
)
from reading_queue.services.access.visibility import Viewer, require_case
from reading_queue.services.cases.casework import (
    PROCEDURE_RECORD,
    audit,
    close_offers,
    get_task_locked,
    launch_route,
    move_case,
    move_task,
    record_custody,
    replace_task,
)
from reading_queue.services.cases.images_seen import require_shown
from reading_queue.services.cases.information_requests import end_question
from reading_queue.services.cases.letting_go import let_go_as_asked
from reading_queue.services.hub import Hub
from reading_queue.services.network.agreements import present_versions
from reading_queue.services.orders.order_versions import confirm_told
from reading_queue.services.routing.eligibility import find_eligible_agreement, under_agreement
from reading_queue.services.routing.escalating import tell_given_back
from reading_queue.services.routing.routing_facts import load_author, load_local_date, load_work_in_progress
from storage.contract.hops import Hop
from storage.contract.identifiers import new_uid
from storage.contract.lanes import Lane

log = structlog.get_logger(__name__)

# Why who was offered a case may not read it any more: the offer has no ground, and others are asked.
_REFUSALS: Final = {
    Reason.LICENCE_EXPIRED: LicenceNotValid,
    Reason.IS_AUTHOR: AuthorMayNotVerify,
    Reason.TITLE_TOO_LOW: TitleTooLow,
    Reason.OTHER_MODALITY: ModalityNotRead,
}  # every other reason is one of agreements
_GROUND_GONE: Final = (AgreementNotInForce, ModalityNotRead, LicenceNotValid, TitleTooLow)


@dataclass(frozen=True, slots=True)
class ReadingTaskView:
    """A reading task as its holder sees it; `transaction_uid` is the token of ownership (PS3.4 CC.2.1)."""

    reading_task_id: str
    workitem_uid: str
    case_id: str
    phase: Phase
    state: ReadingTaskState
    transaction_uid: str | None
    claimed_at: datetime | None
    lease_expires_at: datetime | None
    version: int


def claim(hub: Hub, viewer: Viewer, reading_task_id: str, *, transaction_uid: str | None = None) -> ReadingTaskView:
    """Take an offered reading task; claiming again what one holds changes nothing.

    `transaction_uid` is the token that the claimant has chosen (PS3.18 section 11.7); by default a fresh one. Judged
    are case and rights as they are now; where the offer has no ground any more, others are asked at once.

    Raises:
        NotOffered: it was never offered to the physician, or the offer has ended.
        AlreadyClaimed: another physician was first.
        WorkInProgressFull, LicenceNotValid, AgreementNotInForce, ModalityNotRead, AuthorMayNotVerify, TitleTooLow:
            they may not.
    """
    now = hub.clock()
    try:
        return _claim(hub, viewer, reading_task_id, transaction_uid or new_uid(), now)
    except _GROUND_GONE:
        with hub.transaction() as session:
            launch_route(session, now, reading_task_id)
        raise


def _claim(hub: Hub, viewer: Viewer, reading_task_id: str, transaction_uid: str, now: datetime) -> ReadingTaskView:
    physician_id = require_physician(viewer)
    with hub.transaction() as session:
        task, case = get_task_locked(session, reading_task_id)
        offer = _find_offer(session, task, physician_id)
        if task.state == ReadingTaskState.IN_PROGRESS and task.holder_id == physician_id:
            return view_task(task)
        if offer is not None and task.state == ReadingTaskState.IN_PROGRESS:
            raise AlreadyClaimed
        if offer is None or offer.state != "open" or offer.expires_at <= now:
            raise NotOffered
        _require_agreement(session, hub, case, task, offer, now)
        is_full = _require_may_take(session, case, task, physician_id, now)
        _take(session, hub, case, task, offer, now, transaction_uid)
        if is_full:
            _ask_others_of_emergencies(session, physician_id, now)
        _record_claim(session, viewer, case, task, now)
        return view_task(task)


def heartbeat(hub: Hub, viewer: Viewer, reading_task_id: str) -> datetime:
    """Extend the lease of a held reading task; return until when it now runs. Raises NotHolder."""
    now = hub.clock()
    with hub.transaction() as session:
        task, _ = get_task_locked(session, reading_task_id)
        require_holder(viewer, task)
        return extend_lease(hub, task, now)


def acknowledge_images(hub: Hub, viewer: Viewer, reading_task_id: str, images: str) -> None:
    """Record that the holder has looked at the images that arrived after the claim: those that `images` names.

    While images are still arriving it says that the holder signs what is there; what comes then must be looked at too.

    Raises:
        NotHolder: the viewer does not hold the task. Invalid: `images` is not an images_version.
        ImagesChanged: others came since the holder was shown the case.
    """
    now = hub.clock()
    with hub.transaction() as session:
        task, case = get_task_locked(session, reading_task_id)
        require_holder(viewer, task)
        require_shown(session, case, images)
        event = "read_while_arriving" if case.still_arriving else "images_acknowledged"
        case.images_unacknowledged = False
        audit(session, now, PROCEDURE_RECORD, "U", viewer.account_id, case, event=event)


def acknowledge_orders(hub: Hub, viewer: Viewer, reading_task_id: str, versions: Collection[tuple[str, int]]) -> None:
    """Record that the holder has seen what the site changed: the versions of orders, by id, that they were shown.

    What changed since stays to be seen. Raises NotHolder.
    """
    now = hub.clock()
    with hub.transaction() as session:
        task, case = get_task_locked(session, reading_task_id)
        require_holder(viewer, task)
        if confirm_told(session, case.case_id, versions, viewer.account_id, now):
            audit(session, now, PROCEDURE_RECORD, "U", viewer.account_id, case, event="order_changes_acknowledged")


def release(hub: Hub, viewer: Viewer, reading_task_id: str, reason: str) -> None:
    """Give a claim back: the task is cancelled and replaced, the draft stays, others are asked.

    `reason` is a code of CID 9303. A coordinator who oversees the site may take a task away in the same manner.

    Raises:
        NotHolder, Forbidden: the viewer neither holds the task nor oversees the site. WrongState: nobody holds it.
        Invalid: the reason is not a code of CID 9303.
    """
    now = hub.clock()
    code = parse_reason(reason)
    with hub.transaction() as session:
        task, case = get_task_locked(session, reading_task_id)
        actor = _releasing_actor(session, viewer, task, now)
        end_claim(session, case, task, actor, code, now, account_id=viewer.account_id)
        audit(session, now, PROCEDURE_RECORD, "U", viewer.account_id, case, event="release", reason=code)


def decline(hub: Hub, viewer: Viewer, reading_task_id: str, reason_code: str) -> None:
    """Answer no to an offer; the next physicians are asked. Declining twice changes nothing.

    Raises:
        NotOffered: the task is not offered to the physician.
        Invalid: the reason is not a code of CID 9303.
    """
    now = hub.clock()
    code = parse_reason(reason_code)
    physician_id = require_physician(viewer)
    with hub.transaction() as session:
        task, case = get_task_locked(session, reading_task_id)
        offer = _find_offer(session, task, physician_id)
        if offer is not None and offer.state == "declined":
            return
        if offer is None or offer.state != "open":
            raise NotOffered
        move_case(case, CaseEvent.DECLINE, Actor.PHYSICIAN)
        offer.state = "declined"
        offer.answered_at = now
        offer.decline_reason = code
        session.flush()
        note_exhausted_offers(session, case, task)
        tell_given_back(session, case, now)
        launch_route(session, now, task.reading_task_id)
        detail = {"reading_task_id": task.reading_task_id, "reason": code.value}
        record_custody(
            session, case, Hop.DECLINED, f"declined:{offer.offer_id}", now, actor=viewer.account_id, detail=detail
        )
        audit(session, now, PROCEDURE_RECORD, "U", viewer.account_id, case, event="decline", reason=code)


def end_claim(
    session: Session,
    case: Case,
    task: ReadingTask,
    actor: Actor,
    reason: DiscontinuationReason,
    now: datetime,
    *,
    account_id: str | None = None,
) -> ReadingTask:
    """End a claim without its work, whoever ends it, and launch the routing of the replacement it returns.

    A case that its site wants back is withdrawn instead: nobody reads it any more.
    """
    event = _ending(case, task, actor)
    end_question(session, case, now)
    move_case(case, event, actor)
    replacement = replace_task(session, case, task, actor, reason, now)
    detail = {
        "reading_task_id": task.reading_task_id,
        "replacement_id": replacement.reading_task_id,
        "event": event.value,
        "reason": reason.value,
    }
    key = f"released:{task.reading_task_id}"
    record_custody(session, case, Hop.RELEASED, key, now, actor=account_id, detail=detail)
    if not let_go_as_asked(session, case, now):
        tell_given_back(session, case, now)
        launch_route(session, now, replacement.reading_task_id)
    log.info("claim_ended", reading_task_id=task.reading_task_id, case_id=case.case_id, case_event=event.value)
    return replacement


def _ending(case: Case, task: ReadingTask, actor: Actor) -> CaseEvent:
    verifying = task.phase == Phase.VERIFICATION
    if actor is not Actor.SYSTEM:
        return CaseEvent.RELEASE_REVIEW if verifying else CaseEvent.RELEASE
    if case.state == CaseState.ON_HOLD:
        return CaseEvent.HOLD_EXPIRED
    return CaseEvent.REVIEW_LEASE_EXPIRED if verifying else CaseEvent.LEASE_EXPIRED


def note_exhausted_offers(session: Session, case: Case, task: ReadingTask) -> None:
    """Move the case on when its scheduled task has no open offer left."""
    still_open = select(Offer.offer_id).where(Offer.reading_task_id == task.reading_task_id, Offer.state == "open")
    if session.scalar(still_open.limit(1)) is None:
        move_case(case, CaseEvent.OFFERS_EXHAUSTED, Actor.SYSTEM)


def require_physician(viewer: Viewer) -> str:
    """Return the viewer's physician id; raises Forbidden when they are none."""
    if viewer.role is not Role.PHYSICIAN or viewer.physician_id is None:
        raise Forbidden("only a physician can do this")
    return viewer.physician_id


def is_held_by(viewer: Viewer, task: ReadingTask | None) -> bool:
    """Return whether the viewer, a physician, holds the open task; nobody holds none."""
    return task is not None and task.holder_id is not None and task.holder_id == viewer.physician_id


def require_holder(viewer: Viewer, task: ReadingTask) -> str:
    """Return the viewer's physician id; raises NotHolder unless they hold the task now."""
    physician_id = require_physician(viewer)
    if task.state != ReadingTaskState.IN_PROGRESS or task.holder_id != physician_id:
        raise NotHolder
    return physician_id


def require_licence(session: Session, physician_id: str, site_id: str, now: datetime) -> Physician:
    """Return the physician, locked; raises LicenceNotValid when the licence has run out at the site's date."""
    physician = session.scalars(select(Physician).where(Physician.physician_id == physician_id).with_for_update()).one()
    if physician.licence_valid_until < load_local_date(session, site_id, now):
        raise LicenceNotValid
    return physician


def require_verifier(physician: Physician) -> None:
    """Raise TitleTooLow unless the physician's title, as it is now, is high enough to verify."""
    if Title(physician.title).rank < VERIFIER_TITLE_MIN.rank:
        raise TitleTooLow


def extend_lease(hub: Hub, task: ReadingTask, now: datetime) -> datetime:
    """Move the lease on from `now`; return until when it runs. A longer one, of a case on hold, stays."""
    whole = now + timedelta(seconds=hub.policy.lease_s)
    task.lease_expires_at = max(whole, task.lease_expires_at or whole)
    return task.lease_expires_at


def parse_reason(code: str) -> DiscontinuationReason:
    """Return the reason of this code; raises Invalid when CID 9303 has none."""
    try:
        return DiscontinuationReason(code)
    except ValueError as exc:
        raise Invalid("the reason is not a code of DICOM CID 9303") from exc


def view_task(task: ReadingTask) -> ReadingTaskView:
    """Return the task as its holder sees it."""
    return ReadingTaskView(
        reading_task_id=task.reading_task_id,
        workitem_uid=task.workitem_uid,
        case_id=task.case_id,
        phase=Phase(task.phase),
        state=ReadingTaskState(task.state),
        transaction_uid=task.transaction_uid,
        claimed_at=task.claimed_at,
        lease_expires_at=task.lease_expires_at,
        version=task.version,
    )


def _find_offer(session: Session, task: ReadingTask, physician_id: str) -> Offer | None:
    theirs = select(Offer).where(Offer.reading_task_id == task.reading_task_id, Offer.physician_id == physician_id)
    return session.scalars(theirs).one_or_none()


def _require_agreement(session: Session, hub: Hub, case: Case, task: ReadingTask, offer: Offer, now: datetime) -> None:
    """Check that what was agreed covers the case as it is today; another agreement that does takes its place."""
    if not under_agreement(offer):
        return
    agreement_id, reasons = find_eligible_agreement(
        session, hub, case, task, offer.physician_id, now, offered_under=offer.agreement_id
    )
    if agreement_id is None:
        raise next((refusal for reason, refusal in _REFUSALS.items() if reason in reasons), AgreementNotInForce)
    if agreement_id != offer.agreement_id:
        offer.agreement_id = agreement_id
        offer.agreement_version = present_versions(session, [agreement_id]).get(agreement_id)


def _require_may_take(session: Session, case: Case, task: ReadingTask, physician_id: str, now: datetime) -> bool:
    """Check again what may have changed since the offer; return whether they can take no more after it.

    The lock on the physician makes the limit exact.
    """
    if task.phase == Phase.VERIFICATION and load_author(session, case.case_id) == physician_id:
        raise AuthorMayNotVerify
    physician = require_licence(session, physician_id, case.site_id, now)
    if task.phase == Phase.VERIFICATION:
        require_verifier(physician)
    held = load_work_in_progress(session, [physician_id]).get(physician_id, 0)
    if held >= physician.wip_max:
        raise WorkInProgressFull
    return held + 1 >= physician.wip_max


def _ask_others_of_emergencies(session: Session, physician_id: str, now: datetime) -> None:
    """Have the emergencies that are offered to somebody who can take no more offered to others beside them."""
    waiting = (
        select(Offer.reading_task_id)
        .join(ReadingTask, ReadingTask.reading_task_id == Offer.reading_task_id)
        .join(Case, Case.case_id == ReadingTask.case_id)
        .where(Offer.physician_id == physician_id, Offer.state == "open", Case.lane == Lane.STAT)
    )
    for reading_task_id in session.scalars(waiting.order_by(Offer.reading_task_id)).all():
        launch_route(session, now, reading_task_id)


def _take(
    session: Session, hub: Hub, case: Case, task: ReadingTask, offer: Offer, now: datetime, transaction_uid: str
) -> None:
    verifying = task.phase == Phase.VERIFICATION
    move_case(case, CaseEvent.CLAIM_REVIEW if verifying else CaseEvent.CLAIM, Actor.PHYSICIAN)
    move_task(task, ReadingTaskEvent.CLAIM, Actor.PHYSICIAN, now)
    task.holder_id = offer.physician_id
    task.transaction_uid = transaction_uid
    task.claimed_at = now
    extend_lease(hub, task, now)
    if task.phase == Phase.INTERPRETATION:
        case.claimed_at = case.claimed_at or now
    offer.state = "claimed"
    offer.answered_at = now
    session.flush()
    close_offers(session, task, now)


def _record_claim(session: Session, viewer: Viewer, case: Case, task: ReadingTask, now: datetime) -> None:
    hop = Hop.REVIEW_CLAIMED if task.phase == Phase.VERIFICATION else Hop.CLAIMED
    detail = {"reading_task_id": task.reading_task_id, "physician_id": task.holder_id}
    key = f"claimed:{task.reading_task_id}"
    record_custody(session, case, hop, key, now, actor=viewer.account_id, detail=detail)
    audit(session, now, PROCEDURE_RECORD, "U", viewer.account_id, case, event="claim", phase=task.phase)
    log.info("reading_task_claimed", reading_task_id=task.reading_task_id, case_id=case.case_id)


def _releasing_actor(session: Session, viewer: Viewer, task: ReadingTask, now: datetime) -> Actor:
    if viewer.role is Role.COORDINATOR:
        require_case(session, viewer, task.case_id, now)
        if task.state != ReadingTaskState.IN_PROGRESS:
            raise WrongState("nobody holds this reading task")
        return Actor.COORDINATOR
    require_holder(viewer, task)
    return Actor.HOLDER
