"""What the running clock of a case asks for, and who was told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

UNSIGNED = "state IN ('offered', 'on_hold', 'pending_review', 'reading', 'ready', 'receiving', 'reviewing')"


def upgrade() -> None:
    op.add_column("cases", sa.Column("look_again_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_cases_look_again", "cases", ["look_again_at"], postgresql_where=sa.text(UNSIGNED))
    op.create_table(
        "escalations",
        sa.Column("escalation_id", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_by", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name=op.f("fk_escalations_case_id_cases")),
        sa.ForeignKeyConstraint(
            ["acknowledged_by"], ["accounts.account_id"], name=op.f("fk_escalations_acknowledged_by_accounts")
        ),
        sa.PrimaryKeyConstraint("escalation_id", name=op.f("pk_escalations")),
    )
    op.create_index("ix_escalations_case_id", "escalations", ["case_id"])
    op.create_index(
        "uq_escalations_open",
        "escalations",
        ["case_id", "kind"],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_table("escalations")
    op.drop_index("ix_cases_look_again", "cases")
    op.drop_column("cases", "look_again_at")
