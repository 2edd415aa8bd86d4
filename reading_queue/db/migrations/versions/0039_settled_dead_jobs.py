"""Who had a dead job tried again, or dismissed it and why."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("dead_jobs", sa.Column("dismissed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("dead_jobs", sa.Column("settled_by", sa.Text(), nullable=True))
    op.add_column("dead_jobs", sa.Column("note", sa.Text(), nullable=True))


def downgrade() -> None:
    for column in ("note", "settled_by", "dismissed_at"):
        op.drop_column("dead_jobs", column)
