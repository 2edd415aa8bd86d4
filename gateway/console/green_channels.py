"""Orders of green channels whose report is not here: what stands above the console's lists. Reads the journal only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gateway.console.orders import studies_of_order
from gateway.console.road import Stage
from gateway.console.studies import find_study
from gateway.journal.database import Journal, to_text
from gateway.journal.orders import parse_order
from storage.contract.orders import Order, OrderState

LOOKED_BACK: Final = timedelta(days=1)  # an older one is no emergency any more; its study is in the list
LISTED_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class GreenOrder:
    """One order of a green channel and how far its study is; `stage` is None before the first image."""

    order: Order
    study_uid: str | None
    stage: Stage | None


def list_green_orders(journal: Journal, now: datetime) -> tuple[GreenOrder, ...]:
    """Return the orders of green channels whose signed report is awaited, the oldest first."""
    rows = journal.read(
        "SELECT o.* FROM orders o WHERE o.scheduled_at >= ? AND o.state <> ?"
        " AND json_extract(o.content, '$.green_channel') IS NOT NULL ORDER BY o.scheduled_at, o.rowid LIMIT ?",
        (to_text(now - LOOKED_BACK), OrderState.CANCELLED, LISTED_MAX),
    )
    found = []
    for row in map(parse_order, rows):
        study_uid = next(iter(studies_of_order(journal, row)), None)
        line = find_study(journal, study_uid) if study_uid is not None else None
        if line is None or line.document_id is None:
            found.append(GreenOrder(row.order, study_uid, line.stage if line is not None else None))
    return tuple(found)
