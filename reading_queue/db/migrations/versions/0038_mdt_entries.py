"""Lists of cases for conferences of several disciplines."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None


def _refers(column: str, table: str, key: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{table}.{key}"], name=op.f(f"fk_mdt_entries_{column}_{table}"))


def upgrade() -> None:
    op.create_table(
        "mdt_entries",
        sa.Column("mdt_id", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("organisation_id", sa.Text(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("meets_on", sa.Date(), nullable=False),
        sa.Column("participants", sa.Text(), server_default="", nullable=False),
        sa.Column("outcome", sa.Text(), server_default="", nullable=False),
        sa.Column("outcome_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome_by", sa.Text(), nullable=True),
        _refers("case_id", "cases", "case_id"),
        _refers("organisation_id", "organisations", "organisation_id"),
        _refers("asked_by", "accounts", "account_id"),
        _refers("outcome_by", "accounts", "account_id"),
        sa.PrimaryKeyConstraint("mdt_id", name=op.f("pk_mdt_entries")),
    )
    op.create_index(op.f("ix_mdt_entries_case_id"), "mdt_entries", ["case_id"])
    op.create_index("ix_mdt_entries_of_hospital", "mdt_entries", ["organisation_id", "meets_on"])


def downgrade() -> None:
    op.drop_table("mdt_entries")
