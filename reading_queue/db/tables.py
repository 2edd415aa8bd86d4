"""Organisations, people, cases, reading tasks and reports.

The states of a case and of a reading task are those of `reading_queue.domain.transitions`; `version` guards every
change of them.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import Date, ForeignKey, Identity, Index, LargeBinary, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from storage.tables import Base


class Organisation(Base):
    """A hospital or clinic; `site_id` is set when it sends studies through a gateway."""

    __tablename__ = "organisations"

    organisation_id: Mapped[str] = mapped_column(primary_key=True)  # a readable code, e.g. "qinghe-01"
    kind: Mapped[str]  # township, county, municipal, provincial
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("organisations.organisation_id"))
    name: Mapped[str]
    name_en: Mapped[str] = mapped_column(server_default="")
    site_id: Mapped[str | None] = mapped_column(ForeignKey("sites.site_id"), unique=True)
    time_zone: Mapped[str] = mapped_column(server_default="Asia/Shanghai")  # of its rosters


class Agreement(Base):
    """Who reads for whom (结对协议)."""

    __tablename__ = "agreements"

    agreement_id: Mapped[str] = mapped_column(primary_key=True)
    requesting_organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.organisation_id"), index=True)
    assisting_organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.organisation_id"), index=True)
    modalities: Mapped[list[str]]  # DICOM modality codes; empty means all
    body_regions: Mapped[list[str]]  # empty means all
    services: Mapped[list[str]]  # e.g. "interpretation", "verification"
    stage: Mapped[int]  # 1 reads first; higher stages stand behind
    time_limits_min: Mapped[dict[str, Any]]  # urgency → minutes from exam start to signature
    valid_from: Mapped[date] = mapped_column(Date)
    valid_until: Mapped[date] = mapped_column(Date)
    cases_per_day_max: Mapped[dict[str, Any]] = mapped_column(server_default="{}")  # by modality, "all" for together
    single_physician: Mapped[bool] = mapped_column(server_default="false")  # plain films may be signed by one alone
    recorded_at: Mapped[datetime]


class Account(Base):
    """A named person who can log in."""

    __tablename__ = "accounts"

    account_id: Mapped[str] = mapped_column(primary_key=True)
    login: Mapped[str] = mapped_column(unique=True)
    display_name: Mapped[str]
    password_hash: Mapped[str]
    password_temporary: Mapped[bool] = mapped_column(server_default="false")  # somebody else knows it: change it first
    role: Mapped[str]  # reading_queue.domain.roles.Role
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.organisation_id"))
    language: Mapped[str] = mapped_column(server_default="zh")
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]
    last_day: Mapped[date | None] = mapped_column(Date)  # of the organisation; the account is closed after it
    failed_logins: Mapped[int] = mapped_column(server_default="0")
    locked_until: Mapped[datetime | None]

    organisation: Mapped[Organisation] = relationship(lazy="raise_on_sql")


class Session(Base):
    """A logged-in browser or API client; the token itself is never stored, only its hash."""

    __tablename__ = "sessions"

    token_sha256: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.account_id"), index=True)
    csrf_token: Mapped[str]
    kind: Mapped[str]  # "browser" or "api"
    created_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    authenticated_at: Mapped[datetime]  # the last time a password was given: signing asks for a recent one


class Physician(Base):
    """What makes an account able to read: licence, specialties, limits; `duty_periods` follows from `duty`."""

    __tablename__ = "physicians"
    __table_args__ = (Index("ix_physicians_also_at", "also_at", postgresql_using="gin"),)

    physician_id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.account_id"), unique=True)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.organisation_id"), index=True)
    title: Mapped[str]  # reading_queue.domain.roles.Title
    licence_number: Mapped[str]
    licence_valid_until: Mapped[date] = mapped_column(Date)
    modalities: Mapped[list[str]]  # empty means all
    specialties: Mapped[list[str]]
    wip_max: Mapped[int]
    also_at: Mapped[list[str]] = mapped_column(JSONB, server_default="[]")  # other hospitals for which they read
    duty: Mapped[Any] = mapped_column(JSONB, server_default="[]")  # "always", a weekly roster or periods, as written
    weekly_rvu_max: Mapped[int | None]  # work of seven days that is enough, in RVU (one CT)

    account: Mapped[Account] = relationship(lazy="raise_on_sql")


class Case(Base):
    """One remote read of one or more studies: its clocks, its reading tasks, its reports."""

    __tablename__ = "cases"
    __table_args__ = (
        Index("ix_cases_site_created", "site_id", "created_at"),
        Index("ix_cases_arrived", "first_instance_at", "case_id"),
        Index("ix_cases_green", "state", postgresql_where=text("green_channel IS NOT NULL")),
        Index("ix_cases_site_arrived", "site_id", "first_instance_at"),
        Index("ix_cases_site_delivered", "site_id", "delivered_at", postgresql_where=text("delivered_at IS NOT NULL")),
        Index("ix_cases_open", "state", postgresql_where=text("state NOT IN ('acknowledged', 'cancelled')")),
        Index(
            "ix_cases_look_again",
            "look_again_at",
            postgresql_where=text(
                "state IN ('offered', 'on_hold', 'pending_review', 'reading', 'ready', 'receiving', 'reviewing')"
            ),
        ),
        Index(
            "ix_cases_green_channel",
            "due_at",
            postgresql_where=text(
                "green_channel IS NOT NULL AND "
                "state IN ('offered', 'on_hold', 'pending_review', 'reading', 'ready', 'receiving', 'reviewing')"
            ),
        ),
    )

    case_id: Mapped[str] = mapped_column(primary_key=True)
    site_id: Mapped[str] = mapped_column(ForeignKey("sites.site_id"))
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.organisation_id"))
    state: Mapped[str]
    lane: Mapped[str]
    green_channel: Mapped[str | None]  # storage.contract.orders.GreenChannel, as its order says
    modality: Mapped[str]
    body_region: Mapped[str] = mapped_column(server_default="")
    images_unacknowledged: Mapped[bool] = mapped_column(server_default="false")  # late images, not yet seen
    images_version: Mapped[int] = mapped_column(server_default="0")  # rises with each news of them: images_seen
    still_arriving: Mapped[bool] = mapped_column(server_default="false")  # offered at its first whole series
    # Clocks, each on its own (reference norms measure from the start of the exam).
    exam_started_at: Mapped[datetime | None]
    first_instance_at: Mapped[datetime]
    last_instance_at: Mapped[datetime]
    created_at: Mapped[datetime]
    ready_at: Mapped[datetime | None]
    offered_at: Mapped[datetime | None]
    claimed_at: Mapped[datetime | None]
    submitted_at: Mapped[datetime | None]
    signed_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    acknowledged_at: Mapped[datetime | None]
    due_at: Mapped[datetime | None]  # by the agreement's time limit
    unroutable_reason: Mapped[str | None]
    identity_doubted_at: Mapped[datetime | None]  # since when it is open whose it is; see IdentityConflict
    look_again_at: Mapped[datetime | None]  # when its clock asks for more; empty after every change
    paused_s: Mapped[int] = mapped_column(server_default="0")  # how long its limit stood still for the site
    amended_at: Mapped[datetime | None]  # the newest version's signature, when it is not the first
    # What its site has asked for, or was told.
    withdrawal_asked_at: Mapped[datetime | None]  # open until it is accepted or refused
    withdrawal_asked_by: Mapped[str | None]  # an account
    withdrawal_reason: Mapped[str] = mapped_column(server_default="")
    withdrawal_refusal: Mapped[str] = mapped_column(server_default="")  # why the reader went on
    return_code: Mapped[str | None]  # CID 9303, of a case that was sent back
    return_words: Mapped[str] = mapped_column(server_default="")
    version: Mapped[int] = mapped_column()

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 -- SQLAlchemy declares it so


class CaseStudy(Base):
    """Which studies a case reads. A study has one open case per site, by the unique key."""

    __tablename__ = "case_studies"
    __table_args__ = (UniqueConstraint("site_id", "study_uid"),)

    case_id: Mapped[str] = mapped_column(ForeignKey("cases.case_id"), primary_key=True)
    site_id: Mapped[str] = mapped_column(primary_key=True)
    study_uid: Mapped[str] = mapped_column(primary_key=True)


class ReadingTask(Base):
    """One phase of work for one physician; a DICOM UPS workitem seen from outside."""

    __tablename__ = "reading_tasks"
    __table_args__ = (
        Index(
            "uq_reading_tasks_open_per_case",
            "case_id",
            unique=True,
            postgresql_where=text("state IN ('scheduled', 'in_progress')"),
        ),
        Index("ix_reading_tasks_lease", "lease_expires_at", postgresql_where=text("state = 'in_progress'")),
        Index("ix_reading_tasks_created", "created_at"),
        Index("ix_reading_tasks_held", "holder_id", postgresql_where=text("state = 'in_progress'")),
        Index("ix_reading_tasks_done", "holder_id", "completed_at"),
    )

    reading_task_id: Mapped[str] = mapped_column(primary_key=True)
    workitem_uid: Mapped[str] = mapped_column(unique=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.case_id"), index=True)
    phase: Mapped[str]  # interpretation, verification
    state: Mapped[str]  # scheduled, in_progress, completed, canceled
    holder_id: Mapped[str | None] = mapped_column(ForeignKey("physicians.physician_id"))
    transaction_uid: Mapped[str | None]
    created_at: Mapped[datetime]
    claimed_at: Mapped[datetime | None]
    lease_expires_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    cancel_reason: Mapped[str | None]  # CID 9303 code value
    replaces_id: Mapped[str | None] = mapped_column(ForeignKey("reading_tasks.reading_task_id"))
    version: Mapped[int] = mapped_column()

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 -- SQLAlchemy declares it so


class Offer(Base):
    """A reading task shown to one physician."""

    __tablename__ = "offers"
    __table_args__ = (
        UniqueConstraint("reading_task_id", "physician_id"),
        Index("ix_offers_open", "physician_id", postgresql_where=text("state = 'open'")),
        Index("ix_offers_agreement_id_offered_at", "agreement_id", "offered_at"),
    )

    offer_id: Mapped[str] = mapped_column(primary_key=True)
    reading_task_id: Mapped[str] = mapped_column(ForeignKey("reading_tasks.reading_task_id"))
    physician_id: Mapped[str] = mapped_column(ForeignKey("physicians.physician_id"))
    agreement_id: Mapped[str] = mapped_column(ForeignKey("agreements.agreement_id"))
    agreement_version: Mapped[int | None]  # under which of its versions
    state: Mapped[str]  # open, claimed, declined, expired, withdrawn
    offered_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    answered_at: Mapped[datetime | None]
    decline_reason: Mapped[str | None]  # CID 9303 code value
    why: Mapped[dict[str, Any]]  # the reasons of the ranking, for "why did I get this?"


class RoutingDecision(Base):
    """One run of the ranking, kept so that it can be explained."""

    __tablename__ = "routing_decisions"

    decision_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    reading_task_id: Mapped[str] = mapped_column(ForeignKey("reading_tasks.reading_task_id"), index=True)
    decided_at: Mapped[datetime]
    offered_physician_ids: Mapped[list[str]]
    excluded_counts: Mapped[dict[str, Any]]  # reason → number of physicians
    inputs: Mapped[dict[str, Any]]


class Draft(Base):
    """The text of a case's report while it is being written; kept when a claim ends."""

    __tablename__ = "drafts"

    case_id: Mapped[str] = mapped_column(ForeignKey("cases.case_id"), primary_key=True)
    findings: Mapped[str]
    impression: Mapped[str]
    recommendation: Mapped[str]
    author_id: Mapped[str] = mapped_column(ForeignKey("physicians.physician_id"))
    saved_at: Mapped[datetime]
    source: Mapped[str] = mapped_column(server_default="desk")  # or "workstation": it came by HL7 from the hospital
    version: Mapped[int] = mapped_column()

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 -- SQLAlchemy declares it so


