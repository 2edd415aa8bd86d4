"""Whether one physician may be given one reading task, by the ranking's own conditions; a person may set some aside.

Reads only; the caller has locked the case.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import Final

from sqlalchemy.orm import Session

from reading_queue.db.tables import Case, Offer, ReadingTask
from reading_queue.domain.routing import Reason, find_agreement, rank
from reading_queue.services.hub import Hub
from reading_queue.services.routing.routing_facts import SharedFacts, load_facts

# What a person may set aside with a reason: never the agreement, the licence, the title or the second physician.
MAY_BE_SET_ASIDE: Final = frozenset(
    {
        Reason.OFF_DUTY,
        Reason.AWAY,
        Reason.WORK_IN_PROGRESS_FULL,
        Reason.WEEKLY_WORKLOAD_FULL,
        Reason.AGREEMENT_DAY_FULL,
        Reason.DECLINED,
    }
)


def under_agreement(offer: Offer) -> bool:
    """Return whether the ranking or a coordinator asks by an agreement; else an author's own work lies with them."""
    return "agreement_id" in offer.why


def find_eligible_agreement(
    session: Session,
    hub: Hub,
    case: Case,
    task: ReadingTask,
    physician_id: str,
    now: datetime,
    set_aside: Collection[Reason] = MAY_BE_SET_ASIDE,
    offered_under: str | None = None,
) -> tuple[str | None, tuple[Reason, ...]]:
    """Return the agreement under which the physician may take the task and what had to be set aside for it.

    None with all reasons when they may not. The agreement that it is `offered_under` comes first: the case has its
    place of the day there.
    """
    facts = load_facts(session, case, task, SharedFacts(session, now, hub.policy.workload_points, only=physician_id))
    if not facts.physicians:
        return None, (Reason.NO_AGREEMENT,)
    hospitals = facts.physicians[0].hospitals
    unlimited = [replace(one, cases_per_day_max={}) for one in facts.agreements]
    tried = [[one for one in unlimited if one.agreement_id == offered_under], facts.agreements]
    tried += [unlimited] if Reason.AGREEMENT_DAY_FULL in set_aside else []
    agreements = next((some for some in tried if find_agreement(facts.case, hospitals, some)[0] is not None), tried[-1])
    agreement, _ = find_agreement(facts.case, hospitals, agreements)
    reasons = tuple(rank(facts.case, facts.physicians, agreements, now).excluded.get(physician_id, ()))
    if agreement is None or not set(reasons) <= set(set_aside):
        return None, reasons
    return agreement.agreement_id, (Reason.AGREEMENT_DAY_FULL, *reasons) if agreements is unlimited else reasons
