"""Signed cases about the wrong patient: who said so, and what a second person decided.

And seconds paused become as wide as every other number.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("cases", "paused_s", type_=sa.BigInteger(), existing_type=sa.Integer(), existing_nullable=False)
    op.create_table(
        "voidings",
        sa.Column("voiding_id", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("is_void", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("refusal", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name=op.f("fk_voidings_case_id_cases")),
        sa.ForeignKeyConstraint(["asked_by"], ["accounts.account_id"], name=op.f("fk_voidings_asked_by_accounts")),
        sa.ForeignKeyConstraint(["ended_by"], ["accounts.account_id"], name=op.f("fk_voidings_ended_by_accounts")),
        sa.PrimaryKeyConstraint("voiding_id", name=op.f("pk_voidings")),
    )
    op.create_index("ix_voidings_case_id", "voidings", ["case_id"])
    op.create_index(
        "uq_voidings_open", "voidings", ["case_id"], unique=True, postgresql_where=sa.text("ended_at IS NULL")
    )


def downgrade() -> None:
    op.drop_table("voidings")
    op.alter_column("cases", "paused_s", type_=sa.Integer(), existing_type=sa.BigInteger(), existing_nullable=False)
