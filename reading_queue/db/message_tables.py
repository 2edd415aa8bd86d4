"""HL7 messages that bring orders to the hub, what became of each, and how their senders number the orders."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Identity, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from storage.tables import Base

NEEDS_SOMEBODY = text("settled_at IS NULL AND (state <> 'taken' OR faults <> '[]')")
NEEDS_NOBODY = text("(settled_at IS NOT NULL OR (state = 'taken' AND faults = '[]'))")


class OrderMessage(Base):
    """One message, kept before it was answered. `content` is sealed (services.order_messages.sealing).

    `faults` of one that was taken are what was left out of its orders. Settled: somebody said that nothing has to be
    done about it any more.
    """

    __tablename__ = "order_messages"
    __table_args__ = (
        UniqueConstraint("site_id", "sender_name", "sender", "control_id", "digest"),
        Index("ix_order_messages_open", "site_id", "message_id", postgresql_where=NEEDS_SOMEBODY),
        Index("ix_order_messages_waiting", "message_id", postgresql_where=text("state = 'received'")),
        Index("ix_order_messages_done", text("coalesce(settled_at, decided_at)"), postgresql_where=NEEDS_NOBODY),
    )

    message_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    site_id: Mapped[str]  # as the settings say of the sender; it need not be in the network
    sender_name: Mapped[str]  # as the settings call the sender
    address: Mapped[str]
    sender: Mapped[str]  # MSH-3 and MSH-4
    control_id: Mapped[str]  # MSH-10
    kind: Mapped[str]  # MSH-9
    digest: Mapped[str]  # SHA-256 of the message as it came
    content: Mapped[bytes]
    received_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(server_default="received")  # received, taken or refused
    code: Mapped[str] = mapped_column(server_default="")  # AA, AE or AR
    answer: Mapped[bytes | None]  # the acknowledgement, the same for every repetition
    faults: Mapped[list[dict[str, Any]]] = mapped_column(server_default="[]")  # storage.hl7.faults.Fault
    order_ids: Mapped[list[str]] = mapped_column(server_default="[]")
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[str | None] = mapped_column(ForeignKey("accounts.account_id"))  # who had it tried again
    settled_at: Mapped[datetime | None]
    settled_by: Mapped[str | None] = mapped_column(ForeignKey("accounts.account_id"))
    note: Mapped[str] = mapped_column(server_default="")  # why nothing has to be done

    @property
    def needs_somebody(self) -> bool:
        """Whether it was not taken, or taken with something left out, and nobody has settled it."""
        return self.settled_at is None and (self.state != "taken" or bool(self.faults))


class OrderCorrection(Base):
    """The order that a person made of one order of a refused message; it goes with the message, the order stays."""

    __tablename__ = "message_corrections"

    message_id: Mapped[int] = mapped_column(
        ForeignKey("order_messages.message_id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True)  # in the message, from 1
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.order_id"), unique=True)
    faults: Mapped[list[dict[str, Any]]]  # for which the message was refused
    at: Mapped[datetime]
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.account_id"))


class PlacerOrder(Base):
    """By which number a sender knows an order: ORC-2 within its namespace, of one site."""

    __tablename__ = "placer_orders"

    site_id: Mapped[str] = mapped_column(ForeignKey("sites.site_id"), primary_key=True)
    namespace: Mapped[str] = mapped_column(primary_key=True)
    placer_number: Mapped[str] = mapped_column(primary_key=True)
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.order_id"), index=True)


class RefusedConnection(Base):
    """How often an address was refused a connection for order messages, for one reason."""

    __tablename__ = "refused_connections"

    address: Mapped[str] = mapped_column(primary_key=True)
    why: Mapped[str] = mapped_column(primary_key=True)  # in words, constant
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    count: Mapped[int]
