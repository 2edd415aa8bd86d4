"""What performers say of reading tasks over UPS-RS."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "workitem_progress",
        sa.Column("reading_task_id", sa.Text(), nullable=False),
        sa.Column("percent", sa.Text(), nullable=False, server_default=""),
        sa.Column("description", sa.Text(), nullable=False, server_default=""),
        sa.Column("performed", postgresql.JSONB(), nullable=False, server_default="{}"),
        sa.Column("reason", sa.Text(), nullable=False, server_default=""),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["reading_task_id"],
            ["reading_tasks.reading_task_id"],
            name=op.f("fk_workitem_progress_reading_task_id_reading_tasks"),
        ),
        sa.PrimaryKeyConstraint("reading_task_id", name=op.f("pk_workitem_progress")),
    )


def downgrade() -> None:
    op.drop_table("workitem_progress")
