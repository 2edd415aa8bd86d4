"""How long order messages are kept: what nothing has to be done about goes after `order_messages_keep_days`.

Never what was refused, or taken with something left out, before a person has settled it. The orders stay; what the
messages said of patients beside them goes with the rows, and the audit trail says how many went, of which site. The
same message that comes again later is decided on anew: an order that is here by its placer's number is not made twice.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy import delete, func, select

from reading_queue.db.message_tables import NEEDS_NOBODY, OrderMessage
from reading_queue.services.hub import Hub
from reading_queue.services.orders.order_entry import ORDER_RECORD
from storage.ledger.tables import AuditEvent

log = structlog.get_logger(__name__)

BATCH: Final = 200  # rows one run takes


def prune_order_messages(hub: Hub) -> int:
    """Delete messages that have needed nobody for longer than the policy keeps them. Return how many."""
    now = hub.clock()
    before = now - timedelta(days=hub.policy.order_messages_keep_days)
    done_at = func.coalesce(OrderMessage.settled_at, OrderMessage.decided_at)
    old = select(OrderMessage.message_id).where(NEEDS_NOBODY, done_at < before)
    old = old.order_by(done_at).limit(BATCH).with_for_update(skip_locked=True)
    went: dict[str, list[int]] = defaultdict(list)
    with hub.transaction() as session:
        gone = delete(OrderMessage).where(OrderMessage.message_id.in_(old))
        for site_id, message_id in session.execute(gone.returning(OrderMessage.site_id, OrderMessage.message_id)):
            went[site_id].append(message_id)
        for site_id, message_ids in sorted(went.items()):
            session.add(
                AuditEvent(
                    at=now,
                    event_code=ORDER_RECORD,
                    action="D",
                    account_id=None,
                    object_kind="order_message",
                    object_id=str(max(message_ids)),
                    site_id=site_id,
                    detail={"act": "forgotten", "count": len(message_ids), "first": min(message_ids)},
                )
            )
            log.info("order_messages_forgotten", site_id=site_id, count=len(message_ids))
    return sum(len(message_ids) for message_ids in went.values())
