"""Agreements may let one physician sign plain films alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0044"
down_revision = "0043"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("agreements", "agreement_versions"):
        op.add_column(table, sa.Column("single_physician", sa.Boolean(), server_default="false", nullable=False))


def downgrade() -> None:
    for table in ("agreement_versions", "agreements"):
        op.drop_column(table, "single_physician")
