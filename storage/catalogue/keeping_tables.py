"""Who says how long a study is kept: holds, requests to delete, what was deleted; and who has seen what was set aside.

A hold and a deletion stand in object storage too, so that a new catalogue keeps what must be kept and does not take in
again what was deleted.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from storage.tables import Base


class Hold(Base):
    """A study that must not be deleted, until somebody releases it. Durable: released ones stay, with who and when."""

    __tablename__ = "holds"
    __table_args__ = (
        Index("ix_holds_open", "site_id", "study_uid", postgresql_where=text("released_at IS NULL")),
        Index("ix_holds_unrecorded", "hold_id", postgresql_where=text("NOT is_recorded")),
    )

    hold_id: Mapped[str] = mapped_column(primary_key=True)
    site_id: Mapped[str]
    study_uid: Mapped[str]
    reason: Mapped[str]
    placed_by: Mapped[str]  # account id
    placed_at: Mapped[datetime]
    released_by: Mapped[str | None]
    released_at: Mapped[datetime | None]
    is_recorded: Mapped[bool] = mapped_column(server_default=text("false"))  # object storage says the same


class DeletionRequest(Base):
    """One person asks for a study to be deleted, another one decides."""

    __tablename__ = "deletion_requests"
    __table_args__ = (
        CheckConstraint("decided_by <> requested_by", name="two_persons"),
        CheckConstraint("state IN ('requested', 'approved', 'refused', 'done')", name="state_is_known"),
        Index(
            "uq_deletion_requests_open",
            "site_id",
            "study_uid",
            unique=True,
            postgresql_where=text("state IN ('requested', 'approved')"),
        ),
    )

    request_id: Mapped[str] = mapped_column(primary_key=True)
    site_id: Mapped[str]
    study_uid: Mapped[str]
    reason: Mapped[str]
    state: Mapped[str]
    requested_by: Mapped[str]  # account id
    requested_at: Mapped[datetime]
    decided_by: Mapped[str | None]
    decided_at: Mapped[datetime | None]


class Deletion(Base):
    """What was deleted for good: UIDs and digests, who decided and why; nothing that names the patient."""

    __tablename__ = "deletions"

    site_id: Mapped[str] = mapped_column(primary_key=True)
    study_uid: Mapped[str] = mapped_column(primary_key=True)
    deleted_at: Mapped[datetime]
    content: Mapped[dict[str, Any]]


class QuarantineNote(Base):
    """A person has seen what was set aside of a study for one reason, until then; what comes later is news again."""

    __tablename__ = "quarantine_notes"

    site_id: Mapped[str] = mapped_column(primary_key=True)
    study_uid: Mapped[str] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(primary_key=True)
    note: Mapped[str]
    acknowledged_by: Mapped[str]  # account id
    acknowledged_at: Mapped[datetime]
