"""Holds, requests of two persons to delete, and what was deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "holds",
        sa.Column("hold_id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("placed_by", sa.Text(), nullable=False),
        sa.Column("placed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("released_by", sa.Text(), nullable=True),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_recorded", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("hold_id", name=op.f("pk_holds")),
    )
    op.create_index("ix_holds_open", "holds", ["site_id", "study_uid"], postgresql_where=sa.text("released_at IS NULL"))
    op.create_index("ix_holds_unrecorded", "holds", ["hold_id"], postgresql_where=sa.text("NOT is_recorded"))
    op.create_table(
        "deletion_requests",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("decided_by <> requested_by", name=op.f("ck_deletion_requests_two_persons")),
        sa.CheckConstraint(
            "state IN ('requested', 'approved', 'refused', 'done')", name=op.f("ck_deletion_requests_state_is_known")
        ),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_deletion_requests")),
    )
    op.create_index(
        "uq_deletion_requests_open",
        "deletion_requests",
        ["site_id", "study_uid"],
        unique=True,
        postgresql_where=sa.text("state IN ('requested', 'approved')"),
    )
    op.create_table(
        "deletions",
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("content", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("site_id", "study_uid", name=op.f("pk_deletions")),
    )


def downgrade() -> None:
    for table in ("deletions", "deletion_requests", "holds"):
        op.drop_table(table)
