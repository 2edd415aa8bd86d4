"""What desks are told while they are open. Rows are kept for an hour: a browser that comes back later loads anew."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from storage.tables import Base


class DeskEvent(Base):
    """Something that a desk shows has changed; ids only.

    Ordered by transaction and number: a transaction that is still open can hide a lower number than one that is seen.
    """

    __tablename__ = "desk_events"
    __table_args__ = (Index("ix_desk_events_order", "transaction_id", "event_id"), Index("ix_desk_events_at", "at"))

    event_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    transaction_id: Mapped[int] = mapped_column(BigInteger, server_default=text("(pg_current_xact_id()::text::bigint)"))
    at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    kind: Mapped[str]  # a CaseEvent, a Hop, or "road" for what a gateway tells of a study
    site_id: Mapped[str]
    case_id: Mapped[str | None]
