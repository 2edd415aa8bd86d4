"""Let the hub ask gateways for earlier studies; keep with each study who its own headers say the patient is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("gateways", sa.Column("asked_for_priors_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("studies", sa.Column("patient_birth_date", sa.Date(), nullable=True))
    op.add_column("studies", sa.Column("patient_sex", sa.Text(), server_default="", nullable=False))
    op.execute(
        "UPDATE studies SET patient_birth_date = p.birth_date, patient_sex = p.sex"
        " FROM patients p WHERE p.patient_id = studies.patient_id"
    )
    op.create_table(
        "prior_requests",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("gateway_id", sa.Text(), nullable=True),
        sa.Column("found", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("fetched", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("left_out", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("code", sa.Text(), server_default="", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_prior_requests")),
        sa.ForeignKeyConstraint(["site_id"], ["sites.site_id"], name=op.f("fk_prior_requests_site_id_sites")),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name=op.f("fk_prior_requests_case_id_cases")),
        sa.ForeignKeyConstraint(
            ["gateway_id"], ["gateways.gateway_id"], name=op.f("fk_prior_requests_gateway_id_gateways")
        ),
        sa.UniqueConstraint("case_id", name=op.f("uq_prior_requests_case_id")),
        sa.UniqueConstraint("number", name=op.f("uq_prior_requests_number")),
    )
    op.create_index("ix_prior_requests_site_number", "prior_requests", ["site_id", "number"])


def downgrade() -> None:
    op.drop_table("prior_requests")
    op.drop_column("studies", "patient_sex")
    op.drop_column("studies", "patient_birth_date")
    op.drop_column("gateways", "asked_for_priors_at")
