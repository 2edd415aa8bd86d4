"""What happens to a case beside being read: questions to its site, what its clock asks for, amendments."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from storage.tables import Base


class InformationRequest(Base):
    """What the holder of a case asks its site for (待补充资料); the case is on hold while one is open."""

    __tablename__ = "information_requests"
    __table_args__ = (
        Index("ix_information_requests_case_id", "case_id"),
        Index("uq_information_requests_open", "case_id", unique=True, postgresql_where=text("ended_at IS NULL")),
    )

    request_id: Mapped[str] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.case_id"))
    reading_task_id: Mapped[str] = mapped_column(ForeignKey("reading_tasks.reading_task_id"))
    asked_by: Mapped[str] = mapped_column(ForeignKey("accounts.account_id"))
    asked_at: Mapped[datetime]
    wants: Mapped[list[str]]  # reading_queue.domain.information.Wanted
    question: Mapped[str]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None]  # reading_queue.domain.information.Outcome
    answer: Mapped[str] = mapped_column(server_default="")
    answered_by: Mapped[str | None] = mapped_column(ForeignKey("accounts.account_id"))


class Addendum(Base):
    """Why a signed report is written again: an addition, a correction, or images that came too late."""

    __tablename__ = "addenda"
    __table_args__ = (
        Index("ix_addenda_case_id", "case_id"),
        Index("uq_addenda_open", "case_id", unique=True, postgresql_where=text("ended_at IS NULL")),
    )

    addendum_id: Mapped[str] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.case_id"))
    kind: Mapped[str]  # storage.contract.signed_report.AmendmentKind
    reason: Mapped[str]
    opened_at: Mapped[datetime]
    opened_by: Mapped[str | None] = mapped_column(ForeignKey("accounts.account_id"))  # nobody: late images
    ended_at: Mapped[datetime | None]
    report_id: Mapped[str | None] = mapped_column(ForeignKey("reports.report_id"))  # none: there was nothing to say


class EscalationRow(Base):
    """That the clock of a case asked for more, until it was settled; one is open of each kind."""

    __tablename__ = "escalations"
    __table_args__ = (
        Index("ix_escalations_case_id", "case_id"),
        Index("uq_escalations_open", "case_id", "kind", unique=True, postgresql_where=text("ended_at IS NULL")),
    )

    escalation_id: Mapped[str] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.case_id"))
    kind: Mapped[str]  # reading_queue.domain.escalation.Escalation
    raised_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    acknowledged_at: Mapped[datetime | None]
    acknowledged_by: Mapped[str | None] = mapped_column(ForeignKey("accounts.account_id"))
    looked_at: Mapped[datetime | None]  # whether directors are to be told further; written where many are open


class Voiding(Base):
    """Somebody says that a case was signed about the wrong patient (作废); a second person decides."""

    __tablename__ = "voidings"
    __table_args__ = (
        Index("ix_voidings_case_id", "case_id"),
        Index("uq_voidings_open", "case_id", unique=True, postgresql_where=text("ended_at IS NULL")),
    )

    voiding_id: Mapped[str] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.case_id"))
    reason: Mapped[str]
    asked_by: Mapped[str] = mapped_column(ForeignKey("accounts.account_id"))
    asked_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[str | None] = mapped_column(ForeignKey("accounts.account_id"))
    is_void: Mapped[bool] = mapped_column(server_default="false")
    refusal: Mapped[str] = mapped_column(server_default="")


class PreliminaryAcknowledgement(Base):
    """The site's first word that it has seen a preliminary report, and who was told there."""

    __tablename__ = "preliminary_acknowledgements"

    submission_id: Mapped[str] = mapped_column(ForeignKey("submissions.submission_id"), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.account_id"))
    told: Mapped[str]
    at: Mapped[datetime]  # by the site's own clock
    received_at: Mapped[datetime]
