"""Create the tables of the whole road: ledger, catalogue, people, cases, reports."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)

# In the order in which they may be created; removed in the opposite one.
TABLES = (
    "sites",
    "enrolments",
    "gateways",
    "used_nonces",
    "custody_events",
    "audit_events",
    "outbox",
    "dead_jobs",
    "patients",
    "studies",
    "series",
    "packs",
    "instances",
    "transfers",
    "grants",
    "granted_packs",
    "organisations",
    "agreements",
    "accounts",
    "sessions",
    "physicians",
    "duty_periods",
    "cases",
    "case_studies",
    "reading_tasks",
    "offers",
    "routing_decisions",
    "drafts",
    "signing_keys",
    "submissions",
    "reports",
    "documents",
    "document_receipts",
)


def upgrade() -> None:
    _create_sites()
    _create_enrolments()
    _create_gateways()
    _create_used_nonces()
    _create_custody_events()
    _create_audit_events()
    _create_outbox()
    _create_dead_jobs()
    _create_patients()
    _create_studies()
    _create_series()
    _create_packs()
    _create_instances()
    _create_transfers()
    _create_grants()
    _create_granted_packs()
    _create_organisations()
    _create_agreements()
    _create_accounts()
    _create_sessions()
    _create_physicians()
    _create_duty_periods()
    _create_cases()
    _create_case_studies()
    _create_reading_tasks()
    _create_offers()
    _create_routing_decisions()
    _create_drafts()
    _create_signing_keys()
    _create_submissions()
    _create_reports()
    _create_documents()
    _create_document_receipts()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)


def _create_sites() -> None:
    op.create_table(
        "sites",
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), server_default="Asia/Shanghai", nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("site_id", name="pk_sites"),
    )


def _create_enrolments() -> None:
    op.create_table(
        "enrolments",
        sa.Column("code_sha256", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("issued_by", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("used_at", TIME, nullable=True),
        sa.Column("used_by_gateway_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["site_id"], ["sites.site_id"], name="fk_enrolments_site_id"),
        sa.PrimaryKeyConstraint("code_sha256", name="pk_enrolments"),
    )


def _create_gateways() -> None:
    op.create_table(
        "gateways",
        sa.Column("gateway_id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("software_version", sa.Text(), nullable=False),
        sa.Column("enrolled_at", TIME, nullable=False),
        sa.Column("revoked_at", TIME, nullable=True),
        sa.Column("last_seen_at", TIME, nullable=True),
        sa.Column("clock_offset_ms", sa.BigInteger(), nullable=True),
        sa.Column("custody_through", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["sites.site_id"], name="fk_gateways_site_id"),
        sa.PrimaryKeyConstraint("gateway_id", name="pk_gateways"),
    )
    op.create_index("ix_gateways_site_id", "gateways", ["site_id"])


def _create_used_nonces() -> None:
    op.create_table(
        "used_nonces",
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("used_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("nonce", name="pk_used_nonces"),
    )
    op.create_index("ix_used_nonces_used_at", "used_nonces", ["used_at"])


def _create_custody_events() -> None:
    op.create_table(
        "custody_events",
        sa.Column("event_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("event_key", sa.Text(), nullable=False),
        sa.Column("hop", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=True),
        sa.Column("case_id", sa.Text(), nullable=True),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("at", TIME, nullable=False),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("source_seq", sa.BigInteger(), nullable=True),
        sa.Column("clock_offset_ms", sa.BigInteger(), nullable=True),
        sa.Column("detail", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_custody_events"),
        sa.UniqueConstraint("event_key", name="uq_custody_events_event_key"),
    )
    op.create_index("ix_custody_events_case_id", "custody_events", ["case_id"])
    op.create_index("ix_custody_events_site_study", "custody_events", ["site_id", "study_uid"])
    op.create_index(
        "ix_custody_events_source",
        "custody_events",
        ["place", "source_seq"],
        postgresql_where=sa.text("source_seq IS NOT NULL"),
    )
    op.create_index("ix_custody_events_study", "custody_events", ["study_uid"])


def _create_audit_events() -> None:
    op.create_table(
        "audit_events",
        sa.Column("audit_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("event_code", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=True),
        sa.Column("object_kind", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), server_default="success", nullable=False),
        sa.Column("detail", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("audit_id", name="pk_audit_events"),
    )
    op.create_index("ix_audit_events_account_id", "audit_events", ["account_id"])
    op.create_index("ix_audit_events_at", "audit_events", ["at"])


def _create_outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("message_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("arguments", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("due_at", TIME, nullable=False),
        sa.Column("published_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("message_id", name="pk_outbox"),
    )
    op.create_index(
        "ix_outbox_unpublished", "outbox", ["due_at", "message_id"], postgresql_where=sa.text("published_at IS NULL")
    )


def _create_dead_jobs() -> None:
    op.create_table(
        "dead_jobs",
        sa.Column("dead_job_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("arguments", postgresql.JSONB(), nullable=False),
        sa.Column("failed_at", TIME, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("retried_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("dead_job_id", name="pk_dead_jobs"),
    )


def _create_patients() -> None:
    op.create_table(
        "patients",
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("patient_number", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("birth_date", sa.Date(), nullable=True),
        sa.Column("sex", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("patient_id", name="pk_patients"),
        sa.UniqueConstraint("site_id", "patient_number", name="uq_patients_site_id_patient_number"),
    )


def _create_studies() -> None:
    op.create_table(
        "studies",
        sa.Column("study_id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("accession_number", sa.Text(), server_default="", nullable=False),
        sa.Column("study_number", sa.Text(), server_default="", nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("body_part", sa.Text(), server_default="", nullable=False),
        sa.Column("referring_physician", sa.Text(), server_default="", nullable=False),
        sa.Column("study_date", sa.Date(), nullable=True),
        sa.Column("study_time", sa.Text(), server_default="", nullable=False),
        sa.Column("exam_started_at", TIME, nullable=True),
        sa.Column("character_set", sa.Text(), server_default="", nullable=False),
        sa.Column("character_set_repair", sa.Text(), nullable=True),
        sa.Column("modalities", postgresql.JSONB(), nullable=False),
        sa.Column("series_count", sa.BigInteger(), nullable=False),
        sa.Column("instance_count", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("revision_instance_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("first_received_at", TIME, nullable=False),
        sa.Column("catalogued_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["patient_id"], ["patients.patient_id"], name="fk_studies_patient_id"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.site_id"], name="fk_studies_site_id"),
        sa.PrimaryKeyConstraint("study_id", name="pk_studies"),
        sa.UniqueConstraint("site_id", "study_uid", name="uq_studies_site_id_study_uid"),
    )
    op.create_index("ix_studies_patient_id", "studies", ["patient_id"])
    op.create_index("ix_studies_study_uid", "studies", ["study_uid"])


def _create_series() -> None:
    op.create_table(
        "series",
        sa.Column("series_id", sa.Text(), nullable=False),
        sa.Column("study_id", sa.Text(), nullable=False),
        sa.Column("series_uid", sa.Text(), nullable=False),
        sa.Column("modality", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("body_part", sa.Text(), server_default="", nullable=False),
        sa.Column("instance_count", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.study_id"], name="fk_series_study_id"),
        sa.PrimaryKeyConstraint("series_id", name="pk_series"),
        sa.UniqueConstraint("study_id", "series_uid", name="uq_series_study_id_series_uid"),
    )


def _create_packs() -> None:
    op.create_table(
        "packs",
        sa.Column("pack_id", sa.Text(), nullable=False),
        sa.Column("study_id", sa.Text(), nullable=False),
        sa.Column("pack_sha256", sa.Text(), nullable=False),
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("headers_key", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("verified_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.study_id"], name="fk_packs_study_id"),
        sa.PrimaryKeyConstraint("pack_id", name="pk_packs"),
        sa.UniqueConstraint("study_id", "pack_sha256", name="uq_packs_study_id_pack_sha256"),
    )


def _create_instances() -> None:
    op.create_table(
        "instances",
        sa.Column("instance_id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("series_id", sa.Text(), nullable=False),
        sa.Column("pack_id", sa.Text(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=False),
        sa.Column("transfer_syntax_uid", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("rows", sa.BigInteger(), nullable=True),
        sa.Column("columns", sa.BigInteger(), nullable=True),
        sa.Column("frame_count", sa.BigInteger(), nullable=False),
        sa.Column("offset_bytes", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("frame_spans", postgresql.JSONB(), nullable=False),
        sa.Column("received_sha256", sa.Text(), nullable=False),
        sa.Column("stored_sha256", sa.Text(), nullable=False),
        sa.Column("pixel_sha256", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["pack_id"], ["packs.pack_id"], name="fk_instances_pack_id"),
        sa.ForeignKeyConstraint(["series_id"], ["series.series_id"], name="fk_instances_series_id"),
        sa.PrimaryKeyConstraint("instance_id", name="pk_instances"),
        sa.UniqueConstraint("site_id", "sop_instance_uid", name="uq_instances_site_id_sop_instance_uid"),
    )
    op.create_index("ix_instances_pack_id", "instances", ["pack_id"])
    op.create_index("ix_instances_series", "instances", ["series_id"])


def _create_transfers() -> None:
    op.create_table(
        "transfers",
        sa.Column("transfer_id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("gateway_id", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("manifest_sha256", sa.Text(), nullable=False),
        sa.Column("manifest", postgresql.JSONB(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("declared_at", TIME, nullable=False),
        sa.Column("verified_at", TIME, nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.gateway_id"], name="fk_transfers_gateway_id"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.site_id"], name="fk_transfers_site_id"),
        sa.PrimaryKeyConstraint("transfer_id", name="pk_transfers"),
        sa.UniqueConstraint("site_id", "manifest_sha256", name="uq_transfers_site_id_manifest_sha256"),
    )
    op.create_index("ix_transfers_site_study", "transfers", ["site_id", "study_uid"])


def _create_grants() -> None:
    op.create_table(
        "grants",
        sa.Column("grant_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("transfer_id", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["transfer_id"], ["transfers.transfer_id"], name="fk_grants_transfer_id"),
        sa.PrimaryKeyConstraint("grant_id", name="pk_grants"),
        sa.UniqueConstraint("number", name="uq_grants_number"),
    )
    op.create_index("ix_grants_transfer_id", "grants", ["transfer_id"])


def _create_granted_packs() -> None:
    op.create_table(
        "granted_packs",
        sa.Column("granted_pack_id", sa.Text(), nullable=False),
        sa.Column("grant_id", sa.Text(), nullable=False),
        sa.Column("pack_sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("staging_key", sa.Text(), nullable=False),
        sa.Column("sop_instance_uids", postgresql.JSONB(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("committed_at", TIME, nullable=True),
        sa.Column("verified_at", TIME, nullable=True),
        sa.Column("refusal_code", sa.Text(), nullable=True),
        sa.Column("refusal_reason", sa.Text(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["grant_id"], ["grants.grant_id"], name="fk_granted_packs_grant_id"),
        sa.PrimaryKeyConstraint("granted_pack_id", name="pk_granted_packs"),
        sa.UniqueConstraint("grant_id", "pack_sha256", name="uq_granted_packs_grant_id_pack_sha256"),
    )
    op.create_index("ix_granted_packs_state", "granted_packs", ["state"])


def _create_organisations() -> None:
    op.create_table(
        "organisations",
        sa.Column("organisation_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_en", sa.Text(), server_default="", nullable=False),
        sa.Column("site_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["parent_id"], ["organisations.organisation_id"], name="fk_organisations_parent_id"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.site_id"], name="fk_organisations_site_id"),
        sa.PrimaryKeyConstraint("organisation_id", name="pk_organisations"),
        sa.UniqueConstraint("site_id", name="uq_organisations_site_id"),
    )


def _create_agreements() -> None:
    op.create_table(
        "agreements",
        sa.Column("agreement_id", sa.Text(), nullable=False),
        sa.Column("requesting_organisation_id", sa.Text(), nullable=False),
        sa.Column("assisting_organisation_id", sa.Text(), nullable=False),
        sa.Column("modalities", postgresql.JSONB(), nullable=False),
        sa.Column("body_regions", postgresql.JSONB(), nullable=False),
        sa.Column("services", postgresql.JSONB(), nullable=False),
        sa.Column("stage", sa.BigInteger(), nullable=False),
        sa.Column("time_limits_min", postgresql.JSONB(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_until", sa.Date(), nullable=False),
        sa.Column("recorded_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["assisting_organisation_id"],
            ["organisations.organisation_id"],
            name="fk_agreements_assisting_organisation_id",
        ),
        sa.ForeignKeyConstraint(
            ["requesting_organisation_id"],
            ["organisations.organisation_id"],
            name="fk_agreements_requesting_organisation_id",
        ),
        sa.PrimaryKeyConstraint("agreement_id", name="pk_agreements"),
    )
    op.create_index("ix_agreements_assisting_organisation_id", "agreements", ["assisting_organisation_id"])
    op.create_index("ix_agreements_requesting_organisation_id", "agreements", ["requesting_organisation_id"])


def _create_accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("login", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("organisation_id", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), server_default="zh", nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("disabled_at", TIME, nullable=True),
        sa.Column("failed_logins", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("locked_until", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.organisation_id"], name="fk_accounts_organisation_id"
        ),
        sa.PrimaryKeyConstraint("account_id", name="pk_accounts"),
        sa.UniqueConstraint("login", name="uq_accounts_login"),
    )


def _create_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("token_sha256", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("csrf_token", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("last_seen_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("authenticated_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name="fk_sessions_account_id"),
        sa.PrimaryKeyConstraint("token_sha256", name="pk_sessions"),
    )
    op.create_index("ix_sessions_account_id", "sessions", ["account_id"])


def _create_physicians() -> None:
    op.create_table(
        "physicians",
        sa.Column("physician_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("organisation_id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("licence_number", sa.Text(), nullable=False),
        sa.Column("licence_valid_until", sa.Date(), nullable=False),
        sa.Column("modalities", postgresql.JSONB(), nullable=False),
        sa.Column("specialties", postgresql.JSONB(), nullable=False),
        sa.Column("wip_max", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name="fk_physicians_account_id"),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.organisation_id"], name="fk_physicians_organisation_id"
        ),
        sa.PrimaryKeyConstraint("physician_id", name="pk_physicians"),
        sa.UniqueConstraint("account_id", name="uq_physicians_account_id"),
    )
    op.create_index("ix_physicians_organisation_id", "physicians", ["organisation_id"])


def _create_duty_periods() -> None:
    op.create_table(
        "duty_periods",
        sa.Column("duty_period_id", sa.Text(), nullable=False),
        sa.Column("physician_id", sa.Text(), nullable=False),
        sa.Column("starts_at", TIME, nullable=False),
        sa.Column("ends_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["physician_id"], ["physicians.physician_id"], name="fk_duty_periods_physician_id"),
        sa.PrimaryKeyConstraint("duty_period_id", name="pk_duty_periods"),
    )
    op.create_index("ix_duty_periods_physician_id_starts_at", "duty_periods", ["physician_id", "starts_at"])


def _create_cases() -> None:
    op.create_table(
        "cases",
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("organisation_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("modality", sa.Text(), nullable=False),
        sa.Column("body_region", sa.Text(), server_default="", nullable=False),
        sa.Column("images_unacknowledged", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("exam_started_at", TIME, nullable=True),
        sa.Column("first_instance_at", TIME, nullable=False),
        sa.Column("last_instance_at", TIME, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("ready_at", TIME, nullable=True),
        sa.Column("offered_at", TIME, nullable=True),
        sa.Column("claimed_at", TIME, nullable=True),
        sa.Column("submitted_at", TIME, nullable=True),
        sa.Column("signed_at", TIME, nullable=True),
        sa.Column("delivered_at", TIME, nullable=True),
        sa.Column("acknowledged_at", TIME, nullable=True),
        sa.Column("due_at", TIME, nullable=True),
        sa.Column("unroutable_reason", sa.Text(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.organisation_id"], name="fk_cases_organisation_id"
        ),
        sa.ForeignKeyConstraint(["site_id"], ["sites.site_id"], name="fk_cases_site_id"),
        sa.PrimaryKeyConstraint("case_id", name="pk_cases"),
    )
    op.create_index(
        "ix_cases_open", "cases", ["state"], postgresql_where=sa.text("state NOT IN ('acknowledged', 'cancelled')")
    )
    op.create_index("ix_cases_site_created", "cases", ["site_id", "created_at"])


def _create_case_studies() -> None:
    op.create_table(
        "case_studies",
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name="fk_case_studies_case_id"),
        sa.PrimaryKeyConstraint("case_id", "site_id", "study_uid", name="pk_case_studies"),
        sa.UniqueConstraint("site_id", "study_uid", name="uq_case_studies_site_id_study_uid"),
    )


def _create_reading_tasks() -> None:
    op.create_table(
        "reading_tasks",
        sa.Column("reading_task_id", sa.Text(), nullable=False),
        sa.Column("workitem_uid", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("holder_id", sa.Text(), nullable=True),
        sa.Column("transaction_uid", sa.Text(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("claimed_at", TIME, nullable=True),
        sa.Column("lease_expires_at", TIME, nullable=True),
        sa.Column("completed_at", TIME, nullable=True),
        sa.Column("cancel_reason", sa.Text(), nullable=True),
        sa.Column("replaces_id", sa.Text(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name="fk_reading_tasks_case_id"),
        sa.ForeignKeyConstraint(["holder_id"], ["physicians.physician_id"], name="fk_reading_tasks_holder_id"),
        sa.ForeignKeyConstraint(
            ["replaces_id"], ["reading_tasks.reading_task_id"], name="fk_reading_tasks_replaces_id"
        ),
        sa.PrimaryKeyConstraint("reading_task_id", name="pk_reading_tasks"),
        sa.UniqueConstraint("workitem_uid", name="uq_reading_tasks_workitem_uid"),
    )
    op.create_index("ix_reading_tasks_holder_id", "reading_tasks", ["holder_id"])
    op.create_index(
        "ix_reading_tasks_lease",
        "reading_tasks",
        ["lease_expires_at"],
        postgresql_where=sa.text("state = 'in_progress'"),
    )
    op.create_index(
        "uq_reading_tasks_open_per_case",
        "reading_tasks",
        ["case_id"],
        unique=True,
        postgresql_where=sa.text("state IN ('scheduled', 'in_progress')"),
    )


def _create_offers() -> None:
    op.create_table(
        "offers",
        sa.Column("offer_id", sa.Text(), nullable=False),
        sa.Column("reading_task_id", sa.Text(), nullable=False),
        sa.Column("physician_id", sa.Text(), nullable=False),
        sa.Column("agreement_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("offered_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("answered_at", TIME, nullable=True),
        sa.Column("decline_reason", sa.Text(), nullable=True),
        sa.Column("why", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(["agreement_id"], ["agreements.agreement_id"], name="fk_offers_agreement_id"),
        sa.ForeignKeyConstraint(["physician_id"], ["physicians.physician_id"], name="fk_offers_physician_id"),
        sa.ForeignKeyConstraint(
            ["reading_task_id"], ["reading_tasks.reading_task_id"], name="fk_offers_reading_task_id"
        ),
        sa.PrimaryKeyConstraint("offer_id", name="pk_offers"),
        sa.UniqueConstraint("reading_task_id", "physician_id", name="uq_offers_reading_task_id_physician_id"),
    )
    op.create_index("ix_offers_open", "offers", ["physician_id"], postgresql_where=sa.text("state = 'open'"))


def _create_routing_decisions() -> None:
    op.create_table(
        "routing_decisions",
        sa.Column("decision_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("reading_task_id", sa.Text(), nullable=False),
        sa.Column("decided_at", TIME, nullable=False),
        sa.Column("offered_physician_ids", postgresql.JSONB(), nullable=False),
        sa.Column("excluded_counts", postgresql.JSONB(), nullable=False),
        sa.Column("inputs", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(
            ["reading_task_id"], ["reading_tasks.reading_task_id"], name="fk_routing_decisions_reading_task_id"
        ),
        sa.PrimaryKeyConstraint("decision_id", name="pk_routing_decisions"),
    )
    op.create_index("ix_routing_decisions_reading_task_id", "routing_decisions", ["reading_task_id"])


def _create_drafts() -> None:
    op.create_table(
        "drafts",
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("findings", sa.Text(), nullable=False),
        sa.Column("impression", sa.Text(), nullable=False),
        sa.Column("recommendation", sa.Text(), nullable=False),
        sa.Column("author_id", sa.Text(), nullable=False),
        sa.Column("saved_at", TIME, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["author_id"], ["physicians.physician_id"], name="fk_drafts_author_id"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name="fk_drafts_case_id"),
        sa.PrimaryKeyConstraint("case_id", name="pk_drafts"),
    )


def _create_signing_keys() -> None:
    op.create_table(
        "signing_keys",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("wrapped_private_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("retired_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("key_id", name="pk_signing_keys"),
    )
    op.create_index("ix_signing_keys_owner", "signing_keys", ["owner"])


def _create_submissions() -> None:
    op.create_table(
        "submissions",
        sa.Column("submission_id", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("reading_task_id", sa.Text(), nullable=False),
        sa.Column("author_id", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("content_sha256", sa.Text(), nullable=False),
        sa.Column("signature", postgresql.JSONB(), nullable=False),
        sa.Column("submitted_at", TIME, nullable=False),
        sa.Column("returned_at", TIME, nullable=True),
        sa.Column("return_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["author_id"], ["physicians.physician_id"], name="fk_submissions_author_id"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name="fk_submissions_case_id"),
        sa.ForeignKeyConstraint(
            ["reading_task_id"], ["reading_tasks.reading_task_id"], name="fk_submissions_reading_task_id"
        ),
        sa.PrimaryKeyConstraint("submission_id", name="pk_submissions"),
        sa.UniqueConstraint("reading_task_id", name="uq_submissions_reading_task_id"),
    )
    op.create_index("ix_submissions_case_id", "submissions", ["case_id"])


def _create_reports() -> None:
    op.create_table(
        "reports",
        sa.Column("report_id", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("report_version", sa.BigInteger(), nullable=False),
        sa.Column("submission_id", sa.Text(), nullable=False),
        sa.Column("verifier_id", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("content_sha256", sa.Text(), nullable=False),
        sa.Column("signatures", postgresql.JSONB(), nullable=False),
        sa.Column("signed_at", TIME, nullable=False),
        sa.Column("rendered_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name="fk_reports_case_id"),
        sa.ForeignKeyConstraint(["submission_id"], ["submissions.submission_id"], name="fk_reports_submission_id"),
        sa.ForeignKeyConstraint(["verifier_id"], ["physicians.physician_id"], name="fk_reports_verifier_id"),
        sa.PrimaryKeyConstraint("report_id", name="pk_reports"),
        sa.UniqueConstraint("case_id", "report_version", name="uq_reports_case_id_report_version"),
    )


def _create_documents() -> None:
    op.create_table(
        "documents",
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("cursor", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("report_id", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=True),
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("canonical", sa.Text(), nullable=False),
        sa.Column("hub_key_id", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name="fk_documents_case_id"),
        sa.ForeignKeyConstraint(["report_id"], ["reports.report_id"], name="fk_documents_report_id"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.site_id"], name="fk_documents_site_id"),
        sa.PrimaryKeyConstraint("document_id", name="pk_documents"),
        sa.UniqueConstraint("cursor", name="uq_documents_cursor"),
        sa.UniqueConstraint("report_id", "kind", name="uq_documents_report_id_kind"),
    )
    op.create_index("ix_documents_case_id", "documents", ["case_id"])
    op.create_index("ix_documents_site_cursor", "documents", ["site_id", "cursor"])


def _create_document_receipts() -> None:
    op.create_table(
        "document_receipts",
        sa.Column("receipt_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("document_id", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["document_id"], ["documents.document_id"], name="fk_document_receipts_document_id"),
        sa.PrimaryKeyConstraint("receipt_id", name="pk_document_receipts"),
        sa.UniqueConstraint("document_id", "step", "target", name="uq_document_receipts_document_id_step_target"),
    )
