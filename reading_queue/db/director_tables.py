"""Who is duty director (总值班) of which organisation, and what each of them was told."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from storage.tables import Base


class DutyDirector(Base):
    """One person's duty as director of an organisation, as it is written; its versions are in `network_versions`."""

    __tablename__ = "duty_directors"
    __table_args__ = (Index("ix_duty_directors_account_id", "account_id"),)

    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.organisation_id"), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.account_id"), primary_key=True)
    duty: Mapped[Any] = mapped_column(JSONB)  # "always", a weekly roster or periods; [] is nobody any more


class DirectorNotice(Base):
    """That a director was told of an escalation, because of whose duty. Who acknowledges is with the escalation."""

    __tablename__ = "director_notices"
    __table_args__ = (
        UniqueConstraint("escalation_id", "account_id"),
        Index("ix_director_notices_account_id_told_at", "account_id", "told_at"),
    )

    notice_id: Mapped[str] = mapped_column(primary_key=True)
    escalation_id: Mapped[str] = mapped_column(ForeignKey("escalations.escalation_id"))
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.account_id"))
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.organisation_id"))  # whose director
    told_at: Mapped[datetime]
