"""Orders (申请单) at the clinic: entered here or fetched from the hub, all of it usable with the line down.

Durable: every function commits one transaction. An order is kept as its newest version; what the hub has not heard of
is what was reported less than its version. Holds patient data: it never enters a log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.journal.database import Journal, to_text
from storage.contract.accession_numbers import accession_number_of, mark_of
from storage.contract.hops import Hop
from storage.contract.identifiers import Uid
from storage.contract.order_merge import merge
from storage.contract.orders import Order, OrderState

PROBLEM_CHARACTERS_MAX: Final = 300
OPEN_STATES: Final = (OrderState.SCHEDULED, OrderState.IN_PROGRESS)
# An examination that is over is still to be read: what its reader is told may be mended until they have signed.
CHANGEABLE_STATES: Final = (*OPEN_STATES, OrderState.DONE)


class StaleOrder(Exception):
    """Somebody else changed the order meanwhile: look at it again."""


class AccessionTaken(Exception):
    """Another order has this accession number."""


@dataclass(frozen=True, slots=True)
class OrderRow:
    """An order, whether the hub has this version, and why not where it refuses it."""

    order: Order
    is_reported: bool
    problem: str | None


def next_accession_number(connection: sqlite3.Connection, site_id: str, gateway_id: str) -> str:
    """Return an accession number that nobody at this site has or will get."""
    row = connection.execute("UPDATE order_numbers SET sequence = sequence + 1 RETURNING sequence").fetchone()
    return accession_number_of(site_id, mark_of(gateway_id), row["sequence"])


def add_order(connection: sqlite3.Connection, order: Order) -> None:
    """Add the first version of an order; the same again changes nothing.

    Raises:
        AccessionTaken: another order has its accession number.
    """
    try:
        connection.execute(
            "INSERT INTO orders (order_id, version, accession_number, study_uid, state, scheduled_at, content)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (order_id) DO NOTHING",
            _values(order),
        )
    except sqlite3.IntegrityError as exc:
        raise AccessionTaken("another order has this accession number") from exc


def change_order(connection: sqlite3.Connection, order: Order) -> None:
    """Put the next version of an order in the place of the one before.

    Raises:
        StaleOrder: the order here is not the version before, or there is none.
    """
    order_id, version, accession_number, study_uid, state, scheduled_at, content = _values(order)
    changed = connection.execute(
        "UPDATE orders SET version = ?, accession_number = ?, study_uid = ?, state = ?, scheduled_at = ?, content = ?,"
        " problem = NULL WHERE order_id = ? AND version = ?",
        (version, accession_number, study_uid, state, scheduled_at, content, order_id, int(version) - 1),
    ).rowcount
    if changed != 1:
        raise StaleOrder("the order was changed meanwhile")


def take_over_orders(journal: Journal, orders: Iterable[Order], through: int) -> bool:
    """Keep what came from the hub where it is newer than what is here; return whether all of it could be.

    What the hub has not heard of yet is merged with it, and goes to the hub as the version after both. An order whose
    accession number another order has here waits: the hub refuses that one, and a person gives it another number. How
    far was fetched (`through`) is noted only where nothing waits.
    """
    is_all_here = True
    with journal.transaction() as connection:
        for order in orders:
            row = connection.execute("SELECT * FROM orders WHERE order_id = ?", (order.order_id,)).fetchone()
            before = parse_order(row) if row is not None else None
            if _is_number_taken(connection, order):
                is_all_here = False
                continue
            connection.execute(
                "INSERT INTO orders (order_id, version, accession_number, study_uid, state, scheduled_at, content,"
                " reported_version) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?2) ON CONFLICT (order_id) DO UPDATE SET"
                " version = ?2, accession_number = ?3, study_uid = ?4, state = ?5, scheduled_at = ?6, content = ?7,"
                " reported_version = ?2, problem = NULL WHERE version < ?2",
                _values(order),
            )
            if before is not None and not before.is_reported:
                merged = merge(before.order, order)
                if merged.version > max(before.order.version, order.version):
                    change_order(connection, merged)
        if is_all_here:
            connection.execute("UPDATE order_numbers SET fetched_through = max(fetched_through, ?)", (through,))
    return is_all_here


def _is_number_taken(connection: sqlite3.Connection, order: Order) -> bool:
    query = "SELECT 1 FROM orders WHERE accession_number = ? AND order_id <> ?"
    return connection.execute(query, (order.accession_number, order.order_id)).fetchone() is not None


def fetched_through(journal: Journal) -> int:
    """Return the number of the hub's newest change that is here."""
    return int(journal.read("SELECT fetched_through FROM order_numbers")[0]["fetched_through"])


