"""Periods of duty; what was agreed when, who was who when: the versions of agreements, organisations, people, duty.

No version is ever changed but for the moment of its replacement.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import Date, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from storage.tables import Base


class AgreementVersion(Base):
    """The terms of an agreement from `recorded_at` until `replaced_at`; the one without an end is the present one."""

    __tablename__ = "agreement_versions"
    __table_args__ = (
        Index(
            "uq_agreement_versions_present", "agreement_id", unique=True, postgresql_where=text("replaced_at IS NULL")
        ),
    )

    agreement_id: Mapped[str] = mapped_column(ForeignKey("agreements.agreement_id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # from 1
    requesting_organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.organisation_id"))
    assisting_organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.organisation_id"))
    modalities: Mapped[list[str]]
    body_regions: Mapped[list[str]]
    services: Mapped[list[str]]
    stage: Mapped[int]
    time_limits_min: Mapped[dict[str, Any]]
    valid_from: Mapped[date] = mapped_column(Date)
    valid_until: Mapped[date] = mapped_column(Date)
    cases_per_day_max: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    single_physician: Mapped[bool] = mapped_column(server_default="false")
    recorded_at: Mapped[datetime]
    recorded_by: Mapped[str | None] = mapped_column(ForeignKey("accounts.account_id"))  # nobody: a command on the hub
    recorded_as: Mapped[str] = mapped_column(server_default="")  # who ran the command
    replaced_at: Mapped[datetime | None]


class NetworkVersion(Base):
    """What the network said of one organisation, account, physician or duty from `recorded_at` until `replaced_at`."""

    __tablename__ = "network_versions"
    __table_args__ = (
        Index(
            "uq_network_versions_present",
            "kind",
            "subject_id",
            unique=True,
            postgresql_where=text("replaced_at IS NULL"),
        ),
    )

    kind: Mapped[str] = mapped_column(primary_key=True)  # reading_queue.domain.network_changes.Kind
    subject_id: Mapped[str] = mapped_column(primary_key=True)  # of the organisation, account or physician
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # from 1
    facts: Mapped[dict[str, Any]]  # named as in the network's file
    recorded_at: Mapped[datetime]
    recorded_by: Mapped[str | None] = mapped_column(ForeignKey("accounts.account_id"))  # nobody: a command on the hub
    recorded_as: Mapped[str] = mapped_column(server_default="")  # who ran the command
    replaced_at: Mapped[datetime | None]


class DutyPeriod(Base):
    """One period in which a physician is on duty."""

    __tablename__ = "duty_periods"
    __table_args__ = (Index("ix_duty_periods_physician_id_starts_at", "physician_id", "starts_at"),)

    duty_period_id: Mapped[str] = mapped_column(primary_key=True)
    physician_id: Mapped[str] = mapped_column(ForeignKey("physicians.physician_id"))
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]


class Absence(Base):
    """That a physician is away, from when until when, on duty or not. It is over when it was ended or its time is."""

    __tablename__ = "absences"
    __table_args__ = (
        Index("uq_absences_open", "physician_id", unique=True, postgresql_where=text("ended_at IS NULL")),
        Index("ix_absences_physician_id_since", "physician_id", "since"),
    )

    absence_id: Mapped[str] = mapped_column(primary_key=True)
    physician_id: Mapped[str] = mapped_column(ForeignKey("physicians.physician_id"))
    since: Mapped[datetime]
    until: Mapped[datetime]
    reason: Mapped[str]
    set_by: Mapped[str] = mapped_column(ForeignKey("accounts.account_id"))
    ended_at: Mapped[datetime | None]  # came back, or said so anew
    ended_by: Mapped[str | None] = mapped_column(ForeignKey("accounts.account_id"))
