"""Opinions that the holder of a case asks for up the line, with their own clock."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def _refers(column: str, table: str, key: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{table}.{key}"], name=op.f(f"fk_consults_{column}_{table}"))


def upgrade() -> None:
    op.create_table(
        "consults",
        sa.Column("consult_id", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("reading_task_id", sa.Text(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("organisation_id", sa.Text(), nullable=False),
        sa.Column("agreement_id", sa.Text(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("accepted_by", sa.Text(), nullable=True),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("words", sa.Text(), server_default="", nullable=False),
        sa.Column("report_id", sa.Text(), nullable=True),
        _refers("case_id", "cases", "case_id"),
        sa.ForeignKeyConstraint(
            ["reading_task_id"],
            ["reading_tasks.reading_task_id"],
            name=op.f("fk_consults_reading_task_id_reading_tasks"),
        ),
        _refers("asked_by", "physicians", "physician_id"),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.organisation_id"],
            name=op.f("fk_consults_organisation_id_organisations"),
        ),
        _refers("agreement_id", "agreements", "agreement_id"),
        _refers("accepted_by", "physicians", "physician_id"),
        _refers("report_id", "reports", "report_id"),
        sa.PrimaryKeyConstraint("consult_id", name=op.f("pk_consults")),
    )
    is_open = sa.text("ended_at IS NULL")
    op.create_index("ix_consults_case_id", "consults", ["case_id"])
    op.create_index("uq_consults_open", "consults", ["case_id"], unique=True, postgresql_where=is_open)
    op.create_index("ix_consults_of_hospital", "consults", ["organisation_id"], postgresql_where=is_open)
    op.create_index("ix_consults_accepted_by", "consults", ["accepted_by"])
    op.create_index("ix_consults_asked_by", "consults", ["asked_by"])
    op.create_index("ix_consults_due", "consults", ["due_at"], postgresql_where=is_open)


def downgrade() -> None:
    op.drop_table("consults")
