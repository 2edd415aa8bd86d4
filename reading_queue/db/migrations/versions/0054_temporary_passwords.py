"""Passwords that somebody else knows: to be changed at the next sign-in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0054"
down_revision = "0053"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("accounts", sa.Column("password_temporary", sa.Boolean(), server_default="false", nullable=False))


def downgrade() -> None:
    op.drop_column("accounts", "password_temporary")
