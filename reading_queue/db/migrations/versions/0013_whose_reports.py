"""Find what a physician has written and signed without reading every report: each look at an image asks for it."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_submissions_author_id"), "submissions", ["author_id"])
    op.create_index(op.f("ix_reports_verifier_id"), "reports", ["verifier_id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_reports_verifier_id"), "reports")
    op.drop_index(op.f("ix_submissions_author_id"), "submissions")
