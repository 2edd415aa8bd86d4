"""Who ran the command that changed the network, by the name they go under on the hub's machine."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("agreement_versions", "network_versions"):
        op.add_column(table, sa.Column("recorded_as", sa.Text(), server_default="", nullable=False))


def downgrade() -> None:
    for table in ("network_versions", "agreement_versions"):
        op.drop_column(table, "recorded_as")
