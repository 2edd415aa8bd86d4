"""Let launches and dead jobs be found by what they are about, old launches by their age, unrendered reports at once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

UNRETRIED = sa.text("retried_at IS NULL")


def upgrade() -> None:
    for table in ("outbox", "dead_jobs"):
        op.add_column(table, sa.Column("subject_id", sa.Text(), nullable=True))
        about = f"(SELECT value FROM jsonb_each_text({table}.arguments - 'attempt') LIMIT 1)"  # noqa: S608 -- no input
        op.execute(f"UPDATE {table} SET subject_id = coalesce({about}, '')")  # noqa: S608
        op.alter_column(table, "subject_id", nullable=False)
    op.create_index("ix_outbox_subject", "outbox", ["subject_id", "job"])
    published = sa.text("published_at IS NOT NULL")
    op.create_index("ix_outbox_published", "outbox", ["published_at"], postgresql_where=published)
    op.create_index("ix_dead_jobs_unretried", "dead_jobs", ["subject_id", "job"], postgresql_where=UNRETRIED)
    unrendered = sa.text("rendered_at IS NULL")
    op.create_index("ix_reports_unrendered", "reports", ["signed_at"], postgresql_where=unrendered)


def downgrade() -> None:
    op.drop_index("ix_reports_unrendered", "reports")
    op.drop_index("ix_dead_jobs_unretried", "dead_jobs")
    op.drop_index("ix_outbox_published", "outbox")
    op.drop_index("ix_outbox_subject", "outbox")
    for table in ("outbox", "dead_jobs"):
        op.drop_column(table, "subject_id")
