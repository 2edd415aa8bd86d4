"""The versions of each agreement: an old case is judged by the agreement of its day.

What stands now becomes version 1, recorded when the agreement was.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

TERMS = (
    "requesting_organisation_id, assisting_organisation_id, modalities, body_regions, services, stage, "
    "time_limits_min, valid_from, valid_until, recorded_at"
)


def upgrade() -> None:
    op.create_table(
        "agreement_versions",
        sa.Column("agreement_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("requesting_organisation_id", sa.Text(), nullable=False),
        sa.Column("assisting_organisation_id", sa.Text(), nullable=False),
        sa.Column("modalities", postgresql.JSONB(), nullable=False),
        sa.Column("body_regions", postgresql.JSONB(), nullable=False),
        sa.Column("services", postgresql.JSONB(), nullable=False),
        sa.Column("stage", sa.BigInteger(), nullable=False),
        sa.Column("time_limits_min", postgresql.JSONB(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_until", sa.Date(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by", sa.Text(), nullable=True),
        sa.Column("replaced_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["agreement_id"], ["agreements.agreement_id"], name=op.f("fk_agreement_versions_agreement_id_agreements")
        ),
        sa.ForeignKeyConstraint(
            ["requesting_organisation_id"],
            ["organisations.organisation_id"],
            name=op.f("fk_agreement_versions_requesting_organisation_id_organisations"),
        ),
        sa.ForeignKeyConstraint(
            ["assisting_organisation_id"],
            ["organisations.organisation_id"],
            name=op.f("fk_agreement_versions_assisting_organisation_id_organisations"),
        ),
        sa.ForeignKeyConstraint(
            ["recorded_by"], ["accounts.account_id"], name=op.f("fk_agreement_versions_recorded_by_accounts")
        ),
        sa.PrimaryKeyConstraint("agreement_id", "number", name=op.f("pk_agreement_versions")),
    )
    op.create_index(
        "uq_agreement_versions_present",
        "agreement_versions",
        ["agreement_id"],
        unique=True,
        postgresql_where=sa.text("replaced_at IS NULL"),
    )
    into = f"INSERT INTO agreement_versions (agreement_id, number, {TERMS})"
    op.execute(f"{into} SELECT agreement_id, 1, {TERMS} FROM agreements")  # noqa: S608 -- the names are constants


def downgrade() -> None:
    op.drop_table("agreement_versions")
