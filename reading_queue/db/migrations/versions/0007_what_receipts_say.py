"""Let receipts name what a target takes and why it did not, in codes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("document_receipts", sa.Column("code", sa.Text(), server_default="", nullable=False))
    op.add_column("document_receipts", sa.Column("params", JSONB(), server_default="{}", nullable=False))
    op.add_column("document_receipts", sa.Column("takes", JSONB(), server_default="[]", nullable=False))


def downgrade() -> None:
    for column in ("takes", "params", "code"):
        op.drop_column("document_receipts", column)
