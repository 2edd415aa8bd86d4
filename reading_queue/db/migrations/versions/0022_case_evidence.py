"""The key images and measurements that readers add to a case."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "case_evidence",
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("reading_task_id", sa.Text(), nullable=False),
        sa.Column("author_id", sa.Text(), nullable=False),
        sa.Column("findings", postgresql.JSONB(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("report_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name=op.f("fk_case_evidence_case_id_cases")),
        sa.ForeignKeyConstraint(
            ["reading_task_id"],
            ["reading_tasks.reading_task_id"],
            name=op.f("fk_case_evidence_reading_task_id_reading_tasks"),
        ),
        sa.ForeignKeyConstraint(
            ["author_id"], ["physicians.physician_id"], name=op.f("fk_case_evidence_author_id_physicians")
        ),
        sa.ForeignKeyConstraint(["report_id"], ["reports.report_id"], name=op.f("fk_case_evidence_report_id_reports")),
        sa.PrimaryKeyConstraint("site_id", "sop_instance_uid", name=op.f("pk_case_evidence")),
    )
    op.create_index(op.f("ix_case_evidence_case_id"), "case_evidence", ["case_id"])


def downgrade() -> None:
    op.drop_table("case_evidence")
