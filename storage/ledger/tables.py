"""Sites, gateway keys, custody, audit and the outbox."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Identity, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from storage.tables import Base


class Site(Base):
    """An organisation that sends studies through a gateway."""

    __tablename__ = "sites"

    site_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    time_zone: Mapped[str] = mapped_column(server_default="Asia/Shanghai")
    created_at: Mapped[datetime]


class Enrolment(Base):
    """A one-time enrolment code, kept as a hash."""

    __tablename__ = "enrolments"

    code_sha256: Mapped[str] = mapped_column(primary_key=True)
    site_id: Mapped[str | None] = mapped_column(ForeignKey("sites.site_id"))
    reads_for: Mapped[str | None]  # instead of a site: the organisation whose physicians the gateway serves
    issued_by: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    used_by_gateway_id: Mapped[str | None]


class Gateway(Base):
    """A gateway's identity: its public key and when it was last heard of."""

    __tablename__ = "gateways"

    gateway_id: Mapped[str] = mapped_column(primary_key=True)
    site_id: Mapped[str | None] = mapped_column(ForeignKey("sites.site_id"), index=True)
    reads_for: Mapped[str | None]  # instead of a site: the organisation whose physicians it serves
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    software_version: Mapped[str]
    enrolled_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    last_seen_at: Mapped[datetime | None]
    clock_offset_ms: Mapped[int | None]  # gateway minus hub, as last measured
    asked_for_priors_at: Mapped[datetime | None]  # it can fetch from the site's PACS; None: it never asked what
    custody_through: Mapped[int] = mapped_column(server_default="0")  # its events up to this number are in the ledger


class UsedNonce(Base):
    """A nonce that a signed request has spent; pruned when it could no longer be accepted anyway."""

    __tablename__ = "used_nonces"

    nonce: Mapped[str] = mapped_column(primary_key=True)
    used_at: Mapped[datetime] = mapped_column(index=True)


class CustodyEvent(Base):
    """One line of the ledger: what happened to which study or instance, where, when, by whom.

    `event_key` makes every event idempotent: `<gateway>:<seq>` from a gateway, a name of the hub's own otherwise.
    """

    __tablename__ = "custody_events"
    __table_args__ = (
        Index("ix_custody_events_site_study", "site_id", "study_uid"),
        Index("ix_custody_events_study", "study_uid"),
        Index("ix_custody_events_case", "case_id", postgresql_where=text("case_id IS NOT NULL")),
        Index(
            "ix_custody_events_attention",
            "received_at",
            postgresql_where=text("hop IN ('quarantined', 'refused', 'late_images')"),
        ),
        Index("ix_custody_events_site_hub", "site_id", "received_at", postgresql_where=text("place = 'hub'")),
        Index("ix_custody_events_source", "place", "source_seq", postgresql_where=text("source_seq IS NOT NULL")),
    )

    event_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    event_key: Mapped[str] = mapped_column(unique=True)
    hop: Mapped[str]
    site_id: Mapped[str]
    study_uid: Mapped[str]
    sop_instance_uid: Mapped[str | None]
    case_id: Mapped[str | None] = mapped_column(index=True)
    place: Mapped[str]  # "gateway:<id>" or "hub"
    actor: Mapped[str | None]  # account id of a person, None for the system
    at: Mapped[datetime]  # the source's own clock
    received_at: Mapped[datetime]  # the hub's clock
    source_seq: Mapped[int | None]
    clock_offset_ms: Mapped[int | None]  # source minus hub, as last measured
    detail: Mapped[dict[str, Any]]


class AuditEvent(Base):
    """Who looked at, changed or exported what (PS3.15 A.5)."""

    __tablename__ = "audit_events"

    audit_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    event_code: Mapped[str]  # DCM event id, e.g. 110103
    action: Mapped[str]  # C, R, U, D or E
    account_id: Mapped[str | None] = mapped_column(index=True)
    object_kind: Mapped[str]
    object_id: Mapped[str]
    site_id: Mapped[str | None]
    outcome: Mapped[str] = mapped_column(server_default="success")
    detail: Mapped[dict[str, Any]]


class OutboxMessage(Base):
    """A job to launch: written in the transaction of the state change, published by the relay.

    Durable until long after it was published. `due_at` is the only timer there is; the message on the broker is a hint.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_unpublished", "due_at", "message_id", postgresql_where=text("published_at IS NULL")),
        Index("ix_outbox_published", "published_at", postgresql_where=text("published_at IS NOT NULL")),
        Index("ix_outbox_subject", "subject_id", "job"),
    )

    message_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    job: Mapped[str]  # the job's name, `area.verb`
    subject_id: Mapped[str]  # what the job is about: its one argument
    arguments: Mapped[dict[str, Any]]  # ids only
    created_at: Mapped[datetime]
    due_at: Mapped[datetime]
    published_at: Mapped[datetime | None]


class DeadJob(Base):
    """A job that failed for good, kept for a person to retry or to dismiss; open while it is neither."""

    __tablename__ = "dead_jobs"
    __table_args__ = (
        Index("ix_dead_jobs_unretried", "subject_id", "job", postgresql_where=text("retried_at IS NULL")),
    )

    dead_job_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    job: Mapped[str]
    subject_id: Mapped[str]  # what the job is about: its one argument
    arguments: Mapped[dict[str, Any]]
    failed_at: Mapped[datetime]
    reason: Mapped[str]  # the exception's class and our own words; never its arguments
    retried_at: Mapped[datetime | None]
    dismissed_at: Mapped[datetime | None]
    settled_by: Mapped[str | None]  # account id of who retried or dismissed it; None: a sweep, or the console
    note: Mapped[str | None]  # why it was dismissed


OPEN_DEAD_JOB = DeadJob.retried_at.is_(None) & DeadJob.dismissed_at.is_(None)


class Redelivery(Base):
    """How often in a row the broker delivered a job again because its process ended without an outcome."""

    __tablename__ = "redeliveries"

    subject_id: Mapped[str] = mapped_column(primary_key=True)  # what the job is about: its one argument
    job: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int]
    last_at: Mapped[datetime]
