"""Index what gateways ask every few seconds: the hub's own events about one site."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_custody_events_site_hub",
        "custody_events",
        ["site_id", "received_at"],
        postgresql_where=sa.text("place = 'hub'"),
    )


def downgrade() -> None:
    op.drop_index("ix_custody_events_site_hub", "custody_events")