class Submission(Base):
    """What the author signed: canonical JSON, stored as signed."""

    __tablename__ = "submissions"

    submission_id: Mapped[str] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.case_id"), index=True)
    reading_task_id: Mapped[str] = mapped_column(ForeignKey("reading_tasks.reading_task_id"), unique=True)
    author_id: Mapped[str] = mapped_column(ForeignKey("physicians.physician_id"), index=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)  # RFC 8785 canonical JSON
    content_sha256: Mapped[str]
    signature: Mapped[dict[str, Any]]
    submitted_at: Mapped[datetime]
    returned_at: Mapped[datetime | None]
    return_reason: Mapped[str | None]


class Report(Base):
    """One signed version of a case's report. Never updated after it is inserted, but for `rendered_at`."""

    __tablename__ = "reports"
    __table_args__ = (
        UniqueConstraint("case_id", "report_version"),
        Index("ix_reports_unrendered", "signed_at", postgresql_where=text("rendered_at IS NULL")),
    )

    report_id: Mapped[str] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.case_id"))
    report_version: Mapped[int]
    submission_id: Mapped[str] = mapped_column(ForeignKey("submissions.submission_id"))
    verifier_id: Mapped[str] = mapped_column(ForeignKey("physicians.physician_id"), index=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)  # RFC 8785 canonical JSON of the final text
    content_sha256: Mapped[str]
    signatures: Mapped[list[dict[str, Any]]]
    signed_at: Mapped[datetime]
    rendered_at: Mapped[datetime | None]


