"""Reviews of readings by clinicians, and their signatures."""

import sqlalchemy as sa
from alembic import op

from cds.store_schema import UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_assessments_patient", "assessments", ["patient", "read_at"])
    op.create_table(
        "review_changes",
        sa.Column("assessment_key", sa.String(36), nullable=False),
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("user_reference", sa.Text, nullable=False),
        sa.Column("user_name", sa.Text, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("cells", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("undoes", sa.Integer),
        sa.ForeignKeyConstraint(
            ["assessment_key"], ["assessments.key"], name="fk_review_changes_assessment_key"
        ),
        sa.PrimaryKeyConstraint("assessment_key", "number", name="pk_review_changes"),
    )
    op.create_table(
        "signatures",
        sa.Column("assessment_key", sa.String(36), nullable=False),
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("signed_at", UtcDateTime, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", UtcDateTime, nullable=False),
        sa.Column("problem", sa.Text),
        sa.ForeignKeyConstraint(["assessment_key"], ["assessments.key"], name="fk_signatures_assessment_key"),
        sa.PrimaryKeyConstraint("assessment_key", "number", name="pk_signatures"),
    )
    op.create_index("ix_signatures_state", "signatures", ["state", "due_at"])


def downgrade() -> None:
    op.drop_table("signatures")
    op.drop_table("review_changes")
    op.drop_index("ix_assessments_patient", "assessments")
