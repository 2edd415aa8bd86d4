"""Cases for a conference of several disciplines (MDT, 多学科会诊): who put which on the list, and what came of it.

Durable: each entry with its question, day, participants and outcome; an outcome is written once. A physician puts
cases on the list that they may see; the list is the hospital's, and its days are those of the hospital's time zone.
Who may not see a case finds its question, no patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.db.consult_tables import MdtEntry
from reading_queue.db.tables import Account, Case, Physician
from reading_queue.errors import Invalid, NotFound, WrongState
from reading_queue.services.access.visibility import Viewer, may_follow_case, require_case
from reading_queue.services.cases.case_summaries import summarise_all
from reading_queue.services.cases.case_views import CaseSummary
from reading_queue.services.cases.casework import PROCEDURE_RECORD, audit, get_case_locked
from reading_queue.services.cases.holds import parse_words
from reading_queue.services.hub import Hub
from reading_queue.services.local_words import site_name
from reading_queue.services.network.duty import local_today
from reading_queue.services.reading.claims import require_physician
from storage.contract.identifiers import new_id
from storage.ledger.tables import Site

LISTED_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class MdtView:
    """One case on the list; `case_id` and `summary` only for who may see it."""

    mdt_id: str
    case_id: str | None
    site_name: str
    modality: str
    question: str
    meets_on: date
    asked_by: str  # a name
    participants: str
    outcome: str
    outcome_at: datetime | None
    summary: CaseSummary | None = None


@dataclass(frozen=True, slots=True)
class MdtList:
    """A hospital's list, and which day it is there."""

    today: date
    entries: tuple[MdtView, ...]


def put_on_list(hub: Hub, viewer: Viewer, case_id: str, question: str, meets_on: date) -> str:
    """Put a case that the viewer may see on their hospital's list; return the entry's id. Raises NotFound, Invalid."""
    now, physician_id = hub.clock(), require_physician(viewer)
    words = parse_words(question, "say in a few words what the conference is to answer")
    with hub.transaction() as session:
        hospital = session.get_one(Physician, physician_id).organisation_id
        if meets_on < local_today(session, hospital, now):
            raise Invalid("the conference is today or later")
        require_case(session, viewer, case_id, now)
        case = get_case_locked(session, case_id)
        entry = MdtEntry(
            mdt_id=new_id(),
            case_id=case_id,
            organisation_id=hospital,
            asked_by=viewer.account_id,
            asked_at=now,
            question=words,
            meets_on=meets_on,
        )
        session.add(entry)
        audit(session, now, PROCEDURE_RECORD, "C", viewer.account_id, case, event="mdt_listed", mdt_id=entry.mdt_id)
        return entry.mdt_id


def note_outcome(hub: Hub, viewer: Viewer, mdt_id: str, participants: str, outcome: str) -> None:
    """Write who took part and what came of it, once. Raises NotFound, Invalid, WrongState."""
    now, physician_id = hub.clock(), require_physician(viewer)
    who = parse_words(participants, "name who took part")
    words = parse_words(outcome, "say in a few words what came of it")
    with hub.transaction() as session:
        entry = session.get(MdtEntry, mdt_id, with_for_update=True)
        if entry is None or entry.organisation_id != session.get_one(Physician, physician_id).organisation_id:
            raise NotFound("there is no such entry on the list")
        if entry.outcome_at is not None:
            raise WrongState("the outcome is written already")
        entry.participants, entry.outcome = who, words
        entry.outcome_at, entry.outcome_by = now, viewer.account_id
        case = session.get_one(Case, entry.case_id)
        audit(session, now, PROCEDURE_RECORD, "U", viewer.account_id, case, event="mdt_outcome", mdt_id=mdt_id)


def list_mdt(hub: Hub, viewer: Viewer) -> MdtList:
    """Return the list of the viewer's hospital: what is to come first, by its day, then what is over, newest first."""
    now, physician_id = hub.clock(), require_physician(viewer)
    with hub.transaction() as session:
        hospital = session.get_one(Physician, physician_id).organisation_id
        return MdtList(local_today(session, hospital, now), _load(session, viewer, hospital, now))


def _load(session: Session, viewer: Viewer, hospital: str, now: datetime) -> tuple[MdtView, ...]:
    sees = may_follow_case(viewer, Case.case_id, Case.site_id, now)
    query = (
        select(MdtEntry, Case, site_name(viewer.language), Account.display_name, sees)
        .join(Case, Case.case_id == MdtEntry.case_id)
        .join(Site, Site.site_id == Case.site_id)
        .join(Account, Account.account_id == MdtEntry.asked_by)
        .where(MdtEntry.organisation_id == hospital)
        .order_by(MdtEntry.outcome_at.desc().nulls_first(), MdtEntry.meets_on, MdtEntry.mdt_id)
        .limit(LISTED_MAX)
    )
    rows = session.execute(query).all()
    summaries = summarise_all(session, [case for _, case, _, _, is_seen in rows if is_seen], viewer.language, now)
    return tuple(
        MdtView(
            mdt_id=row.mdt_id,
            case_id=row.case_id if is_seen else None,
            site_name=site,
            modality=case.modality,
            question=row.question,
            meets_on=row.meets_on,
            asked_by=name,
            participants=row.participants,
            outcome=row.outcome,
            outcome_at=row.outcome_at,
            summary=summaries[row.case_id] if is_seen else None,
        )
        for row, case, site, name, is_seen in rows
    )