class CaseEvidence(Base):
    """A document that a reader added to a case while they held it; its bytes are the catalogue's."""

    __tablename__ = "case_evidence"

    site_id: Mapped[str] = mapped_column(primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    sop_class_uid: Mapped[str]
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.case_id"), index=True)
    reading_task_id: Mapped[str] = mapped_column(ForeignKey("reading_tasks.reading_task_id"))
    author_id: Mapped[str] = mapped_column(ForeignKey("physicians.physician_id"))
    findings: Mapped[list[dict[str, Any]]]  # domain.evidence_content.Finding
    added_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]  # from the report; the instance stays
    report_id: Mapped[str | None] = mapped_column(ForeignKey("reports.report_id"))  # the version it was signed with


class Document(Base):
    """One rendered document of a report, on its way to the site. `cursor` orders a site's documents."""

    __tablename__ = "documents"
    __table_args__ = (UniqueConstraint("report_id", "kind"), Index("ix_documents_site_cursor", "site_id", "cursor"))

    document_id: Mapped[str] = mapped_column(primary_key=True)
    cursor: Mapped[int] = mapped_column(Identity(always=True), unique=True)
    report_id: Mapped[str] = mapped_column(ForeignKey("reports.report_id"))
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.case_id"), index=True)
    site_id: Mapped[str] = mapped_column(ForeignKey("sites.site_id"))
    kind: Mapped[str]  # storage.contract.wire.DocumentKind
    media_type: Mapped[str]
    sop_instance_uid: Mapped[str | None]
    object_key: Mapped[str]
    sha256: Mapped[str]
    size_bytes: Mapped[int]
    created_at: Mapped[datetime]
    canonical: Mapped[str]  # the descriptor the hub signed
    hub_key_id: Mapped[str]
    signature: Mapped[str]


