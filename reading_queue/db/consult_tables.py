"""Opinions that the holder of a case asks for up the line, and lists of cases for conferences."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import Date, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from storage.tables import Base


class Consult(Base):
    """One consultation (会诊): a hospital is asked for its opinion on a case that stays with who asks."""

    __tablename__ = "consults"
    __table_args__ = (
        Index("ix_consults_case_id", "case_id"),
        Index("uq_consults_open", "case_id", unique=True, postgresql_where=text("ended_at IS NULL")),
        Index("ix_consults_of_hospital", "organisation_id", postgresql_where=text("ended_at IS NULL")),
        Index("ix_consults_accepted_by", "accepted_by"),
        Index("ix_consults_asked_by", "asked_by"),
        Index("ix_consults_due", "due_at", postgresql_where=text("ended_at IS NULL")),
    )

    consult_id: Mapped[str] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.case_id"))
    reading_task_id: Mapped[str] = mapped_column(ForeignKey("reading_tasks.reading_task_id"))
    asked_by: Mapped[str] = mapped_column(ForeignKey("physicians.physician_id"))
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.organisation_id"))  # who is asked
    could_be_asked: Mapped[list[str]] = mapped_column(server_default="[]")  # hospitals, this one among them
    agreement_id: Mapped[str] = mapped_column(ForeignKey("agreements.agreement_id"))
    question: Mapped[str]
    asked_at: Mapped[datetime]
    due_at: Mapped[datetime]  # its own clock; that of the case runs on
    state: Mapped[str]  # reading_queue.domain.consults.ConsultState
    accepted_by: Mapped[str | None] = mapped_column(ForeignKey("physicians.physician_id"))
    accepted_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    words: Mapped[str] = mapped_column(server_default="")  # the opinion, or why there is none
    report_id: Mapped[str | None] = mapped_column(ForeignKey("reports.report_id"))  # the version it belongs to


class MdtEntry(Base):
    """A case on a hospital's list for a conference of several disciplines."""

    __tablename__ = "mdt_entries"
    __table_args__ = (Index("ix_mdt_entries_of_hospital", "organisation_id", "meets_on"),)

    mdt_id: Mapped[str] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.case_id"), index=True)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.organisation_id"))
    asked_by: Mapped[str] = mapped_column(ForeignKey("accounts.account_id"))
    asked_at: Mapped[datetime]
    question: Mapped[str]
    meets_on: Mapped[date] = mapped_column(Date)
    participants: Mapped[str] = mapped_column(server_default="")
    outcome: Mapped[str] = mapped_column(server_default="")
    outcome_at: Mapped[datetime | None]
    outcome_by: Mapped[str | None] = mapped_column(ForeignKey("accounts.account_id"))
