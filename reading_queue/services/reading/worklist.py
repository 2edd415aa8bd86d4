"""A physician's worklist: what is offered to them, most urgent first, filtered, searched, counted and paged.

Reads only. It takes the same number of statements however long the list is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Select,
    Text,
    and_,
    any_,
    bindparam,
    case,
    cast,
    distinct,
    exists,
    func,
    literal,
    select,
    true,
    tuple_,
)
from sqlalchemy.orm import Session

from reading_queue.db.tables import Case, CaseStudy, Offer, ReadingTask
from reading_queue.domain.routing import Phase
from reading_queue.domain.transitions import ReadingTaskState
from reading_queue.services.access.visibility import Viewer
from reading_queue.services.cases.case_summaries import summarise_all
from reading_queue.services.cases.case_views import CaseSummary, OfferView
from reading_queue.services.cases.waiting import late_condition
from reading_queue.services.holdings.study_list import names_or_numbers_hold
from reading_queue.services.hub import Hub
from reading_queue.services.local_words import site_name
from storage.contract.lanes import Lane
from storage.ledger.tables import Site

LANE_ORDER: Final = {lane.value: place for place, lane in enumerate(Lane)}
NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class WorklistFilter:
    """Which offers are wanted; the default is all of them.

    `text` is searched for as in the list of studies.
    """

    lane: Lane | None = None
    modality: str = ""
    site_id: str = ""
    phase: Phase | None = None
    late: bool = False  # past the time limit, which stands still while the site is waited for
    text: str = ""


@dataclass(frozen=True, slots=True)
class Worklist:
    """A page of offers, most urgent first; `next_after` asks for the page after, None at the end.

    `found` is how many offers the filter lets through; modalities and sites are those of all open offers, for choosing.
    """

    offers: tuple[OfferView, ...]
    next_after: str | None
    found: int
    modalities: tuple[str, ...]
    sites: tuple[tuple[str, str], ...]  # id and name, by name


def worklist_of(
    hub: Hub, viewer: Viewer, *, limit: int, wanted: WorklistFilter | None = None, after: str | None = None
) -> Worklist:
    """Return a page of the open offers to the viewer. `after` is the `next_after` of the page before."""
    now = hub.clock()
    with hub.transaction() as session:
        rows = session.execute(_select_page(session, viewer, wanted or WorklistFilter(), after, limit, now)).all()
        places = {row.offer_id: place for place, row in enumerate(rows[:limit]) if row.offer_id is not None}
        found = session.execute(_OFFERS, {"offer_ids": list(places)}).all()
        shown = sorted(found, key=lambda row: places[row[0].offer_id])
        summaries = summarise_all(session, [row[2] for row in shown], viewer.language, now)
        sites = _load_names(session, rows[0].site_ids, viewer.language)
    return Worklist(
        offers=tuple(view_offer(offer, task, summaries[of_case.case_id]) for offer, task, of_case in shown),
        next_after=shown[-1][2].case_id if len(rows) > limit else None,
        found=rows[0].found,
        modalities=tuple(sorted(modality for modality in rows[0].modalities if modality)),
        sites=sites,
    )


def offers_of(hub: Hub, viewer: Viewer) -> list[OfferView]:
    """Return the open offers to the viewer, most urgent first, as many as a page may have at most."""
    return list(worklist_of(hub, viewer, limit=hub.policy.page_size_max).offers)


def select_open_offers(viewer: Viewer, now: datetime) -> Select[Offer, ReadingTask, Case]:
    """Select what is offered to the viewer now, with its task and case."""
    return (
        select(Offer, ReadingTask, Case)
        .join(ReadingTask, ReadingTask.reading_task_id == Offer.reading_task_id)
        .join(Case, Case.case_id == ReadingTask.case_id)
        .where(
            Offer.physician_id == viewer.physician_id,
            Offer.state == "open",
            Offer.expires_at > now,
            ReadingTask.state == ReadingTaskState.SCHEDULED,
        )
    )


def most_urgent_first() -> Sequence[ColumnElement[Any]]:
    """Return the order of work: green channels, then the lane, then what is due first."""
    return (
        Case.green_channel.is_(None),
        case(LANE_ORDER, value=Case.lane, else_=len(LANE_ORDER)),
        func.coalesce(Case.due_at, NEVER),
        Case.created_at.expression,
        Case.case_id.expression,
    )


def view_offer(offer: Offer, task: ReadingTask, summary: CaseSummary) -> OfferView:
    """Return an offer for people."""
    return OfferView(
        offer_id=offer.offer_id,
        reading_task_id=task.reading_task_id,
        phase=Phase(task.phase),
        offered_at=offer.offered_at,
        expires_at=offer.expires_at,
        why=offer.why,
        case=summary,
    )


def _conditions(wanted: WorklistFilter, now: datetime) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.lane is not None:
        found.append(Case.lane == wanted.lane)
    if wanted.modality:
        found.append(Case.modality == wanted.modality)
    if wanted.site_id:
        found.append(Case.site_id == wanted.site_id)
    if wanted.phase is not None:
        found.append(ReadingTask.phase == wanted.phase)
    if wanted.late:
        found.append(late_condition(now))
    holds = names_or_numbers_hold(wanted.text)
    if holds is not None:
        found.append(exists().where(CaseStudy.case_id == Case.case_id, holds))
    return found


def _select_page(
    session: Session, viewer: Viewer, wanted: WorklistFilter, after: str | None, limit: int, now: datetime
) -> Select[Any]:
    """Select the offers of a page, one more, and beside each what is counted over all: the offers are walked once."""
    order = most_urgent_first()
    keys = [key.label(f"key_{place}") for place, key in enumerate(order)]
    is_wanted = and_(true(), *_conditions(wanted, now)).label("is_wanted")
    offered = (
        select_open_offers(viewer, now)
        .with_only_columns(Offer.offer_id, Case.modality, Case.site_id, is_wanted, *keys)
        .cte("offered")
    )
    counted = select(
        func.count().filter(offered.c.is_wanted).label("found"),
        func.coalesce(func.array_agg(distinct(offered.c.modality)), _NO_TEXTS).label("modalities"),
        func.coalesce(func.array_agg(distinct(offered.c.site_id)), _NO_TEXTS).label("site_ids"),
    ).subquery("counted")
    places = [offered.c[key.name] for key in keys]
    start = session.execute(select(*order).where(Case.case_id == after)).one_or_none() if after else None
    behind = tuple_(*places) > tuple_(*map(literal, start)) if start is not None else true()
    page = select(offered.c.offer_id, *places).where(offered.c.is_wanted, behind).order_by(*places).limit(limit + 1)
    listed = page.subquery("listed")
    return (
        select(counted, listed.c.offer_id)
        .select_from(counted.outerjoin(listed, true()))
        .order_by(*(listed.c[key.name] for key in keys))
    )


def _load_names(session: Session, site_ids: Sequence[str], language: str) -> tuple[tuple[str, str], ...]:
    named = select(Site.site_id, site_name(language)).where(Site.site_id.in_(site_ids))
    return tuple(sorted(((site_id, name) for site_id, name in session.execute(named)), key=lambda site: site[1]))


_NO_TEXTS: Final = cast([], ARRAY(Text))
_OFFERS: Final = (
    select(Offer, ReadingTask, Case)
    .join(ReadingTask, ReadingTask.reading_task_id == Offer.reading_task_id)
    .join(Case, Case.case_id == ReadingTask.case_id)
    .where(Offer.offer_id == any_(bindparam("offer_ids", type_=ARRAY(Text))))
)
