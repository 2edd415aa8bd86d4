"""That an emergency is offered while the rest of its images is still arriving."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("cases", sa.Column("still_arriving", sa.Boolean(), server_default="false", nullable=False))


def downgrade() -> None:
    op.drop_column("cases", "still_arriving")
