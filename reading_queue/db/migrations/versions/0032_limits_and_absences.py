"""What an agreement takes in a day and a physician in a week, and who is away."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("physicians", sa.Column("weekly_rvu_max", sa.BigInteger(), nullable=True))
    op.execute(
        """UPDATE network_versions SET facts = facts || '{"weekly_rvu_max": null}'::jsonb WHERE kind = 'physician'"""
    )
    for table in ("agreements", "agreement_versions"):
        op.add_column(table, sa.Column("cases_per_day_max", postgresql.JSONB(), server_default="{}", nullable=False))
    op.create_index("ix_offers_agreement_id_offered_at", "offers", ["agreement_id", "offered_at"])
    op.create_table(
        "absences",
        sa.Column("absence_id", sa.Text(), nullable=False),
        sa.Column("physician_id", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["physician_id"], ["physicians.physician_id"], name=op.f("fk_absences_physician_id_physicians")
        ),
        sa.ForeignKeyConstraint(["set_by"], ["accounts.account_id"], name=op.f("fk_absences_set_by_accounts")),
        sa.ForeignKeyConstraint(["ended_by"], ["accounts.account_id"], name=op.f("fk_absences_ended_by_accounts")),
        sa.PrimaryKeyConstraint("absence_id", name=op.f("pk_absences")),
    )
    op.create_index(
        "uq_absences_open", "absences", ["physician_id"], unique=True, postgresql_where=sa.text("ended_at IS NULL")
    )
    op.create_index("ix_absences_physician_id_since", "absences", ["physician_id", "since"])


def downgrade() -> None:
    op.drop_table("absences")
    op.drop_index("ix_offers_agreement_id_offered_at", "offers")
    for table in ("agreement_versions", "agreements"):
        op.drop_column(table, "cases_per_day_max")
    op.drop_column("physicians", "weekly_rvu_max")
