"""Who is duty director of which organisation, and what each of them was told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0051"
down_revision = "0050"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "duty_directors",
        sa.Column("organisation_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("duty", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.organisation_id"],
            name=op.f("fk_duty_directors_organisation_id_organisations"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.account_id"], name=op.f("fk_duty_directors_account_id_accounts")
        ),
        sa.PrimaryKeyConstraint("organisation_id", "account_id", name=op.f("pk_duty_directors")),
    )
    op.create_index("ix_duty_directors_account_id", "duty_directors", ["account_id"])
    op.create_table(
        "director_notices",
        sa.Column("notice_id", sa.Text(), nullable=False),
        sa.Column("escalation_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("organisation_id", sa.Text(), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["escalation_id"], ["escalations.escalation_id"], name=op.f("fk_director_notices_escalation_id_escalations")
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.account_id"], name=op.f("fk_director_notices_account_id_accounts")
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.organisation_id"],
            name=op.f("fk_director_notices_organisation_id_organisations"),
        ),
        sa.PrimaryKeyConstraint("notice_id", name=op.f("pk_director_notices")),
        sa.UniqueConstraint("escalation_id", "account_id", name=op.f("uq_director_notices_escalation_id_account_id")),
    )
    op.create_index("ix_director_notices_account_id_told_at", "director_notices", ["account_id", "told_at"])


def downgrade() -> None:
    op.drop_table("director_notices")
    op.drop_table("duty_directors")
