"""One read of several studies and orders: chest and abdomen under two accession numbers become one case.

Durable: the studies are rows of the case that stays; the other one is cancelled by the table of transitions, and the
ledger of each study says with which case it is read. Only cases that nobody has ever claimed are joined, of one site,
one patient and one modality; those who were asked about one are asked anew about all of it. A person does it with a
reason; by itself it happens only where one order names both studies, and never again once a person has separated them.

Locks: the site's orders, then the cases by id. What happens by itself waits for nobody: it leaves alone what another
transaction has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy import and_, exists, func, or_, select, tuple_, update
from sqlalchemy.orm import Session, aliased

from reading_queue.db.consult_tables import MdtEntry
from reading_queue.db.identity_tables import IdentityConflict
from reading_queue.db.tables import Case, CaseStudy
from reading_queue.domain.discontinuation import DiscontinuationReason
from reading_queue.domain.escalation import Escalation
from reading_queue.domain.roles import Role
from reading_queue.domain.transitions import Actor, CaseEvent, CaseState, ReadingTaskEvent
from reading_queue.errors import Conflict, WrongState
from reading_queue.services.access.visibility import Viewer, require, require_case
from reading_queue.services.cases.case_facts import copy_facts, list_studies
from reading_queue.services.cases.casework import (
    PATIENT_RECORD,
    PROCEDURE_RECORD,
    audit,
    close_offers,
    find_open_task,
    get_case_locked,
    launch_route,
    move_case,
    move_task,
    record_custody,
    study_uids,
)
from reading_queue.services.cases.holds import AT_THE_SITE, parse_words
from reading_queue.services.cases.images_seen import note_news
from reading_queue.services.hub import Hub
from reading_queue.services.orders.study_orders import list_orders_of, lock_orders_of
from reading_queue.services.patients.identity_doubts import check_identity
from reading_queue.services.reading.priors import same_person
from reading_queue.services.routing.escalating import end_escalations
from reading_queue.services.routing.lanes import enter_green_channel, raise_lane
from storage.catalogue.tables import Study
from storage.contract.hops import Hop
from storage.contract.lanes import Lane
from storage.contract.orders import GreenChannel
from storage.ledger.tables import CustodyEvent

UNCLAIMED: Final = frozenset({CaseState.READY, CaseState.OFFERED})
STUDIES_MAX: Final = 20  # of one case
PARTNERS_MAX: Final = 20  # that a desk lists


class MayNotBeJoined(Conflict):
    """Only unclaimed cases of one patient, one site and one modality are read together."""

    code = "may_not_be_joined"


@dataclass(frozen=True, slots=True)
class PartnerView:
    """A case with which another may be read together, told by one of its studies."""

    case_id: str
    study_uid: str
    accession_number: str
    description: str
    body_part: str
    study_date: date | None


def join_cases(hub: Hub, viewer: Viewer, case_id: str, other_id: str, reason: str) -> None:
    """Have the studies of the other case read with those of this one. Doing it again changes nothing.

    Raises:
        NotFound: there is no such case, or the viewer may not see it.
        WrongState: somebody has claimed one of them. MayNotBeJoined: patient, site or modality are not the same, or
            the case has as many studies as one may have. Invalid: no reason is given.
    """
    now = hub.clock()
    require(viewer, *AT_THE_SITE)
    words = parse_words(reason, "say in a few words why these are read together")
    with hub.transaction() as session:
        require_case(session, viewer, case_id, now)
        if was_joined(session, case_id, other_id):
            return
        require_case(session, viewer, other_id, now)
        lock_orders_of(session, session.get_one(Case, case_id).site_id)
        cases = {one: get_case_locked(session, one) for one in sorted({case_id, other_id})}
        if was_joined(session, case_id, other_id):
            return
        kept, other = cases[case_id], cases[other_id]
        _require_joinable(session, kept, other)
        actor = Actor.TECHNICIAN if viewer.role is Role.TECHNICIAN else Actor.COORDINATOR
        _join(session, hub, kept, other, actor, now, account_id=viewer.account_id)
        about = {"event": "cases_joined", "other_case_id": other_id, "reason": words}
        audit(session, now, PROCEDURE_RECORD, "U", viewer.account_id, kept, **about)


def join_by_order(session: Session, hub: Hub, case: Case, now: datetime) -> bool:
    """Join the case with another that one of its orders names as well; return whether it was. It is locked.

    The older case stays. What another transaction has at the moment is left alone.
    """
    session.flush()
    for partner_id in _named_together(session, case):
        partner = _find_free(session, partner_id)
        if partner is None or not is_joinable(session, case, partner):
            continue
        kept, other = sorted((case, partner), key=lambda one: (one.created_at, one.case_id))
        _join(session, hub, kept, other, Actor.SYSTEM, now)
        return True
    return False


def partners_of(hub: Hub, viewer: Viewer, case_id: str) -> tuple[PartnerView, ...]:
    """Return the cases with which this one may be read together, the newest first. Raises NotFound."""
    now = hub.clock()
    require(viewer, *AT_THE_SITE)
    with hub.transaction() as session:
        require_case(session, viewer, case_id, now)
        case = session.get_one(Case, case_id)
        audit(session, now, PATIENT_RECORD, "R", viewer.account_id, case, event="partners_listed")
        return list_partners(session, case)


def list_partners(session: Session, case: Case) -> tuple[PartnerView, ...]:
    """Return the cases with which this one may be read together, the newest first."""
    if not _is_unclaimed(case):
        return ()
    own, other, of_own, of_other = aliased(Study), aliased(Study), aliased(CaseStudy), aliased(CaseStudy)
    rows = session.execute(
        select(Case, other)
        .join(of_other, of_other.case_id == Case.case_id)
        .join(other, and_(other.site_id == of_other.site_id, other.study_uid == of_other.study_uid))
        .join(own, same_person(other, own))
        .join(of_own, and_(of_own.site_id == own.site_id, of_own.study_uid == own.study_uid))
        .where(
            of_own.case_id == case.case_id,
            Case.case_id != case.case_id,
            Case.state.in_(sorted(UNCLAIMED)),
            Case.claimed_at.is_(None),
            Case.modality == case.modality,
        )
        .order_by(Case.created_at.desc(), Case.case_id, other.study_uid)
    ).all()
    partners: dict[str, PartnerView] = {}
    for found, study in rows:
        view = PartnerView(
            found.case_id,
            study.study_uid,
            study.accession_number,
            study.description,
            study.body_part,
            study.study_date,
        )
        partners.setdefault(found.case_id, view)
    return tuple(partners.values())[:PARTNERS_MAX]


def was_joined(session: Session, case_id: str, other_id: str) -> bool:
    """Return whether the other case is cancelled because its studies are read with this one."""
    joined = select(CustodyEvent.event_id).where(
        CustodyEvent.case_id == case_id,
        CustodyEvent.hop == Hop.JOINED,
        CustodyEvent.detail["other_case_id"].as_string() == other_id,
    )
    return session.scalar(joined.limit(1)) is not None


def ask_anew(session: Session, case: Case, now: datetime) -> None:
    """Take back the offers of a case that has become another one, and have it routed again."""
    task = find_open_task(session, case.case_id)
    if task is None:
        return
    close_offers(session, task, now)
    if case.state == CaseState.OFFERED:
        move_case(case, CaseEvent.OFFERS_EXHAUSTED, Actor.SYSTEM)
    launch_route(session, now, task.reading_task_id)


def take_doubts(session: Session, from_case: Case, into: Case, uids: Sequence[str]) -> None:
    """Let what is known of the identity of these studies go with them."""
    of_studies = IdentityConflict.case_id == from_case.case_id, IdentityConflict.study_uid.in_(uids)
    session.execute(update(IdentityConflict).where(*of_studies).values(case_id=into.case_id))


def is_joinable(session: Session, one: Case, other: Case) -> bool:
    """Return whether the two cases may be read as one."""
    if not (_is_unclaimed(one) and _is_unclaimed(other)) or one.case_id == other.case_id:
        return False
    return (one.site_id, one.modality) == (other.site_id, other.modality) and _are_of_one(session, one, other)


def _require_joinable(session: Session, kept: Case, other: Case) -> None:
    if not (_is_unclaimed(kept) and _is_unclaimed(other)):
        raise WrongState("somebody has claimed one of these cases, or it is not complete; they stay two")
    if not is_joinable(session, kept, other):
        raise MayNotBeJoined


def _is_unclaimed(case: Case) -> bool:
    return case.state in UNCLAIMED and case.claimed_at is None


def _are_of_one(session: Session, one: Case, other: Case) -> bool:
    """Return whether all studies of both are whole, of one patient, and not too many."""
    studies = [*list_studies(session, one.case_id), *list_studies(session, other.case_id)]
    count = len(study_uids(session, one.case_id)) + len(study_uids(session, other.case_id))
    if len(studies) != count or count > STUDIES_MAX:
        return False
    first, second = aliased(Study), aliased(Study)
    ids = [study.study_id for study in studies]
    pairs = select(func.count()).select_from(first).join(second, same_person(first, second))
    pairs = pairs.where(first.study_id.in_(ids), second.study_id.in_(ids))
    return session.scalar(pairs) == count * count


def _join(
    session: Session,
    hub: Hub,
    kept: Case,
    other: Case,
    actor: Actor,
    now: datetime,
    *,
    account_id: str | None = None,
) -> None:
    uids = study_uids(session, other.case_id)
    _cancel(session, other, actor, now)
    session.flush()
    session.execute(update(CaseStudy).where(CaseStudy.case_id == other.case_id).values(case_id=kept.case_id))
    take_doubts(session, other, kept, uids)
    session.execute(update(MdtEntry).where(MdtEntry.case_id == other.case_id).values(case_id=kept.case_id))
    other.identity_doubted_at = None
    kept.first_instance_at = min(kept.first_instance_at, other.first_instance_at)
    kept.last_instance_at = max(kept.last_instance_at, other.last_instance_at)
    starts = [one.exam_started_at for one in (kept, other) if one.exam_started_at is not None]
    kept.exam_started_at = min(starts, default=None)  # where only an order said it
    note_news(kept)
    ask_anew(session, kept, now)
    copy_facts(session, hub, kept, now)
    raise_lane(session, hub, kept, Lane(other.lane), now)
    if other.green_channel is not None:
        enter_green_channel(session, hub, kept, GreenChannel(other.green_channel), now)
    detail = {"other_case_id": other.case_id}
    key = f"joined:{kept.case_id}:{other.case_id}"
    record_custody(session, kept, Hop.JOINED, key, now, actor=account_id, detail=detail)
    check_identity(session, kept, now)


def _cancel(session: Session, case: Case, actor: Actor, now: datetime) -> None:
    task = find_open_task(session, case.case_id)
    move_case(case, CaseEvent.JOIN, actor)
    end_escalations(session, case.case_id, frozenset(Escalation), now)
    if task is not None:
        close_offers(session, task, now)
        move_task(task, ReadingTaskEvent.CANCEL, actor, now)
        task.cancel_reason = DiscontinuationReason.DUPLICATE_ORDER


def _named_together(session: Session, case: Case) -> list[str]:
    """Return the other unclaimed cases of which a study is named by an order of this case, oldest first.

    None when a person has separated a study of either.
    """
    order_rows = [row for study in list_studies(session, case.case_id) for row in list_orders_of(session, study)]
    numbers = {row.accession_number for row in order_rows if row.accession_number}
    uids = {row.study_uid for row in order_rows}
    if not order_rows:
        return []
    separated = exists().where(
        CustodyEvent.hop == Hop.SEPARATED,
        CustodyEvent.site_id == CaseStudy.site_id,
        CustodyEvent.study_uid == CaseStudy.study_uid,
    )
    mine = select(CaseStudy.case_id).where(CaseStudy.case_id == case.case_id, separated)
    if session.scalar(mine.limit(1)) is not None:
        return []
    named = (
        select(Case.case_id)
        .distinct()
        .add_columns(Case.created_at)
        .join(CaseStudy, CaseStudy.case_id == Case.case_id)
        .join(Study, tuple_(Study.site_id, Study.study_uid) == tuple_(CaseStudy.site_id, CaseStudy.study_uid))
        .where(
            Study.site_id == case.site_id,
            or_(Study.accession_number.in_(numbers), Study.study_uid.in_(uids)),
            Case.case_id != case.case_id,
            Case.state.in_(sorted(UNCLAIMED)),
            ~separated,
        )
        .order_by(Case.created_at, Case.case_id)
    )
    shared = {row.order_id for row in order_rows}
    return [
        case_id
        for case_id, _ in session.execute(named.limit(PARTNERS_MAX)).all()
        if shared & {row.order_id for study in list_studies(session, case_id) for row in list_orders_of(session, study)}
    ]


def _find_free(session: Session, case_id: str) -> Case | None:
    free = select(Case).where(Case.case_id == case_id).with_for_update(skip_locked=True)
    return session.scalars(free.execution_options(populate_existing=True)).one_or_none()
