"""Large packs come in numbered parts: which there are, which have an address, which must come again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("parts", "parts_granted", "refused_parts"):
        op.add_column("granted_packs", sa.Column(name, postgresql.JSONB(), nullable=True))


def downgrade() -> None:
    for name in ("refused_parts", "parts_granted", "parts"):
        op.drop_column("granted_packs", name)