def find_order(journal: Journal, order_id: str) -> OrderRow | None:
    """Return the order."""
    rows = journal.read("SELECT * FROM orders WHERE order_id = ?", (order_id,))
    return parse_order(rows[0]) if rows else None


def find_by_accession(journal: Journal, accession_number: str) -> OrderRow | None:
    """Return the order with this accession number."""
    rows = journal.read("SELECT * FROM orders WHERE accession_number = ?", (accession_number,))
    return parse_order(rows[0]) if rows else None


def find_for_study(journal: Journal, study_uid: Uid) -> OrderRow | None:
    """Return the order of a study that has arrived: by its accession number, else by its Study Instance UID."""
    rows = journal.read(
        "SELECT o.* FROM orders o LEFT JOIN studies s ON s.accession_number = o.accession_number AND s.study_uid = ?1"
        " WHERE o.study_uid = ?1 OR s.study_uid = ?1 ORDER BY s.study_uid IS NULL LIMIT 1",
        (study_uid,),
    )
    return parse_order(rows[0]) if rows else None


def find_by_study_uid(journal: Journal, study_uid: Uid) -> OrderRow | None:
    """Return the order for which this Study Instance UID was given out."""
    rows = journal.read("SELECT * FROM orders WHERE study_uid = ? ORDER BY scheduled_at LIMIT 1", (study_uid,))
    return parse_order(rows[0]) if rows else None


def is_reported(journal: Journal, order: Order) -> bool:
    """Return whether the hub has said that a report of the order's study is signed, as far as it was heard of here."""
    told = journal.read(
        "SELECT 1 FROM hub_events WHERE hop = ?1 AND (study_uid = ?2 OR study_uid IN"
        " (SELECT study_uid FROM studies WHERE accession_number = ?3)) LIMIT 1",
        (Hop.SIGNED, order.study_uid, order.accession_number),
    )
    return bool(told)


def list_orders(
    journal: Journal,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    states: Iterable[OrderState] = tuple(OrderState),
    limit: int = 500,
) -> list[OrderRow]:
    """Return orders scheduled from `since` to before `until`, in the order of their time."""
    wanted = [state.value for state in states]
    places = ", ".join("?" for _ in wanted)
    rows = journal.read(
        f"SELECT * FROM orders WHERE state IN ({places})"  # noqa: S608 -- placeholders
        " AND (? IS NULL OR scheduled_at >= ?) AND (? IS NULL OR scheduled_at < ?) ORDER BY scheduled_at LIMIT ?",
        (*wanted, *([to_text(since) if since else None] * 2), *([to_text(until) if until else None] * 2), limit),
    )
    return [parse_order(row) for row in rows]


def unreported_orders(journal: Journal, limit: int) -> list[Order]:
    """Return orders that the hub does not have in their newest version and has not refused."""
    rows = journal.read(
        "SELECT * FROM orders WHERE reported_version < version AND problem IS NULL ORDER BY rowid LIMIT ?", (limit,)
    )
    return [parse_order(row).order for row in rows]


def mark_order_reported(connection: sqlite3.Connection, order: Order) -> None:
    """Record that the hub holds this version."""
    connection.execute(
        "UPDATE orders SET reported_version = max(reported_version, ?), problem = NULL WHERE order_id = ?",
        (order.version, order.order_id),
    )


def note_order_refused(connection: sqlite3.Connection, order_id: str, version: int, problem: str) -> None:
    """Record why the hub does not take this version; a person changes it, which makes it due again."""
    connection.execute(
        "UPDATE orders SET problem = ? WHERE order_id = ? AND version = ?",
        (problem[:PROBLEM_CHARACTERS_MAX], order_id, version),
    )


def refused_orders(journal: Journal, limit: int) -> list[OrderRow]:
    """Return orders that the hub does not take."""
    rows = journal.read("SELECT * FROM orders WHERE problem IS NOT NULL ORDER BY scheduled_at DESC LIMIT ?", (limit,))
    return [parse_order(row) for row in rows]


def _values(order: Order) -> tuple[str | int, ...]:
    return (
        order.order_id,
        order.version,
        order.accession_number,
        order.study_uid,
        order.state,
        to_text(order.scheduled_at),
        order.model_dump_json(),
    )


def parse_order(row: sqlite3.Row) -> OrderRow:
    """Return the order of a whole row of the table."""
    order = Order.model_validate_json(row["content"])
    return OrderRow(order, row["reported_version"] >= row["version"], row["problem"])