class DocumentReceipt(Base):
    """What the gateway said about one document and one target."""

    __tablename__ = "document_receipts"
    __table_args__ = (UniqueConstraint("document_id", "step", "target"),)

    receipt_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    document_id: Mapped[str] = mapped_column(ForeignKey("documents.document_id"))
    step: Mapped[str]  # storage.contract.wire.ReceiptStep
    target: Mapped[str]
    at: Mapped[datetime]
    received_at: Mapped[datetime]
    reason: Mapped[str]  # in English
    code: Mapped[str] = mapped_column(server_default="")  # storage.contract.delivery.DeliveryFault, or a newer one
    params: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    takes: Mapped[list[str]] = mapped_column(server_default="[]")  # kinds of documents that the target is given


class PriorRequest(Base):
    """One case's wish for earlier studies from its site's own PACS. `number` orders a site's requests.

    The patient is that of the case's study; open, taken (by `gateway_id`), done or failed.
    """

    __tablename__ = "prior_requests"
    __table_args__ = (Index("ix_prior_requests_site_number", "site_id", "number"),)

    request_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(Identity(always=True), unique=True)
    site_id: Mapped[str] = mapped_column(ForeignKey("sites.site_id"))
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.case_id"), unique=True)
    study_uid: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="open")
    gateway_id: Mapped[str | None] = mapped_column(ForeignKey("gateways.gateway_id"))
    found: Mapped[int] = mapped_column(server_default="0")
    fetched: Mapped[int] = mapped_column(server_default="0")
    left_out: Mapped[int] = mapped_column(server_default="0")
    code: Mapped[str] = mapped_column(server_default="")
    reason: Mapped[str] = mapped_column(server_default="")
    requested_at: Mapped[datetime]
    changed_at: Mapped[datetime]


class SigningKey(Base):
    """A physician's or the hub's own Ed25519 key; the private half wrapped by the key of the key file."""

    __tablename__ = "signing_keys"

    key_id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(index=True)  # "hub" or a physician id
    algorithm: Mapped[str]
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    wrapped_private_key: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]


class ClinicOrder(Base):
    """An order (申请单) in its newest version. `change_number` orders the changes of a site.

    `differs`: which facts of the patient the images and the order do not agree on; None before images came.
    """

    __tablename__ = "orders"
    __table_args__ = (
        UniqueConstraint("site_id", "accession_number"),
        Index("ix_orders_site_changes", "site_id", "change_number"),
        Index("ix_orders_site_study", "site_id", "study_uid"),
        Index("ix_orders_site_patient", "site_id", text("(content ->> 'patient_number')")),
        Index("ix_orders_waiting", "site_id", postgresql_where=text("differs IS NULL")),
    )

    order_id: Mapped[str] = mapped_column(primary_key=True)
    site_id: Mapped[str] = mapped_column(ForeignKey("sites.site_id"))
    accession_number: Mapped[str]
    study_uid: Mapped[str]
    order_version: Mapped[int]
    state: Mapped[str]  # storage.contract.orders.OrderState
    lane: Mapped[str]
    content: Mapped[dict[str, Any]]  # storage.contract.orders.Order
    gateway_id: Mapped[str | None] = mapped_column(ForeignKey("gateways.gateway_id"))  # None: made at the hub
    received_at: Mapped[datetime]
    change_number: Mapped[int] = mapped_column(unique=True)
    differs: Mapped[list[str] | None] = mapped_column(JSONB(none_as_null=True))
    consent: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))  # orders.order_entry.Consent
