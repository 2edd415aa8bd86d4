"""Which hospitals could be asked for their opinion when one of them was."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0059"
down_revision = "0058"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("consults", sa.Column("could_be_asked", JSONB(), server_default="[]", nullable=False))


def downgrade() -> None:
    op.drop_column("consults", "could_be_asked")
