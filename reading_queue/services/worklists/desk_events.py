"""Telling open desks that something has changed: `tell` where it changes, `read_events` for who passes it on,
`Batch` for whom it concerns.

Durable for an hour: a row for each change, in the transaction of the change; NOTIFY only wakes. A reader follows a
cursor of transaction and number, and sees a transaction's rows only when no older one is open any more: nothing slips
through that commits late. What is told are ids; whoever is told asks for the rest with their own right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, Select, Text, cast, delete, func, literal, or_, select, tuple_, union_all
from sqlalchemy.orm import Session

from reading_queue.db.consult_tables import Consult
from reading_queue.db.course_tables import EscalationRow
from reading_queue.db.director_tables import DirectorNotice
from reading_queue.db.event_tables import DeskEvent
from reading_queue.db.tables import Offer, Physician, ReadingTask
from reading_queue.domain.consults import CONSULTANT_TITLES
from reading_queue.domain.roles import Role
from reading_queue.services.access.visibility import Viewer, visible_sites
from reading_queue.services.hub import Hub
from storage.contract.hops import Hop

CHANNEL: Final = "desk_events"
SESSIONS: Final = "sessions"
KEPT: Final = timedelta(hours=1)
BATCH: Final = 500
ROAD: Final = "road"
OF_CONSULTS: Final = frozenset({Hop.CONSULT_ASKED, Hop.CONSULT_ACCEPTED, Hop.CONSULT_ANSWERED, Hop.CONSULT_ENDED})
PRESENCE: Final = "presence"
_TOLD: Final = "desk_events_told"
_SESSIONS_TOLD: Final = "sessions_told"


class Cursor(NamedTuple):
    """How far somebody has been told."""

    transaction_id: int
    event_id: int

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """Return the cursor that `str` wrote, None for anything else."""
        transaction, _, number = text.partition("-")
        if not (transaction.isdecimal() and number.isdecimal() and len(text) <= 40 and text.isascii()):
            return None
        return cls(int(transaction), int(number))

    def __str__(self) -> str:
        return f"{self.transaction_id}-{self.event_id}"


@dataclass(frozen=True, slots=True)
class Told:
    """One change, and whom it concerns beside those who follow the site."""

    cursor: Cursor
    kind: str
    site_id: str
    case_id: str | None
    physician_ids: frozenset[str]  # to whom a task of the case is or was offered, and who is asked for an opinion
    account_ids: frozenset[str] = frozenset()  # who was told of it as duty director


@dataclass(frozen=True, slots=True)
class Audience:
    """What concerns one person."""

    sites: frozenset[str]
    physician_id: str | None
    oversees: bool = False
    account_id: str = ""


class Batch:
    """What is told together, by whom it concerns: each looks up their own, and what many are told is made once."""

    def __init__(self, found: Sequence[Told]) -> None:
        self._found = found
        self._by_site: dict[str, list[int]] = {}
        self._by_person: dict[str, list[int]] = {}  # by the ids of physicians and accounts, random all
        self._of_overseers: list[int] = []
        self._made: dict[tuple[int, ...], bytes] = {}
        for number, told in enumerate(found):
            if told.kind == PRESENCE:
                self._of_overseers.append(number)
                continue
            self._by_site.setdefault(told.site_id, []).append(number)
            for person in told.physician_ids | told.account_ids:
                self._by_person.setdefault(person, []).append(number)
        self._sites = frozenset(self._by_site)

    def concerning(self, audience: Audience) -> tuple[int, ...]:
        """Return which of it concerns the audience, in order."""
        numbers = {*self._by_person.get(audience.physician_id or "", ()), *self._by_person.get(audience.account_id, ())}
        for site_id in self._sites & audience.sites:
            numbers.update(self._by_site[site_id])
        if audience.oversees:
            numbers.update(self._of_overseers)
        return tuple(sorted(numbers))

    def words(self, numbers: Sequence[int], after: Cursor, write: Callable[[Sequence[Told]], bytes]) -> bytes:
        """Return what `write` makes of these of it that come after the cursor; made once for all who are told the same.

        Of nothing it makes nothing.
        """
        later = tuple(number for number in numbers if self._found[number].cursor > after)
        if later and later not in self._made:
            self._made[later] = write([self._found[number] for number in later])
        return self._made.get(later, b"")


def tell(session: Session, kind: str, site_id: str, case_id: str | None = None) -> None:
    """Write that something has changed; a case of which one transaction has told already is not told of again."""
    told: set[Any] = session.info.setdefault(_TOLD, set())
    change = site_id, case_id, kind in OF_CONSULTS  # which tell others than what else happens to the case
    if change in told:
        return
    if not told:
        session.execute(select(func.pg_notify(CHANNEL, "")))
    told.add(change)
    session.add(DeskEvent(kind=kind, site_id=site_id, case_id=case_id))


def tell_overseers(session: Session) -> None:
    """Write that who is there has changed, which concerns all who oversee."""
    tell(session, PRESENCE, "")


def tell_sessions(session: Session) -> None:
    """Wake who keeps streams open: a session has ended, or what somebody may see is another."""
    if not session.info.get(_SESSIONS_TOLD):
        session.info[_SESSIONS_TOLD] = True
        session.execute(select(func.pg_notify(SESSIONS, "")))


def find_audience(hub: Hub, viewer: Viewer) -> Audience:
    """Return what concerns the viewer now."""
    return find_audiences(hub, [viewer])[0]


def find_audiences(hub: Hub, viewers: Iterable[Viewer]) -> list[Audience]:
    """Return what concerns each viewer now; colleagues with one role at one organisation are looked up once."""
    known: dict[tuple[Role, str, str | None], frozenset[str]] = {}
    audiences = []
    with hub.transaction() as session:
        for viewer in viewers:
            key = viewer.role, viewer.organisation_id, viewer.site_id
            if key not in known:
                known[key] = visible_sites(session, viewer, hub.clock())
            physician_id = viewer.physician_id if viewer.role is Role.PHYSICIAN else None
            oversees = viewer.role in (Role.COORDINATOR, Role.ADMINISTRATOR)
            audiences.append(Audience(known[key], physician_id, oversees, viewer.account_id))
    return audiences


def find_end(hub: Hub) -> Cursor:
    """Return the cursor after which everything is new that commits from now on."""
    with hub.transaction() as session:
        return Cursor(session.scalar(select(oldest_open())) or 0, 0)


def is_kept(hub: Hub, cursor: Cursor) -> bool:
    """Return whether everything after the cursor can still be told: nothing that came later is forgotten yet.

    A cursor of the future is none of this database, which was put back to an earlier day, or of nobody's.
    """
    with hub.transaction() as session:
        oldest = func.coalesce(select(func.min(DeskEvent.transaction_id)).scalar_subquery(), oldest_open())
        first, last = session.execute(select(oldest, next_transaction())).one()
    return bool(first <= cursor.transaction_id <= last)


def read_events(hub: Hub, after: Cursor, limit: int = BATCH) -> Sequence[Told]:
    """Return what came after the cursor, in the order in which everybody is told of it, at most `limit`."""
    asked = union_all(*_physicians_concerned())
    directors = (
        select(DirectorNotice.account_id)
        .join(EscalationRow, EscalationRow.escalation_id == DirectorNotice.escalation_id)
        .where(EscalationRow.case_id == DeskEvent.case_id)
        .correlate(DeskEvent)
    )
    found = (
        select(DeskEvent, func.array(asked.scalar_subquery()), func.array(directors.scalar_subquery()))
        .where(
            tuple_(DeskEvent.transaction_id, DeskEvent.event_id)
            > tuple_(literal(after.transaction_id, BigInteger), literal(after.event_id, BigInteger)),
            DeskEvent.transaction_id < oldest_open(),
        )
        .order_by(DeskEvent.transaction_id, DeskEvent.event_id)
        .limit(limit)
    )
    with hub.transaction() as session:
        rows = session.execute(found).all()
    return [
        Told(
            Cursor(row.transaction_id, row.event_id),
            row.kind,
            row.site_id,
            row.case_id,
            frozenset(asked),
            frozenset(directors),
        )
        for row, asked, directors in rows
    ]


def _physicians_concerned() -> Iterator[Select[Any]]:
    """Yield who is told of an event's case: who is offered it, and both ends of what another hospital is asked.

    All who may answer for that hospital hear of each change while it is open, and of its end.
    """
    offered = select(Offer.physician_id).join(ReadingTask, ReadingTask.reading_task_id == Offer.reading_task_id)
    yield offered.where(ReadingTask.case_id == DeskEvent.case_id).correlate(DeskEvent)
    of_case = Consult.case_id == DeskEvent.case_id
    yield select(Consult.asked_by).where(of_case).correlate(DeskEvent)
    yield select(Consult.accepted_by).where(of_case, Consult.accepted_by.is_not(None)).correlate(DeskEvent)
    at_hospital = or_(
        Physician.organisation_id == Consult.organisation_id,
        Physician.also_at.contains(func.to_jsonb(Consult.organisation_id)),
    )
    consultants = select(Physician.physician_id).join(Consult, at_hospital)
    told = Consult.ended_at.is_(None) | DeskEvent.kind.in_(OF_CONSULTS)
    yield consultants.where(of_case, told, Physician.title.in_(CONSULTANT_TITLES)).correlate(DeskEvent)


def prune_events(hub: Hub) -> int:
    """Forget what is older than anybody's connection; return how many rows."""
    old = select(DeskEvent.event_id).where(DeskEvent.at < func.now() - KEPT).order_by(DeskEvent.at).limit(BATCH)
    with hub.transaction() as session:
        gone = delete(DeskEvent).where(DeskEvent.event_id.in_(old)).returning(DeskEvent.event_id)
        return len(session.execute(gone).all())


def oldest_open() -> Any:
    """Return the oldest transaction that is still open: what is told of later ones is not whole yet."""
    return _number_of(func.pg_snapshot_xmin(func.pg_current_snapshot()))


def next_transaction() -> Any:
    """Return the transaction that is yet to come: no cursor that this database gave is beyond it."""
    return _number_of(func.pg_snapshot_xmax(func.pg_current_snapshot()))


def _number_of(transaction: Any) -> Any:
    return cast(cast(transaction, Text), BigInteger)
