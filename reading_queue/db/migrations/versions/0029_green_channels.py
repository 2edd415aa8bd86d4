"""Which green channel a case is in: it goes before everything else."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("cases", sa.Column("green_channel", sa.Text(), nullable=True))
    unsigned = "state IN ('offered', 'on_hold', 'pending_review', 'reading', 'ready', 'receiving', 'reviewing')"
    op.create_index(
        "ix_cases_green_channel",
        "cases",
        ["due_at"],
        postgresql_where=sa.text(f"green_channel IS NOT NULL AND {unsigned}"),
    )


def downgrade() -> None:
    op.drop_index("ix_cases_green_channel", "cases")
    op.drop_column("cases", "green_channel")
