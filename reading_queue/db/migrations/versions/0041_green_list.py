"""That the few cases of green channels are found without looking at all others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_cases_green", "cases", ["state"], postgresql_where=sa.text("green_channel IS NOT NULL"))


def downgrade() -> None:
    op.drop_index("ix_cases_green", "cases")
