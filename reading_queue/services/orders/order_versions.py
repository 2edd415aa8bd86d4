"""Every version of an order, who wrote it, and what the reader of its case was told.

Runs inside the caller's transaction. Versions and notes are never changed; what was told ends with the reader's
confirmation (`require_told_seen` stands before both signatures).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import and_, exists, or_, select, tuple_, update
from sqlalchemy.orm import Session

from reading_queue.db.order_tables import OrderNews, OrderNote, OrderVersion
from reading_queue.db.tables import Account, Case, CaseStudy, ClinicOrder
from reading_queue.domain.order_changes import ADDED, CANCELLED, changed_fields, told_fields
from reading_queue.domain.transitions import AMENDED, BEING_READ, SIGNED, CaseState
from reading_queue.errors import OrderChangeUnseen
from reading_queue.services.cases.casework import record_custody
from reading_queue.services.orders.study_orders import is_not_unlinked
from storage.catalogue.tables import Study
from storage.contract.hops import Hop
from storage.contract.orders import Order

REPORTED: Final = SIGNED | AMENDED


@dataclass(frozen=True, slots=True)
class FieldChange:
    """What one field of an order said before and says now."""

    name: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class OrderVersionView:
    """One version. `by`: a name, empty when a gateway of the site brought it, or the HIS by HL7."""

    version: int
    recorded_at: datetime
    by: str
    is_by_gateway: bool
    changes: tuple[FieldChange, ...]


@dataclass(frozen=True, slots=True)
class OrderNoteView:
    """What the site said after the signature."""

    written_at: datetime
    by: str
    words: str


@dataclass(frozen=True, slots=True)
class OrderNewsView:
    """What the reader has not confirmed yet. `whole`: the order came after the reading began, or was cancelled."""

    order_id: str
    order_version: int
    accession_number: str
    told_at: datetime
    whole: str  # reading_queue.domain.order_changes.ADDED, CANCELLED, or empty
    changes: tuple[FieldChange, ...]


def keep_version(
    session: Session, row: ClinicOrder, held: Order | None, order: Order, now: datetime, account_id: str | None
) -> tuple[str, ...]:
    """Write down a version that comes in the place of `held`; return the names of the fields that differ."""
    changed = changed_fields(held, order) if held is not None else ()
    session.add(
        OrderVersion(
            order_id=row.order_id,
            order_version=order.version,
            content=order.model_dump(mode="json"),
            changed=list(changed),
            recorded_at=now,
            account_id=account_id,
            gateway_id=row.gateway_id if account_id is None else None,
        )
    )
    session.flush()
    return changed


def tell_reader(
    session: Session, case: Case, row: ClinicOrder, changed: Sequence[str], now: datetime, account_id: str | None
) -> None:
    """Write a change into the ledger of the case, and tell whoever reads it what they must hear of. It is locked."""
    if not changed:
        return
    version = row.order_version
    if ADDED not in changed:  # the ledger has a line that it was matched
        detail = {"order_id": row.order_id, "version": version, "fields": list(changed)}
        key = f"order_changed:{row.order_id}:{version}:{case.case_id}"
        record_custody(session, case, Hop.ORDER_CHANGED, key, now, actor=account_id, detail=detail)
    told = list(told_fields(changed))
    if told and CaseState(case.state) in BEING_READ:
        its_key = {"case_id": case.case_id, "order_id": row.order_id, "order_version": version}
        if session.get(OrderNews, tuple(its_key.values())) is None:
            session.add(OrderNews(**its_key, fields=told, told_at=now))


def require_told_seen(session: Session, case: Case) -> None:
    """Let a physician sign who has seen what changed in the orders. Raises OrderChangeUnseen."""
    unseen = select(OrderNews.order_id).where(OrderNews.case_id == case.case_id, OrderNews.seen_at.is_(None))
    if session.scalar(unseen.limit(1)) is not None:
        raise OrderChangeUnseen


def confirm_told(
    session: Session, case_id: str, versions: Collection[tuple[str, int]], account_id: str, now: datetime
) -> int:
    """Write down that the reader has seen these versions of orders; return how many they had not confirmed before."""
    version = tuple_(OrderNews.order_id, OrderNews.order_version)
    unseen = update(OrderNews).where(OrderNews.case_id == case_id, OrderNews.seen_at.is_(None), version.in_(versions))
    seen = session.execute(unseen.values(seen_at=now, seen_by=account_id).returning(OrderNews.order_id))
    return len(seen.all())


def list_news(session: Session, case_id: str) -> tuple[OrderNewsView, ...]:
    """Return what was told of the orders of a case and not confirmed, oldest first."""
    rows = session.execute(
        select(OrderNews, OrderVersion, ClinicOrder.accession_number)
        .join(ClinicOrder, ClinicOrder.order_id == OrderNews.order_id)
        .join(
            OrderVersion,
            and_(OrderVersion.order_id == OrderNews.order_id, OrderVersion.order_version == OrderNews.order_version),
        )
        .where(OrderNews.case_id == case_id, OrderNews.seen_at.is_(None))
        .order_by(OrderNews.told_at, OrderNews.order_id)
    ).all()
    before = _load_versions(session, [news.order_id for news, _, _ in rows])
    return tuple(
        OrderNewsView(
            order_id=news.order_id,
            order_version=news.order_version,
            accession_number=number,
            told_at=news.told_at,
            whole=next((name for name in news.fields if name in (ADDED, CANCELLED)), ""),
            changes=_changes(news.fields, before.get((news.order_id, news.order_version)), version),
        )
        for news, version, number in rows
    )


def list_versions(session: Session, order_id: str) -> tuple[OrderVersionView, ...]:
    """Return every version of an order, the newest first, with what it changed."""
    rows = session.execute(
        select(OrderVersion, Account.display_name)
        .outerjoin(Account, Account.account_id == OrderVersion.account_id)
        .where(OrderVersion.order_id == order_id)
        .order_by(OrderVersion.order_version.desc())
    ).all()
    before = _load_versions(session, [order_id])
    return tuple(
        OrderVersionView(
            version=row.order_version,
            recorded_at=row.recorded_at,
            by=name or "",
            is_by_gateway=row.gateway_id is not None,
            changes=_changes(row.changed, before.get((order_id, row.order_version)), row),
        )
        for row, name in rows
    )


def list_notes(session: Session, order_ids: Sequence[str]) -> dict[str, tuple[OrderNoteView, ...]]:
    """Return the notes to each of these orders, oldest first."""
    rows = session.execute(
        select(OrderNote, Account.display_name)
        .join(Account, Account.account_id == OrderNote.account_id)
        .where(OrderNote.order_id.in_(order_ids))
        .order_by(OrderNote.written_at, OrderNote.note_id)
    )
    notes: dict[str, tuple[OrderNoteView, ...]] = dict.fromkeys(order_ids, ())
    for note, name in rows:
        notes[note.order_id] += (OrderNoteView(note.written_at, name, note.words),)
    return notes


def cases_of_order(session: Session, row: ClinicOrder) -> list[tuple[str, CaseState]]:
    """Return id and state of the cases that read a study which an order names."""
    named = or_(
        CaseStudy.study_uid == row.study_uid,
        exists().where(
            Study.site_id == CaseStudy.site_id,
            Study.study_uid == CaseStudy.study_uid,
            Study.accession_number == row.accession_number,
        ),
    )
    found = (
        select(Case.case_id, Case.state)
        .distinct()
        .join(CaseStudy, CaseStudy.case_id == Case.case_id)
        .join(ClinicOrder, ClinicOrder.order_id == row.order_id)
        .where(CaseStudy.site_id == row.site_id, named, is_not_unlinked(CaseStudy.site_id, CaseStudy.study_uid))
        .order_by(Case.case_id)
    )
    return [(case_id, CaseState(state)) for case_id, state in session.execute(found)]


def is_reported(session: Session, row: ClinicOrder) -> bool:
    """Return whether the report of a study of this order is signed, so that the order stands as it was read."""
    return any(state in REPORTED for _, state in cases_of_order(session, row))


def _load_versions(session: Session, order_ids: Sequence[str]) -> dict[tuple[str, int], OrderVersion]:
    """Return for each version of these orders the one before it."""
    versions = select(OrderVersion).where(OrderVersion.order_id.in_(order_ids))
    rows = list(session.scalars(versions.order_by(OrderVersion.order_id, OrderVersion.order_version)))
    return {
        (one.order_id, one.order_version): before for before, one in pairwise(rows) if before.order_id == one.order_id
    }


def _changes(names: Sequence[str], before: OrderVersion | None, after: OrderVersion) -> tuple[FieldChange, ...]:
    if before is None:
        return ()
    said, says = Order.model_validate(before.content), Order.model_validate(after.content)
    return tuple(
        FieldChange(name, getattr(said, name), getattr(says, name)) for name in names if name in Order.model_fields
    )
