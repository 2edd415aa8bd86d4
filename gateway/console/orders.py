"""The clinic's orders as its people look for them, and the studies that came of them. Reads the journal only.

A name typed into the search is looked for in the journal and nowhere else: it enters no address and no log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from gateway.console.studies import start_of_day
from gateway.journal.database import Journal, to_text
from gateway.journal.orders import OPEN_STATES, OrderRow, parse_order
from storage.contract.orders import OrderState

ROWS: Final = 200
SEARCH_CHARACTERS_MAX: Final = 64
_SEARCHED: Final = (
    "o.accession_number",
    "json_extract(o.content, '$.patient_number')",
    "json_extract(o.content, '$.patient_name')",
    "replace(json_extract(o.content, '$.patient_name'), '^', '')",
    "replace(json_extract(o.content, '$.patient_name'), '^', ' ')",
    "json_extract(o.content, '$.patient_name_latin')",
    "replace(json_extract(o.content, '$.patient_name_latin'), '^', ' ')",
)


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """What a list is asked for; all that is given must hold."""

    text: str = ""
    day: date | None = None
    state: OrderState | None = None


@dataclass(frozen=True, slots=True)
class OrderLine:
    """One order in a list, and the study that came of it."""

    row: OrderRow
    study_uid: str | None


@dataclass(frozen=True, slots=True)
class OrderList:
    """Some orders, the newest first. `is_cut`: there are more than a page shows."""

    lines: tuple[OrderLine, ...]
    is_cut: bool


def list_order_lines(
    journal: Journal, wanted: OrderFilter, now: datetime, zone: ZoneInfo, worklist_days: float
) -> OrderList:
    """Return the orders that fit. Without a filter: today's, and what is still open on the worklist."""
    condition, values = _condition(wanted, now, zone, worklist_days)
    found = journal.read(
        f"SELECT o.* FROM orders o WHERE {condition}"  # noqa: S608 -- built of constants
        f" ORDER BY o.scheduled_at DESC, o.rowid DESC LIMIT {ROWS + 1}",
        values,
    )
    rows = [parse_order(row) for row in found[:ROWS]]
    studies = _studies_of(journal, rows)
    lines = tuple(OrderLine(row, next(iter(studies[row.order.order_id]), None)) for row in rows)
    return OrderList(lines, is_cut=len(found) > ROWS)


def studies_of_order(journal: Journal, row: OrderRow) -> list[str]:
    """Return the Study Instance UIDs of what arrived for an order: under its accession number, else under its UID."""
    return _studies_of(journal, [row])[row.order.order_id]


def _studies_of(journal: Journal, rows: Sequence[OrderRow]) -> dict[str, list[str]]:
    places = ", ".join("?" for _ in rows)
    numbers = [row.order.accession_number for row in rows]
    uids = [row.order.study_uid for row in rows]
    found = journal.read(
        "SELECT s.study_uid, s.accession_number, EXISTS (SELECT 1 FROM orders o"  # noqa: S608 -- placeholders
        "  WHERE o.accession_number = s.accession_number AND s.accession_number <> '') AS has_order"
        f" FROM studies s WHERE s.accession_number IN ({places}) OR s.study_uid IN ({places})"
        " ORDER BY s.first_received_at",
        (*numbers, *uids),
    )
    return {
        row.order.order_id: [
            one["study_uid"]
            for one in found
            if one["accession_number"] == row.order.accession_number
            or (one["study_uid"] == row.order.study_uid and not one["has_order"])
        ]
        for row in rows
    }


def _condition(
    wanted: OrderFilter, now: datetime, zone: ZoneInfo, worklist_days: float
) -> tuple[str, tuple[object, ...]]:
    parts: list[str] = []
    values: list[object] = []
    if wanted.text:
        pattern = "%" + wanted.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        parts.append("(" + " OR ".join(f"{column} LIKE ? ESCAPE '\\'" for column in _SEARCHED) + ")")
        values += [pattern] * len(_SEARCHED)
    if wanted.day is not None:
        parts.append("o.scheduled_at >= ? AND o.scheduled_at < ?")
        values += _span_of(wanted.day, zone)
    if wanted.state is not None:
        parts.append("o.state = ?")
        values.append(wanted.state.value)
    if not parts:
        begins, ends = _span_of(now.astimezone(zone).date(), zone)
        open_states = ", ".join("?" for _ in OPEN_STATES)
        parts.append(
            f"((o.scheduled_at >= ? AND o.scheduled_at < ?) OR (o.scheduled_at >= ? AND o.state IN ({open_states})))"
        )
        values += [begins, ends, to_text(now - timedelta(days=worklist_days)), *(one.value for one in OPEN_STATES)]
    return " AND ".join(parts), tuple(values)


def _span_of(day: date, zone: ZoneInfo) -> tuple[str, str]:
    return to_text(start_of_day(day, zone)), to_text(start_of_day(day + timedelta(days=1), zone))
