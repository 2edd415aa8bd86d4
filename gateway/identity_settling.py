"""How people at the clinic settle whether order and images are of one person.

Durable: each decision is one transaction with who made it, its line in the custody ledger too; it reaches the hub when
the line allows. What the hub then makes of it is shown beside the study.
"""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError

from gateway.journal.actions import record_action
from gateway.journal.custody import add_custody
from gateway.journal.database import Journal
from gateway.journal.identity_doubts import add_settlement, doubts_of, settlements_of
from gateway.journal.orders import find_order
from gateway.operations import Asker, NotPossible
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid, new_id
from storage.contract.identity_doubts import (
    REASON_CHARACTERS_MAX,
    CorrectedPerson,
    IdentityDoubt,
    IdentitySettlement,
    SettlementKind,
)
from storage.contract.orders import Order, explain_faults

NO_REASON: Final = "Say in a few words how you know."
TOO_LONG: Final = "The text is too long; shorten it."
NOT_DOUBTED: Final = "This is settled already; look at the study again."
CHANGED: Final = "Order or images have changed meanwhile; compare both sides again."
NO_ORDER: Final = "This is about the images alone; there is no order to correct or to take away."
WAITS_ALREADY: Final = "What was decided before is on its way to the hub; wait for what becomes of it."


def settle_identity(
    journal: Journal,
    asker: Asker,
    study_uid: Uid,
    *,
    conflict_id: str,
    facts_sha256: str,
    kind: SettlementKind,
    reason: str,
    person: CorrectedPerson | None = None,
) -> IdentitySettlement:
    """Keep how a doubt about the study was settled, for the hub. `facts_sha256`: of what the page showed.

    `person`: who the order names from now on, of a correction alone.

    Raises:
        NotPossible: nothing is in doubt, what was compared has changed, a decision is on its way, no reason is given,
            or the order would contradict itself.
    """
    doubt = next((one for one in doubts_of(journal, study_uid) if one.conflict_id == conflict_id), None)
    if doubt is None:
        raise NotPossible(NOT_DOUBTED)
    if doubt.facts_sha256 != facts_sha256:
        raise NotPossible(CHANGED)
    if kind is not SettlementKind.CONFIRM and doubt.in_order is None:
        raise NotPossible(NO_ORDER)
    if any(row.state == "due" and row.act.conflict_id == conflict_id for row in settlements_of(journal, study_uid)):
        raise NotPossible(WAITS_ALREADY)
    if person is not None:
        _require_possible(journal, doubt, person)
    act = IdentitySettlement(
        act_id=new_id(),
        conflict_id=conflict_id,
        study_uid=study_uid,
        facts_sha256=doubt.facts_sha256,
        kind=kind,
        person=person,
        reason=_parse_reason(reason),
        account_id=asker.actor,
        at=asker.at,
    )
    verb, about = f"identity_{kind}", {"act_id": act.act_id, "conflict_id": conflict_id}
    with journal.transaction() as connection:
        add_settlement(connection, act)
        record_action(connection, asker.at, asker.actor, verb, study_uid, **about)
        detail = {"actor": asker.actor, "verb": verb, **about}
        add_custody(connection, Hop.CLINIC_ACTED, study_uid, asker.at, detail)
    return act


def _parse_reason(text: str) -> str:
    reason = text.strip()
    if not reason:
        raise NotPossible(NO_REASON)
    if len(reason) > REASON_CHARACTERS_MAX:
        raise NotPossible(TOO_LONG)
    return reason


def _require_possible(journal: Journal, doubt: IdentityDoubt, person: CorrectedPerson) -> None:
    """Let pass what the order can say. One that is not here is judged by the hub."""
    row = find_order(journal, doubt.order_id)
    if row is None:
        return
    try:
        Order.model_validate(row.order.model_dump() | person.changes())
    except ValidationError as exc:
        raise NotPossible(explain_faults(exc)[0].words) from exc
