"""Doubts whether an order and images are of one person, and orders that a person has taken from a study."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("cases", sa.Column("identity_doubted_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "identity_conflicts",
        sa.Column("conflict_id", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), server_default="", nullable=False),
        sa.Column("mismatches", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("facts_sha256", sa.Text(), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("settlement", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name=op.f("fk_identity_conflicts_case_id_cases")),
        sa.ForeignKeyConstraint(
            ["ended_by"], ["accounts.account_id"], name=op.f("fk_identity_conflicts_ended_by_accounts")
        ),
        sa.PrimaryKeyConstraint("conflict_id", name=op.f("pk_identity_conflicts")),
    )
    op.create_index("ix_identity_conflicts_case_id", "identity_conflicts", ["case_id"])
    op.create_index(
        "uq_identity_conflicts_open",
        "identity_conflicts",
        ["case_id", "study_uid", "order_id"],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "unlinked_orders",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("unlinked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("unlinked_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["order_id"], ["orders.order_id"], name=op.f("fk_unlinked_orders_order_id_orders")),
        sa.ForeignKeyConstraint(
            ["unlinked_by"], ["accounts.account_id"], name=op.f("fk_unlinked_orders_unlinked_by_accounts")
        ),
        sa.PrimaryKeyConstraint("order_id", "site_id", "study_uid", name=op.f("pk_unlinked_orders")),
    )


def downgrade() -> None:
    op.drop_table("unlinked_orders")
    op.drop_table("identity_conflicts")
    op.drop_column("cases", "identity_doubted_at")
