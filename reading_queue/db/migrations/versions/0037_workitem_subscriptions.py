"""Who is told of workitems over UPS-RS, and what subscribers are told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "workitem_events",
        sa.Column("event_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column(
            "transaction_id",
            sa.BigInteger(),
            server_default=sa.text("(pg_current_xact_id()::text::bigint)"),
            nullable=False,
        ),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("reading_task_id", sa.Text(), nullable=False),
        sa.Column("event_type", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("detail", postgresql.JSONB(), nullable=False),
        sa.Column("only_for", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_workitem_events")),
    )
    op.create_index("ix_workitem_events_order", "workitem_events", ["transaction_id", "event_id"])
    op.create_index("ix_workitem_events_at", "workitem_events", ["at"])
    op.create_table(
        "workitem_subscribers",
        sa.Column("ae_title", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("subscribed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("scope", sa.Text(), server_default="", nullable=False),
        sa.Column("filter", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("deletion_lock", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("suspended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("told_transaction_id", sa.BigInteger(), nullable=False),
        sa.Column("told_event_id", sa.BigInteger(), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("told_going_down", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("ae_title", name=op.f("pk_workitem_subscribers")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.account_id"], name=op.f("fk_workitem_subscribers_account_id_accounts")
        ),
    )
    op.create_index(op.f("ix_workitem_subscribers_account_id"), "workitem_subscribers", ["account_id"])
    op.create_table(
        "workitem_subscriptions",
        sa.Column("ae_title", sa.Text(), nullable=False),
        sa.Column("reading_task_id", sa.Text(), nullable=False),
        sa.Column("is_subscribed", sa.Boolean(), nullable=False),
        sa.Column("deletion_lock", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("ae_title", "reading_task_id", name=op.f("pk_workitem_subscriptions")),
        sa.ForeignKeyConstraint(
            ["ae_title"],
            ["workitem_subscribers.ae_title"],
            name=op.f("fk_workitem_subscriptions_ae_title_workitem_subscribers"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["reading_task_id"],
            ["reading_tasks.reading_task_id"],
            name=op.f("fk_workitem_subscriptions_reading_task_id_reading_tasks"),
        ),
    )
    op.create_index(op.f("ix_workitem_subscriptions_reading_task_id"), "workitem_subscriptions", ["reading_task_id"])
    op.create_index("ix_reading_tasks_created", "reading_tasks", ["created_at"])


def downgrade() -> None:
    op.drop_index("ix_reading_tasks_created", table_name="reading_tasks")
    op.drop_table("workitem_subscriptions")
    op.drop_table("workitem_subscribers")
    op.drop_table("workitem_events")
