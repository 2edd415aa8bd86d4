"""What arriving images mean for orders: for scanners that report no performed steps, and for orders that come late.

An order whose images are complete here has been done. A study on its way whose order is more urgent overtakes.
Durable: both, in the journal. Volatile: nothing. A scanner that began to report is waited for, but not for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from gateway.journal.actions import record_action
from gateway.journal.database import Journal
from gateway.journal.orders import change_order, find_order
from gateway.journal.performed_steps import orders_with_images, studies_with_orders
from gateway.journal.transfer_changes import change_lane
from gateway.lanes import is_more_urgent
from storage.contract.orders import Order, OrderState

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 5.0
AT_ONCE_MAX: Final = 200
STEP_GIVEN_UP_AFTER: Final = timedelta(hours=12)  # a scanner that was switched off in the middle
GATEWAY: Final = "gateway"


class ArrivedOrders:
    """One step of a `Loop`."""

    def __init__(self, journal: Journal, clock: Callable[[], datetime]) -> None:
        self._journal = journal
        self._clock = clock

    def step(self) -> float:
        """Move what is due; return the seconds to wait."""
        now = self._clock()
        done = orders_with_images(self._journal, now - STEP_GIVEN_UP_AFTER, AT_ONCE_MAX)
        for order_id in done:
            self._finish(order_id, now)
        self._hurry(now)
        return 0.0 if len(done) == AT_ONCE_MAX else LOOK_EVERY_S

    def _finish(self, order_id: str, now: datetime) -> None:
        with self._journal.transaction() as connection:
            row = find_order(self._journal, order_id)
            if row is None:
                return
            changes = {"state": OrderState.DONE, "version": row.order.version + 1, "changed_at": now}
            order = Order.model_validate(row.order.model_dump() | changes)
            change_order(connection, order)
            record_action(connection, now, GATEWAY, "exam_seen", order_id, version=order.version)
        log.info("order_done_by_its_images", order_id=order_id)

    def _hurry(self, now: datetime) -> None:
        for study_uid, lane, wanted in studies_with_orders(self._journal):
            if is_more_urgent(wanted, lane):
                with self._journal.transaction() as connection:
                    change_lane(connection, now, study_uid, wanted)
                    record_action(connection, now, GATEWAY, "lane", study_uid, lane=wanted)
                log.info("study_hurried_by_its_order", study_uid=study_uid, lane=wanted)
