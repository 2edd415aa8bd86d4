"""Let a gateway serve the physicians of an organisation instead of a site; say where a draft came from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("enrolments", "gateways"):
        op.alter_column(table, "site_id", existing_type=sa.Text(), nullable=True)
        op.add_column(table, sa.Column("reads_for", sa.Text(), nullable=True))
    op.add_column("drafts", sa.Column("source", sa.Text(), server_default="desk", nullable=False))


def downgrade() -> None:
    op.drop_column("drafts", "source")
    for table in ("gateways", "enrolments"):
        op.drop_column(table, "reads_for")
        op.alter_column(table, "site_id", existing_type=sa.Text(), nullable=False)
