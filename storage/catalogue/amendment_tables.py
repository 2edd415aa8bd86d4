"""Corrections, and what they make of the catalogue. Beside them, every row says what the bytes say.

Durable: every correction, the withdrawn ones too. The other tables follow from corrections and packs.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import Date, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from storage.tables import Base


class Amendment(Base):
    """One correction (`storage.catalogue.amendment_records`); `study_uid` is empty when it is about patients."""

    __tablename__ = "amendments"
    __table_args__ = (
        UniqueConstraint("site_id", "study_uid", "number"),
        Index("ix_amendments_unrecorded", "step", postgresql_where=text("NOT is_recorded")),
    )

    amendment_id: Mapped[str] = mapped_column(primary_key=True)
    site_id: Mapped[str]
    study_uid: Mapped[str]
    number: Mapped[int]
    step: Mapped[int] = mapped_column(unique=True)
    kind: Mapped[str]
    content: Mapped[dict[str, Any]]
    reason: Mapped[str]
    made_by: Mapped[str | None]  # account id
    made_at: Mapped[datetime]
    withdrawn_by_id: Mapped[str | None]  # the withdrawal's amendment_id
    is_recorded: Mapped[bool] = mapped_column(server_default=text("false"))  # object storage says the same


class Refiling(Base):
    """A study that is shown with another patient than its own headers name, and what those say.

    `filed_under_id`: where a person put it; None when it follows its own record, which was merged into another one.
    """

    __tablename__ = "refilings"

    study_id: Mapped[str] = mapped_column(ForeignKey("studies.study_id"), primary_key=True)
    filed_under_id: Mapped[str | None] = mapped_column(ForeignKey("patients.patient_id"), index=True)
    own_patient_id: Mapped[str] = mapped_column(ForeignKey("patients.patient_id"), index=True)
    own_name: Mapped[str]
    own_birth_date: Mapped[date | None] = mapped_column(Date)
    own_sex: Mapped[str]


class RejectedInstance(Base):
    """An instance that a rejection note names, whether it is held yet or not; or the note itself."""

    __tablename__ = "rejected_instances"

    site_id: Mapped[str] = mapped_column(primary_key=True)
    study_uid: Mapped[str] = mapped_column(primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    amendment_id: Mapped[str] = mapped_column(ForeignKey("amendments.amendment_id"), primary_key=True)
    code: Mapped[str]
    is_note: Mapped[bool]
