"""HL7 messages that nothing has to be done about, by when that was so: they go after a time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0055"
down_revision = "0054"
branch_labels = None
depends_on = None


def upgrade() -> None:
    done = sa.text("settled_at IS NOT NULL OR (state = 'taken' AND faults = '[]')")
    done_at = sa.text("coalesce(settled_at, decided_at)")
    op.create_index("ix_order_messages_done", "order_messages", [done_at], postgresql_where=done)


def downgrade() -> None:
    op.drop_index("ix_order_messages_done", table_name="order_messages")
