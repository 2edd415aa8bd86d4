"""Reading tasks by their case, and what a reader holds and has done lately: each without all that was ever read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0057"
down_revision = "0056"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_reading_tasks_case_id", "reading_tasks", ["case_id"])
    held = sa.text("state = 'in_progress'")
    op.create_index("ix_reading_tasks_held", "reading_tasks", ["holder_id"], postgresql_where=held)
    op.create_index("ix_reading_tasks_done", "reading_tasks", ["holder_id", "completed_at"])
    op.drop_index("ix_reading_tasks_holder_id", table_name="reading_tasks")


def downgrade() -> None:
    op.create_index("ix_reading_tasks_holder_id", "reading_tasks", ["holder_id"])
    op.drop_index("ix_reading_tasks_done", table_name="reading_tasks")
    op.drop_index("ix_reading_tasks_held", table_name="reading_tasks")
    op.drop_index("ix_reading_tasks_case_id", table_name="reading_tasks")
