"""Whether each queue is worked off, and which schedulers were heard."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "queue_probes",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("asked_at", moment, nullable=False),
        sa.Column("launched_at", moment, nullable=False),
        sa.Column("answered_at", moment, nullable=True),
        sa.Column("answered_by", sa.Text(), nullable=True),
        sa.Column("took_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("queue", name=op.f("pk_queue_probes")),
    )
    op.create_table(
        "scheduler_beats",
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("since", moment, nullable=False),
        sa.Column("heard_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("place", name=op.f("pk_scheduler_beats")),
    )


def downgrade() -> None:
    op.drop_table("scheduler_beats")
    op.drop_table("queue_probes")
