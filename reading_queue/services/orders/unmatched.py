"""Orders without a study, studies without an order, and which of them may belong together. Reads only.

Each of the three lists is paged in the database by its own order, so that nothing is left out however much waits. What
may belong together is found there by patient and day, and compared by `domain.order_matching`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, TypeVarTuple
from zoneinfo import ZoneInfo

from sqlalchemy import (
    CTE,
    ColumnElement,
    Date,
    DateTime,
    Row,
    Select,
    Subquery,
    and_,
    case,
    cast,
    exists,
    func,
    or_,
    select,
    tuple_,
    union,
)
from sqlalchemy.orm import Session

from reading_queue.db.identity_tables import UnlinkedOrder
from reading_queue.db.tables import Case, CaseStudy, ClinicOrder
from reading_queue.domain.order_matching import DAYS_APART_MAX, SamePatient, StudyOfPatient, compare
from reading_queue.domain.page_places import Place
from reading_queue.domain.transitions import CaseState
from reading_queue.services.access.visibility import Viewer, require, visible_sites
from reading_queue.services.cases.holds import AT_THE_SITE
from reading_queue.services.hub import Hub
from reading_queue.services.local_words import site_name
from reading_queue.services.orders.study_orders import is_not_unlinked
from storage.catalogue.patient_facts import facts_of
from storage.catalogue.tables import Patient, Study
from storage.contract.orders import Order, OrderState
from storage.dicom.person_name import display_name, patient_display_name
from storage.ledger.tables import Site

Columns = TypeVarTuple("Columns")
LISTED_MAX: Final = 100  # on a page of each list
COMPARED_MAX: Final = 1000  # pairs for one page of proposals
OVERDUE: Final = timedelta(days=1)
AHEAD: Final = timedelta(days=DAYS_APART_MAX)
OVER: Final = (CaseState.ACKNOWLEDGED, CaseState.CANCELLED, CaseState.ENTERED_IN_ERROR)
MAY_HAVE_STUDY: Final = (OrderState.SCHEDULED, OrderState.IN_PROGRESS, OrderState.DONE)
_DUE: Final = cast(ClinicOrder.content["scheduled_at"].as_string(), DateTime(timezone=True))


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
    """A study without an order; `since` is when its first image came.

    `patient_name` is written for people, `pn` is the name as the images have it.
    """

    site_id: str
    site_name: str
    time_zone: str
    study_uid: str
    case_id: str
    accession_number: str
    patient_number: str
    patient_name: str
    pn: str
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
class Places:
    """Behind which row each of the lists begins; None: at its first."""

    proposals: Place | None = None
    orders: Place | None = None
    studies: Place | None = None


@dataclass(frozen=True, slots=True)
class Unmatched:
    """What waits for its other half, oldest first, a page of each; `following`: where the next pages begin, if any do.

    Proposals are those of the studies that have waited longest; on a page the likeliest come first.
    """

    proposals: tuple[MatchProposal, ...]
    orders: tuple[WaitingOrder, ...]
    studies: tuple[WaitingStudy, ...]
    following: Places


@dataclass(frozen=True, slots=True)
class WaitingStudies:
    """Studies of one site without an order, the newest first."""

    studies: tuple[WaitingStudy, ...]
    has_more: bool


def list_unmatched(hub: Hub, viewer: Viewer, after: Places | None = None) -> Unmatched:
    """Return what waits for its other half at the sites of the viewer, behind the places of the pages before."""
    require(viewer, *AT_THE_SITE)
    now, after = hub.clock(), after or Places()
    with hub.transaction() as session:
        sites = visible_sites(session, viewer, now)
        orders = _load_orders(session, viewer, sites, after.orders, now)
        studies = _load_studies(session, viewer, sites, after.studies)
        shown, further = studies[:LISTED_MAX], orders[:LISTED_MAX]
        near = _near(sites, now)
        proposals, more = _load_proposals(session, viewer, near, after.proposals, now)
        of_lists = or_(
            near.c.order_id.in_([order.order_id for order, _, _ in further]),
            near.c.study_id.in_([study.study_id for study, *_ in shown]),
        )
        beside = [one for _, one in _compare(session, viewer, select(near).where(of_lists), now) if one is not None]
    of_orders = {one.order.order_id for one in beside}
    of_studies = {(one.study.site_id, one.study.study_uid) for one in beside}
    lines = [_line(Order.model_validate(row.content), name, zone, now, of_orders) for row, name, zone in further]
    found = [_view_study(*row, viewer.language)[0] for row in shown]
    return Unmatched(
        proposals=proposals,
        orders=tuple(lines),
        studies=tuple(
            replace(one, next_step=NextStep.DECIDE) if (one.site_id, one.study_uid) in of_studies else one
            for one in found
        ),
        following=Places(
            proposals=more,
            orders=Place(lines[-1].since, lines[-1].order_id) if len(orders) > LISTED_MAX else None,
            studies=Place(found[-1].since, shown[-1][0].study_id) if len(studies) > LISTED_MAX else None,
        ),
    )


def find_waiting_studies(hub: Hub, viewer: Viewer, site_id: str) -> WaitingStudies:
    """Return the studies of one site of the viewer that have no order, the newest first."""
    require(viewer, *AT_THE_SITE)
    with hub.transaction() as session:
        waiting = _select_studies(viewer, visible_sites(session, viewer, hub.clock()) & {site_id}).where(
            _is_unordered()
        )
        newest = waiting.order_by(Case.first_instance_at.desc(), Study.study_id.desc()).limit(LISTED_MAX + 1)
        rows = session.execute(newest).all()
        studies = tuple(_view_study(*row, viewer.language)[0] for row in rows[:LISTED_MAX])
    return WaitingStudies(studies, len(rows) > LISTED_MAX)


def find_study_to_order(hub: Hub, viewer: Viewer, site_id: str, study_uid: str) -> WaitingStudy | None:
    """Return a study of one site of the viewer, to begin an order with; None when nobody can read it any more."""
    require(viewer, *AT_THE_SITE)
    with hub.transaction() as session:
        sites = visible_sites(session, viewer, hub.clock()) & {site_id}
        row = session.execute(_select_studies(viewer, sites).where(Study.study_uid == study_uid)).one_or_none()
        return _view_study(*row, viewer.language)[0] if row is not None else None


def _load_orders(
    session: Session, viewer: Viewer, sites: Collection[str], after: Place | None, now: datetime
) -> Sequence[Row[ClinicOrder, str, str]]:
    found = (
        select(ClinicOrder, site_name(viewer.language), Site.time_zone)
        .join(Site, Site.site_id == ClinicOrder.site_id)
        .where(*_waits_for_study(sites), now >= _DUE)
        .order_by(_DUE, ClinicOrder.order_id)
        .limit(LISTED_MAX + 1)
    )
    if after is not None:
        found = found.where(tuple_(_DUE, ClinicOrder.order_id) > tuple_(after.at, after.key))
    return session.execute(found).all()


def _load_studies(
    session: Session, viewer: Viewer, sites: Collection[str], after: Place | None
) -> Sequence[Row[Study, Patient, Case, str, str]]:
    found = _select_studies(viewer, sites).where(_is_unordered())
    if after is not None:
        found = found.where(tuple_(Case.first_instance_at, Study.study_id) > tuple_(after.at, after.key))
    return session.execute(found.order_by(Case.first_instance_at, Study.study_id).limit(LISTED_MAX + 1)).all()


def _load_proposals(
    session: Session, viewer: Viewer, near: Subquery, after: Place | None, now: datetime
) -> tuple[tuple[MatchProposal, ...], Place | None]:
    """Return a page of what may belong together, and behind which pair the next begins, if one does."""
    pairs = select(near)
    if after is not None:
        pairs = pairs.where(tuple_(near.c.since, near.c.pair) > tuple_(after.at, after.key))
    compared = _compare(session, viewer, pairs.order_by(near.c.since, near.c.pair).limit(COMPARED_MAX), now)
    matching = [(place, one) for place, one in compared if one is not None]
    behind: Place | None = None
    if len(matching) > LISTED_MAX:
        behind = matching[LISTED_MAX - 1][0]
    elif len(compared) == COMPARED_MAX:
        behind = compared[-1][0]
    found = sorted(
        (one for _, one in matching[:LISTED_MAX]), key=lambda one: (one.same is SamePatient.PERSON, one.days_apart)
    )
    return tuple(found), behind


def _compare(
    session: Session, viewer: Viewer, pairs: Select[Any], now: datetime
) -> list[tuple[Place, MatchProposal | None]]:
    """Return for each of these pairs of `_near` its place, and what speaks for it, if anything does."""
    keys = session.execute(pairs).all()
    of_orders = select(ClinicOrder, site_name(viewer.language), Site.time_zone)
    of_orders = of_orders.join(Site, Site.site_id == ClinicOrder.site_id)
    of_orders = of_orders.where(ClinicOrder.order_id.in_({key.order_id for key in keys}))
    orders: dict[str, tuple[WaitingOrder, Order, ZoneInfo]] = {}
    for row, name, zone in session.execute(of_orders):
        order = Order.model_validate(row.content)
        orders[row.order_id] = _line(order, name, zone, now, {row.order_id}), order, ZoneInfo(zone)
    wanted = _select_studies(viewer, {key.site_id for key in keys})
    rows = session.execute(wanted.where(Study.study_id.in_({key.study_id for key in keys}))).all()
    studies = {row[0].study_id: _view_study(*row, viewer.language) for row in rows}

    def propose(key: Row[Any]) -> MatchProposal | None:
        (line, order, zone), (study, facts) = orders[key.order_id], studies[key.study_id]
        found = compare(order, facts, zone)
        if found is None:
            return None
        return MatchProposal(line, replace(study, next_step=NextStep.DECIDE), found.same, found.days_apart)

    return [(Place(key.since, key.pair), propose(key)) for key in keys]


def _near(sites: Collection[str], now: datetime) -> Subquery:
    """Select pairs of one patient number or one birth date whose days are near each other, by study and order."""
    content = ClinicOrder.content
    orders = (
        select(
            ClinicOrder.order_id,
            ClinicOrder.site_id,
            content["patient_number"].as_string().label("number"),
            cast(content["birth_date"].as_string(), Date).label("born_on"),
            cast(func.timezone(Site.time_zone, _DUE), Date).label("day"),
        )
        .join(Site, Site.site_id == ClinicOrder.site_id)
        .where(*_waits_for_study(sites), now + AHEAD >= _DUE)
        .cte("orders_waiting")
    )
    own_record = case((Patient.contradicted_at.is_(None), Patient.birth_date))
    arrived_on = cast(func.timezone(Site.time_zone, Case.first_instance_at), Date)
    columns = (
        Study.study_id,
        Study.site_id,
        Study.study_uid,
        Patient.patient_number.label("number"),
        func.coalesce(Study.patient_birth_date, own_record).label("born_on"),
        func.coalesce(Study.study_date, arrived_on).label("day"),
        Case.first_instance_at.label("since"),
    )
    studies = _join_studies(select(*columns), sites).where(_is_unordered()).cte("studies_waiting")
    return union(_pairs(orders, studies, "number"), _pairs(orders, studies, "born_on")).subquery("near")


def _pairs(orders: CTE, studies: CTE, same: str) -> Select[Any]:
    parted = exists().where(
        UnlinkedOrder.order_id == orders.c.order_id,
        UnlinkedOrder.site_id == studies.c.site_id,
        UnlinkedOrder.study_uid == studies.c.study_uid,
    )
    days = orders.c.day - DAYS_APART_MAX, orders.c.day + DAYS_APART_MAX
    of_one = (orders.c.site_id == studies.c.site_id, orders.c[same] == studies.c[same], studies.c.day.between(*days))
    pair = (studies.c.study_id + " " + orders.c.order_id).label("pair")
    keys = select(studies.c.since, pair, studies.c.site_id, studies.c.study_id, orders.c.order_id)
    return keys.join_from(studies, orders, and_(*of_one)).where(~parted)


def _waits_for_study(sites: Collection[str]) -> tuple[ColumnElement[bool], ...]:
    return (
        ClinicOrder.site_id.in_(sites),
        ClinicOrder.differs.is_(None),
        ClinicOrder.state.in_(MAY_HAVE_STUDY),
    )


def _select_studies(viewer: Viewer, sites: Collection[str]) -> Select[Study, Patient, Case, str, str]:
    return _join_studies(select(Study, Patient, Case, site_name(viewer.language), Site.time_zone), sites)


def _join_studies(columns: Select[*Columns], sites: Collection[str]) -> Select[*Columns]:
    """Join what is told of a study to it, where somebody may still read it."""
    return (
        columns.select_from(Study)
        .join(CaseStudy, and_(CaseStudy.site_id == Study.site_id, CaseStudy.study_uid == Study.study_uid))
        .join(Case, Case.case_id == CaseStudy.case_id)
        .join(Patient, Patient.patient_id == Study.patient_id)
        .join(Site, Site.site_id == Study.site_id)
        .where(Case.site_id.in_(sites), Case.state.not_in(OVER), Study.instance_count > 0)
    )


def _is_unordered() -> ColumnElement[bool]:
    """Return the condition that a row's Study has no order; by each way of its own, as the database can join them."""
    not_dead = ClinicOrder.state != OrderState.CANCELLED, is_not_unlinked(Study.site_id, Study.study_uid)
    by_uid = exists().where(ClinicOrder.site_id == Study.site_id, ClinicOrder.study_uid == Study.study_uid, *not_dead)
    by_number = exists().where(
        ClinicOrder.site_id == Study.site_id,
        Study.accession_number != "",
        ClinicOrder.accession_number == Study.accession_number,
        *not_dead,
    )
    return and_(~by_uid, ~by_number)


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
        pn=facts.name,
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


def _line(order: Order, where: str, zone: str, now: datetime, proposed: Collection[str]) -> WaitingOrder:
    return WaitingOrder(
        order_id=order.order_id,
        order_version=order.version,
        site_id=order.site_id,
        site_name=where,
        time_zone=zone,
        accession_number=order.accession_number,
        patient_number=order.patient_number,
        patient_name=display_name(order.patient_name),
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
