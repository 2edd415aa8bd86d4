"""Orders without a study, studies without an order, and which of them a person says belong together.

Durable: each decision with who and when, in the audit trail and the ledger; a pair that was rejected is not proposed
again. Only an accession number, or the UID that an order was given, joins the two without a person. Who confirms writes
the order's next version, which names the study: every gateway of the site fetches it, and its worklist lets it go.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import DateTime, and_, cast, exists, or_, select
from sqlalchemy.orm import Session

from reading_queue.db.identity_tables import UnlinkedOrder
from reading_queue.db.tables import Case, CaseStudy, ClinicOrder
from reading_queue.domain.order_matching import (
    DAYS_APART_MAX,
    SamePatient,
    StudyOfPatient,
    propose,
)
from reading_queue.domain.transitions import CaseState
from reading_queue.errors import NotFound
from reading_queue.services.access.visibility import Viewer, require, visible_sites
from reading_queue.services.cases.casework import audit, find_case_of_locked, record_custody
from reading_queue.services.cases.holds import AT_THE_SITE, parse_words
from reading_queue.services.hub import Hub
from reading_queue.services.local_words import site_name
from reading_queue.services.orders.order_entry import (
    ORDER_RECORD,
    OrderNotOpen,
    StaleOrder,
    StudyDead,
    StudyHasOrder,
    get_order_locked,
    record,
    require_joinable,
)
from reading_queue.services.orders.order_refusals import is_dead
from reading_queue.services.orders.orders import put_version
from reading_queue.services.orders.study_orders import is_not_unlinked, list_orders_of
from storage.catalogue.patient_facts import facts_of
from storage.catalogue.tables import Patient, Study
from storage.contract.hops import Hop
from storage.contract.orders import Order, OrderState
from storage.dicom.person_name import patient_display_name
from storage.ledger.tables import Site

COMPARED_MAX: Final = 500  # of each kind, oldest first
LISTED_MAX: Final = 100
OVERDUE: Final = timedelta(days=1)
AHEAD: Final = timedelta(days=DAYS_APART_MAX)
OVER: Final = (CaseState.ACKNOWLEDGED, CaseState.CANCELLED, CaseState.ENTERED_IN_ERROR)
MAY_HAVE_STUDY: Final = (OrderState.SCHEDULED, OrderState.IN_PROGRESS, OrderState.DONE)
REASON_NEEDED: Final = "say in a few words why they do not belong together"


class NextStep(StrEnum):
    """What a person can do about what waits."""

    DECIDE = "decide"  # a proposal stands beside it
    WAIT = "wait"  # the examination or its images may still come
    LOOK_FOR_IMAGES = "look_for_images"  # the scanner has reported the examination
    CANCEL_OR_MATCH = "cancel_or_match"  # its day is over
    ORDER = "order"  # nothing fits: make its order


@dataclass(frozen=True, slots=True)
class WaitingOrder:
    """An order without a study; `since` is when its examination was due."""

    order_id: str
    order_version: int
    site_id: str
    site_name: str
    time_zone: str
    accession_number: str
    patient_number: str
    patient_name: str
    birth_date: date | None
    sex: str
    modality: str
    procedure_name: str
    lane: str
    state: str
    since: datetime
    next_step: NextStep


@dataclass(frozen=True, slots=True)
class WaitingStudy:
    """A study without an order; `since` is when its first image came. Names as people write them."""

    site_id: str
    site_name: str
    time_zone: str
    study_uid: str
    case_id: str
    accession_number: str
    patient_number: str
    patient_name: str
    birth_date: date | None
    sex: str
    modality: str
    description: str
    lane: str
    state: str
    since: datetime
    next_step: NextStep


@dataclass(frozen=True, slots=True)
class MatchProposal:
    """One order and one study that may belong together, and what speaks for it."""

    order: WaitingOrder
    study: WaitingStudy
    same: SamePatient
    days_apart: int


@dataclass(frozen=True, slots=True)
class Unmatched:
    """What waits for its other half, oldest first; `more_…`: there is more than is listed."""

    proposals: tuple[MatchProposal, ...]
    orders: tuple[WaitingOrder, ...]
    studies: tuple[WaitingStudy, ...]
    more_orders: bool
    more_studies: bool


def list_unmatched(hub: Hub, viewer: Viewer) -> Unmatched:
    """Return what waits for its other half at the sites of the viewer."""
    require(viewer, *AT_THE_SITE)
    now = hub.clock()
    with hub.transaction() as session:
        sites = visible_sites(session, viewer, now)
        orders = _load_orders(session, viewer, sites, now)
        studies = _load_studies(session, viewer, sites)
        rejected = _load_rejected(session, [row.order_id for row, _, _ in orders])
    parsed = [(Order.model_validate(row.content), name, zone) for row, name, zone in orders]
    proposed = [
        one
        for one in propose(
            [(order, ZoneInfo(zone)) for order, _, zone in parsed], [compared for _, compared in studies.values()]
        )
        if (one.order_id, one.study_uid) not in rejected
    ]
    of_orders, of_studies = {one.order_id for one in proposed}, {(one.site_id, one.study_uid) for one in proposed}
    lines = {order.order_id: _line(order, name, zone, now, of_orders) for order, name, zone in parsed}
    found = {
        key: replace(line, next_step=NextStep.DECIDE) if key in of_studies else line
        for key, (line, _) in studies.items()
    }
    proposals = (
        MatchProposal(lines[one.order_id], found[one.site_id, one.study_uid], one.same, one.days_apart)
        for one in proposed[:LISTED_MAX]
    )
    due = [line for line in lines.values() if line.since <= now]
    return Unmatched(
        proposals=tuple(proposals),
        orders=tuple(due[:LISTED_MAX]),
        studies=tuple(found.values())[:LISTED_MAX],
        more_orders=len(due) > LISTED_MAX,
        more_studies=len(found) > LISTED_MAX,
    )


def find_waiting_studies(
    hub: Hub, viewer: Viewer, site_id: str, study_uid: str | None = None
) -> tuple[WaitingStudy, ...]:
    """Return the studies of one site of the viewer that have no order, oldest first, or the one that is named."""
    require(viewer, *AT_THE_SITE)
    with hub.transaction() as session:
        sites = visible_sites(session, viewer, hub.clock()) & {site_id}
        return tuple(line for line, _ in _load_studies(session, viewer, sites, study_uid).values())


def confirm_match(
    hub: Hub, viewer: Viewer, order_id: str, study_uid: str, version: int, *, further: bool = False
) -> None:
    """Say that an order is of a study; saying it again changes nothing.

    `version` is that of the order that the viewer looked at. `further`: the study has an order already, and one read
    answers both (chest and abdomen under two accession numbers, in one study).

    Raises:
        NotFound: there is no such order or study at a site of the viewer.
        StaleOrder: the order was changed meanwhile. OrderNotOpen: it was cancelled.
        StudyDead: nobody reads the study any more.
        StudyOfOtherPatient, OrdersContradict: another order of the study says something else.
        StudyHasOrder: it has one, and `further` was not said. ReportSigned: its report is signed.
    """
    require(viewer, *AT_THE_SITE)
    now = hub.clock()
    with hub.transaction() as session:
        row = get_order_locked(session, viewer, order_id, now)
        study, case = _get_study_locked(session, row.site_id, study_uid)
        held = Order.model_validate(row.content)
        unlinked = session.get(UnlinkedOrder, (order_id, row.site_id, study_uid))
        if held.study_uid == study_uid and held.state is not OrderState.CANCELLED and unlinked is None:
            return
        _require_open(held, study, case, version)
        require_joinable(session, held, study, further=further)
        if unlinked is not None:
            session.delete(unlinked)
            session.flush()
        changes = {
            "study_uid": study_uid,
            "state": OrderState.DONE,
            "exam_started_at": held.exam_started_at or study.exam_started_at,
            "version": held.version + 1,
            "changed_at": now,
        }
        if held.exam_ended_at is not None and held.exam_started_at is None:
            changes["exam_started_at"] = None  # what the scanner said stays as it is
        row.gateway_id = None
        order = Order.model_validate(held.model_dump() | changes)
        put_version(session, hub, row, order, now, account_id=viewer.account_id)
        about = {"order_id": order_id, "version": row.order_version}
        record_custody(
            session,
            case,
            Hop.ORDER_MATCHED,
            f"order_confirmed:{order_id}:{row.order_version}",
            now,
            actor=viewer.account_id,
            uids=[study_uid],
            detail=dict(about, confirmed=True, further=further),
        )
        record(session, viewer, "U", row, now, event="match_confirmed", study_uid=study_uid)
        audit(session, now, ORDER_RECORD, "U", viewer.account_id, case, event="match_confirmed", **about)


def reject_match(hub: Hub, viewer: Viewer, order_id: str, study_uid: str, reason: str) -> None:
    """Say that an order is not of a study: it is not proposed again. Saying it again changes nothing.

    Raises:
        NotFound: as `confirm_match`. Invalid: no reason is given.
        StudyHasOrder: the two were joined meanwhile.
    """
    require(viewer, *AT_THE_SITE)
    now, words = hub.clock(), parse_words(reason, REASON_NEEDED)
    with hub.transaction() as session:
        row = get_order_locked(session, viewer, order_id, now)
        study, case = _get_study_locked(session, row.site_id, study_uid)
        if session.get(UnlinkedOrder, (order_id, row.site_id, study_uid)) is not None:
            return
        if any(one.order_id == order_id for one in list_orders_of(session, study)):
            raise StudyHasOrder("order and study were joined meanwhile; look at the study's page")
        session.add(
            UnlinkedOrder(
                order_id=order_id,
                site_id=row.site_id,
                study_uid=study_uid,
                unlinked_at=now,
                unlinked_by=viewer.account_id,
                reason=words,
            )
        )
        record(session, viewer, "U", row, now, event="match_rejected", study_uid=study_uid)
        audit(session, now, ORDER_RECORD, "U", viewer.account_id, case, event="match_rejected", order_id=order_id)


def _get_study_locked(session: Session, site_id: str, study_uid: str) -> tuple[Study, Case]:
    """Return the study and its case, which nobody changes until the transaction ends."""
    case = find_case_of_locked(session, site_id, study_uid)
    of_site = select(Study).where(Study.site_id == site_id, Study.study_uid == study_uid)
    if case is None or session.scalar(of_site) is None:
        raise NotFound("there is no such study to be read at the order's site")
    return session.scalars(of_site.execution_options(populate_existing=True)).one(), case


def _require_open(order: Order, study: Study, case: Case, version: int) -> None:
    if order.version != version:
        raise StaleOrder
    if order.state not in MAY_HAVE_STUDY:
        raise OrderNotOpen
    if is_dead(study, case.state):
        raise StudyDead


def _load_orders(
    session: Session, viewer: Viewer, sites: Collection[str], now: datetime
) -> Sequence[tuple[ClinicOrder, str, str]]:
    due = cast(ClinicOrder.content["scheduled_at"].as_string(), DateTime(timezone=True))
    found = (
        select(ClinicOrder, site_name(viewer.language), Site.time_zone)
        .join(Site, Site.site_id == ClinicOrder.site_id)
        .where(
            ClinicOrder.site_id.in_(sites),
            ClinicOrder.differs.is_(None),
            ClinicOrder.state.in_(MAY_HAVE_STUDY),
            due <= now + AHEAD,
        )
        .order_by(due, ClinicOrder.order_id)
        .limit(COMPARED_MAX)
    )
    return [(row, name, zone) for row, name, zone in session.execute(found)]


def _load_studies(
    session: Session, viewer: Viewer, sites: Collection[str], study_uid: str | None = None
) -> dict[tuple[str, str], tuple[WaitingStudy, StudyOfPatient]]:
    its_own = or_(
        ClinicOrder.study_uid == Study.study_uid,
        and_(Study.accession_number != "", ClinicOrder.accession_number == Study.accession_number),
    )
    ordered = exists().where(
        ClinicOrder.site_id == Study.site_id,
        its_own,
        ClinicOrder.state != OrderState.CANCELLED,
        is_not_unlinked(Study.site_id, Study.study_uid),
    )
    found = (
        select(Study, Patient, Case, site_name(viewer.language), Site.time_zone)
        .join(CaseStudy, and_(CaseStudy.site_id == Study.site_id, CaseStudy.study_uid == Study.study_uid))
        .join(Case, Case.case_id == CaseStudy.case_id)
        .join(Patient, Patient.patient_id == Study.patient_id)
        .join(Site, Site.site_id == Study.site_id)
        .where(Case.site_id.in_(sites), Case.state.not_in(OVER), Study.instance_count > 0)
        .order_by(Case.first_instance_at, Study.study_uid)
        .limit(COMPARED_MAX)
    )
    found = found.where(~ordered if study_uid is None else Study.study_uid == study_uid)
    return {
        (study.site_id, study.study_uid): _view_study(study, patient, case, name, zone, viewer.language)
        for study, patient, case, name, zone in session.execute(found)
    }


def _view_study(
    study: Study, patient: Patient, case: Case, where: str, zone: str, language: str
) -> tuple[WaitingStudy, StudyOfPatient]:
    facts = facts_of(study, patient)
    line = WaitingStudy(
        site_id=study.site_id,
        site_name=where,
        time_zone=zone,
        study_uid=study.study_uid,
        case_id=case.case_id,
        accession_number=study.accession_number,
        patient_number=facts.number,
        patient_name=patient_display_name(facts.name, language),
        birth_date=facts.birth_date,
        sex=facts.sex,
        modality=case.modality,
        description=study.description,
        lane=case.lane,
        state=case.state,
        since=case.first_instance_at,
        next_step=NextStep.ORDER,
    )
    day = study.study_date or case.first_instance_at.astimezone(ZoneInfo(zone)).date()
    compared = StudyOfPatient(
        study.site_id,
        study.study_uid,
        facts.number,
        facts.name,
        facts.birth_date,
        facts.sex,
        tuple(study.modalities),
        day,
    )
    return line, compared


def _load_rejected(session: Session, order_ids: Collection[str]) -> set[tuple[str, str]]:
    pairs = select(UnlinkedOrder.order_id, UnlinkedOrder.study_uid).where(UnlinkedOrder.order_id.in_(order_ids))
    return {(order_id, study_uid) for order_id, study_uid in session.execute(pairs)}


def _line(order: Order, where: str, zone: str, now: datetime, proposed: Collection[str]) -> WaitingOrder:
    return WaitingOrder(
        order_id=order.order_id,
        order_version=order.version,
        site_id=order.site_id,
        site_name=where,
        time_zone=zone,
        accession_number=order.accession_number,
        patient_number=order.patient_number,
        patient_name=order.patient_name.replace("^", " "),
        birth_date=order.birth_date,
        sex=order.sex,
        modality=order.modality,
        procedure_name=order.procedure_name,
        lane=order.lane,
        state=order.state,
        since=order.scheduled_at,
        next_step=NextStep.DECIDE if order.order_id in proposed else _step_of(order, now),
    )


def _step_of(order: Order, now: datetime) -> NextStep:
    if order.state is OrderState.DONE:
        return NextStep.LOOK_FOR_IMAGES
    return NextStep.CANCEL_OR_MATCH if now - order.scheduled_at > OVERDUE else NextStep.WAIT
