"""That long lists are searched and counted by indexes alone: numbers by both their ends, cases by site and moment."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

NUMBERS = (("patients", "patient_number"), ("studies", "accession_number"))


def upgrade() -> None:
    for table, column in NUMBERS:
        for end, words in (("begins", f"lower({column})"), ("ends", f"reverse(lower({column}))")):
            name = f"ix_{table}_{column}_{end}"
            op.create_index(name, table, [sa.text(f"{words} text_pattern_ops")])
    op.create_index("ix_cases_site_arrived", "cases", ["site_id", "first_instance_at"])
    op.create_index(
        "ix_cases_site_delivered",
        "cases",
        ["site_id", "delivered_at"],
        postgresql_where=sa.text("delivered_at IS NOT NULL"),
    )
    op.drop_index("ix_cases_delivered", "cases")


def downgrade() -> None:
    op.create_index(
        "ix_cases_delivered", "cases", ["delivered_at"], postgresql_where=sa.text("delivered_at IS NOT NULL")
    )
    op.drop_index("ix_cases_site_delivered", "cases")
    op.drop_index("ix_cases_site_arrived", "cases")
    for table, column in NUMBERS:
        for end in ("begins", "ends"):
            op.drop_index(f"ix_{table}_{column}_{end}", table)
