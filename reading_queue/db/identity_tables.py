"""Doubts whether an order and images are of one person, and which orders a person has taken from a study."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from storage.tables import Base


class IdentityConflict(Base):
    """What contradicts between a study of a case and its order, or in the study alone, until somebody settles it.

    `facts_sha256` is a digest of what was compared: what was confirmed once is asked again only when it has changed.
    """

    __tablename__ = "identity_conflicts"
    __table_args__ = (
        Index("ix_identity_conflicts_case_id", "case_id"),
        Index(
            "uq_identity_conflicts_open",
            "case_id",
            "study_uid",
            "order_id",
            unique=True,
            postgresql_where=text("ended_at IS NULL"),
        ),
    )

    conflict_id: Mapped[str] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.case_id"))
    study_uid: Mapped[str]
    order_id: Mapped[str] = mapped_column(server_default="")  # empty: the images contradict themselves
    mismatches: Mapped[list[str]]  # reading_queue.domain.identity.Mismatch
    facts_sha256: Mapped[str]
    found_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[str | None] = mapped_column(ForeignKey("accounts.account_id"))  # nobody: nothing contradicts now
    settlement: Mapped[str | None]  # reading_queue.domain.identity.Settlement
    reason: Mapped[str] = mapped_column(server_default="")


class UnlinkedOrder(Base):
    """A person has said that an order is not of this study, although number or UID say so."""

    __tablename__ = "unlinked_orders"

    order_id: Mapped[str] = mapped_column(ForeignKey("orders.order_id"), primary_key=True)
    site_id: Mapped[str] = mapped_column(primary_key=True)
    study_uid: Mapped[str] = mapped_column(primary_key=True)
    unlinked_at: Mapped[datetime]
    unlinked_by: Mapped[str] = mapped_column(ForeignKey("accounts.account_id"))
    reason: Mapped[str]
