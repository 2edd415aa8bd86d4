"""Who is told of workitems over UPS-RS, what has happened to them of late, and what their performers said."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from storage.tables import Base


class WorkitemEvent(Base):
    """Something that subscribers of a workitem are told; ordered as `DeskEvent`, kept for a day."""

    __tablename__ = "workitem_events"
    __table_args__ = (
        Index("ix_workitem_events_order", "transaction_id", "event_id"),
        Index("ix_workitem_events_at", "at"),
    )

    event_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    transaction_id: Mapped[int] = mapped_column(BigInteger, server_default=text("(pg_current_xact_id()::text::bigint)"))
    at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    reading_task_id: Mapped[str]
    event_type: Mapped[int]  # Event Type ID of PS3.4 Table CC.2.4-1
    state: Mapped[str]  # of the reading task, after the event
    detail: Mapped[dict[str, Any]]
    only_for: Mapped[str | None]  # the one subscriber that is told how a workitem stands, having just subscribed


class WorkitemSubscriber(Base):
    """An application entity that is told, bound to the account that subscribed it; and how far it was told."""

    __tablename__ = "workitem_subscribers"

    ae_title: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.account_id"), index=True)
    subscribed_at: Mapped[datetime]
    scope: Mapped[str] = mapped_column(server_default="")  # the well-known UID of its global subscription
    filter: Mapped[dict[str, Any]] = mapped_column(server_default="{}")  # `query`: names and values
    deletion_lock: Mapped[bool] = mapped_column(server_default=text("false"))
    suspended_at: Mapped[datetime | None]  # workitems made later are not subscribed to
    told_transaction_id: Mapped[int] = mapped_column(BigInteger)
    told_event_id: Mapped[int] = mapped_column(BigInteger)
    told_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    told_going_down: Mapped[bool] = mapped_column(server_default=text("false"))


class WorkitemSubscription(Base):
    """Whether a subscriber is told of one workitem; goes before its global subscription."""

    __tablename__ = "workitem_subscriptions"

    ae_title: Mapped[str] = mapped_column(
        ForeignKey("workitem_subscribers.ae_title", ondelete="CASCADE"), primary_key=True
    )
    reading_task_id: Mapped[str] = mapped_column(
        ForeignKey("reading_tasks.reading_task_id"), primary_key=True, index=True
    )
    is_subscribed: Mapped[bool]
    deletion_lock: Mapped[bool] = mapped_column(server_default=text("false"))


class WorkitemProgress(Base):
    """What a performer said of a reading task over UPS-RS."""

    __tablename__ = "workitem_progress"

    reading_task_id: Mapped[str] = mapped_column(ForeignKey("reading_tasks.reading_task_id"), primary_key=True)
    percent: Mapped[str] = mapped_column(server_default="")  # (0074,1004) as said
    description: Mapped[str] = mapped_column(server_default="")  # (0074,1006)
    performed: Mapped[dict[str, Any]] = mapped_column(server_default="{}")  # (0074,1216), its one item
    reason: Mapped[str] = mapped_column(server_default="")  # a code of CID 9303, for when it is cancelled
    changed_at: Mapped[datetime]
