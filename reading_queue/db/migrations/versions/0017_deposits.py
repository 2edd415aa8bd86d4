"""What people store at the hub itself, beside what gateways bring."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deposits",
        sa.Column("deposit_id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("deposited_by", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["sites.site_id"], name=op.f("fk_deposits_site_id_sites")),
        sa.PrimaryKeyConstraint("deposit_id", name=op.f("pk_deposits")),
    )
    op.create_index("ix_deposits_open", "deposits", ["begun_at"], postgresql_where=sa.text("state <> 'committed'"))
    op.alter_column("transfers", "gateway_id", nullable=True)
    op.add_column("transfers", sa.Column("deposit_id", sa.Text(), nullable=True))
    op.create_foreign_key(
        op.f("fk_transfers_deposit_id_deposits"), "transfers", "deposits", ["deposit_id"], ["deposit_id"]
    )
    op.create_check_constraint(
        op.f("ck_transfers_one_source"), "transfers", "(gateway_id IS NULL) <> (deposit_id IS NULL)"
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_transfers_one_source"), "transfers")
    op.execute("DELETE FROM granted_packs WHERE grant_id IN (SELECT deposit_id FROM deposits)")
    op.execute("DELETE FROM grants WHERE grant_id IN (SELECT deposit_id FROM deposits)")
    op.execute("DELETE FROM transfers WHERE deposit_id IS NOT NULL")
    op.drop_constraint(op.f("fk_transfers_deposit_id_deposits"), "transfers")
    op.drop_column("transfers", "deposit_id")
    op.alter_column("transfers", "gateway_id", nullable=False)
    op.drop_index("ix_deposits_open", "deposits")
    op.drop_table("deposits")
