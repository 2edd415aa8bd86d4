"""Mark records whose studies say different birth dates or sexes; keep with each study the name of its own headers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# The last study to come into a record in which another one says something else.
CONTRADICTED = """
UPDATE patients SET contradicted_at = last.catalogued_at, contradicting_study_uid = last.study_uid
FROM (
    SELECT DISTINCT ON (one.patient_id) one.patient_id, one.catalogued_at, one.study_uid
    FROM studies one JOIN studies other ON other.patient_id = one.patient_id
    WHERE one.patient_birth_date <> other.patient_birth_date
       OR (one.patient_sex <> other.patient_sex
           AND one.patient_sex NOT IN ('', 'O') AND other.patient_sex NOT IN ('', 'O'))
    ORDER BY one.patient_id, one.catalogued_at DESC, one.study_uid
) last
WHERE last.patient_id = patients.patient_id
"""


def upgrade() -> None:
    op.add_column("patients", sa.Column("contradicted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("patients", sa.Column("contradicting_study_uid", sa.Text(), server_default="", nullable=False))
    op.create_index(
        "ix_patients_contradicted_at",
        "patients",
        ["contradicted_at"],
        postgresql_where=sa.text("contradicted_at IS NOT NULL"),
    )
    op.add_column("studies", sa.Column("patient_name", sa.Text(), server_default="", nullable=False))
    op.execute("UPDATE studies SET patient_name = p.name FROM patients p WHERE p.patient_id = studies.patient_id")
    op.execute(CONTRADICTED)


def downgrade() -> None:
    op.drop_column("studies", "patient_name")
    op.drop_index("ix_patients_contradicted_at", "patients")
    op.drop_column("patients", "contradicting_study_uid")
    op.drop_column("patients", "contradicted_at")
