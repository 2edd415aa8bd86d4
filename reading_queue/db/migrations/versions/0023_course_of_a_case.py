"""What may happen to a case between claim and signature, and after it: holds, withdrawals, returns, addenda."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def _added() -> list[sa.Column[object]]:
    return [
        sa.Column("paused_s", sa.Integer(), server_default="0", nullable=False),
        sa.Column("amended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("withdrawal_asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("withdrawal_asked_by", sa.Text(), nullable=True),
        sa.Column("withdrawal_reason", sa.Text(), server_default="", nullable=False),
        sa.Column("withdrawal_refusal", sa.Text(), server_default="", nullable=False),
        sa.Column("return_code", sa.Text(), nullable=True),
        sa.Column("return_words", sa.Text(), server_default="", nullable=False),
    ]


def upgrade() -> None:
    for column in _added():
        op.add_column("cases", column)
    op.create_table(
        "information_requests",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("reading_task_id", sa.Text(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("wants", postgresql.JSONB(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("answer", sa.Text(), server_default="", nullable=False),
        sa.Column("answered_by", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name=op.f("fk_information_requests_case_id_cases")),
        sa.ForeignKeyConstraint(
            ["reading_task_id"],
            ["reading_tasks.reading_task_id"],
            name=op.f("fk_information_requests_reading_task_id_reading_tasks"),
        ),
        sa.ForeignKeyConstraint(
            ["asked_by"], ["accounts.account_id"], name=op.f("fk_information_requests_asked_by_accounts")
        ),
        sa.ForeignKeyConstraint(
            ["answered_by"], ["accounts.account_id"], name=op.f("fk_information_requests_answered_by_accounts")
        ),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_information_requests")),
    )
    op.create_index("ix_information_requests_case_id", "information_requests", ["case_id"])
    op.create_index(
        "uq_information_requests_open",
        "information_requests",
        ["case_id"],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "addenda",
        sa.Column("addendum_id", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("opened_by", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("report_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name=op.f("fk_addenda_case_id_cases")),
        sa.ForeignKeyConstraint(["opened_by"], ["accounts.account_id"], name=op.f("fk_addenda_opened_by_accounts")),
        sa.ForeignKeyConstraint(["report_id"], ["reports.report_id"], name=op.f("fk_addenda_report_id_reports")),
        sa.PrimaryKeyConstraint("addendum_id", name=op.f("pk_addenda")),
    )
    op.create_index("ix_addenda_case_id", "addenda", ["case_id"])
    op.create_index(
        "uq_addenda_open", "addenda", ["case_id"], unique=True, postgresql_where=sa.text("ended_at IS NULL")
    )


def downgrade() -> None:
    op.drop_table("addenda")
    op.drop_table("information_requests")
    for column in reversed(_added()):
        op.drop_column("cases", column.name)
