"""The versions of orders and by what they are found, what readers were told of them, and notes after the signature."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import ForeignKey, Index, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from reading_queue.db.tables import ClinicOrder
from storage.tables import Base


class OrderVersion(Base):
    """One version of an order, never changed. Who wrote it: an account of the hub, else the gateway that brought it."""

    __tablename__ = "order_versions"

    order_id: Mapped[str] = mapped_column(ForeignKey("orders.order_id"), primary_key=True)
    order_version: Mapped[int] = mapped_column(primary_key=True)
    content: Mapped[dict[str, Any]]  # storage.contract.orders.Order
    changed: Mapped[list[str]]  # names of the fields that differ from the version before
    recorded_at: Mapped[datetime]
    account_id: Mapped[str | None] = mapped_column(ForeignKey("accounts.account_id"))
    gateway_id: Mapped[str | None] = mapped_column(ForeignKey("gateways.gateway_id"))


class OrderNews(Base):
    """An order came or was changed while its case was being read; who reads it confirms it before they sign."""

    __tablename__ = "order_news"
    __table_args__ = (Index("ix_order_news_unseen", "case_id", postgresql_where=text("seen_at IS NULL")),)

    case_id: Mapped[str] = mapped_column(ForeignKey("cases.case_id"), primary_key=True)
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.order_id"), primary_key=True)
    order_version: Mapped[int] = mapped_column(primary_key=True)
    fields: Mapped[list[str]]  # reading_queue.domain.order_changes.TOLD, or ADDED
    told_at: Mapped[datetime]
    seen_at: Mapped[datetime | None]
    seen_by: Mapped[str | None] = mapped_column(ForeignKey("accounts.account_id"))


class OrderNote(Base):
    """What the site had to say about an order that could not be changed any more: its report was signed."""

    __tablename__ = "order_notes"

    note_id: Mapped[str] = mapped_column(primary_key=True)
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.order_id"), index=True)
    written_at: Mapped[datetime]
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.account_id"))
    words: Mapped[str]


class OrderSearch(Base):
    """By what an order is found: `storage.catalogue.order_keys`, of its newest version."""

    __tablename__ = "order_search"
    __table_args__ = (Index("ix_order_search_keys", "keys", postgresql_using="gin"),)

    order_id: Mapped[str] = mapped_column(ForeignKey("orders.order_id"), primary_key=True)
    keys: Mapped[list[str]] = mapped_column(ARRAY(Text))


# Beside the table's own, for lists of orders in the order of their changes.
STATES_IN_ORDER: Final = Index("ix_orders_state_changes", ClinicOrder.state, ClinicOrder.change_number)
LANES_IN_ORDER: Final = Index("ix_orders_lane_changes", ClinicOrder.lane, ClinicOrder.change_number)
