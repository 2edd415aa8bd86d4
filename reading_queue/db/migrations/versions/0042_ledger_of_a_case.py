"""That what the ledger says of a case is found without reading all of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_custody_events_case", "custody_events", ["case_id"], postgresql_where=sa.text("case_id IS NOT NULL")
    )


def downgrade() -> None:
    op.drop_index("ix_custody_events_case", "custody_events")
