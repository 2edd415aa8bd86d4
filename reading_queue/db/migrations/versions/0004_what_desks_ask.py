"""Index what desks ask every few seconds: the newest studies, what came home, what waits for a person."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_cases_arrived", "cases", ["first_instance_at", "case_id"])
    op.create_index(
        "ix_cases_delivered", "cases", ["delivered_at"], postgresql_where=sa.text("delivered_at IS NOT NULL")
    )
    op.create_index(
        "ix_custody_events_attention",
        "custody_events",
        ["received_at"],
        postgresql_where=sa.text("hop IN ('quarantined', 'refused', 'late_images')"),
    )
    op.create_index(
        "ix_transfers_open", "transfers", ["site_id", "study_uid"], postgresql_where=sa.text("state <> 'verified'")
    )


def downgrade() -> None:
    op.drop_index("ix_transfers_open", "transfers")
    op.drop_index("ix_custody_events_attention", "custody_events")
    op.drop_index("ix_cases_delivered", "cases")
    op.drop_index("ix_cases_arrived", "cases")
