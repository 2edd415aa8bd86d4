"""An offer as a row: to whom, under which agreement, until when. An offer never outlasts the rights on which it rests.

The caller has locked the case.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from reading_queue.db.tables import Case, Offer, Physician, ReadingTask
from reading_queue.domain.offering import last_day_of_right, stands_until
from reading_queue.domain.routing import Candidate
from reading_queue.domain.workitems.reports import EventType
from reading_queue.services.hub import Hub
from reading_queue.services.network.agreements import present_versions
from reading_queue.services.routing.eligibility import under_agreement
from reading_queue.services.routing.routing_facts import RoutingFacts, SharedFacts, load_facts
from reading_queue.services.worklists.workitem_events import report_event
from storage.contract.identifiers import new_id
from storage.ledger.tables import Site


def load_offers(session: Session, task: ReadingTask) -> dict[str, Offer]:
    """Return every offer of the task by its physician: there is one at most."""
    of_task = session.scalars(select(Offer).where(Offer.reading_task_id == task.reading_task_id))
    return {offer.physician_id: offer for offer in of_task}


def give_offer(
    session: Session,
    hub: Hub,
    case: Case,
    task: ReadingTask,
    candidate: Candidate,
    now: datetime,
    why: Mapping[str, Any],
) -> None:
    """Show the task to one physician, again where an earlier offer of it has ended."""
    earlier = load_offers(session, task).get(candidate.physician_id)
    version = present_versions(session, [candidate.agreement_id]).get(candidate.agreement_id)
    only = SharedFacts(session, now, hub.policy.workload_points, only=candidate.physician_id)
    offer = open_offer(session, hub, task, earlier, (candidate, version), now, why)
    end_with_right(session, offer, case, load_facts(session, case, task, only))


def open_offer(
    session: Session,
    hub: Hub,
    task: ReadingTask,
    earlier: Offer | None,
    chosen: tuple[Candidate, int | None],
    now: datetime,
    why: Mapping[str, Any],
) -> Offer:
    """Write the offer of the task to who is chosen, under this version of their agreement, over an earlier one."""
    candidate, agreement_version = chosen
    offer = earlier or Offer(
        offer_id=new_id(), reading_task_id=task.reading_task_id, physician_id=candidate.physician_id
    )
    offer.agreement_id, offer.agreement_version = candidate.agreement_id, agreement_version
    offer.state = "open"
    offer.offered_at = now
    offer.expires_at = now + timedelta(seconds=hub.policy.offer_ttl_s)
    offer.answered_at = None
    offer.why = dict(why)
    session.add(offer)
    report_event(session, task, EventType.STATE_REPORT)  # it stands in the worklist of one more physician
    report_event(session, task, EventType.ASSIGNED)
    return offer


def end_with_right(session: Session, offer: Offer, case: Case, facts: RoutingFacts) -> None:
    """Let the offer end when its physician may not read the case any more: at the end of a day at its site."""
    zone = _zone(session, case)
    who = next((one for one in facts.physicians if one.physician_id == offer.physician_id), None)
    if who is None or offer.expires_at.astimezone(zone).date() <= facts.case.local_date:
        return
    of_agreement = last_day_of_right(facts.case, who, facts.agreements) if under_agreement(offer) else None
    offer.expires_at = stands_until(offer.expires_at, of_agreement or who.licence_valid_until, zone)


def offer_own_work(
    session: Session,
    hub: Hub,
    case: Case,
    task: ReadingTask,
    author_id: str,
    agreed: tuple[str, int | None],
    now: datetime,
    why: Mapping[str, Any],
) -> None:
    """Show what an author wrote to the author alone, as long as their licence lasts at the most.

    `agreed`: the agreement of the first reading, and its version.
    """
    licence_valid_until = session.get_one(Physician, author_id).licence_valid_until
    until = now + timedelta(seconds=hub.policy.offer_ttl_s)
    session.add(
        Offer(
            offer_id=new_id(),
            reading_task_id=task.reading_task_id,
            physician_id=author_id,
            agreement_id=agreed[0],
            agreement_version=agreed[1],
            state="open",
            offered_at=now,
            expires_at=stands_until(until, licence_valid_until, _zone(session, case)),
            why=dict(why),
        )
    )


def _zone(session: Session, case: Case) -> ZoneInfo:
    return ZoneInfo(session.get_one(Site, case.site_id).time_zone)
